import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { type Model, modelToBytes, Tensor } from '../../src/graph/index.js';
import { KernelPool } from '../../src/linalg/kernels/index.js';
import { Random } from '../../src/runtime/index.js';
import type { TrainOptions } from '../../src/training/options.js';
import { type TrainResult, train } from '../../src/training/train.js';
import { size } from '../passes/gradient/check-gradient.js';
import { MLP } from '../passes/gradient/networks.js';
import { modelOf } from '../runtime/helpers.js';
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

/** Reads a sample as five steps of four numbers. */
function recurrent(): Model {
  const numbers = (name: string, shape: number[]): Tensor =>
    Tensor.of(
      name,
      'float32',
      shape,
      new Random(1, name).fillNormal(new Float32Array(size(shape))).map((number) => 0.3 * number),
    );
  return modelOf(
    [
      { opType: 'Reshape', inputs: ['x', 'sizes'], outputs: ['steps'] },
      {
        opType: 'Transpose',
        inputs: ['steps'],
        outputs: ['first'],
        attributes: { perm: { ints: [1, 0, 2] } },
      },
      {
        opType: 'GRU',
        inputs: ['first', 'W', 'R', 'B'],
        outputs: ['', 'last'],
        attributes: { hidden_size: { int: 8 }, linear_before_reset: { int: 1 } },
      },
      { opType: 'Squeeze', inputs: ['last', 'axis'], outputs: ['state'] },
      { opType: 'MatMul', inputs: ['state', 'head'], outputs: ['y'] },
    ],
    [['x', 'float32', ['batch', 20]]],
    [['y', 'float32', ['batch', 4]]],
    [
      Tensor.of('sizes', 'int64', [3], BigInt64Array.of(-1n, 5n, 4n)),
      Tensor.of('axis', 'int64', [1], BigInt64Array.of(0n)),
      numbers('W', [1, 24, 4]),
      numbers('R', [1, 24, 8]),
      numbers('B', [1, 48]),
      numbers('head', [8, 4]),
    ],
  );
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
  ['a recurrent layer', recurrent, { learningRate: 0.02 }],
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

test('a recurrent layer learns, and stays the operator that it was', async () => {
  const { model, history } = await trained(recurrent, { batch: 8, epochs: 10, seed: 3, learningRate: 0.02 });
  expect(history.at(-1)?.training?.accuracy).toBeGreaterThan(0.9);
  expect(model.graph.nodes.map((node) => node.opType)).toEqual(
    recurrent().graph.nodes.map((node) => node.opType),
  );
  expect(history[1]?.ranks.map(({ weight }) => weight)).toContain('W[forward,z]');
});
