import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rankReport } from '../../src/analysis/rank-report.js';
import { type Model, modelToBytes } from '../../src/graph/index.js';
import { KernelPool } from '../../src/kernels/index.js';
import type { TrainOptions } from '../../src/training/options.js';
import { type TrainResult, train } from '../../src/training/train.js';
import { MLP } from '../passes/gradient/networks.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { blobs } from './blobs.js';

const directory = scratchDirectory('train-end-to-end');
const mlp = (): Model => MLP('float32');

/** With Dropout behind each activation, in training form. */
function droppy(): Model {
  const model = mlp();
  for (const relu of model.graph.nodes.filter((node) => node.is('Relu', 'Tanh', 'Gelu', 'Sigmoid'))) {
    const [value = ''] = relu.outputs;
    const dropped = model.freshName(`${value}/dropped`);
    const readers = model.graph.uses(value).map(({ node, index }) => ({ node, index }));
    model.graph.edit({
      insertNodes: [{ opType: 'Dropout', inputs: [value], outputs: [dropped] }],
      before: readers[0]?.node,
    });
    for (const { node, index } of readers) model.graph.setInput(node, index, dropped);
  }
  return model;
}

const data = (model: Model, seed = 0) => blobs(model, { size: 100, classes: 4, seed, spread: 0.7 });

/** Trains to the end: at once, or stopped after a number of chunks and gone on with. */
async function trained(
  build: () => Model,
  options: TrainOptions,
  stopped?: { readonly chunks: number; readonly folder: string },
): Promise<TrainResult> {
  if (stopped === undefined) {
    const model = build();
    return train(model, data(model), options).result();
  }
  const checkpoint = { directory: join(directory, stopped.folder) };
  const first = build();
  const controller = new AbortController();
  let seen = 0;
  for await (const event of train(first, data(first), {
    ...options,
    checkpoint,
    signal: controller.signal,
  })) {
    if (event.kind === 'progress') seen += 1;
    if (seen === stopped.chunks) controller.abort();
  }
  const model = build();
  return train(model, data(model), { ...options, checkpoint, resume: true }).result();
}

const CASES: readonly [string, () => Model, TrainOptions][] = [
  ['rank pruning', mlp, { rankPruning: { interval: 5, energy: 0.1, nuclear: 0.01 }, learningRate: 0.02 }],
  ['Dropout', droppy, { learningRate: 0.02 }],
];

describe.each(CASES)('%s', (name, build, more) => {
  test('stopped anywhere and resumed ends in the same bits', async () => {
    const options: TrainOptions = { batch: 8, epochs: 3, seed: 3, ...more };
    const whole = await trained(build, options);
    for (const chunks of [1, 4]) {
      const again = await trained(build, options, { chunks, folder: `${name} ${chunks}` });
      expect(Buffer.compare(modelToBytes(again.model), modelToBytes(whole.model))).toBe(0);
    }
  });
});

test('Dropout is there: without it the training goes another way', async () => {
  const options: TrainOptions = { batch: 8, epochs: 1, seed: 3 };
  const [dropped, plain] = [await trained(droppy, options), await trained(mlp, options)];
  expect(dropped.history[1]?.training?.loss).not.toBe(plain.history[1]?.training?.loss);
});

test('the weights of a pruned training have the rank that the energy says, and no more', async () => {
  const rankPruning = { interval: 4, energy: 0.2, nuclear: 0.02 };
  const options: TrainOptions = { batch: 8, epochs: 4, learningRate: 0.02, rankPruning };
  await using pool = new KernelPool();
  const ranks = async (model: Model): Promise<Map<string, number[]>> => {
    const { rows } = await rankReport(model, { pool, spectra: true });
    return new Map(rows.map(({ weight, singularValues }) => [weight, [...(singularValues ?? [])]]));
  };
  const result = await trained(mlp, options);
  const plain = await ranks((await trained(mlp, { ...options, rankPruning: undefined })).model);
  const pruned = await ranks(result.model);
  const rankOf = (values: number[]): number => values.filter((value) => value > 1e-5 * values[0]!).length;
  const told = new Map(result.pruned?.map(({ weight, rank }) => [weight, rank]));
  let lower = 0;
  for (const [weight, values] of pruned) {
    expect(rankOf(values)).toBe(told.get(weight));
    const full = plain.get(weight)!;
    expect(rankOf(full)).toBe(full.length);
    if (rankOf(values) < full.length) lower += 1;
  }
  expect(lower).toBeGreaterThan(0);
});
