import { beforeAll, describe, expect, test } from 'vitest';
import { check } from '../../src/graph/check/check.js';
import { type Model, modelToBytes, readModel } from '../../src/graph/index.js';
import { openSession, type RuntimeTensor, randomInputs } from '../../src/runtime/index.js';
import { openEngine } from '../../src/training/engine/engine.js';
import { type OptimizerName, optimizer } from '../../src/training/optimizers/index.js';
import { decayedWeights } from '../../src/training/optimizers/weight-decay.js';
import { trainingStep, withTrainingInfo } from '../../src/training/training-info.js';
import { CNN, labels, MLP, VIT, wave } from '../passes/gradient/networks.js';
import { expectSameFunction } from '../passes/laws.js';
import { buildModel, floats } from '../support/build.js';

interface Case {
  readonly model: () => Model;
  readonly x: readonly number[];
  readonly classes: number;
  readonly batch: number;
  readonly optimizer: OptimizerName;
  readonly options?: object;
  /** Nodes that the algorithm reads from the model's own graph. */
  readonly shared: number;
}

/** In operator set 11, with a weight in a Constant node. */
const old = (): Model =>
  buildModel({
    opset: 11,
    inputs: [['x', 'float32', ['batch', 2, 3]]],
    outputs: [['y', 'float32', ['batch', 4]]],
    nodes: [
      {
        opType: 'ReduceMean',
        inputs: ['x'],
        outputs: ['m'],
        attributes: { axes: { ints: [2] }, keepdims: { int: 0 } },
      },
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['w'],
        attributes: { value: { tensor: floats('', [2, 4], (i) => Math.sin(i)) } },
      },
      { opType: 'MatMul', inputs: ['m', 'w'], outputs: ['p'] },
      { opType: 'Add', inputs: ['p', 'b'], outputs: ['y'] },
    ],
    initializers: [floats('b', [4], (i) => i / 10)],
  });

const CASES: Readonly<Record<string, Case>> = {
  MLP: {
    model: () => MLP('float32'),
    x: [12],
    classes: 5,
    batch: 8,
    optimizer: 'sgd',
    options: { momentum: 0.9 },
    shared: 6,
  },
  'CNN with normalizations': { model: CNN, x: [2, 9, 9], classes: 4, batch: 4, optimizer: 'adam', shared: 1 },
  transformer: { model: VIT, x: [1, 8, 8], classes: 3, batch: 4, optimizer: 'adamw', shared: 38 },
  'operator set 11': { model: old, x: [2, 3], classes: 4, batch: 5, optimizer: 'rmsprop', shared: 3 },
};

const STEPS = 4;
const RATE = 0.01;

