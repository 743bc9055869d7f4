import { describe, expect, test } from 'vitest';
import { type DataType, type Model, ModelError, modelToBytes, Tensor } from '../../src/graph/index.js';
import { convert, Random, type RuntimeTensor } from '../../src/runtime/index.js';
import { tensorDataset } from '../../src/training/data/index.js';
import { describeTraining } from '../../src/training/describe.js';
import type { TrainOptions } from '../../src/training/options.js';
import { planTraining } from '../../src/training/plan.js';
import { train } from '../../src/training/train.js';
import type { Dataset } from '../../src/training/types.js';
import { buildModel, floats } from '../support/build.js';

/** x [n, 3] by a matrix to [n, outputs], whose shape is not declared; `end` comes behind. */
function linear(outputs: number, { type = 'float32' as DataType, end = [] as string[] } = {}): Model {
  const names = ['y0', ...end.map((_, index) => `y${index + 1}`)];
  const numbers = floats('w', [3, outputs], (index) => Math.sin(index + 1));
  const { data } = convert({ type: 'float32', shape: [3, outputs], data: numbers.array() }, type);
  return buildModel({
    inputs: [['x', type, ['n', 3]]],
    outputs: [[names.at(-1)!, type]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y0'] },
      ...end.map((opType, index) => ({ opType, inputs: [names[index]!], outputs: [names[index + 1]!] })),
    ],
    initializers: [Tensor.of('w', type, [3, outputs], data as never)],
  });
}

/** A convolution of 1 x 1 to four classes a pixel. */
const segmentation = (): Model =>
  buildModel({
    inputs: [['x', 'float32', ['n', 3, 2, 2]]],
    outputs: [['y', 'float32']],
    nodes: [{ opType: 'Conv', inputs: ['x', 'c'], outputs: ['y'] }],
    initializers: [floats('c', [4, 3, 1, 1], (index) => Math.cos(index))],
  });

const SIZE = 24;
const tensor = (type: DataType, shape: readonly number[], at: (index: number) => number): RuntimeTensor =>
  convert(
    {
      type: 'float64',
      shape,
      data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, index) => at(index)),
    },
    type,
  );
const labels = (at: (index: number) => number, shape: readonly number[] = [SIZE]): RuntimeTensor => ({
  type: 'int64',
  shape,
  data: BigInt64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, index) => BigInt(at(index))),
});
const x = (shape: readonly number[] = [SIZE, 3], type: DataType = 'float32'): RuntimeTensor =>
  tensor(type, shape, (index) => Math.sin(3 * index));
const data = (y: RuntimeTensor, input = x()): Dataset => tensorDataset({ x: input, y });

const OPTIONS: TrainOptions = { epochs: 1, batch: 8, ranks: false };
const run = (model: Model, dataset: Dataset, options: TrainOptions = {}) =>
  train(model, dataset, { ...OPTIONS, ...options }).result();

/** What is refused is so before training and in a dry run, of targets that can be read alone and of others. */
async function refused(
  model: Model,
  dataset: Dataset,
  said: string,
  options: TrainOptions = {},
): Promise<void> {
  const bytes = modelToBytes(model);
  const all = { ...OPTIONS, ...options };
  const blind: Dataset = {
    ...dataset,
    batch: (...args) => dataset.batch(...args),
    targets: undefined as never,
  };
  for (const work of [
    () => describeTraining(model, dataset, all),
    () => run(model, dataset, options),
    () => run(model, blind, options),
  ]) {
    const error = await work().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ModelError);
    expect((error as Error).message).toContain(said);
  }
  expect(Buffer.compare(modelToBytes(model), bytes)).toBe(0);
}

const good = (): Dataset => data(labels((index) => index % 4));

describe('labels that no class has, though the file does not declare the shape of the output', () => {
  test.each([-1, 4, 9, 255, 2 ** 32, 2 ** 40])('%d', (label) =>
    refused(
      linear(4),
      data(labels((index) => (index === 13 ? label : index % 4))),
      `sample 13 has the label ${label}, but the model has 4 classes (0–3)`,
    ));
  test.each([-1, 4, 255])('%d in a mask', (label) =>
    refused(
      segmentation(),
      data(
        labels((index) => (index === 30 ? label : index % 4), [SIZE, 2, 2]),
        x([SIZE, 3, 2, 2]),
      ),
      `sample 7 has the label ${label}, but the model has 4 classes`,
    ));
  test('those that classes have train', async () => {
    const { history } = await run(linear(4), good());
    expect(history[0]?.training?.accuracy ?? history.at(-1)?.training?.accuracy).toBeTypeOf('number');
    const masks = data(
      labels((index) => index % 4, [SIZE, 2, 2]),
      x([SIZE, 3, 2, 2]),
    );
    expect((await run(segmentation(), masks)).reason).toBe('epochs');
  });
});

