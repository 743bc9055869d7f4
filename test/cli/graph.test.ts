import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { FileSource, readModel, saveModel } from '../../src/graph/index.js';
import { readSafetensors } from '../../src/runtime/index.js';
import { buildModel, floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const SHAPES = resolve('fixtures/shapes.onnx');
const directory = scratchDirectory('cli-graph');
const at = (name: string): string => join(directory, name);

const cli = (...args: readonly string[]) =>
  runCli(
    args.map((word) => word.replace('@', `${directory}/`)),
    { SOURCE_DATE_EPOCH: '0' },
  );

beforeAll(async () => {
  const model = await readModel(SHAPES);
  await saveModel(model, at('a.onnx'));
  const weight = model.graph.initializers.get('hidden.weight')!;
  const [first = 0] = weight.floats();
  model.graph.setInitializer(
    floats('hidden.weight', weight.shape, (index) =>
      index === 0 ? first + 1 : (weight.floats()[index] as number),
    ),
  );
  await saveModel(model, at('weight.onnx'));
  const named = await readModel(SHAPES);
  named.graph.rename('hidden.weight', 'other');
  await saveModel(named, at('named.onnx'));
  writeFileSync(at('broken.onnx'), 'no model');
  const loop = buildModel({
    inputs: [['x', 'float32', ['n', 2]]],
    outputs: [['y', 'float32', ['n', 2]]],
    nodes: [{ opType: 'Nothing', inputs: ['x'], outputs: ['y'], name: 'odd' }],
  });
  await saveModel(loop, at('odd.onnx'));
});

describe('diff', () => {
  test('0 where models are the same, whatever their weights are called', async () => {
    expect(await cli('diff', '@a.onnx', '@a.onnx')).toMatchObject({ code: 0, err: '' });
    const { code, out } = await cli('diff', '@a.onnx', '@named.onnx');
    expect([code, out]).toEqual([0, expect.stringContaining('value hidden.weight is other')]);
    expect((await cli('diff', '@a.onnx', '@named.onnx', '--names')).code).toBe(1);
  });

  test('1 where they differ: a weight by its norm, within a tolerance not at all', async () => {
    const { code, out } = await cli('diff', '@a.onnx', '@weight.onnx', '--format', 'json');
    const { differences } = JSON.parse(out);
    expect([code, differences.length]).toEqual([1, 1]);
    const values = (await readModel(at('a.onnx'))).graph.initializers.get('hidden.weight')!.floats();
    const norm = Math.hypot(...values);
    expect(differences[0].path).toBe("graph.initializer['hidden.weight'].data");
    expect(differences[0].relativeNorm).toBeCloseTo(1 / norm, 6);
    const near = await cli('diff', '@a.onnx', '@weight.onnx', '--tolerance', '0.5');
    expect([near.code, near.out]).toEqual([0, expect.stringContaining('1 weight differ within')]);
    expect((await cli('diff', '@a.onnx', '@weight.onnx', '--weights', 'ignore')).code).toBe(0);
  });

  test('as a page, without scripts', async () => {
    const { code, out, err } = await cli('diff', '@a.onnx', '@weight.onnx', '-o', '@d.html');
    expect([code, out, err]).toEqual([1, '', '']);
    const page = readFileSync(at('d.html'), 'utf8');
    expect(page).toContain('1 difference.');
    expect(page).not.toContain('<script');
  });

  test('two models whose data is missing are not the same', async () => {
    const model = await readModel(SHAPES);
    await saveModel(model, at('outside.onnx'), { external: 'always' });
    rmSync(at('outside.onnx.data'));
    const missing = await cli('diff', '@outside.onnx', '@outside.onnx');
    expect([missing.code, missing.out]).toEqual([2, '']);
    expect(missing.err).toMatch(/outside\.onnx.* its data is in 'outside\.onnx\.data', which is not in/);
    const { code } = await cli('diff', '@outside.onnx', '@outside.onnx', '--weights', 'ignore');
    expect(code).toBe(0);
  });

  test('2 for a wrong command line', async () => {
    expect((await cli('diff', '@a.onnx')).code).toBe(2);
    expect((await cli('diff', '@a.onnx', '@a.onnx', '--tolerance', '-1')).code).toBe(2);
    expect((await cli('diff', '-', '-')).code).toBe(2);
    expect((await cli('diff', '@a.onnx', '@none.onnx')).code).toBe(2);
  });
});

describe('print', () => {
  test('the same text each time; nodes alone; as JSON', async () => {
    const [one, two] = [await cli('print', '@a.onnx'), await cli('print', '@a.onnx')];
    expect([one.code, one.out]).toEqual([0, two.out]);
    expect(one.out).toContain('initializer %hidden.weight: float32[96, 576]');
    const nodes = await cli('print', '@a.onnx', '--node', 'Gemm');
    expect(nodes.out.split('\n')[0]).toMatch(/= Gemm\[/);
    expect(nodes.out).toContain('  %hidden.weight: float32[96, 576]');
    expect(nodes.out).not.toContain('Conv');
    const json = JSON.parse((await cli('print', '@a.onnx', '--format', 'json')).out);
    expect([json.kind, json.nodes.length, json.text]).toEqual(['print', 24, one.out]);
    const none = await cli('print', '@a.onnx', '--node', 'zz*');
    expect([none.code, none.err]).toEqual([
      2,
      expect.stringContaining("--node 'zz*' matches no node or operator"),
    ]);
  });
});

test('a dimension whose name would move the cursor is printed in quotes', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n\u001b[2J', 2]]],
    outputs: [['y', 'float32', ['n\u001b[2J', 2]]],
    nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
  });
  await saveModel(model, at('cursor.onnx'));
  const { code, out } = await cli('print', '@cursor.onnx');
  expect([code, out]).toEqual([0, expect.stringContaining('float32["n\\u001b[2J", 2]')]);
  expect(out).not.toContain('\u001b');
});

