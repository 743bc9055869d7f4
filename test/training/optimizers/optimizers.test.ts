import { describe, expect, test } from 'vitest';
import { ValueInfo } from '../../../src/graph/index.js';
import { Builder } from '../../../src/passes/gradient/builder.js';
import type { Value } from '../../../src/passes/gradient/value.js';
import { openSession, Random, type RuntimeTensor, type Session } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import {
  clipped,
  gradientNorms,
  jointNorm,
  movingAverage,
  OPTIMIZER_NAMES,
  optimizer,
} from '../../../src/training/optimizers/index.js';
import type { OptimizerRule } from '../../../src/training/optimizers/optimizer-rule.js';
import { wave } from '../../passes/gradient/networks.js';
import { gradientAt, reference } from '../reference.js';

type Type = 'float32' | 'float64';

/** A session of what `make` builds from inputs that it asks for. */
async function session(
  make: (build: Builder, input: (name: string, type: Type, shape?: readonly number[]) => Value) => Value[],
): Promise<{ session: Session; outputs: string[]; nodes: number }> {
  let count = 0;
  const build = new Builder((base) => `${base}_${++count}`);
  const inputs: ValueInfo[] = [];
  const outputs = make(build, (name, type, shape = []) => {
    inputs.push(ValueInfo.tensor(name, type, shape));
    return { name, type, shape };
  }).map(({ name }) => name);
  const model = buildModel({
    nodes: build.nodes,
    inputs,
    outputs,
    initializers: build.constants,
    opset: 18,
  });
  return { session: await openSession(model), outputs, nodes: build.nodes.length };
}

const SHAPE = [3, 4];

function tensor(type: Type, shape: readonly number[], numbers: ArrayLike<number>): RuntimeTensor {
  return {
    type,
    shape,
    data: type === 'float64' ? Float64Array.from(numbers) : Float32Array.from(numbers),
  };
}

function distance(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  const squares = (list: readonly number[]) => list.reduce((sum, x) => sum + x * x, 0);
  const wanted = Array.from(expected);
  return Math.sqrt(
    squares(Array.from(found, (x, i) => x - wanted[i]!)) / Math.max(Number.MIN_VALUE, squares(wanted)),
  );
}

function slotsOf(rule: OptimizerRule, shape: readonly number[]): readonly string[] {
  return rule.slotsOf?.(shape) ?? rule.slots;
}

function updateOf(rule: OptimizerRule, type: Type, weightDecay: number, shape = SHAPE, inputsFirst = false) {
  return session((build, input) => {
    const slots = Object.fromEntries(slotsOf(rule, shape).map((slot) => [slot, input(slot, type, shape)]));
    const next = rule.update({
      build,
      parameter: input('parameter', type, shape),
      gradient: input('gradient', type, shape),
      slots,
      learningRate: input('rate', 'float32'),
      step: input('step', 'float32'),
      weightDecay,
      inputsFirst,
    });
    return [next.parameter, ...slotsOf(rule, shape).map((slot) => next.slots[slot]!)];
  });
}

async function trajectory(
  rule: OptimizerRule,
  type: Type,
  weightDecay: number,
  shape: readonly number[] = SHAPE,
): Promise<number[][]> {
  const made = await updateOf(rule, type, weightDecay, [...shape]);
  await using run = made.session;
  const names = slotsOf(rule, shape);
  const size = shape.reduce((product, dim) => product * dim, 1);
  let parameter = tensor(type, shape, wave(1, shape));
  let slots = Object.fromEntries(names.map((slot) => [slot, tensor(type, shape, new Float64Array(size))]));
  const found: number[][] = [];
  for (let step = 1; step <= 10; step += 1) {
    const results = await run.run({
      ...slots,
      parameter,
      gradient: tensor(type, shape, gradientAt(step, shape)),
      rate: tensor('float32', [], [(step > 5 ? 2 : 1) / 64]),
      ...(run.inputs.some(({ name }) => name === 'step') && { step: tensor('float32', [], [step]) }),
    });
    parameter = results[made.outputs[0]!]!;
    slots = Object.fromEntries(names.map((slot, i) => [slot, results[made.outputs[i + 1]!]!]));
    found.push(Array.from(parameter.data as Float64Array));
  }
  return found;
}