describe('labels that a loss leaves out', () => {
  const counts = (index: number): boolean => index % 3 > 0;
  const kept = Array.from({ length: SIZE }, (_, index) => index).filter(counts);
  const rows = (of: RuntimeTensor): RuntimeTensor => ({
    ...of,
    shape: [kept.length, 3],
    data: Float32Array.from(
      kept.flatMap((index) => [...(of.data as Float32Array).slice(3 * index, 3 * index + 3)]),
    ),
  });
  const marked = (mark: number): Dataset => data(labels((index) => (counts(index) ? index % 4 : mark)));
  const counted = data(
    labels((at) => kept[at]! % 4, [kept.length]),
    rows(x()),
  );

  test.each([255, -1, -100, 2 ** 40])('%d: as if these samples were not there', async (ignoreIndex) => {
    const loss = { kind: 'cross-entropy', ignoreIndex, smoothing: 0.1 } as const;
    const options = { optimizer: 'sgd', learningRate: 0.5, epochs: 3 } as const;
    const all = marked(ignoreIndex);
    const ignoring = await run(linear(4), all, { ...options, loss, batch: SIZE, validation: all, test: all });
    const without = await run(linear(4), counted, {
      ...options,
      loss: { kind: 'cross-entropy', smoothing: 0.1 },
      batch: kept.length,
      validation: counted,
      test: counted,
    });
    for (const [epoch, { training, validation }] of without.history.entries()) {
      const found = ignoring.history[epoch]!;
      expect(found.validation!.loss).toBeCloseTo(validation!.loss, 6);
      expect(found.validation!.accuracy).toBeCloseTo(validation!.accuracy!, 6);
      if (training === undefined) continue;
      expect(found.training!.loss).toBeCloseTo(training.loss, 6);
      expect(found.training!.accuracy).toBeCloseTo(training.accuracy!, 6);
    }
    const [one, other] = [ignoring, without].map(
      ({ model }) => model.graph.initializers.get('w')!.array() as Float32Array,
    );
    for (const [index, weight] of one!.entries()) expect(weight).toBeCloseTo(other![index]!, 6);
  });

  test('a validation in parts is the mean over all labels that count', async () => {
    // Of the first batch of 8 one label counts, of the others all do.
    const uneven = data(labels((index) => (index > 0 && index < 8 ? 255 : index % 4)));
    const loss = { kind: 'cross-entropy', ignoreIndex: 255 } as const;
    const whole = await run(linear(4), uneven, { loss, batch: SIZE, validation: uneven });
    const parts = await run(linear(4), uneven, { loss, batch: 8, validation: uneven });
    const [expected, found] = [whole, parts].map(({ history }) => history[0]!.validation!);
    expect(found!.loss).toBeCloseTo(expected!.loss, 6);
    expect(found!.accuracy).toBeCloseTo(expected!.accuracy!, 6);
  });

  test('others are refused as ever, and so are data of such labels alone', async () => {
    const loss = { kind: 'cross-entropy', ignoreIndex: 255 } as const;
    await refused(
      linear(4),
      data(labels((index) => (index === 13 ? 254 : 255))),
      'sample 13 has the label 254, but the model has 4 classes (0–3); `ignoreIndex: 254` leaves such labels out',
      { loss },
    );
    await expect(describeTraining(linear(4), data(labels(() => 255)), { ...OPTIONS, loss })).rejects.toThrow(
      'every label is 255',
    );
  });
});

test('what is validated on is looked at, too', async () => {
  const validation = data(labels((index) => (index === 20 ? 7 : 0)));
  const said = 'sample 20 has the label 7, but the model has 4 classes';
  await expect(run(linear(4), good(), { validation })).rejects.toThrow(said);
  await expect(run(linear(4), good(), { test: validation })).rejects.toThrow(said);
  await expect(describeTraining(linear(4), good(), { ...OPTIONS, validation })).rejects.toThrow(said);
});