describe('check', () => {
  test('a sound model, one that onnxruntime refuses, and what is no model', async () => {
    expect(await cli('check', '@a.onnx')).toMatchObject({
      code: 0,
      out: expect.stringContaining('onnxruntime loads it'),
    });
    const odd = await cli('check', '@odd.onnx', '--format', 'json');
    const { sound, onnxruntime } = JSON.parse(odd.out);
    expect([odd.code, sound, onnxruntime.problem]).toEqual([1, false, expect.stringContaining('Nothing')]);
    expect((await cli('check', '@odd.onnx')).out).toContain('onnxruntime refuses it');
    expect((await cli('check', '@odd.onnx', '--skip-runtime')).out).toContain('onnxruntime was not asked');
    expect(await cli('check', '@broken.onnx')).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^error: /),
    });
  });
});

describe('extract', () => {
  test('a part that runs', async () => {
    const model = await readModel(SHAPES);
    const cut = model.graph.nodes.find((node) => node.is('GlobalAveragePool', 'Flatten'))!.outputs[0]!;
    const { code, err } = await cli('extract', '@a.onnx', '--to', cut, '-o', '@trunk.onnx');
    expect([code, err]).toEqual([0, '']);
    expect((await cli('run', '@trunk.onnx', '--random')).code).toBe(0);
    const wrong = await cli('extract', '@a.onnx', '--to', 'nothing', '-o', '@no.onnx');
    expect([wrong.code, wrong.err, existsSync(at('no.onnx'))]).toEqual([
      2,
      expect.stringContaining("--to 'nothing' is no value of the main graph"),
      false,
    ]);
  });
});

describe('convert', () => {
  test('to half precision and back', async () => {
    const half = await cli('convert', '@a.onnx', '--type', 'float16', '--keep-io', '-o', '@half.onnx');
    expect([half.code, half.out]).toEqual([
      0,
      expect.stringMatching(/nodes and 18 weights in float16, 2 casts; 0 nodes left/),
    ]);
    expect(readFileSync(at('half.onnx')).length).toBeLessThan(0.55 * readFileSync(at('a.onnx')).length);
    expect((await cli('verify', '@a.onnx', '@half.onnx')).code).toBe(0);
    expect((await cli('convert', '@half.onnx', '--type', 'float32', '-o', '@back.onnx')).code).toBe(0);
    expect((await cli('verify', '@half.onnx', '@back.onnx')).code).toBe(0);
  });

  test('weights out into a file of their own, and in again', async () => {
    expect((await cli('convert', '@a.onnx', '--external', 'always', '-o', '@out.onnx')).code).toBe(0);
    expect(existsSync(at('out.onnx.data'))).toBe(true);
    expect((await cli('convert', '@out.onnx', '--external', 'never', '-o', '@in.onnx')).code).toBe(0);
    expect(existsSync(at('in.onnx.data'))).toBe(false);
    expect((await cli('diff', '@a.onnx', '@in.onnx')).code).toBe(0);
  });

  test('to safetensors, tensor by tensor', async () => {
    const { code } = await cli('convert', '@a.onnx', '-o', '@w.safetensors');
    expect(code).toBe(0);
    using source = new FileSource(at('w.safetensors'));
    const { tensors } = readSafetensors(source);
    const { initializers } = (await readModel(at('a.onnx'))).graph;
    expect([...tensors.keys()]).toEqual([...initializers.keys()]);
    for (const [name, tensor] of initializers) expect(tensors.get(name)!.data).toEqual(tensor.array());
  });

  test.each([
    [['@a.onnx', '-o', '@n.onnx'], 'nothing to convert'],
    [['@a.onnx', '--keep-io', '-o', '@n.onnx'], '--keep-io goes with --type'],
    [
      ['@a.onnx', '--type', 'float16', '--exclude', 'zz', '-o', '@n.onnx'],
      "--exclude 'zz' matches no operator or node",
    ],
    [['@a.onnx', '--opset', '30', '-o', '@n.onnx'], '--opset must be an integer'],
    [['@a.onnx', '--opset', '18', '-o', '@n.safetensors'], '--opset is of a model'],
    [['@a.onnx', '--type', 'float16', '-o', '@a.onnx'], 'exists'],
  ] as const)('%j is refused, and nothing is written', async (args, said) => {
    const before = readFileSync(at('a.onnx'));
    const { code, err } = await cli('convert', ...args);
    expect([code > 0, err]).toEqual([true, expect.stringContaining(said)]);
    expect([existsSync(at('n.onnx')), existsSync(at('n.safetensors'))]).toEqual([false, false]);
    expect(readFileSync(at('a.onnx')).equals(before)).toBe(true);
  });
});
