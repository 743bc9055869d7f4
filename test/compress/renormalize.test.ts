import { expect, test } from 'vitest';
import { sampleFeeder } from '../../src/analysis/embeddings/embedding-source.js';
import { tapped } from '../../src/compress/calibration/calibration.js';
import { compress } from '../../src/compress/compress.js';
import { renormalize } from '../../src/compress/factors/renormalize.js';
import { constantTensor, type Model } from '../../src/graph/index.js';
import { openSession } from '../../src/runtime/index.js';
import { Random } from '../../src/runtime/random.js';
import { tensorDataset } from '../../src/training/data/index.js';
import { buildModel, floats } from '../support/build.js';

const random = new Random(21, 'renormalize');
const COUNT = 48;

/** Two convolutions with normalizations, the statistics of which are near those of what they read. */
function network(): Model {
  const statistics = (name: string, channels: number) => [
    floats(`${name}.scale`, [channels], () => 1 + 0.2 * random.normal()),
    floats(`${name}.shift`, [channels], () => 0.2 * random.normal()),
    floats(`${name}.mean`, [channels], () => 0.1 * random.normal()),
    floats(`${name}.variance`, [channels], () => 1.2 + 0.3 * random.uniform()),
  ];
  const norm = (name: string, from: string, to: string) => ({
    opType: 'BatchNormalization',
    name,
    inputs: [from, ...['scale', 'shift', 'mean', 'variance'].map((part) => `${name}.${part}`)],
    outputs: [to],
  });
  const pads = { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } };
  return buildModel({
    inputs: [['x', 'float32', ['n', 4, 7, 7]]],
    outputs: [['y', 'float32', ['n', 8, 7, 7]]],
    nodes: [
      { opType: 'Conv', name: 'one', inputs: ['x', 'w'], outputs: ['a'], attributes: pads },
      norm('norm1', 'a', 'b'),
      { opType: 'Relu', name: 'relu', inputs: ['b'], outputs: ['c'] },
      { opType: 'Conv', name: 'two', inputs: ['c', 'v'], outputs: ['d'], attributes: pads },
      norm('norm2', 'd', 'y'),
    ],
    initializers: [
      floats('w', [8, 4, 3, 3], () => random.normal() / 6),
      floats('v', [8, 8, 3, 3], () => random.normal() / 6),
      ...statistics('norm1', 8),
      ...statistics('norm2', 8),
    ],
  });
}

const images = () =>
  tensorDataset({
    x: {
      type: 'float32',
      shape: [COUNT, 4, 7, 7],
      data: new Random(2, 'images').fillNormal(new Float32Array(COUNT * 196)),
    },
  });

async function samplesFor(model: Model, data: Awaited<ReturnType<typeof images>>) {
  const feeder = await sampleFeeder(model, data);
  return { feeder, indices: Array.from({ length: COUNT }, (_, i) => i), seed: 0, session: {} };
}

/** Mean and variance of a value by channel. */
async function momentsOf(model: Model, value: string, samples: Awaited<ReturnType<typeof samplesFor>>) {
  const part = tapped(model, [value]);
  await using session = await openSession(part.model);
  const { feeds } = await samples.feeder.feeds(samples.indices);
  const { shape, data } = (await session.run(feeds))[value] as {
    readonly shape: readonly number[];
    readonly data: ArrayLike<unknown>;
  };
  const [batch = 1, channels = 1, ...rest] = shape;
  const places = rest.reduce((a, b) => a * b, 1);
  return Array.from({ length: channels }, (_, c) => {
    const own = Array.from({ length: batch * places }, (__, i) =>
      Number(data[(Math.floor(i / places) * channels + c) * places + (i % places)]),
    );
    const mean = own.reduce((a, b) => a + b, 0) / own.length;
    return [mean, own.reduce((a, b) => a + (b - mean) ** 2, 0) / own.length] as const;
  });
}

test('a model that is as it was keeps its statistics', async () => {
  const model = network();
  await using data = images();
  const copy = model.clone();
  await renormalize(copy, model, await samplesFor(model, data), 2000);
  for (const name of ['norm1.mean', 'norm1.variance', 'norm2.mean', 'norm2.variance']) {
    const [was, is] = [model, copy].map((one) => constantTensor(one.graph, name)?.floats() as Float32Array);
    for (const [i, value] of (was as Float32Array).entries())
      expect((is as Float32Array)[i]).toBeCloseTo(value, 5);
  }
});

test('normalizations give the mean and variance that they gave before', async () => {
  const model = network();
  await using data = images();
  const samples = await samplesFor(model, data);
  const copy = model.clone();
  // Without data nothing is corrected.
  await copy.apply(
    compress({
      plan: [
        { layer: 'one', form: 'channel', ranks: [6] },
        { layer: 'two', form: 'spatial', ranks: [12] },
      ],
    }),
  );
  const before = await momentsOf(copy, 'y', samples);
  const statistics = await renormalize(copy, model, samples, 2000);
  expect([...statistics.keys()]).toEqual(['norm1', 'norm2']);
  const wanted = await momentsOf(model, 'y', samples);
  const now = await momentsOf(copy, 'y', samples);
  for (const [i, [mean, variance]] of wanted.entries()) {
    expect(now[i]?.[0]).toBeCloseTo(mean, 4);
    expect(now[i]?.[1]).toBeCloseTo(variance, 3);
  }
  expect(
    before.some(([mean, variance], i) => {
      const [m = 0, v = 0] = wanted[i] ?? [];
      return Math.abs(mean - m) > 0.05 || Math.abs(variance - v) > 0.05;
    }),
  ).toBe(true);
});

test('compress takes new statistics where they are better on samples held back, and says so', async () => {
  const model = network();
  await using data = images();
  const [account] = await model.apply(compress({ data, params: 0.4 }));
  expect(account.notes.join()).toMatch(
    /normalizations (are estimated anew|keep their statistics) \(divergence/,
  );
});