describe('targets that are no probabilities', () => {
  const soft = (at: (index: number) => number, type: DataType = 'float32') =>
    data(tensor(type, [SIZE, 4], at));
  test('of classes', async () => {
    const options: TrainOptions = { loss: 'cross-entropy' };
    await refused(
      linear(4),
      soft(() => 0.5),
      'has targets that sum to 2',
      options,
    );
    await refused(
      linear(4),
      soft((index) => [1.5, -0.5, 0, 0][index % 4]!),
      'has a target of -0.5',
      options,
    );
    for (const type of ['float16', 'float32', 'float64'] as const)
      expect(
        (
          await run(
            linear(4),
            soft(() => 0.25, type),
            options,
          )
        ).reason,
      ).toBe('epochs');
  });
  test('of bce', async () => {
    const said = 'but the loss bce takes numbers from 0 to 1';
    await refused(
      linear(4),
      soft((index) => (index === 21 ? 5 : 0.5)),
      `sample 5 has the target 5, ${said}`,
      {
        loss: 'bce',
      },
    );
    await refused(
      linear(4, { end: ['Sigmoid'] }),
      soft(() => -1),
      `has the target -1, ${said}`,
    );
    expect(
      (
        await run(
          linear(4),
          soft((index) => index % 2),
          { loss: 'bce' },
        )
      ).reason,
    ).toBe('epochs');
  });
});

describe('one output', () => {
  /** Whether the sum of the inputs is above 0. */
  const sum = new Random(1, 'sum').fillNormal(new Float64Array(3 * 200));
  const binary = (): Dataset =>
    tensorDataset({
      x: tensor('float32', [200, 3], (index) => sum[index]!),
      y: labels((at) => (sum[3 * at]! + sum[3 * at + 1]! + sum[3 * at + 2]! > 0 ? 1 : 0), [200]),
    });
  const options: TrainOptions = { epochs: 30, learningRate: 0.1 };

  test.each<[string, string[]]>([
    ['a logit', []],
    ['a probability', ['Sigmoid']],
    ['a vector of logits', ['Flatten', 'Identity']],
  ])('%s learns labels 0 and 1 by bce, and its accuracy is known', async (_, end) => {
    const { history, best } = await run(linear(1, { end }), binary(), { ...options, validation: binary() });
    expect((await describeTraining(linear(1, { end }), binary(), OPTIONS)).plan.loss).toBe('bce');
    expect(history.at(-1)!.training!.accuracy).toBeGreaterThan(0.95);
    expect(best!.validation!.accuracy).toBeGreaterThan(0.97);
    expect(history.at(-1)!.validation!.loss).toBeLessThan(0.5 * history[0]!.validation!.loss);
  });
  test('asked for, it is the same', async () => {
    const [asked, own] = [linear(1), linear(1)];
    await run(asked, binary(), { ...options, epochs: 2, loss: 'bce' });
    await run(own, binary(), { ...options, epochs: 2 });
    expect(Buffer.compare(modelToBytes(asked), modelToBytes(own))).toBe(0);
  });
  test('is no classifier of more', async () => {
    await refused(
      linear(1),
      data(labels((index) => index % 3)),
      'has the label 2, but the loss bce takes 0 and 1',
    );
    await refused(
      linear(1),
      data(labels((index) => index % 2)),
      'is one class, over which cross-entropy is always 0',
      {
        loss: 'cross-entropy',
      },
    );
  });
  test('labels of several Sigmoid outputs are one of each, or a 0 or 1 for each', async () => {
    const sigmoids = (): Model => linear(4, { end: ['Sigmoid'] });
    const one = sigmoids();
    await run(one, data(labels((index) => index % 4)));
    const each = sigmoids();
    await run(each, data(labels((index) => Number(index % 4 === Math.floor(index / 4) % 4), [SIZE, 4])));
    expect(Buffer.compare(modelToBytes(one), modelToBytes(each))).toBe(0);
  });
});

describe('quantities', () => {
  const shapes: readonly [string, Model, readonly number[]][] = [
    ['a number for [n, 1]', linear(1), [SIZE]],
    ['a list of one for [n, 1]', linear(1), [SIZE, 1]],
    ['an axis more', linear(4), [SIZE, 1, 4]],
    ['one for all outputs', linear(4), [SIZE, 1]],
    ['a plane for all channels', segmentation(), [SIZE, 1, 2, 2]],
    ['a number a channel', segmentation(), [SIZE, 4, 1, 1]],
  ];
  test.each(shapes)('%s train', async (_, model, shape) => {
    const input = model.graph.initializers.has('c') ? x([SIZE, 3, 2, 2]) : x();
    const dataset = data(
      tensor('float32', shape, (index) => Math.cos(index)),
      input,
    );
    for (const loss of ['mse', 'l1', 'huber'] as const) {
      const { reason } = await run(model, dataset, { loss });
      expect(reason).toBe('epochs');
    }
  });
  test('what is repeated is as if it were written out', async () => {
    const [short, long] = [linear(4), linear(4)];
    await run(short, data(tensor('float32', [SIZE, 1], (index) => index)));
    await run(long, data(tensor('float32', [SIZE, 4], (index) => Math.floor(index / 4))));
    expect(Buffer.compare(modelToBytes(short), modelToBytes(long))).toBe(0);
  });
  test.each<[readonly number[]]>([
    [[SIZE]],
    [[SIZE, 2]],
    [[SIZE, 5]],
    [[SIZE, 4, 2]],
    [[SIZE, 4, 4]],
  ])('%j does not fit [n, 4]', (shape) =>
    refused(
      linear(4),
      data(tensor('float32', shape, (index) => index)),
      `the target 'y' (float32[8${shape
        .slice(1)
        .map((dim) => `, ${dim}`)
        .join('')}]) does not fit the output 'y0' ([8, 4]); the loss mse takes [8, 4]`,
    ));
  test('labels are no quantities for four outputs, and are for one', async () => {
    await refused(
      linear(4),
      good(),
      'it holds class labels, which the loss cross-entropy (the default) takes, not mse',
      {
        loss: 'mse',
      },
    );
    expect((await run(linear(1), good(), { loss: 'mse' })).reason).toBe('epochs');
  });
});