describe.each(Object.entries(CASES))('a training algorithm of %s', (_, {
  model,
  x,
  classes,
  batch,
  optimizer: name,
  options,
  shared,
}) => {
  const made = async () => {
    const before = model();
    const result = await withTrainingInfo(before, {
      loss: 'cross-entropy',
      batch,
      optimizer: optimizer(name, options),
      learningRate: RATE,
      clipNorm: 1,
      weightDecay: 0.01,
    });
    return { before, ...result, read: await readModel(modelToBytes(result.model)) };
  };
  let built: Awaited<ReturnType<typeof made>>;
  beforeAll(async () => {
    built = await made();
  });

  test('is valid, is written and read, and leaves what the model computes', async () => {
    expect(check(built.read)).toEqual([]);
    expect(built.read.proto.training_info).toHaveLength(1);
    await expectSameFunction(built.before, built.read);
  });

  test('binds each mutable initializer once, to an output of the algorithm', () => {
    const [info] = built.read.proto.training_info!;
    const main = built.read.graph;
    const own = new Set(info!.algorithm!.initializer!.map((tensor) => tensor.name));
    const keys = info!.update_binding!.map(({ key }) => key!);
    expect(new Set(keys).size).toBe(keys.length);
    for (const key of keys) expect(main.initializers.has(key) !== own.has(key), key).toBe(true);
    const outputs = new Set(info!.algorithm!.output!.map((output) => output.name));
    for (const { value } of info!.update_binding!) expect(outputs.has(value)).toBe(true);
    const resets = new Set(info!.initialization!.output!.map((output) => output.name));
    for (const { key, value } of info!.initialization_binding!) {
      expect(own.has(key)).toBe(true);
      expect(resets.has(value)).toBe(true);
    }
    expect(info!.initialization_binding!.map(({ key }) => key)).toEqual(built.account.state);
  });

  test('and the model make one graph, in which no name is made twice', () => {
    const step = trainingStep(built.read);
    expect(check(step.model)).toEqual([]);
    expect(built.account.shared).toBe(shared);
    expect(step.model.graph.nodes).toHaveLength(built.read.graph.nodes.length + built.account.nodes);
  });

  test('does what the engine does', async () => {
    const step = trainingStep(built.read);
    await using session = await openSession(step.model);
    await using engine = await openEngine(built.before, {
      loss: 'cross-entropy',
      batch,
      optimizer: optimizer(name, options),
      clipNorm: 1,
      weightDecayOf: (weight) => (decayedWeights(built.model.graph, [weight]).has(weight) ? 0.01 : 0),
    });
    const size = x.reduce((a, b) => a * b, batch);
    const data = Float32Array.from(wave(20, [STEPS, size]));
    const target = labels(STEPS * batch, classes);
    const { losses } = await engine.run({
      steps: STEPS,
      inputs: { x: { type: 'float32', shape: [STEPS, batch, ...x], data } },
      target: { type: 'int64', shape: [STEPS, batch], data: target },
      learningRates: new Float32Array(STEPS).fill(RATE),
    });
    let state: Record<string, RuntimeTensor> = Object.fromEntries(
      [...step.initial].map(([key, tensor]) => [
        key,
        { type: tensor.dataType, shape: tensor.shape, data: tensor.array() },
      ]),
    );
    for (let at = 0; at < STEPS; at += 1) {
      const results = await session.run({
        ...state,
        x: { type: 'float32', shape: [batch, ...x], data: data.subarray(at * size, (at + 1) * size) },
        [built.account.target!]: {
          type: 'int64',
          shape: [batch],
          data: target.subarray(at * batch, (at + 1) * batch),
        },
      });
      expect((results[built.account.loss]!.data as Float32Array)[0]).toBeCloseTo(losses[at]!, 5);
      state = Object.fromEntries([...step.updates].map(([key, output]) => [key, results[output]!]));
    }
    const { weights } = await engine.state();
    expect([...weights.keys()].sort()).toEqual([...built.account.updated].sort());
    for (const [key, { data: expected }] of weights) {
      const found = state[key]!.data as Float32Array;
      const scale = Math.max(...Array.from(expected as Float32Array, Math.abs));
      for (const [i, number] of (expected as Float32Array).entries())
        expect(Math.abs(found[i]! - number) / scale, `${key}[${i}]`).toBeLessThan(2e-5);
    }
    expect(state['training/steps']!.data).toEqual(Float32Array.of(STEPS));
  });

  test('is reset by its initialization', async () => {
    const [info] = built.read.proto.training_info!;
    const reset = trainingStep(built.read);
    const graph = info!.initialization!;
    const { createModel } = await import('../../src/graph/index.js');
    await using session = await openSession(createModel({ ...built.read.proto, graph, training_info: [] }));
    const results = await session.run({});
    for (const { key, value } of info!.initialization_binding!) {
      const { shape, data } = results[value!]!;
      expect(shape).toEqual(reset.initial.get(key!)!.shape);
      expect((data as Float32Array).every((number) => number === 0)).toBe(true);
    }
  });
});

test('a model that says a batch of 1 has it open afterwards', async () => {
  const fixed = buildModel({
    opset: 18,
    inputs: [['x', 'float32', [1, 3]]],
    outputs: [['y', 'float32', [1, 2]]],
    nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    initializers: [floats('w', [3, 2])],
  });
  const { model } = await withTrainingInfo(fixed, {
    loss: 'mse',
    batch: 7,
    optimizer: optimizer('sgd'),
    learningRate: 0.1,
  });
  expect(model.graph.inputs[0]!.shape).toEqual(['batch', 3]);
  expect(model.graph.outputs[0]!.shape).toEqual(['batch', 2]);
  await using session = await openSession(trainingStep(model).model);
  const results = await session.run({
    x: { type: 'float32', shape: [7, 3], data: new Float32Array(21).fill(1) },
    target: { type: 'float32', shape: [7, 2], data: new Float32Array(14) },
    w: { type: 'float32', shape: [3, 2], data: Float32Array.from([0, 1, 2, 3, 4, 5]) },
    'training/steps': { type: 'float32', shape: [], data: new Float32Array(1) },
  });
  // d/dw of the mean of (x w)^2 is x^T (x w), both outputs sharing the mean; x is all ones.
  expect(
    [...(results[trainingStep(model).updates.get('w')!]!.data as Float32Array)].map((x) =>
      Math.round(100 * x),
    ),
  ).toEqual([-60, 10, 140, 210, 340, 410]);
});

test('Dropout draws by itself', async () => {
  const dropping = buildModel({
    opset: 18,
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 2]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Dropout', inputs: ['h', 'ratio'], outputs: ['d'] },
      { opType: 'MatMul', inputs: ['d', 'v'], outputs: ['y'] },
    ],
    initializers: [floats('w', [3, 64]), floats('v', [64, 2]), floats('ratio', [], () => 0.5)],
  });
  const { model } = await withTrainingInfo(dropping, {
    loss: 'mse',
    batch: 2,
    optimizer: optimizer('sgd'),
    learningRate: 0.1,
  });
  const step = trainingStep(model);
  expect(check(step.model)).toEqual([]);
  expect(step.model.graph.inputs.map(({ name }) => name)).toEqual([
    'x',
    'target',
    'w',
    'v',
    'training/steps',
  ]);
  await using session = await openSession(step.model);
  const results = await session.run(randomInputs(step.model, { dims: { n: 2 } }));
  expect(Object.keys(results)).toContain(step.updates.get('w'));
});

test('a model without training_info has no step', () => {
  expect(() => trainingStep(CNN())).toThrow('has no training_info 0');
});
