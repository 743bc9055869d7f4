import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { saveModel, ValueInfo } from '../../src/graph/index.js';
import { buildModel, floats } from '../support/build.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const SHAPES = resolve('fixtures/shapes.onnx');

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'onnx-overparam-expand-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function cli(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: directory });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    child.on('close', (code) => {
      done({ code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() });
    });
    child.stdin.end();
  });
}

const path = (name: string): string => join(directory, name);

describe('wrong options: exit 2 and what to do', () => {
  test.each([
    [['--op', 'relu'], "--op must be some of Gemm, MatMul, Conv, ConvTranspose, is 'relu'"],
    [['--only', ''], "--only must be a pattern of names such as 'layer1.*', is ''"],
    [['--min-size', '1.5'], '--min-size must be an integer ≥ 0, is 1.5'],
    [['--gain', '2'], '--gain goes with a fresh init, and no layer has one'],
    [['--init', 'fresh:kaiming', '--gain', '0'], '--gain must be a number > 0, is 0'],
    [
      ['--residual', '--residual-intervals', '0'],
      '--residual-intervals must be an integer ≥ 1, or -1 for the whole chain, is 0',
    ],
    [
      ['--residual', '--residual-intervals', '1,,2'],
      "--residual-intervals must be integers ≥ 1, or -1 for the whole chain, separated by commas, is '1,,2'",
    ],
    [['--noise', '-1'], '--noise must be a number ≥ 0, is -1'],
    [['--noise', '0.1', '--init', 'fresh:normal'], '--noise goes with an init that is not fresh'],
    [['--kernel-sizes', '3;3'], "--kernel-sizes must be lists of integers ≥ 1: 3,3 or 5=3,3, is '3;3'"],
    [['--kernel-sizes', '5=3,3,3'], '--kernel-sizes 5=3,3,3: these compose to a kernel of 7'],
    [['--kernel-sizes', '3,3', '5=5,1'], '--kernel-sizes has two lists that compose to a kernel of 5'],
    [['--recipe', 'a.json', '--recipe', 'b.json'], '--recipe is given more than once'],
    [['--lora', '0'], '--lora must be an integer ≥ 1'],
    [['--lora-alpha', '8'], '--lora-alpha goes with --lora'],
    [['--lora', '8', '--depth', '3'], '--lora makes adapters, not chains: --depth does not go with it'],
    [['--adapter', 'x', '--lora', '8'], '--adapter settles what --lora would'],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await cli('expand', SHAPES, '--dry-run', ...args);
    expect(stderr).toContain(`error: ${message}`);
    expect([code, stdout]).toEqual([2, '']);
  });
});

test('a recipe that is none: exit 1, the file and the place in it', async () => {
  writeFileSync(path('text.json'), 'depth: 3');
  writeFileSync(path('wrong.json'), '[{ "match": "conv*" }, { "match": "fc", "depth": "3" }]');
  writeFileSync(path('text.yaml'), '- match: fc\n  depth: 3\n   width: 2\n');
  writeFileSync(path('twice.yaml'), '- match: fc\n  depth: 3\n  depth: 4\n');
  writeFileSync(path('tag.yml'), '- match: !name fc\n');
  writeFileSync(path('wrong.yaml'), '- match: conv*\n- match: fc\n  depth: "3"\n');
  const laughs = Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`)}]`);
  writeFileSync(path('bomb.yaml'), `a0: &a0 [ha]\n${laughs.join('\n')}\n`);
  for (const [file, message] of [
    ['nosuch.json', 'nosuch.json: no such file'],
    ['text.json', 'text.json: is not JSON'],
    ['text.yaml', 'text.yaml: is not YAML: line 2, column 10: Nested mappings'],
    ['twice.yaml', 'twice.yaml: is not YAML: line 3, column 3: Map keys must be unique'],
    ['tag.yml', 'tag.yml: is not YAML: line 1, column 10: Unresolved tag: !name'],
    ['bomb.yaml', 'bomb.yaml: is not YAML: Excessive alias count'],
    ['wrong.yaml', "wrong.yaml: [1].depth must be an integer ≥ 1 and ≤ 1000, is '3'"],
    ['wrong.json', "wrong.json: [1].depth must be an integer ≥ 1 and ≤ 1000, is '3'"],
  ] as const) {
    const { code, stdout, stderr } = await cli('expand', SHAPES, '--dry-run', '--recipe', file);
    expect(stderr).toContain(`error: ${message}`);
    expect([code, stdout]).toEqual([1, '']);
  }
});

