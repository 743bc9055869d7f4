import { describe, expect, test } from 'vitest';
import { type Model, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { type EngineOptions, openEngine } from '../../../src/training/engine/engine.js';
import { buildStep } from '../../../src/training/engine/step.js';
import { optimizer } from '../../../src/training/optimizers/index.js';
import type { Chunk, TrainingState } from '../../../src/training/types.js';
import { CNN, MLP, VIT, wave } from '../../passes/gradient/networks.js';
import { batchesOf, HEAVY_BALL, PLAIN, part, randomChunk } from '../support.js';

const CASES: readonly [string, () => Model, number][] = [
  ['MLP in float32', () => MLP('float32'), 5],
  ['MLP in float64', () => MLP('float64'), 5],
  ['CNN with BatchNormalization', CNN, 4],
  ['vision transformer', VIT, 3],
];
const base = {
  loss: 'cross-entropy',
  batch: 6,
  optimizer: HEAVY_BALL,
  emaDecay: 0.8,
  clipNorm: 0.5,
} as const;

/** Every number of a state, as it is. */
function bits(state: TrainingState): unknown {
  return [state.step, [...state.weights], [...state.slots]];
}

describe.each(CASES)('%s', (_, build, classes) => {
  const model = build();
  const chunk = randomChunk(model, { steps: 6, batch: 6, classes });

  test('a chunk of steps is as many chunks of one step, to the bit', async () => {
    await using whole = await openEngine(model, base);
    await using single = await openEngine(model, base);
    const result = await whole.run(chunk);
    const losses: number[] = [];
    const norms: number[] = [];
    for (let step = 0; step < chunk.steps; step += 1) {
      const one = await single.run(part(chunk, step, step + 1));
      losses.push(...one.losses);
      norms.push(...one.weightGradientNorms);
    }
    expect(losses).toEqual([...result.losses]);
    expect(norms).toEqual([...result.weightGradientNorms]);
    expect(result.losses.every(Number.isFinite)).toBe(true);
    expect(bits(await single.state())).toEqual(bits(await whole.state()));
  });

  test('what is restored goes on to the same bits', async () => {
    await using first = await openEngine(model, base);
    await first.run(part(chunk, 0, 2));
    const state = await first.state();
    const kept = structuredClone(state);
    const rest = await first.run(part(chunk, 2, 6));
    expect(bits(state)).toEqual(bits(kept));
    await using second = await openEngine(model, base);
    await second.run(part(chunk, 3, 5));
    await second.restore(state);
    expect(bits(await second.state())).toEqual(bits(state));
    expect(await second.run(part(chunk, 2, 6))).toEqual(rest);
    expect(bits(await second.state())).toEqual(bits(await first.state()));
  });
});

test('a gradient that is one product enters the momentum without being written, and its norm is known', async () => {
  const model = MLP('float32');
  const chunk = randomChunk(model, { steps: 5, batch: 2, classes: 5 });
  const fused = optimizer('sgd', { momentum: 0.9 });
  const apart = { slots: fused.slots, update: fused.update };
  const results = await Promise.all(
    [fused, apart].map(async (rule) => {
      const options = { loss: 'cross-entropy', batch: 2, optimizer: rule } as const;
      const step = await buildStep(model, options);
      const adding = step.build.nodes.filter(
        ({ opType, inputs }) => opType === 'Gemm' && inputs.length === 3,
      );
      await using engine = await openEngine(model, options);
      const { losses, weightGradientNorms } = await engine.run(chunk);
      return { adding: adding.length, losses, weightGradientNorms, state: await engine.state() };
    }),
  );
  const [found, expected] = results;
  expect([found?.adding, expected?.adding]).toEqual([3, 0]);
  expect(found?.losses).not.toEqual(found?.losses.map(() => 0));
  const numbers = ({ losses, weightGradientNorms, state }: (typeof results)[number]): number[] => [
    ...losses,
    ...weightGradientNorms,
    ...[...state.weights.values(), ...state.slots.values()].flatMap(({ data }) => [
      ...(data as Float32Array),
    ]),
  ];
  for (const [i, number] of numbers(expected!).entries())
    expect(Math.abs(numbers(found!)[i]! - number)).toBeLessThan(1e-5 * Math.max(1, Math.abs(number)));
});

test('training starts from the weights of the model and leaves it as it is', async () => {
  const model = MLP('float32');
  const bytes = JSON.stringify(model.proto);
  await using engine = await openEngine(model, { ...base, wrt: ['w2', 'b3'] });
  const state = await engine.state();
  expect(engine.trained).toEqual(['w2', 'b3']);
  expect([...state.weights.keys()]).toEqual(['w2', 'b3']);
  expect(state.weights.get('w2')?.data).toEqual(model.graph.initializers.get('w2')?.array());
  expect(state.slots.get('velocity/w2')?.data.every((number) => number === 0)).toBe(true);
  expect(state.slots.get('ema/b3')?.data).toEqual(model.graph.initializers.get('b3')?.array());
  await engine.run(randomChunk(model, { steps: 2, batch: 6, classes: 5 }));
  expect(JSON.stringify(model.proto)).toBe(bytes);
});

/** mean((w - t)^2), w a 3 x 2 matrix. */
function quadratic(start: readonly number[]): Model {
  const eye = Float64Array.from({ length: 9 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  return buildModel({
    nodes: [
      { opType: 'MatMul', inputs: ['eye', 'w'], outputs: ['same'] },
      { opType: 'Mul', inputs: ['same', 'ones'], outputs: ['y'] },
    ],
    inputs: [ValueInfo.tensor('ones', 'float64', [3, 1])],
    outputs: ['y'],
    initializers: [
      Tensor.of('eye', 'float64', [3, 3], eye),
      Tensor.of('w', 'float64', [3, 2], Float64Array.from(start)),
    ],
    opset: 18,
  });
}

const START = [3, -1, 0.5, 2, -4, 1];
const GOAL = [1, 2, -1, 0, 3, -2];

function quadraticChunk(rates: readonly number[]): Chunk {
  const steps = rates.length;
  return {
    steps,
    inputs: { ones: { type: 'float64', shape: [steps, 3, 1], data: new Float64Array(3 * steps).fill(1) } },
    target: {
      type: 'float64',
      shape: [steps, 3, 2],
      data: Float64Array.from({ length: 6 * steps }, (_, i) => GOAL[i % 6]!),
    },
    learningRates: Float32Array.from(rates),
  };
}

describe('gradient descent on a quadratic', () => {
  const options: EngineOptions = { loss: 'mse', batch: 3, wrt: ['w'], optimizer: PLAIN };
  const rates = [0.5, 0.25, 1, 2];

  test('shrinks the distance by 1 - 2 rate / n each step', async () => {
    await using engine = await openEngine(quadratic(START), options);
    const { losses, gradientNorms } = await engine.run(quadraticChunk(rates));
    const distance = Math.hypot(...START.map((number, i) => number - GOAL[i]!));
    let factor = 1;
    for (const [step, rate] of rates.entries()) {
      expect(losses[step]! / ((factor * distance) ** 2 / 6)).toBeCloseTo(1, 6);
      expect(gradientNorms[step]! / ((2 * factor * distance) / 6)).toBeCloseTo(1, 6);
      factor *= 1 - (2 * rate) / 6;
    }
    const { weights } = await engine.state();
    for (const [i, number] of (weights.get('w')!.data as Float64Array).entries()) {
      expect(number).toBeCloseTo(GOAL[i]! + factor * (START[i]! - GOAL[i]!), 12);
    }
  });

  test('moving averages, clipping and penalties are what they say', async () => {
    await using engine = await openEngine(quadratic(START), {
      ...options,
      emaDecay: 0.75,
      clipNorm: 0.1,
      penalty: ({ build, parameter, gradient }) => build.add(gradient, build.scale(parameter, 0.3)),
    });
    let w = START;
    let average = START.map(() => 0);
    for (const [step, rate] of rates.entries()) {
      const slope = w.map((number, i) => (2 * (number - GOAL[i]!)) / 6 + 0.3 * number);
      const norm = Math.hypot(...slope);
      w = w.map((number, i) => number - rate * slope[i]! * Math.min(1, 0.1 / norm));
      const share = 0.25 / (1 - 0.75 ** (step + 1));
      average = average.map((number, i) => number + share * (w[i]! - number));
    }
    await engine.run(quadraticChunk(rates));
    const { weights, slots } = await engine.state();
    for (const [i, number] of (weights.get('w')!.data as Float64Array).entries()) {
      expect(number).toBeCloseTo(w[i]!, 5);
    }
    for (const [i, number] of (slots.get('ema/w')!.data as Float64Array).entries()) {
      expect(number).toBeCloseTo(average[i]!, 5);
    }
  });
});

test('running statistics move towards those of the batch', async () => {
  const model = CNN();
  await using engine = await openEngine(model, { ...base, batch: 4, optimizer: PLAIN });
  const chunk = randomChunk(model, { steps: 3, batch: 4, classes: 4, rate: 0 });
  const { x } = chunk.inputs;
  const first = (x!.data as Float32Array).subarray(0, x!.data.length / 3);
  const data = Float32Array.from(x!.data as Float32Array, (_, i) => first[i % first.length]!);
  const steady = { ...chunk, inputs: { x: { ...x!, data } } };
  const values: number[] = [Number(model.graph.initializers.get('m1')!.array()[0])];
  for (let step = 0; step < 3; step += 1) {
    await engine.run(part(steady, step, step + 1));
    values.push(Number((await engine.state()).weights.get('m1')!.data[0]));
  }
  // With weights that stay and the same batch: m <- 0.9 m + 0.1 mean, so differences shrink by 0.9.
  const [a, b, c, d] = values as [number, number, number, number];
  expect(Math.abs(b - a)).toBeGreaterThan(1e-4);
  expect((c - b) / (b - a)).toBeCloseTo(0.9, 3);
  expect((d - c) / (c - b)).toBeCloseTo(0.9, 3);
});

describe('evaluation', () => {
  test('is the mean over samples whatever the batches, and the loss of a step without BatchNormalization', async () => {
    const model = MLP('float32');
    await using engine = await openEngine(model, { ...base, optimizer: PLAIN });
    const chunk = randomChunk(model, { steps: 5, batch: 6, classes: 5, rate: 0 });
    const { losses, correct } = await engine.run(chunk);
    const mean = losses.reduce((sum, loss) => sum + loss, 0) / 5;
    for (const size of [6, 7, 30, 1]) {
      const { samples, loss, accuracy } = await engine.evaluate(batchesOf(chunk, size));
      expect(samples).toBe(30);
      expect(loss).toBeCloseTo(mean, 5);
      expect(accuracy! * 30).toBeCloseTo(
        correct!.reduce((sum, count) => sum + count, 0),
        6,
      );
    }
  });

  test('with moving averages is that of an engine whose weights they are', async () => {
    const model = CNN();
    await using engine = await openEngine(model, base);
    const chunk = randomChunk(model, { steps: 4, batch: 6, classes: 4 });
    await engine.run(chunk);
    const averaged = await engine.evaluate(batchesOf(chunk, 8), 'ema');
    expect(averaged.loss).not.toBeCloseTo((await engine.evaluate(batchesOf(chunk, 8))).loss, 4);
    const state = await engine.state();
    const weights = new Map(
      [...state.weights].map(([name, tensor]) => [name, state.slots.get(`ema/${name}`) ?? tensor]),
    );
    await engine.restore({ ...state, weights });
    expect(await engine.evaluate(batchesOf(chunk, 8))).toEqual(averaged);
  });
});

test('says what is wrong', async () => {
  const model = MLP('float32');
  await expect(openEngine(model, { ...base, batch: 0 })).rejects.toThrow('batch must be an integer ≥ 1');
  await expect(openEngine(model, { ...base, clipNorm: 0 })).rejects.toThrow('must be a number > 0');
  await expect(openEngine(model, { ...base, emaDecay: 1 })).rejects.toThrow('must be a number ≥ 0 and < 1');
  await expect(openEngine(model, { ...base, wrt: ['x'] })).rejects.toThrow("'x' is no initializer");
  await using engine = await openEngine(model, base);
  const chunk = randomChunk(model, { steps: 2, batch: 6, classes: 5 });
  await expect(engine.run({ ...chunk, inputs: {} })).rejects.toThrow("lacks the input 'x'");
  await expect(engine.run({ ...chunk, learningRates: new Float32Array(3) })).rejects.toThrow(
    '3 learning rates',
  );
  const state = await engine.state();
  await expect(engine.restore({ ...state, slots: new Map() })).rejects.toThrow("no slot 'velocity/w1'");
});

/** Dropout between two layers, one with the mask read besides. */
function droppy(): Model {
  return buildModel({
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w1'], outputs: ['a'] },
      { opType: 'Dropout', inputs: ['a', 'third'], outputs: ['b'] },
      { opType: 'MatMul', inputs: ['b', 'w2'], outputs: ['c'] },
      { opType: 'Dropout', inputs: ['c'], outputs: ['d', 'kept'] },
      { opType: 'Cast', inputs: ['kept'], outputs: ['mask'], attributes: { to: { int: 1 } } },
      { opType: 'Mul', inputs: ['d', 'mask'], outputs: ['y'] },
    ],
    inputs: [ValueInfo.tensor('x', 'float32', ['n', 8])],
    outputs: ['y'],
    initializers: [
      Tensor.of('third', 'float32', [], Float32Array.of(1 / 3)),
      Tensor.of('w1', 'float32', [8, 40], Float32Array.from(wave(1, [8, 40]))),
      Tensor.of('w2', 'float32', [40, 5], Float32Array.from(wave(2, [40, 5]))),
    ],
    opset: 18,
  });
}

describe('Dropout', () => {
  const options: EngineOptions = { ...base, clipNorm: undefined, seed: 7 };

  test('follows from the seed and the step: any chunks, restored or not, give the same bits', async () => {
    const model = droppy();
    const chunk = randomChunk(model, { steps: 6, batch: 6, classes: 5 });
    await using whole = await openEngine(model, options);
    await using parts = await openEngine(model, options);
    await using other = await openEngine(model, { ...options, seed: 8 });
    const { losses } = await whole.run(chunk);
    const first = await parts.run(part(chunk, 0, 1));
    await parts.run(part(chunk, 1, 4));
    const state = await parts.state();
    await using resumed = await openEngine(model, options);
    await resumed.restore(state);
    const last = await resumed.run(part(chunk, 4, 6));
    expect([first.losses[0], ...last.losses]).toEqual([losses[0], losses[4], losses[5]]);
    expect(bits(await resumed.state())).toEqual(bits(await whole.state()));
    expect((await other.run(chunk)).losses[0]).not.toBe(losses[0]);
  });

  test('drops its share and scales what it keeps; not in evaluation', async () => {
    const model = droppy();
    // With weights that stay and one batch for all, the mean over masks of d y / d w is that without Dropout.
    const one = randomChunk(model, { steps: 1, batch: 6, classes: 5 });
    await using engine = await openEngine(model, { ...options, optimizer: PLAIN });
    const seen = new Set<number>();
    for (let step = 0; step < 5; step += 1) {
      const { losses } = await engine.run({ ...one, learningRates: Float32Array.of(0) });
      seen.add(losses[0]!);
    }
    expect(seen.size).toBe(5);
    const evaluated = await engine.evaluate(batchesOf(one, 6));
    await using still = await openEngine(model, { ...options, dropout: 'inference' });
    expect((await still.run(one)).losses[0]).toBeCloseTo(evaluated.loss, 5);
  });
});

test('a file with BatchNormalization in training form trains and is evaluated as one in inference form', async () => {
  const model = CNN();
  const other = CNN();
  for (const node of other.graph.nodes.filter((one) => one.is('BatchNormalization'))) {
    other.graph.edit({
      removeNodes: [node],
      insertNodes: [
        {
          opType: 'BatchNormalization',
          inputs: node.inputs,
          outputs: [...node.outputs, `${node.label}/mean`, `${node.label}/var`],
          attributes: { training_mode: { int: 1 } },
        },
      ],
    });
  }
  const chunk = randomChunk(model, { steps: 3, batch: 6, classes: 4 });
  for (const batchNorm of ['training', 'inference'] as const) {
    await using plain = await openEngine(model, { ...base, batchNorm });
    await using training = await openEngine(other, { ...base, batchNorm });
    expect(await training.run(chunk)).toEqual(await plain.run(chunk));
    expect(bits(await training.state())).toEqual(bits(await plain.state()));
    expect(await training.evaluate(batchesOf(chunk, 9))).toEqual(await plain.evaluate(batchesOf(chunk, 9)));
  }
});
