import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ModelError, saveModel } from '../../src/graph/index.js';
import { writeNpz } from '../../src/runtime/index.js';
import { checkStudyPlan, readStudyPlan } from '../../src/study/custom/plan.js';
import { newNetwork } from '../../src/study/networks.js';
import { runStudy } from '../../src/study/sweep/run-study.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('custom');

/** Three classes that lie apart, 4 x 3 images. */
function part(count: number, from: number) {
  const x = Float32Array.from({ length: 12 * count }, (_, i) => {
    const label = (Math.floor(i / 12) + from) % 3;
    return Number(i % 3 === label) + 0.3 * Math.sin(1.3 * i + from);
  });
  const y = BigInt64Array.from({ length: count }, (_, i) => BigInt((i + from) % 3));
  return {
    x: { type: 'float32' as const, shape: [count, 1, 4, 3], data: x },
    y: { type: 'int64' as const, shape: [count], data: y },
  };
}
const [train, held] = [part(192, 0), part(60, 1)];
writeFileSync(
  join(directory, 'data.npz'),
  writeNpz({ x_train: train.x, y_train: train.y, x_test: held.x, y_test: held.y }),
);

function planFile(text: string): string {
  const file = join(directory, 'plan.yaml');
  writeFileSync(file, text);
  return file;
}

test('a plan of a network that is made: all settings, with the verdict of its claims', async () => {
  const custom = await readStudyPlan(
    planFile(`
network: mlp
data: data.npz
seeds: 2
tests: 60
settings: { depth: [2, 3, 5], width: 8, learningRate: 0.01, batch: 16, epochs: 4 }
claims: [{ metric: cosineEntropy, over: depth, direction: rises }]
`),
  );
  const { report } = await runStudy('custom', { custom });
  expect(report.runs).toHaveLength(6);
  expect(report.runs[0]?.settings).toMatchObject({ depth: 2, width: 8, optimizer: 'adam', chainDepth: 1 });
  expect(report.checks).toHaveLength(1);
  expect(report.runs.map(({ metrics }) => metrics.testAccuracy!).some((share) => share > 0.9)).toBe(true);
  expect(report.tests.map(({ text }) => text)).toContain('cosineEntropy over depth');
});

test("the user's own model, plain and as chains, in pairs of one seed", async () => {
  const model = await newNetwork('cnn', { inputs: [1, 4, 3], outputs: 3, depth: 1, width: 4 });
  await saveModel(model, join(directory, 'net.onnx'));
  const custom = await readStudyPlan(
    planFile('model: net.onnx\ndata: data.npz\nseeds: 2\nsettings: { chainDepth: [1, 2], epochs: 1 }\n'),
  );
  const { report } = await runStudy('custom', { custom });
  expect(report.verdict).toBe('no claim');
  expect(report.failed).toEqual([]);
  expect(report.tests.find(({ text }) => text.startsWith('testAccuracy'))?.text).toContain('of 2 pairs');
});

const GOOD = { network: 'mlp', data: 'd', settings: { depth: [2, 4] } };
describe('what is wrong with a plan is named', () => {
  test.each([
    [[], /^plan/],
    [{ ...GOOD, dta: 1 }, /^dta is no key of a plan/],
    [{ network: 'mlp' }, /^data is missing/],
    [{ ...GOOD, model: 'a.onnx' }, /^model or network/],
    [{ ...GOOD, settings: { dpth: [2] } }, /^settings.dpth is no setting/],
    [{ ...GOOD, settings: { depth: [0] } }, /^settings.depth must be an integer ≥ 1 and ≤ 1000, is 0/],
    [{ ...GOOD, settings: { depth: [] } }, /^settings.depth has no values/],
    [{ ...GOOD, settings: { depth: [2, 2] } }, /^settings.depth has a value twice/],
    [{ ...GOOD, claims: [{ metric: 'nc1', over: 'width', direction: 'falls' }] }, /^claims\[0\].over/],
    [{ ...GOOD, claims: [{ metric: 'nc1', over: 'depth', direction: 'up' }] }, /^claims\[0\].direction/],
    [{ model: 'a.onnx', data: 'd', settings: { depth: [1, 2] } }, /^settings.depth goes with a network/],
  ])('%j', (value, message) => {
    expect(() => checkStudyPlan(value, '.')).toThrow(message);
  });

  test('with the file', async () => {
    await expect(readStudyPlan(planFile('a: [1'))).rejects.toThrow(ModelError);
    await expect(readStudyPlan(planFile('a: 1'))).rejects.toThrow(/plan.yaml.*a is no key/);
    await expect(readStudyPlan(join(directory, 'none.yaml'))).rejects.toThrow(/none.yaml/);
  });
});