describe('optimizers go as PyTorch does', () => {
  for (const { name, options, weightDecay, shape, parameters } of reference.optimizers) {
    const label = `${name} ${JSON.stringify(options)}, weight decay ${weightDecay}, ${shape.join(' x ')}`;
    test.each([
      // The coefficients of Muon's products are attributes, which are float32.
      ['float64', name === 'muon' ? 1e-7 : 1e-12],
      // Muon divides by the norm and iterates on.
      ['float32', name === 'muon' ? 3e-6 : 1e-6],
    ] as const)(`${label}, %s`, async (type, tolerance) => {
      const found = await trajectory(optimizer(name, options), type, weightDecay, shape);
      for (const [step, expected] of parameters.entries())
        expect(distance(found[step]!, expected), `step ${step + 1}`).toBeLessThan(tolerance);
    });
  }

  test('every optimizer is among them', () => {
    expect(new Set(reference.optimizers.map(({ name }) => name))).toEqual(new Set(OPTIMIZER_NAMES));
  });
});

test('decoupled weight decay is the rule from a weight that shrank; l2 is the rule with the gradient of a penalty', async () => {
  for (const name of OPTIMIZER_NAMES) {
    const [decay, rate] = [0.25, 1 / 8];
    const once = async (kind: 'l2' | 'decoupled', weight: Float64Array, slope: Float64Array, by: number) => {
      const rule = optimizer(name, undefined, kind);
      const made = await updateOf(rule, 'float64', by);
      await using run = made.session;
      const slots = slotsOf(rule, SHAPE).map((slot) => [
        slot,
        tensor('float64', SHAPE, new Float64Array(12)),
      ]);
      const results = await run.run({
        ...Object.fromEntries(slots),
        parameter: tensor('float64', SHAPE, weight),
        gradient: tensor('float64', SHAPE, slope),
        rate: tensor('float32', [], [rate]),
        ...(run.inputs.some((input) => input.name === 'step') && { step: tensor('float32', [], [1]) }),
      });
      return results[made.outputs[0]!]!.data as Float64Array;
    };
    const [weight, slope] = [wave(1, SHAPE), gradientAt(1, SHAPE)];
    const shrunk = weight.map((x) => x * (1 - rate * decay));
    const steeper = slope.map((g, i) => g + decay * weight[i]!);
    expect(
      distance(await once('decoupled', weight, slope, decay), await once('decoupled', shrunk, slope, 0)),
    ).toBeLessThan(1e-14);
    expect(
      distance(await once('l2', weight, slope, decay), await once('l2', weight, steeper, 0)),
    ).toBeLessThan(1e-14);
  }
});

test('muon moves a matrix by an orthogonal one, whatever the scale of its gradient, more where there are more outputs', async () => {
  const moved = async (shape: number[], inputsFirst: boolean, scale: number) => {
    const made = await updateOf(optimizer('muon'), 'float64', 0, shape, inputsFirst);
    await using run = made.session;
    const gradient = new Random(0, 'muon').fillNormal(new Float64Array(24));
    const results = await run.run({
      average: tensor('float64', shape, new Float64Array(24)),
      parameter: tensor('float64', shape, new Float64Array(24)),
      gradient: tensor(
        'float64',
        shape,
        gradient.map((x) => x * scale),
      ),
      rate: tensor('float32', [], [1]),
      step: tensor('float32', [], [1]),
    });
    return results[made.outputs[0]!]!.data as Float64Array;
  };
  const plain = await moved([3, 8], false, 1);
  expect(distance(await moved([3, 8], false, 1e3), plain)).toBeLessThan(1e-12);
  // Rows are 8 long: their products are those of an orthogonal matrix, but for the iteration's spread.
  const gram = [0, 1, 2].map((i) =>
    [0, 1, 2].map((j) => plain.slice(8 * i, 8 * i + 8).reduce((sum, x, k) => sum + x * plain[8 * j + k]!, 0)),
  );
  for (const [i, row] of gram.entries())
    for (const [j, x] of row.entries())
      expect(Math.abs(x - (i === j ? 1 : 0)), `${i}, ${j}`).toBeLessThan(i === j ? 0.6 : 0.4);
  const wide = await moved([3, 8], true, 1);
  expect(
    distance(
      wide,
      plain.map((x) => x * Math.sqrt(8 / 3)),
    ),
  ).toBeLessThan(1e-12);
  // A convolution is a matrix of its outputs.
  const conv = await moved([3, 2, 2, 2], false, 1);
  expect(distance(conv, plain)).toBeLessThan(1e-12);
});

