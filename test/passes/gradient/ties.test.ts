import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gradient } from '../../../src/passes/gradient/index.js';
import { openSession, Random, type RuntimeTensor } from '../../../src/runtime/index.js';
import { ints, type OpCase, opModel, size } from './check-gradient.js';
import { axesOf, integers, shapes } from './draw.js';

/**
 * Where elements tie, or stand on a kink, there is no gradient, and finite differences say nothing. What a rule gives there
 * must be a sub-gradient: of a convex f, f(z) >= f(x) + <g, z - x> for every z (Rockafellar 1970, section 23), of a concave
 * one the other way round. So no element that is no maximum has a part of it, and the parts add up.
 */
async function checkSubgradient(spec: OpCase, numbers: readonly number[], sign: 1 | -1): Promise<void> {
  const type = spec.type ?? 'float64';
  const wrt = spec.shapes.map((_, i) => ['a', 'b', 'c'][i]!);
  const made = await gradient(opModel({ type, ...spec }), { loss: 'dot', wrt, output: 'y0' });
  await using session = await openSession(made.model);
  const target = made.model.graph.inputs.find(({ name }) => name === made.target)!.shape as number[];
  const random = new Random(numbers[0]!, 'ties');
  // Weights that are not negative leave a sum of convex functions convex.
  const weights = Array.from({ length: size(target) }, () => random.integer(4));
  const tensor = (shape: readonly number[], data: readonly number[]): RuntimeTensor => ({
    type,
    shape,
    data: type === 'float64' ? Float64Array.from(data) : Float32Array.from(data),
  });
  let next = 0;
  const x = spec.shapes.map((shape) =>
    Array.from({ length: size(shape) }, () => numbers[next++ % numbers.length]!),
  );
  const run = async (points: readonly (readonly number[])[]): Promise<Record<string, RuntimeTensor>> =>
    session.run({
      ...Object.fromEntries(points.map((data, i) => [wrt[i]!, tensor(spec.shapes[i]!, data)])),
      [made.target!]: tensor(target, weights),
    });
  const here = await run(x);
  const slopes = wrt.map((name) => [...(here[made.gradients.get(name)!]!.data as Float64Array)]);
  const value = Number(here[made.loss]!.data[0]);
  for (let trial = 0; trial < 12; trial += 1) {
    const z = x.map((data) => data.map((at) => (random.integer(2) === 0 ? at : at + random.normal())));
    const there = Number((await run(z))[made.loss]!.data[0]);
    const linear = x.reduce(
      (sum, data, i) => sum + data.reduce((part, at, k) => part + slopes[i]![k]! * (z[i]![k]! - at), 0),
      value,
    );
    expect(sign * (there - linear)).toBeGreaterThan(-1e-5 * Math.max(1, Math.abs(there)));
  }
}

/** Few numbers, so that they tie. */
const few = integers(64, -1, 1);

async function checkTies(cases: fc.Arbitrary<OpCase>, sign: 1 | -1 = 1, numRuns = 5): Promise<void> {
  await fc.assert(
    fc.asyncProperty(cases, few, (spec, numbers) => checkSubgradient(spec, numbers, sign)),
    { numRuns, seed: 1 },
  );
}

describe('where elements tie, or stand on a kink, the gradient is a sub-gradient', () => {
  test('Max and Min of two and three that are broadcast', async () => {
    const operands = fc
      .tuple(
        shapes(1, 3),
        fc.array(fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }), { minLength: 2, maxLength: 3 }),
      )
      .map(([full, ones]) => ones.map((one) => full.map((dim, axis) => (one[axis] ? 1 : dim))));
    await checkTies(operands.map((of) => ({ op: 'Max', shapes: of })));
    await checkTies(
      operands.map((of) => ({ op: 'Min', shapes: of })),
      -1,
    );
  });

  test('ReduceMax, ReduceMin, ReduceL1 and ReduceL2, which has a kink at 0', async () => {
    const drawn = shapes(1, 3).chain((shape) => fc.tuple(fc.constant(shape), axesOf(shape, 1), fc.nat(1)));
    const reduction = (op: string) =>
      drawn.map(
        ([shape, axes, keep]): OpCase => ({
          op,
          shapes: [shape],
          constants: [ints('axes', axes)],
          attributes: { keepdims: { int: keep } },
        }),
      );
    for (const op of ['ReduceMax', 'ReduceL1', 'ReduceL2']) await checkTies(reduction(op));
    await checkTies(reduction('ReduceMin'), -1);
  });

  test('MaxPool with overlap and without, GlobalMaxPool', async () => {
    const drawn = fc.tuple(integers(2, 1, 3), integers(2, 1, 3), shapes(2, 2), fc.boolean());
    await checkTies(
      drawn.map(
        ([kernel, strides, extra, isTiled]): OpCase => ({
          op: 'MaxPool',
          type: 'float32',
          shapes: [[1, 2, ...kernel.map((k, i) => k + extra[i]!)]],
          attributes: { kernel_shape: { ints: kernel }, strides: { ints: isTiled ? kernel : strides } },
        }),
      ),
      1,
      10,
    );
    await checkTies(
      shapes(4, 4).map((shape): OpCase => ({ op: 'GlobalMaxPool', type: 'float32', shapes: [shape] })),
    );
  });

  test('Relu, Abs and the like at 0', async () => {
    for (const [op, attributes] of [['Relu'], ['Abs'], ['LeakyRelu', { alpha: { float: 0.5 } }]] as const) {
      await checkTies(
        shapes(0, 2).map((shape): OpCase => ({ op, type: 'float32', shapes: [shape], attributes })),
        1,
        3,
      );
    }
  });
});
