import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { storedParameters } from '../../src/compress/totals.js';
import { readModel, saveModel } from '../../src/graph/index.js';
import { tensorBytes } from '../../src/runtime/io/files.js';
import { Random } from '../../src/runtime/random.js';
import { newNetwork } from '../../src/study/networks.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('cli-compress');
const at = (name: string): string => join(directory, name);

const cli = (...args: readonly string[]) => runCli(['compress', ...args], { SOURCE_DATE_EPOCH: '0' });

beforeAll(async () => {
  await saveModel(await newNetwork('mlp', { inputs: [12], outputs: 4, depth: 3, width: 20 }), at('m.onnx'));
  const random = new Random(1, 'samples');
  const x = { type: 'float32', shape: [80, 12], data: random.fillNormal(new Float32Array(960)) } as const;
  const y = {
    type: 'int64',
    shape: [80],
    data: BigInt64Array.from({ length: 80 }, (_, i) => BigInt(i % 4)),
  } as const;
  writeFileSync(at('data.npz'), tensorBytes({ x, y }, 'npz'));
  writeFileSync(at('unlabelled.npz'), tensorBytes({ x }, 'npz'));
  const others = { ...y, data: BigInt64Array.from(y.data, (label) => 3n * label) };
  writeFileSync(at('others.npz'), tensorBytes({ x, y: others }, 'npz'));
});

const WITH = ['--data', at('data.npz')];

test('writes a model within the budget, its plan and its page, and says how good it is', async () => {
  const files = ['-o', at('small.onnx'), '--plan', at('plan.json'), '--report', at('page.html')];
  const { code, out, err } = await cli(
    at('m.onnx'),
    ...WITH,
    '--params',
    '0.6',
    ...files,
    '--format',
    'json',
  );
  expect([code, err]).toEqual([0, expect.any(String)]);
  const data = JSON.parse(out);
  const [before, after] = [await readModel(at('m.onnx')), await readModel(at('small.onnx'))].map((model) =>
    storedParameters(model),
  );
  expect(data.total).toMatchObject({ parametersBefore: before, parametersAfter: after });
  expect(after).toBeLessThanOrEqual(0.6 * (before ?? 0));
  expect(data.quality.report.comparisons).toHaveLength(1);
  expect(JSON.parse(readFileSync(at('plan.json'), 'utf8'))).toEqual(data.plan);
  const page = readFileSync(at('page.html'), 'utf8');
  expect(page).toContain('1970-01-01');
  expect(page.match(/<figure>/g)).toHaveLength(3);
});

test('labels that the model has no outputs for are told, and lose nothing', async () => {
  const { code, out, err } = await cli(
    at('m.onnx'),
    '--data',
    at('others.npz'),
    '--params',
    '0.6',
    '-o',
    at('others.onnx'),
  );
  expect([code, existsSync(at('others.onnx'))]).toEqual([0, true]);
  expect(out).toContain('equal decisions');
  expect(err).toMatch(
    /others\.npz: sample 2 has the label 6, but the model has 4 classes.*compared by their outputs/,
  );
  expect(err).not.toMatch(/ignoreIndex|head/);
});

test('follows a plan that it wrote', async () => {
  const { code } = await cli(at('m.onnx'), ...WITH, '--plan', at('plan.json'), '-o', at('again.onnx'), '-q');
  expect(code).toBe(0);
  expect(readFileSync(at('again.onnx'))).toEqual(readFileSync(at('small.onnx')));
});

test('fine-tunes, and finds the smallest model that decides alike', async () => {
  const tuned = await cli(
    at('m.onnx'),
    ...WITH,
    '--params',
    '0.5',
    '--finetune',
    '3',
    '-o',
    at('tuned.onnx'),
    '--format',
    'json',
  );
  const plain = await cli(
    at('m.onnx'),
    ...WITH,
    '--params',
    '0.5',
    '-o',
    at('plain.onnx'),
    '--format',
    'json',
  );
  expect([tuned.code, plain.code]).toEqual([0, 0]);
  expect(JSON.parse(tuned.out).plan).toEqual(JSON.parse(plain.out).plan);
  expect(JSON.parse(tuned.out).measured).toBeLessThan(JSON.parse(plain.out).measured);
  const shares: number[] = [];
  for (const drop of ['1', '40']) {
    const { out } = await cli(
      at('m.onnx'),
      ...['--data', at('unlabelled.npz'), '--divergence', 'cross-entropy'],
      '--max-drop',
      drop,
      '-o',
      at(`drop${drop}.onnx`),
      '--format',
      'json',
    );
    shares.push(JSON.parse(out).total.parametersAfter);
  }
  expect(shares[1]).toBeLessThan(shares[0] ?? 0);
});

test('writes half precision within a share of the bytes, and measures that file', async () => {
  await saveModel(
    await newNetwork('mlp', { inputs: [12], outputs: 4, depth: 3, width: 128 }),
    at('wide.onnx'),
  );
  const { code, out } = await cli(
    at('wide.onnx'),
    ...WITH,
    ...['--size', '0.3', '--type', 'float16', '-o', at('half.onnx'), '--format', 'json'],
  );
  expect(code).toBe(0);
  const half = await readModel(at('half.onnx'));
  expect(storedParameters(half, 'float16')).toBe(storedParameters(half));
  expect(half.graph.inputs[0]?.dataType).toBe('float32');
  const { total, quality } = JSON.parse(out);
  expect(total.bytesBefore).toBe(statSync(at('wide.onnx')).size);
  expect(statSync(at('half.onnx')).size).toBeLessThanOrEqual(0.3 * total.bytesBefore);
  expect(Math.abs(total.bytesAfter - statSync(at('half.onnx')).size)).toBeLessThan(2000);
  expect(quality.report.comparisons[0].agreement.cosine.value).toBeGreaterThan(0.5);
});

describe('refuses, and writes nothing:', () => {
  test.each([
    [[], 2, /no budget/],
    [['--params', '1.5'], 2, /--params/],
    [['--params', '0.01'], 2, /cannot be reached/],
    [['--params', '0.5', '--max-drop', '1', ...WITH], 2, /--max-drop/],
    [['--params', '0.5', '--finetune', '1'], 2, /--finetune needs/],
    [['--params', '0.5', '--samples', '9'], 2, /--samples goes with --data/],
    [['--params', '0.5', '--only', 'nothing*'], 2, /nothing\*/],
    [['--plan', at('no-plan.json')], 1, /no-plan/],
    [['--params', '0.5', '--data', at('none')], 1, /none/],
  ])('%j', async (args, code, message) => {
    const result = await cli(at('m.onnx'), ...args, '-o', at('never.onnx'));
    expect([result.code, result.err]).toEqual([code, expect.stringMatching(message)]);
    expect(existsSync(at('never.onnx'))).toBe(false);
  });
});