test('updates take few passes over a weight', async () => {
  const nodes = async (rule: OptimizerRule, weightDecay = 0) => {
    let count = 0;
    const build = new Builder((base) => `${base}_${++count}`);
    const value = (name: string, shape: readonly number[]): Value => ({ name, type: 'float32', shape });
    rule.update({
      build,
      parameter: value('p', SHAPE),
      gradient: value('g', SHAPE),
      slots: Object.fromEntries(rule.slots.map((slot) => [slot, value(slot, SHAPE)])),
      learningRate: value('lr', []),
      step: value('t', []),
      weightDecay,
    });
    const large = build.nodes.filter(({ outputs }) => build.values.get(outputs[0]!)!.shape.length === 2);
    return large.length;
  };
  expect(await nodes(optimizer('sgd'))).toBe(2);
  expect(await nodes(optimizer('sgd', { momentum: 0.9 }))).toBe(4);
  expect(await nodes(optimizer('adam'))).toBe(10);
  expect(await nodes(optimizer('adamw'), 0.01)).toBe(11);
  expect(await nodes(optimizer('rmsprop'))).toBe(8);
  expect(await nodes(optimizer('adagrad'))).toBe(7);
});

describe('clipping by the global norm goes as PyTorch does', () => {
  const shapes = [[3, 4], [5], []];
  test.each(reference.clip)('at $limit', async ({ limit, norm, gradients }) => {
    const made = await session((build, input) => {
      const values = shapes.map((shape, i) => input(`g${i}`, 'float32', shape));
      const total = jointNorm(build, gradientNorms(build, values));
      return [total, ...clipped(build, values, total, limit)];
    });
    await using run = made.session;
    const results = await run.run(
      Object.fromEntries(shapes.map((shape, i) => [`g${i}`, tensor('float32', shape, gradientAt(i, shape))])),
    );
    const [total, ...rest] = made.outputs.map((name) => results[name]!.data as Float32Array);
    expect(Math.abs(total![0]! / norm - 1)).toBeLessThan(1e-6);
    for (const [i, expected] of gradients.entries()) expect(distance(rest[i]!, expected)).toBeLessThan(1e-6);
  });
});

test('the moving average is the weighted mean of the weights after each step, whatever it began at', async () => {
  const decay = 0.75;
  const made = await session((build, input) => [
    movingAverage(
      build,
      input('average', 'float32', SHAPE),
      input('parameter', 'float32', SHAPE),
      input('step', 'float32'),
      decay,
    ),
  ]);
  await using run = made.session;
  let average = tensor('float32', SHAPE, new Float64Array(12).fill(1));
  const seen: Float64Array[] = [];
  for (let step = 1; step <= 6; step += 1) {
    const weight = gradientAt(step, SHAPE);
    seen.push(weight);
    const results = await run.run({
      average,
      parameter: tensor('float32', SHAPE, weight),
      step: tensor('float32', [], [step]),
    });
    average = results[made.outputs[0]!]!;
    const shares = seen.map((_, i) => decay ** (step - 1 - i));
    const total = shares.reduce((a, b) => a + b, 0);
    const expected = weight.map((_, place) =>
      seen.reduce((sum, one, i) => sum + (shares[i]! / total) * one[place]!, 0),
    );
    expect(distance(average.data as Float32Array, expected)).toBeLessThan(1e-6);
  }
});

describe('options out of their range are refused', () => {
  test.each([
    [() => optimizer('sgd', { momentum: 1 }), 'momentum must be a number ≥ 0 and < 1'],
    [() => optimizer('sgd', { nesterov: true }), 'nesterov takes a `momentum`'],
    [() => optimizer('sgd', { nesterov: true, momentum: 0.9, dampening: 0.1 }), 'no `dampening`'],
    [() => optimizer('adam', { betas: [0.9, 1] }), 'betas[1] must be'],
    [() => optimizer('adam', { epsilon: Number.NaN }), 'epsilon must be a number ≥ 0'],
    [() => optimizer('rmsprop', { alpha: -0.1 }), 'alpha'],
    [() => optimizer('adagrad', { learningRateDecay: -1 }), 'learningRateDecay'],
    [
      () => optimizer('lion' as 'sgd'),
      "optimizer must be one of sgd, adam, adamw, rmsprop, adagrad, muon, is 'lion'",
    ],
  ])('%s', (make, message) => {
    expect(make).toThrow(message);
  });
});
