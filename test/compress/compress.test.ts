import { describe, expect, test } from 'vitest';
import { sampleFeeder } from '../../src/analysis/embeddings/embedding-source.js';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { divergenceOf } from '../../src/compress/calibration/divergence.js';
import { compress, type PlannedLayer } from '../../src/compress/compress.js';
import { divergenceBetween, dropBetween } from '../../src/compress/factors/trial.js';
import { parsePlan } from '../../src/compress/plan.js';
import { storedParameters } from '../../src/compress/totals.js';
import { check } from '../../src/graph/check/check.js';
import { type Model, modelToBytes, type NodeSpec, readModel, type Tensor } from '../../src/graph/index.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { convertFloats } from '../../src/passes/convert/convert.js';
import { openSession } from '../../src/runtime/index.js';
import { Random } from '../../src/runtime/random.js';
import { newNetwork } from '../../src/study/networks.js';
import { tensorDataset } from '../../src/training/data/index.js';
import { buildModel, floats } from '../support/build.js';

const random = new Random(5, 'compress');
const noise = (name: string, shape: readonly number[]): Tensor =>
  floats(name, shape, () => 0.3 * random.normal());

function convolution(attributes: NodeSpec['attributes'] = {}, hasBias = true): Model {
  return buildModel({
    inputs: [['x', 'float32', ['n', 5, 11, 13]]],
    outputs: [['y', 'float32']],
    nodes: [
      {
        opType: 'Conv',
        name: 'conv',
        inputs: ['x', 'w', ...(hasBias ? ['b'] : [])],
        outputs: ['h'],
        attributes,
      },
      { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['y'] },
    ],
    initializers: [noise('w', [6, 5, 3, 3]), ...(hasBias ? [noise('b', [6])] : [])],
  });
}

const ints = (...values: number[]) => ({ ints: values });
const WINDOWS: Readonly<Record<string, NodeSpec['attributes']>> = {
  'no pads': { kernel_shape: ints(3, 3) },
  'pads that differ': { kernel_shape: ints(3, 3), pads: ints(1, 0, 2, 1) },
  'strides that differ': { kernel_shape: ints(3, 3), strides: ints(2, 3), pads: ints(1, 1, 1, 1) },
  dilations: { kernel_shape: ints(3, 3), dilations: ints(2, 1), pads: ints(2, 1, 2, 1) },
  'pads by SAME': { kernel_shape: ints(3, 3), auto_pad: { string: 'SAME_UPPER' } },
};

describe.each(Object.keys(WINDOWS))('a convolution with %s', (name) => {
  test.each<PlannedLayer>([
    { layer: 'conv', form: 'channel', ranks: [6] },
    { layer: 'conv', form: 'spatial', ranks: [15] },
    { layer: 'conv', form: 'tucker', ranks: [5, 6] },
  ])('is the same at full rank: $form', async (planned) => {
    for (const hasBias of [true, false]) {
      const model = convolution(WINDOWS[name], hasBias);
      const original = model.clone();
      await model.apply(compress({ plan: [planned] }));
      expect(check(model).filter(({ severity }) => severity === 'error')).toEqual([]);
      expect(model.graph.nodes.filter((node) => node.is('Conv'))).toHaveLength(
        planned.form === 'tucker' ? 3 : 2,
      );
      const { passed } = await verifyModels(original, model);
      expect(passed).toBe(true);
    }
  });
});