test.each([
  'float16',
  'float32',
  'float64',
] as const)('targets of any float type train a model of %s', async (type) => {
  const losses = await Promise.all(
    (['float16', 'float32', 'float64'] as const).map(async (from) => {
      const y = tensor(from, [SIZE, 4], (index) => (index % 8) / 8);
      const dataset = tensorDataset(
        { x: x([SIZE, 3], type), y },
        { inputs: [{ name: 'x', type, shape: [3] }] },
      );
      const { history } = await run(linear(4, { type }), dataset, { validation: dataset });
      return history.map(({ validation }) => validation!.loss);
    }),
  );
  expect(losses[0]).toEqual(losses[1]);
  expect(losses[2]).toEqual(losses[1]);
});

test('the loss of a model of float16 is that of the same in float32, in training and in validation', async () => {
  for (const loss of ['cross-entropy', 'mse'] as const) {
    const [half, single] = await Promise.all(
      (['float16', 'float32'] as const).map(async (type) => {
        const y = loss === 'mse' ? tensor('float32', [SIZE, 4], Math.sin) : labels((index) => index % 4);
        const dataset = tensorDataset(
          { x: x([SIZE, 3], type), y },
          { inputs: [{ name: 'x', type, shape: [3] }] },
        );
        const options = {
          validation: dataset,
          test: dataset,
          loss,
          optimizer: 'sgd',
          learningRate: 0.05,
        } as const;
        return await run(linear(4, { type }), dataset, options);
      }),
    );
    for (const pick of [
      (result: typeof half) => result!.history[0]!.validation!.loss,
      (result: typeof half) => result!.history.at(-1)!.validation!.loss,
      (result: typeof half) => result!.history.at(-1)!.training!.loss,
      (result: typeof half) => result!.test!.loss,
    ])
      expect(pick(half) / pick(single)).toBeCloseTo(1, 2);
  }
});

test('planning changes nothing of the model, whatever it makes of it', async () => {
  const zeros = Tensor.of('b', 'float32', [4], new Float32Array(4));
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'Identity', inputs: ['b'], outputs: ['b2'] },
      { opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['h'] },
      { opType: 'Gemm', inputs: ['h', 'v', 'b2'], outputs: ['y'] },
    ],
    initializers: [floats('w', [3, 4], Math.sin), floats('v', [4, 4], Math.cos), zeros],
  });
  const bytes = modelToBytes(model);
  const { revision } = model;
  expect(planTraining(model, good()).untied).toEqual(['b2']);
  expect((await describeTraining(model, good(), OPTIONS)).plan.untied).toEqual(['b2']);
  await expect(run(model, good(), { optimizer: 'sgd', learningRate: 1e38, epochs: 9 })).rejects.toThrow(
    'diverged',
  );
  expect(Buffer.compare(modelToBytes(model), bytes)).toBe(0);
  expect(model.revision).toBe(revision);
  const { model: trained } = await run(model, good());
  expect(trained).toBe(model);
  expect([...trained.graph.initializers.keys()].sort()).toEqual(['b', 'b2', 'v', 'w']);
});

test('the memory of a step is known before it is taken, but for searches, which take none', async () => {
  const peak = async (options: TrainOptions) =>
    (await describeTraining(linear(4), good(), { ...OPTIONS, ...options })).step.peakBytes;
  expect(await peak({ optimizer: 'sgd' })).toBeGreaterThan(0);
  expect(await peak({ optimizer: 'cma-es', batch: SIZE })).toBeUndefined();
});