test('what a dry run prints as JSON is a recipe that does the same', async () => {
  const options = ['--only', 'conv.*', '--only', 'hidden*', '--depth', '3', '--init', 'orthogonal'];
  const dry = await cli('expand', SHAPES, '--dry-run', '--format', 'json', ...options);
  expect([dry.code, dry.stderr]).toEqual([0, '']);
  writeFileSync(path('recipe.json'), dry.stdout);
  const direct = await cli('expand', SHAPES, '-o', 'direct.onnx', ...options);
  const given = await cli('expand', SHAPES, '-o', 'given.onnx', '--recipe', 'recipe.json');
  expect([direct.code, given.code]).toEqual([0, 0]);
  expect(direct.stdout).toContain('2 layers became 6');
  expect(direct.stdout).toContain('not selected');
  expect(Buffer.compare(readFileSync(path('direct.onnx')), readFileSync(path('given.onnx')))).toBe(0);
  expect((await cli('verify', SHAPES, 'given.onnx')).code).toBe(0);
  const rules = ['conv.Conv', 'hidden.Gemm'].map((name) => `- match: ${name}\n  <<: *chain\n`);
  const yaml = `# two layers\n${rules.join('').replace('<<: *chain', '<<: &chain { depth: 3, init: orthogonal }')}`;
  writeFileSync(path('recipe.yaml'), `${yaml}- { match: '*', skip: true }\n`);
  await cli('expand', SHAPES, '-o', 'yaml.onnx', '--recipe', 'recipe.yaml');
  expect(Buffer.compare(readFileSync(path('direct.onnx')), readFileSync(path('yaml.onnx')))).toBe(0);
});

test('residual chains with BatchNormalization, and back', async () => {
  const options = ['--depth', '3', '--residual', '--residual-intervals', '1,-1', '--batch-norm'];
  const out = await cli('expand', SHAPES, '-o', 'residual.onnx', ...options);
  expect([out.code, out.stderr]).toEqual([0, '']);
  expect(out.stdout).toMatch(/residuals +norms/);
  expect(out.stdout).toContain('Expanded without a part of what was asked for: ');
  expect((await cli('verify', SHAPES, 'residual.onnx')).code).toBe(0);
  const back = await cli('collapse', 'residual.onnx', '-o', 'back.onnx', '--chains-only');
  expect(back.stdout).toContain('became 9; their constants shrink');
  expect((await cli('verify', SHAPES, 'back.onnx')).code).toBe(0);
});

test('what changes the function says so, and by how much', async () => {
  const lossy = await cli('expand', SHAPES, '--dry-run', '--width', '0.5', '--allow-lossy');
  expect(lossy.stdout).toMatch(/classify\.Gemm .* 43\.9%/);
  expect(lossy.stdout).toContain('Not the same function: 7 layers of less than its rank');
  const fresh = await cli('expand', SHAPES, '--dry-run', '--init', 'fresh:kaiming', '--op', 'gemm,MatMul');
  expect(fresh.stdout).toContain('Not the same function: 4 layers from random weights');
  const misspelt = await cli('expand', SHAPES, '--dry-run', '--exclude', 'cnov*');
  expect(misspelt.code).toBe(2);
  expect(misspelt.stderr).toContain("--exclude 'cnov*' matches no linear layer; there are: conv.Conv, ");
});