describe('matrices', () => {
  const forms: Readonly<
    Record<string, { readonly nodes: NodeSpec[]; readonly w: readonly number[]; readonly opset?: number }>
  > = {
    'Gemm with alpha and beta': {
      nodes: [
        {
          opType: 'Gemm',
          name: 'fc',
          inputs: ['x', 'w', 'b'],
          outputs: ['y'],
          attributes: { alpha: { float: 0.5 }, beta: { float: 2 } },
        },
      ],
      w: [8, 6],
    },
    'Gemm with transB, before opset 11': {
      nodes: [
        {
          opType: 'Gemm',
          name: 'fc',
          inputs: ['x', 'w', 'b'],
          outputs: ['y'],
          attributes: { transB: { int: 1 } },
        },
      ],
      w: [6, 8],
      opset: 9,
    },
    'MatMul and Add': {
      nodes: [
        { opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['h'] },
        { opType: 'Add', name: 'add', inputs: ['h', 'b'], outputs: ['y'] },
      ],
      w: [8, 6],
    },
  };
  test.each(Object.keys(forms))('are the same at full rank, and less by half: %s', async (name) => {
    const { nodes, w, opset = 17 } = forms[name] as (typeof forms)[string];
    const make = (): Model =>
      buildModel({
        inputs: [['x', 'float32', ['n', 8]]],
        outputs: [['y', 'float32', ['n', 6]]],
        nodes,
        initializers: [noise('w', w), noise('b', [6])],
        opset,
      });
    const model = make();
    const original = model.clone();
    await model.apply(compress({ plan: [{ layer: 'fc', form: 'matrices', ranks: [6] }] }));
    expect((await verifyModels(original, model)).passed).toBe(true);
    const half = make();
    const before = modelToBytes(half).length;
    const [account] = await half.apply(compress({ params: 0.9 }));
    expect(account.layers[0]?.form).toBe('matrices');
    expect(storedParameters(half)).toBe(account.total.parametersAfter);
    expect(account.total.parametersAfter).toBeLessThanOrEqual(0.9 * account.total.parametersBefore);
    expect(before).toBeGreaterThan(0);
    expect(check(half).filter(({ severity }) => severity === 'error')).toEqual([]);
  });
});

/** A weight that two layers read. */
function tied(third: readonly NodeSpec[] = []): Model {
  return buildModel({
    inputs: [['x', 'float32', ['n', 16]]],
    outputs: [
      ['y', 'float32', ['n', 16]],
      ...third.map((node) => [node.outputs[0] ?? '', 'float32'] as const),
    ],
    nodes: [
      { opType: 'MatMul', name: 'one', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'MatMul', name: 'two', inputs: ['r', 'w'], outputs: ['y'] },
      ...third,
    ],
    initializers: [noise('w', [16, 16])],
  });
}

describe('a weight that layers share', () => {
  test('stays shared, and is counted once', async () => {
    const model = tied();
    const [account] = await model.apply(compress({ params: 0.5 }));
    expect(account.layers.map(({ nodes }) => nodes)).toEqual([['one', 'two']]);
    expect(model.graph.initializers.size).toBe(2);
    expect(account.total).toMatchObject({ parametersBefore: 256, parametersAfter: storedParameters(model) });
    expect(storedParameters(model)).toBeLessThanOrEqual(128);
  });

  test('is left alone where something else keeps it in the file', async () => {
    const model = tied([{ opType: 'ReduceSum', name: 'sum', inputs: ['w'], outputs: ['z'] }]);
    await expect(model.apply(compress({ params: 0.5 }))).rejects.toThrow(/another node reads its weight/);
  });
});

const images = () => {
  const own = new Random(11, 'images');
  return tensorDataset({
    x: { type: 'float32', shape: [160, 1, 8, 8], data: own.fillNormal(new Float32Array(160 * 64)) },
    y: { type: 'int64', shape: [160], data: BigInt64Array.from({ length: 160 }, (_, i) => BigInt(i % 4)) },
  });
};
const network = () => newNetwork('cnn', { inputs: [1, 8, 8], outputs: 4, depth: 3, width: 12, seed: 2 });

