import { describe, expect, test } from 'vitest';
import { ValueInfo } from '../../../src/graph/index.js';
import { Builder } from '../../../src/passes/gradient/builder.js';
import type { Value } from '../../../src/passes/gradient/value.js';
import { openSession, type RuntimeTensor, type Session } from '../../../src/runtime/index.js';
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

function updateOf(rule: OptimizerRule, type: Type, weightDecay: number) {
  return session((build, input) => {
    const slots = Object.fromEntries(rule.slots.map((slot) => [slot, input(slot, type, SHAPE)]));
    const next = rule.update({
      build,
      parameter: input('parameter', type, SHAPE),
      gradient: input('gradient', type, SHAPE),
      slots,
      learningRate: input('rate', 'float32'),
      step: input('step', 'float32'),
      weightDecay,
    });
    return [next.parameter, ...rule.slots.map((slot) => next.slots[slot]!)];
  });
}

async function trajectory(rule: OptimizerRule, type: Type, weightDecay: number): Promise<number[][]> {
  const made = await updateOf(rule, type, weightDecay);
  await using run = made.session;
  let parameter = tensor(type, SHAPE, wave(1, SHAPE));
  let slots = Object.fromEntries(rule.slots.map((slot) => [slot, tensor(type, SHAPE, new Float64Array(12))]));
  const found: number[][] = [];
  for (let step = 1; step <= 10; step += 1) {
    const results = await run.run({
      ...slots,
      parameter,
      gradient: tensor(type, SHAPE, gradientAt(step, SHAPE)),
      rate: tensor('float32', [], [(step > 5 ? 2 : 1) / 64]),
      ...(run.inputs.some(({ name }) => name === 'step') && { step: tensor('float32', [], [step]) }),
    });
    parameter = results[made.outputs[0]!]!;
    slots = Object.fromEntries(rule.slots.map((slot, i) => [slot, results[made.outputs[i + 1]!]!]));
    found.push(Array.from(parameter.data as Float64Array));
  }
  return found;
}

describe('optimizers go as PyTorch does', () => {
  for (const { name, options, weightDecay, parameters } of reference.optimizers) {
    const label = `${name} ${JSON.stringify(options)}, weight decay ${weightDecay}`;
    test.each([
      ['float64', 1e-12],
      ['float32', 1e-6],
    ] as const)(`${label}, %s`, async (type, tolerance) => {
      const found = await trajectory(optimizer(name, options), type, weightDecay);
      for (const [step, expected] of parameters.entries())
        expect(distance(found[step]!, expected), `step ${step + 1}`).toBeLessThan(tolerance);
    });
  }

  test('every optimizer is among them', () => {
    expect(new Set(reference.optimizers.map(({ name }) => name))).toEqual(new Set(OPTIMIZER_NAMES));
  });
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
      "optimizer must be one of sgd, adam, adamw, rmsprop, adagrad, is 'lion'",
    ],
  ])('%s', (make, message) => {
    expect(make).toThrow(message);
  });
});
