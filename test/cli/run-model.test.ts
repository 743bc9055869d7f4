import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import { saveModel, Tensor } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import { readTensorFile } from '../../src/runtime/io/files.js';
import { writeNpy } from '../../src/runtime/io/npy.js';
import { writeNpz } from '../../src/runtime/io/npz.js';
import { fromValues } from '../../src/runtime/io/values.js';
import { modelOf } from '../runtime/helpers.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const SHAPES = resolve('fixtures/shapes.onnx');
const directory = scratchDirectory('cli-run');
const path = (name: string): string => join(directory, name);

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function cli(args: readonly string[], env: Record<string, string> = {}, input?: Uint8Array): Promise<Result> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: directory,
      env: { ...process.env, COLUMNS: '80', ...env },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('close', (code) => done({ code, stdout, stderr }));
    child.stdin.on('error', () => undefined).end(input);
  });
}

beforeAll(async () => {
  // y = x w, of which each column of w picks one element of x.
  const model = modelOf(
    [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'], name: 'pick' }],
    [['x', 'float32', ['n', 3]]],
    [['y', 'float32', ['n', 2]]],
    [Tensor.of('w', 'float32', [3, 2], Float32Array.of(1, 0, 0, 0, 0, 1))],
  );
  await saveModel(model, path('pick.onnx'));
  const open = modelOf(
    [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    [['x', 'float32', [undefined, 'length']]],
    [['y', 'float32']],
    [Tensor.of('w', 'float32', [3, 2], Float32Array.of(1, 0, 0, 0, 0, 1))],
  );
  await saveModel(open, path('open.onnx'));
  writeFileSync(path('x.npy'), writeNpy(fromValues('float64', [1, 3], [1, 2, 3])));
  writeFileSync(path('x.npz'), writeNpz({ x: fromValues('float32', [2, 3], [1, 2, 3, 4, 5, 6]) }));
  writeFileSync(path('x.json'), '{"x": [[7, 8, 9]]}');
  writeFileSync(path('names.txt'), 'left\nright\n');
});

describe('run', () => {
  test('takes NumPy files and JSON, and writes what it computed', async () => {
    for (const [input, expected, output] of [
      ['x.npy', fromValues('float32', [1, 2], [1, 3]), 'y.npy'],
      ['x=x.npy', fromValues('float32', [1, 2], [1, 3]), 'y1.npz'],
      ['x.npz', fromValues('float32', [2, 2], [1, 3, 4, 6]), 'y2.npz'],
      ['x.json', fromValues('float32', [1, 2], [7, 9]), 'y3.json'],
    ] as const) {
      const { code, stdout, stderr } = await cli(['run', 'pick.onnx', '-i', input, '-o', output]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`Written to ${output}.`);
      expect(stdout).toContain('cpu ran the only node.');
      expect(stdout.includes('float64 in x.npy, converted to float32')).toBe(input.includes('npy'));
      const written = await readTensorFile(path(output));
      expect('single' in written ? written.single : written.named.y).toEqual(expected);
    }
    const again = await cli(['run', 'pick.onnx', '-i', 'x.json', '-o', 'y3.json']);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('exists already')]);
  });

  test('labels: the likeliest first, from a model on standard input; JSON', async () => {
    const args = ['run', '-', '-i', 'x.npz', '--labels', 'names.txt', '--top', '1', '--format', 'json'];
    const { code, stdout } = await cli(args, {}, readFileSync(path('pick.onnx')));
    const report = JSON.parse(stdout) as { top: { label: string; row: number; value: number }[] };
    expect(code).toBe(0);
    expect(report).toMatchObject({ kind: 'run', providers: ['cpu'], nodes: 1, fallen: [], output: null });
    expect(report.top.map(({ row, label, value }) => [row, label, value])).toEqual([
      [0, 'right', 3],
      [1, 'right', 6],
    ]);
    writeFileSync(path('three.json'), '["a", "b", "c"]');
    const other = await cli(['run', 'pick.onnx', '-i', 'x.npz', '--labels', 'three.json']);
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('has 3 labels, but no output')]);
  });

  test('takes images, resized and normalized, several as a batch', async () => {
    const grey = (level: number): Promise<Buffer> =>
      sharp({ create: { width: 40, height: 30, channels: 3, background: { r: level, g: level, b: level } } })
        .png()
        .toBuffer();
    writeFileSync(path('dark.png'), await grey(0));
    writeFileSync(path('light.png'), await grey(255));
    const one = await cli([
      'run',
      SHAPES,
      '-i',
      'light.png',
      '-o',
      'one.npy',
      '--mean',
      '0.25',
      '--std',
      '0.5',
    ]);
    expect(one).toMatchObject({ code: 0, stderr: '' });
    expect(one.stdout.replaceAll(/\s+/g, ' ')).toContain(
      "input 'image': light.png as float32[1, 1, 28, 28], normalized by mean 0.25 and deviation 0.5",
    );
    // The same numbers as a tensor.
    const same = { type: 'float32', shape: [1, 1, 28, 28], data: new Float32Array(784).fill(1.5) } as const;
    writeFileSync(path('same.npy'), writeNpy(same));
    await cli(['run', SHAPES, '-i', 'same.npy', '-o', 'two.npy']);
    expect(readFileSync(path('one.npy'))).toEqual(readFileSync(path('two.npy')));
    const args = ['run', SHAPES, '-i', 'image=dark.png', '-i', 'image=light.png', '--format', 'json'];
    const batch = JSON.parse((await cli(args)).stdout) as unknown;
    expect(batch).toMatchObject({ outputs: [{ name: 'logits', shape: [2, 10] }] });
  });

  test('outputs to standard output, the account to stderr', async () => {
    const { code, stdout, stderr } = await cli(['run', 'pick.onnx', '-i', 'x.json', '-o', '-']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ y: { type: 'float32', shape: [1, 2], data: [7, 9] } });
    expect(stderr).toContain('Written to standard output.');
  });

  test('random inputs are seeded; the table fits the terminal', async () => {
    const run = (...more: string[]) => cli(['run', SHAPES, '--random', '--format', 'json', ...more]);
    const outputs = async (result: Promise<Result>): Promise<unknown> =>
      (JSON.parse((await result).stdout) as { outputs: unknown }).outputs;
    const first = await outputs(run());
    expect(await outputs(run('--seed', '0'))).toEqual(first);
    expect(await outputs(run('--seed', '1'))).not.toEqual(first);
    expect(await outputs(run('--batch', '3'))).toMatchObject([{ name: 'logits', shape: [3, 10] }]);
    const { stdout } = await cli(['run', SHAPES, '--random', '--top', '2']);
    for (const line of stdout.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
  });

  test.each([
    [['run'], 'a model file is missing'],
    [['run', SHAPES], 'no inputs: pass --input or --random; the model takes image: float32'],
    [
      ['run', SHAPES, SHAPES, '--random'],
      'run takes one model, with --bench several; put inputs behind -i, one each',
    ],
    [['run', SHAPES, '--random', '--ep', 'gpu'], '--ep must be one of auto, cpu, cuda'],
    [['run', SHAPES, '--random', '--ep', 'auto', '--ep', 'cpu'], '--ep auto stands alone'],
    [['run', SHAPES, '--random', '--ep', 'cpu', '--ep', 'cuda'], '--ep cpu comes last'],
    [['run', SHAPES, '--random', '--strict-ep'], '--strict-ep goes with a provider other than the CPU'],
    [['run', SHAPES, '--random', '-i', 'x.npy'], '--input or --random, not both'],
    [['run', SHAPES, '-i', 'x.npy', '--seed', '1'], '--seed goes with --random'],
    [
      ['run', SHAPES, '--random', '--mean', '0'],
      '--normalize, --mean, --std, --scale, --layout and --fit go with',
    ],
    [
      ['run', SHAPES, '-i', 'x.npy', '--fit', 'fill'],
      '--normalize, --mean, --std, --scale, --layout and --fit are for',
    ],
    [
      ['run', SHAPES, '-i', 'x.png', '--mean', '1,,2'],
      "--mean must be numbers, separated by commas, is '1,,2'",
    ],
    [
      ['run', SHAPES, '-i', 'x.png', '--mean', '1', '--normalize', 'mnist'],
      '--normalize or --mean and --std, not both',
    ],
    [['run', SHAPES, '--bench', '--fit', 'fill'], '--fit does not go with --bench'],
    [['run', SHAPES, '--random', '-o', 'y.txt'], '--output must end in .npz, .npy or .json'],
    [['run', SHAPES, '--random', '--batch', '1,2'], 'several --batch sizes go with --bench'],
    [
      ['run', SHAPES, '--random', '--batch', 'all'],
      "--batch must be integers ≥ 1, separated by commas, is 'all'",
    ],
    [['run', SHAPES, '--random', '--runs', '3'], '--runs goes with --bench'],
    [['run', SHAPES, '--bench', '-i', 'x.npy'], '--input does not go with --bench'],
    [['run', SHAPES, '--bench', '--strict-ep'], '--strict-ep goes with providers other than the CPU'],
    [['run', SHAPES, '--bench', '--runs', '0'], '--runs must be an integer ≥ 1 and ≤ 1000000, is 0'],
    [
      ['run', SHAPES, '--random', '--device', '1'],
      '--device is for --ep cuda, tensorrt, directml, not for cpu',
    ],
    [
      ['run', SHAPES, '--random', '--ep', 'webgpu', '--device', '0'],
      '--device is for --ep cuda, tensorrt, direct',
    ],
    [['verify', SHAPES, SHAPES, '--strict-ep'], '--strict-ep goes with a provider other than the CPU'],
  ])('a wrong command line: %j', async (args, message) => {
    const { code, stdout, stderr } = await cli(args);
    expect(stderr).toContain(`error: ${message}`);
    expect(stderr.trimEnd().split('\n')).toHaveLength(2);
    expect([code, stdout]).toEqual([2, '']);
  });

  test.each([
    [['run', 'pick.onnx', '-i', 'none.npy'], 'none.npy: no such file'],
    [['run', 'pick.onnx', '-i', 'z=x.npy'], "x.npy: the model has no input 'z'; it has 'x'"],
    [
      ['run', SHAPES, '-i', 'image=x.npy'],
      "input 'image' is float32[batch, 1, 28, 28], but float32[1, 3] was fed",
    ],
    [
      ['run', 'pick.onnx', '-i', 'names.txt'],
      'names.txt: is no file of tensors; inputs are .npy, .npz or .json',
    ],
    [['run', SHAPES, '--random', '--labels', 'none.txt'], 'none.txt: no such file'],
    [
      ['run', 'open.onnx', '--random'],
      "Open dimensions were taken as 1: 'x[0]', 'length'; --dim 'length=16' makes one 16",
    ],
    [['run', 'pick.onnx', '--random', '--dim', 'k=2'], "no input has an open dimension 'k'"],
    [['run', 'pick.onnx', '--random', '--ep', 'directml', '--device', '0'], 'DirectML does not load'],
  ])('a failure: %j', async (args, message) => {
    const { code, stdout, stderr } = await cli(args);
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
    expect([code, stdout]).toEqual([1, '']);
  });
});