test('a kernel as two, where the width is enough for it', async () => {
  const narrow = await cli('expand', SHAPES, '--dry-run', '--kernel-sizes', '3=2,2', '--verbose');
  expect(narrow.stdout).toMatch(
    /Conv strided\.Conv: a kernel of 3x3 as 2x2, 2x2 needs \d+ hidden units, .*use --width/,
  );
  const wide = await cli('expand', SHAPES, '-o', 'wide.onnx', '--kernel-sizes', '3=2,2', '--width', '4');
  expect([wide.code, wide.stderr]).toEqual([0, '']);
  expect((await cli('verify', SHAPES, 'wide.onnx')).code).toBe(0);
});

test('--by-rank factorizes what has less rank than it could, and leaves the rest', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 16]]],
    outputs: [['y', 'float32', ['n', 12]]],
    nodes: [
      { opType: 'MatMul', name: 'low', inputs: ['x', 'a'], outputs: ['h'] },
      { opType: 'MatMul', name: 'full', inputs: ['h', 'b'], outputs: ['y'] },
    ],
    initializers: [
      floats('a', [16, 12], (i) => Math.sin(Math.floor(i / 12)) * Math.cos(i % 12)),
      floats('b', [12, 12], (i) => Math.sin(1.3 * i * i)),
    ],
  });
  await saveModel(model, path('low.onnx'));
  const { code, stdout } = await cli(
    'expand',
    'low.onnx',
    '--by-rank',
    '-o',
    'small.onnx',
    '--format',
    'json',
  );
  expect(code).toBe(0);
  const { rewritten, skipped, total } = JSON.parse(stdout);
  expect(skipped).toMatchObject([
    { node: 'full', reason: 'two layers of its rank 12 would have 288 parameters, no fewer than its 144' },
  ]);
  expect(rewritten).toMatchObject([{ node: 'low', rank: 1, hidden: 1, depth: 2 }]);
  expect(total).toEqual({ parametersBefore: 192, parametersAfter: 28 });
  expect((await cli('verify', 'low.onnx', 'small.onnx')).code).toBe(0);
  const wrong = await cli('expand', 'low.onnx', '--by-rank', '--width', '2', '--dry-run');
  expect([wrong.code, wrong.stderr]).toEqual([
    2,
    expect.stringContaining('--by-rank settles what --width would'),
  ]);
});

describe('--fix-inputs', () => {
  test('expands weights that are inputs too; rank-report looks at them anyway', async () => {
    const [file, output] = [path('listed.onnx'), path('listed-expanded.onnx')];
    const weights = floats('w', [6, 4], (index) => Math.sin(index));
    const model = buildModel({
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      inputs: [ValueInfo.tensor('x', 'float32', [2, 6]), ValueInfo.tensor('w', 'float32', [6, 4])],
      outputs: [ValueInfo.tensor('y', 'float32', [2, 4])],
      initializers: [weights],
    });
    await saveModel(model, file);
    expect((await cli('expand', file, '--dry-run')).stdout).toContain('--fix-inputs makes it a constant');
    const { code, stdout, stderr } = await cli('expand', file, '-o', output, '--fix-inputs');
    expect([code, stdout]).toEqual([0, expect.stringContaining('1 layer became 2')]);
    expect(stderr).toContain('1 input with a value in the file taken as constant');
    expect((await cli('rank-report', file)).stdout).toContain('6 × 4');
  });
});

test('what no disk has room for is refused before anything is made', async () => {
  const heads = Array.from({ length: 50 }, (_, i) => `w${i}`);
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 4]]],
    outputs: heads.map((name): [string, 'float32'] => [`y_${name}`, 'float32']),
    nodes: heads.map((name) => ({ opType: 'MatMul', inputs: ['x', name], outputs: [`y_${name}`] })),
    initializers: heads.map((name) => floats(name, [4, 16_000])),
  });
  await saveModel(model, path('heads.onnx'));
  const { code, stderr } = await cli('expand', 'heads.onnx', '-o', 'large.onnx', '--depth', '1000');
  expect(stderr).toMatch(/^error: large\.onnx: the chains would take \d+ GiB, but its disk has .* left/);
  expect([code, existsSync(path('large.onnx'))]).toEqual([1, false]);
});
