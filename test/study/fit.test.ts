import { describe, expect, test } from 'vitest';
import { endToEnd, rankOfMatrix, singularValuesOf } from '../../src/study/end-to-end.js';
import { type FitOptions, type Samples, trainOn } from '../../src/study/fit.js';
import { matrixOf, meanSquare, valueFor } from '../../src/study/measure.js';
import { newNetwork } from '../../src/study/networks.js';
import { plantedRegression } from '../../src/study/planted.js';

const PLANTED = { width: 12, rank: 3, samples: 24, tests: 16, seed: 1 } as const;
const network = (depth: number) =>
  newNetwork('mlp', {
    inputs: [12],
    outputs: 12,
    width: 12,
    depth,
    activation: 'linear',
    init: 'normal',
    noBias: true,
    seed: 1,
  });
const ADAM = {
  loss: { kind: 'mse' },
  optimizer: 'adam',
  learningRate: 0.003,
  steps: 3000,
  seed: 0,
} as const satisfies FitOptions;

describe('trainOn', () => {
  test.each([
    'adam',
    'sgd',
    'muon',
    'lbfgs',
  ] as const)('%s: the weights are those whose loss is told', async (optimizer) => {
    const { train } = await plantedRegression(PLANTED);
    const model = await network(2);
    const learningRate = { adam: 0.003, sgd: 0.2, muon: 0.003, lbfgs: 1 }[optimizer];
    const made = await trainOn(model, train, { ...ADAM, optimizer, learningRate, target: 1e-3 });
    expect(made.isDone).toBe(true);
    expect(made.loss).toBeLessThanOrEqual(1e-3);
    expect(made.firstLoss).toBeCloseTo(meanSquare(await valueFor(model, train.inputs), train.targets), 5);
    expect(made.loss).toBeCloseTo(meanSquare(await valueFor(made.model, train.inputs), train.targets), 6);
  });

  test('what is not reached, and what diverges, is told', async () => {
    const { train } = await plantedRegression(PLANTED);
    const model = await network(2);
    expect(await trainOn(model, train, { ...ADAM, steps: 7, target: 1e-9 })).toMatchObject({
      isDone: false,
      isFinite: true,
      steps: 7,
    });
    const diverged = await trainOn(model, train, { ...ADAM, optimizer: 'sgd', learningRate: 1e4 });
    expect(diverged.isFinite).toBe(false);
  });

  test('batches go over all samples once an epoch', async () => {
    // A bias of rate 1/2 under mse goes to the target of its step: the mean over an epoch tells what was fed.
    const model = await newNetwork('mlp', { inputs: [1], outputs: 1, depth: 1, init: 'normal', seed: 0 });
    const inputs = { type: 'float32', shape: [6, 1], data: new Float32Array(6) } as const;
    const targets = { type: 'float32', shape: [6, 1], data: Float32Array.of(1, 2, 4, 8, 16, 32) } as const;
    const samples: Samples = { inputs, targets };
    const made = await trainOn(model, samples, {
      ...ADAM,
      optimizer: 'sgd',
      learningRate: 0.5,
      steps: 1,
      batch: 6,
    });
    const bias = [...made.model.graph.initializers.values()].find(({ name }) => name.endsWith('bias'));
    expect(bias?.array()[0]).toBeCloseTo(63 / 6, 5);
    const seen: number[] = [];
    for (let steps = 1; steps <= 6; steps += 1) {
      const one = await trainOn(model, samples, {
        ...ADAM,
        optimizer: 'sgd',
        learningRate: 0.5,
        steps,
        batch: 1,
      });
      const value = [...one.model.graph.initializers.values()].find(({ name }) => name.endsWith('bias'));
      seen.push(Math.round(Number(value?.array()[0])));
    }
    expect(seen.sort((a, b) => a - b)).toEqual([1, 2, 4, 8, 16, 32]);
  });
});

test('the end-to-end matrix maps as the network does, and the planted map has its rank', async () => {
  const { train, map } = await plantedRegression(PLANTED);
  const model = await network(3);
  const { data } = await endToEnd(model);
  const inputs = matrixOf(train.inputs);
  const outputs = await valueFor(model, train.inputs);
  for (let i = 0; i < 24; i += 1) {
    for (let o = 0; o < 12; o += 1) {
      let sum = 0;
      for (let k = 0; k < 12; k += 1) sum += data[o * 12 + k]! * inputs.data[i * 12 + k]!;
      expect(outputs.data[i * 12 + o]).toBeCloseTo(sum, 4);
    }
  }
  const values = singularValuesOf({ rows: 12, columns: 12, data: map });
  expect(values[2]).toBeGreaterThan(0.1);
  expect(values[3]).toBeLessThan(1e-12);
  expect(rankOfMatrix({ rows: 12, columns: 12, data: map }).effectiveRank).toBeLessThanOrEqual(3);
});