describe('run --bench', () => {
  test('two models side by side, as a table and as JSON in a file', async () => {
    const args = ['run', SHAPES, 'pick.onnx', '--bench', '--batch', '1,2', '--runs', '2', '--warmup', '0'];
    const table = await cli(args);
    expect({ code: table.code, stderr: table.stderr }).toEqual({ code: 0, stderr: '' });
    for (const line of table.stdout.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
    for (const text of ['shapes.onnx', 'pick.onnx', 'p50 ms', 'ratio', 'taking turns'])
      expect(table.stdout).toContain(text);
    expect((await cli([...args, '-o', 'bench.json'])).code).toBe(0);
    const report = JSON.parse(readFileSync(path('bench.json'), 'utf8')) as { rows: object[] };
    expect(report).toMatchObject({ kind: 'bench', runs: 2, warmup: 0 });
    expect(report.rows).toHaveLength(4);
  });
});

describe('verify --input', () => {
  test('compares on the given tensors, once', async () => {
    const { code, stdout, stderr } = await cli(['verify', 'pick.onnx', 'pick.onnx', '-i', 'x.npz']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('Same function on the given inputs: pick.onnx agrees with pick.onnx.');
    const both = await cli(['verify', 'pick.onnx', 'pick.onnx', '-i', 'x.npz', '--samples', '2']);
    expect([both.code, both.stderr]).toEqual([
      2,
      expect.stringContaining('--samples goes with random inputs'),
    ]);
    writeFileSync(path('x.bmp'), 'BM\0\0\0\0');
    const bitmap = await cli(['verify', 'pick.onnx', 'pick.onnx', '-i', 'x.bmp']);
    expect([bitmap.code, bitmap.stderr]).toEqual([
      1,
      expect.stringContaining('x.bmp: is a BMP image, which is not read'),
    ]);
  });
});

describe('verify --ep', () => {
  test('says who ran what', async () => {
    const { code, stdout } = await cli([
      'verify',
      'pick.onnx',
      'pick.onnx',
      '--ep',
      'cpu',
      '--format',
      'json',
    ]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      passed: true,
      placements: { a: { uses: [{ provider: 'cpu', nodes: 1 }] } },
    });
    const foreign = process.platform === 'win32' ? 'coreml' : 'directml';
    const none = await cli(['verify', 'pick.onnx', 'pick.onnx', '--ep', foreign]);
    expect([none.code, none.stderr]).toEqual([1, expect.stringMatching(/^error: \w+ ?\w* does not load: /)]);
  });
});

describe('chains that expand wrote', () => {
  test('are multiplied out first where that takes fewer operations: the same outputs to rounding', async () => {
    const wave = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i) / 4);
    const plain = modelOf(
      [
        {
          opType: 'Conv',
          inputs: ['x', 'k'],
          outputs: ['h'],
          name: 'conv',
          attributes: { pads: { ints: [1n, 1n, 1n, 1n] } },
        },
        { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
        { opType: 'MatMul', inputs: ['r', 'w'], outputs: ['y'], name: 'fc' },
      ],
      [['x', 'float32', ['n', 4, 12, 12]]],
      [['y', 'float32']],
      [Tensor.of('k', 'float32', [8, 4, 3, 3], wave(288)), Tensor.of('w', 'float32', [12, 10], wave(120))],
    );
    await saveModel(plain, path('layers.onnx'));
    await plain.apply(expand({ depth: 3 }));
    await saveModel(plain, path('chains.onnx'));
    const ran = async (name: string, model: string, ...words: string[]) => {
      const { code, stdout, stderr } = await cli([
        'run',
        model,
        '--random',
        '--format',
        'json',
        '-o',
        name,
        ...words,
      ]);
      expect([code, stderr]).toEqual([0, '']);
      const { named } = (await readTensorFile(path(name))) as {
        named: Record<string, { data: Float32Array }>;
      };
      const { nodes } = JSON.parse(stdout);
      return { nodes, y: named.y!.data };
    };
    const factors = await ran('factors.npz', 'chains.onnx', '--chain-steps', 'factors', '--dim', 'n=4');
    const layers = await ran('layers.npz', 'layers.onnx', '--dim', 'n=4');
    expect(factors.nodes).toBeGreaterThan(layers.nodes);
    for (const [name, ...words] of [['auto.npz'], ['product.npz', '--chain-steps', 'product']] as const) {
      const product = await ran(name, 'chains.onnx', ...words, '--dim', 'n=4');
      expect(product.nodes).toBe(layers.nodes);
      const most = factors.y.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
      const off = factors.y.reduce((sum, value, at) => Math.max(sum, Math.abs(value - product.y[at]!)), 0);
      expect(off / most).toBeLessThan(1e-6);
    }
    const bench = await cli([
      'run',
      'chains.onnx',
      '--bench',
      '--runs',
      '1',
      '--warmup',
      '0',
      '--dim',
      'n=1',
      '--chain-steps',
      'auto',
    ]);
    expect([bench.code, bench.stderr]).toEqual([0, '']);
  });
});