describe('with calibration data', () => {
  test('budgets hold on what is written, and the measured divergence is that of the result', async () => {
    const model = await network();
    await using data = images();
    const [account] = await model.apply(compress({ data, params: 0.5, macs: 0.6 }));
    const again = await readModel(modelToBytes(model));
    expect(storedParameters(again)).toBe(account.total.parametersAfter);
    expect(account.total.parametersAfter).toBeLessThanOrEqual(0.5 * account.total.parametersBefore);
    expect(account.total.multiplyAddsAfter).toBeLessThanOrEqual(0.6 * account.total.multiplyAddsBefore);
    expect(account.total.bytesAfter).toBe(modelToBytes(model).length);
    expect(account.measured).toBeGreaterThan(0);
    expect(account.divergence).toBe('cross-entropy');
  });

  test('a model in half precision is calibrated in single, and stays in half', async () => {
    const single = await network();
    const { model } = await convertFloats(single, 'float16');
    const original = model.clone();
    await using data = images();
    const [account] = await model.apply(compress({ data, params: 0.6 }));
    expect(check(model).filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(storedParameters(model, 'float16')).toBe(storedParameters(model));
    expect(account.total.bytesAfter).toBe(modelToBytes(model).length);
    expect(account.total.parametersAfter).toBeLessThanOrEqual(0.6 * account.total.parametersBefore);
    const [same] = await single.apply(compress({ data, params: 0.6 }));
    expect(account.measured).toBeLessThan(3 * (same.measured as number));
    const report = await verifyModels(original, model, { tolerance: 10 });
    expect(report.passed).toBe(true);
  });

  test('the data gives the sizes that the inputs leave open', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', ['n', 1, 'height', undefined]]],
      outputs: [['y', 'float32']],
      nodes: [
        { opType: 'Conv', name: 'one', inputs: ['x', 'v'], outputs: ['h'] },
        { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
        { opType: 'Conv', name: 'two', inputs: ['r', 'w'], outputs: ['y'] },
      ],
      initializers: [noise('v', [8, 1, 3, 3]), noise('w', [8, 8, 3, 3])],
    });
    await using data = images();
    const [account] = await model.apply(compress({ data, params: 0.7, divergence: 'mse' }));
    expect(account.notes.join()).not.toMatch(/gradient/);
    expect(account.measured).toBeGreaterThan(0);
  });

  test('loses less than without, at the same size', async () => {
    await using data = images();
    const [by, without] = [await network(), await network()];
    const original = by.clone();
    const options = { params: 0.5, seed: 1 };
    const [account] = await by.apply(compress({ data, ...options }));
    await without.apply(compress(options));
    const feeder = await sampleFeeder(original, data);
    const samples = { feeder, indices: Array.from({ length: 160 }, (_, i) => i), seed: 0, session: {} };
    const divergence = divergenceOf(original, { isLabelled: true });
    const far = (model: Model): Promise<number> =>
      divergenceBetween(original, model, samples, divergence, 1000);
    expect(account.samples).toBe(160);
    expect(await far(by)).toBeLessThan(await far(without));
  });

  test('the same seed gives the same bytes, a dry run changes nothing, and its plan does what it said', async () => {
    await using data = images();
    const [first, second, dry] = [await network(), await network(), await network()];
    const options = { data, params: 0.6, independent: true } as const;
    const [account] = await first.apply(compress(options));
    const before = modelToBytes(dry);
    const [planned] = await dry.apply(compress({ ...options, dryRun: true }));
    expect(modelToBytes(dry)).toEqual(before);
    expect(planned.plan).toEqual(account.plan);
    expect(planned.total.parametersAfter).toBe(account.total.parametersAfter);
    await second.apply(compress({ data, independent: true, plan: parsePlan(JSON.stringify(account.plan)) }));
    expect(modelToBytes(second)).toEqual(modelToBytes(first));
  });
});

describe('what a model loses', () => {
  const planned = (model: Model) =>
    model.apply(compress({ plan: [{ layer: 'fc', form: 'matrices', ranks: [1] }] }));
  const samplesOf = async (model: Model, labels: readonly number[] | undefined) => {
    const x = new Random(3, 'labelled').fillNormal(new Float32Array(40 * 6));
    const y = { type: 'int64', shape: [40], data: BigInt64Array.from(labels ?? [], BigInt) } as const;
    const data = tensorDataset({
      x: { type: 'float32', shape: [40, 6], data: x },
      ...(labels && { y }),
    });
    const feeder = await sampleFeeder(model, data);
    return { feeder, indices: Array.from({ length: 40 }, (_, i) => i), seed: 0, session: {} };
  };
  const classifier = (): Model =>
    buildModel({
      inputs: [['x', 'float32', ['n', 6]]],
      outputs: [['y', 'float32', ['n', 5]]],
      nodes: [{ opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [noise('w', [6, 5])],
    });
  const decisionsOf = async (model: Model): Promise<number[]> => {
    const { feeder, indices } = await samplesOf(model, undefined);
    await using session = await openSession(model);
    const { y } = await session.run((await feeder.feeds(indices)).feeds);
    const values = Array.from(y?.data as Float32Array);
    return indices.map((i) => {
      const row = values.slice(5 * i, 5 * i + 5);
      return row.indexOf(Math.max(...row));
    });
  };

  test('is accuracy where there are labels, and decisions that differ where there are none', async () => {
    const model = classifier();
    const original = model.clone();
    await planned(model);
    const [before, after] = [await decisionsOf(original), await decisionsOf(model)];
    const labels = before.map((decision, i) => (i % 3 === 0 ? (after[i] as number) : decision));
    const right = (decisions: readonly number[]): number =>
      decisions.filter((decision, i) => decision === labels[i]).length;
    const divergence = divergenceOf(original, { isLabelled: true });
    const drop = async (known: readonly number[] | undefined): Promise<number> =>
      dropBetween(original, model, await samplesOf(original, known), divergence, 10);
    expect(await drop(labels)).toBeCloseTo((right(before) - right(after)) / 40, 9);
    const differing = before.filter((decision, i) => decision !== after[i]).length;
    expect(differing).toBeGreaterThan(0);
    expect(await drop(undefined)).toBeCloseTo(differing / 40, 9);
  });
});

test('collapse leaves what was factorized, even where it is told to fold what grows', async () => {
  const model = await network();
  await model.apply(compress({ params: 0.5 }));
  const before = modelToBytes(model);
  await model.apply(collapse({}));
  expect(modelToBytes(model)).toEqual(before);
  await model.apply(collapse({ force: true }));
  expect(modelToBytes(model)).toEqual(before);
});

describe('what cannot be done is said', () => {
  test.each([
    [{}, /budget is needed/],
    [{ params: 0 }, /params/],
    [{ params: 0.001 }, /cannot be reached: with every layer at its least, params 0\.\d+/],
    [{ params: 0.5, plan: [] }, /exclude each other/],
    [{ plan: [{ layer: 'no', form: 'keep', ranks: [] }] as const }, /names 'no'/],
    [{ params: 0.5, only: ['no*'] }, /no\*/],
  ])('%j', async (options, message) => {
    const model = await network();
    const before = modelToBytes(model);
    await expect((async () => model.apply(compress(options)))()).rejects.toThrow(message);
    expect(modelToBytes(model)).toEqual(before);
  });

  test.each([
    ['{', /is not JSON/],
    ['{}', /is not a list/],
    ['[{"layer":"a","form":"svd"}]', /entry 1 .* has the form "svd"/],
    ['[{"layer":"a","form":"tucker","ranks":[3]}]', /needs 2 ranks/],
    ['[{"layer":"a","form":"channel","ranks":[0]}]', /at least 1/],
  ])('a plan %s', (text, message) => {
    expect(() => parsePlan(text)).toThrow(message);
  });
});

describe('the axis of the classes', () => {
  const tokens = (end: NodeSpec[]): Model =>
    buildModel({
      inputs: [['x', 'float32', ['n', 3, 6]]],
      outputs: [['y', 'float32', ['n', 3, 8]]],
      nodes: [{ opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['h'] }, ...end],
      initializers: [noise('w', [6, 8])],
    });
  const identity = tokens([{ opType: 'Identity', inputs: ['h'], outputs: ['y'] }]);
  const softmax = (axis: number): Model =>
    tokens([{ opType: 'Softmax', inputs: ['h'], outputs: ['y'], attributes: { axis: { int: axis } } }]);

  test('is that of the Softmax, the last of three, the second of others, or the one that is given', () => {
    const axisOf = (model: Model, rank: number, axis?: number): number =>
      divergenceOf(model, { isLabelled: true, rank, axis }).axis;
    expect(axisOf(softmax(-1), 3)).toBe(2);
    expect(axisOf(softmax(1), 3)).toBe(1);
    expect([2, 3, 4].map((rank) => axisOf(identity, rank))).toEqual([1, 2, 1]);
    expect(axisOf(identity, 3, 1)).toBe(1);
  });

  test('decides what the divergence is: the mean over places of the Kullback-Leibler divergence', async () => {
    const x = new Random(3, 'tokens').fillNormal(new Float32Array(16 * 18));
    await using data = tensorDataset({ x: { type: 'float32', shape: [16, 3, 6], data: x } });
    const model = softmax(-1);
    const original = model.clone();
    await model.apply(compress({ plan: [{ layer: 'fc', form: 'matrices', ranks: [3] }] }));
    const feeder = await sampleFeeder(original, data);
    const indices = Array.from({ length: 16 }, (_, i) => i);
    const samples = { feeder, indices, seed: 0, session: {} };
    const divergence = divergenceOf(original, { isLabelled: false, rank: 3 });
    const { feeds } = await feeder.feeds(indices);
    const probabilities = async (one: Model): Promise<number[]> => {
      await using session = await openSession(one);
      return Array.from((await session.run(feeds)).y?.data as Float32Array);
    };
    const [p, q] = [await probabilities(original), await probabilities(model)];
    const expected = p.reduce((sum, value, i) => sum + value * Math.log(value / (q[i] as number)), 0) / 48;
    expect(await divergenceBetween(original, model, samples, divergence, 100)).toBeCloseTo(expected, 4);
  });
});
