import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttributeValue } from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import { openSession, Random } from '../../../src/runtime/index.js';
import { checkOp, doubles, type OpCase, opModel, singles } from './check-gradient.js';
import { checkCases, flags, shapes } from './draw.js';

// Operators of one variable are compared with central differences of the same function in JavaScript's float64, which
// does not need a float64 kernel of the operator.

const erf = (x: number): number => {
  // Maclaurin series, quick enough to the 15th digit for the small numbers here.
  let [term, sum] = [x, x];
  for (let n = 1; n < 120; n += 1) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
};
const softplus = (x: number): number => Math.log1p(Math.exp(x));
const hardSigmoid = (alpha: number, beta: number) => (x: number) =>
  Math.min(1, Math.max(0, alpha * x + beta));
const positive = (x: number): number => Math.abs(x) + 0.2;
const [selu, scale] = [1.6732631921768188, 1.0507010221481323];

interface Unary {
  readonly f: (x: number) => number;
  readonly map?: (x: number) => number;
  readonly attributes?: Record<string, AttributeValue>;
  readonly opset?: number;
  readonly name?: string;
}
const UNARY: readonly (readonly [string, Unary])[] = [
  ['Identity', { f: (x) => x }],
  ['Neg', { f: (x) => -x }],
  ['Abs', { f: Math.abs }],
  ['Reciprocal', { f: (x) => 1 / x, map: positive }],
  ['Exp', { f: Math.exp }],
  ['Log', { f: Math.log, map: positive }],
  ['Sqrt', { f: Math.sqrt, map: positive }],
  ['Sin', { f: Math.sin }],
  ['Cos', { f: Math.cos }],
  ['Tan', { f: Math.tan, map: Math.sin }],
  ['Sinh', { f: Math.sinh }],
  ['Cosh', { f: Math.cosh }],
  ['Atan', { f: Math.atan }],
  ['Asinh', { f: Math.asinh }],
  ['Erf', { f: erf }],
  ['Relu', { f: (x) => Math.max(0, x) }],
  ['LeakyRelu', { f: (x) => (x > 0 ? x : 0.3 * x), attributes: { alpha: { float: 0.3 } } }],
  ['ThresholdedRelu', { f: (x) => (x > 0.5 ? x : 0), attributes: { alpha: { float: 0.5 } } }],
  [
    'ThresholdedRelu',
    { f: (x) => (x > -0.5 ? x : 0), attributes: { alpha: { float: -0.5 } }, name: 'below 0' },
  ],
  ['Elu', { f: (x) => (x > 0 ? x : 1.5 * Math.expm1(x)), attributes: { alpha: { float: 1.5 } } }],
  ['Selu', { f: (x) => scale * (x > 0 ? x : selu * Math.expm1(x)) }],
  ['Celu', { f: (x) => (x > 0 ? x : 2 * Math.expm1(x / 2)), attributes: { alpha: { float: 2 } } }],
  ['Sigmoid', { f: (x) => 1 / (1 + Math.exp(-x)) }],
  ['Tanh', { f: Math.tanh }],
  ['Softplus', { f: softplus }],
  ['Softsign', { f: (x) => x / (1 + Math.abs(x)) }],
  ['HardSigmoid', { f: hardSigmoid(0.2, 0.5), map: (x) => 3 * x }],
  ['HardSwish', { f: (x) => x * hardSigmoid(1 / 6, 0.5)(x), map: (x) => 3 * x }],
  ['Mish', { f: (x) => x * Math.tanh(softplus(x)) }],
  ['Gelu', { f: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)), opset: 20 }],
  [
    'Gelu',
    {
      f: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
      attributes: { approximate: { string: 'tanh' } },
      opset: 20,
      name: 'tanh',
    },
  ],
];

/** Points where a kink lies closer are left out: differences straddle it. */
const KINKS = [0, 0.5, -0.5, 2.5, -2.5, 3, -3];

describe('operators of one variable', () => {
  for (const [op, { f, map = (x: number) => x, attributes, opset, name }] of UNARY) {
    test(name === undefined ? op : `${op}, ${name}`, async () => {
      const n = 96;
      const spec = { op, shapes: [[n]], attributes, type: 'float32' as const, opset };
      const x = new Random(7, op)
        .fillNormal(new Float32Array(n))
        .map(map)
        .map((value) => (KINKS.some((kink) => Math.abs(value - kink) < 1e-3) ? value + 0.01 : value));
      const made = await gradient(opModel(spec), { loss: 'dot', wrt: ['a'], output: 'y0' });
      await using session = await openSession(made.model);
      const results = await session.run({
        a: { type: 'float32', shape: [n], data: x },
        [made.target!]: { type: 'float32', shape: [n], data: new Float32Array(n).fill(1) },
      });
      const exact = results[made.gradients.get('a')!]!.data as Float32Array;
      const h = 1e-5;
      for (const [i, at] of x.entries()) {
        const difference = (f(at + h) - f(at - h)) / (2 * h);
        expect(Math.abs(exact[i]! - difference) / Math.max(1, Math.abs(difference)), `at ${at}`).toBeLessThan(
          2e-6,
        );
      }
    });
  }

  test('Relu and Abs have slope 0 at 0; Clip counts its bounds as inside', async () => {
    const slope = async (op: string, x: number, constants?: ReturnType<typeof singles>[]) => {
      const made = await gradient(opModel({ op, shapes: [[1]], type: 'float32', constants }), {
        loss: 'sum',
        wrt: ['a'],
      });
      await using session = await openSession(made.model);
      const results = await session.run({ a: { type: 'float32', shape: [1], data: Float32Array.of(x) } });
      return (results[made.gradients.get('a')!]!.data as Float32Array)[0];
    };
    const bounds = [singles('low', [-1], []), singles('high', [2], [])];
    expect(await slope('Relu', 0)).toBe(0);
    expect(await slope('Abs', 0)).toBe(0);
    expect(await slope('Clip', -1, bounds)).toBe(1);
    expect(await slope('Clip', 2, bounds)).toBe(1);
    expect(await slope('Clip', 2.5, bounds)).toBe(0);
  });

  test.each([
    [-1, 0.5, { a: [0, 1, 1, 0, 0], b: 1, c: 2 }],
    [1, 0.5, { a: [0, 0, 0, 0, 0], b: 0, c: 5 }],
    [-3, 3, { a: [1, 1, 1, 1, 1], b: 0, c: 0 }],
  ])('Clip to computed bounds %f and %f moves with them', async (low, high, expected) => {
    const made = await gradient(opModel({ op: 'Clip', shapes: [[5], [], []], type: 'float32' }), {
      loss: 'sum',
      wrt: ['a', 'b', 'c'],
    });
    await using session = await openSession(made.model);
    const results = await session.run({
      a: { type: 'float32', shape: [5], data: Float32Array.of(-2, -0.5, 0.3, 1, 2.5) },
      b: { type: 'float32', shape: [], data: Float32Array.of(low) },
      c: { type: 'float32', shape: [], data: Float32Array.of(high) },
    });
    const of = (name: string): number[] =>
      Array.from(results[made.gradients.get(name)!]!.data as Float32Array);
    expect([of('a'), of('b'), of('c')]).toEqual([expected.a, [expected.b], [expected.c]]);
  });
});

/** Two or three shapes that broadcast against each other. */
const broadcastable = (count: number) =>
  fc
    .record({
      full: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
      picks: fc.array(
        fc.record({ skip: fc.nat(3), ones: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }) }),
        {
          minLength: count,
          maxLength: count,
        },
      ),
      seed: fc.nat(1000),
    })
    .map(({ full, picks, seed }) => ({
      seed,
      shapes: picks.map(({ skip, ones }) =>
        full.slice(Math.min(skip, full.length)).map((dim, axis) => (ones[axis] ? 1 : dim)),
      ),
    }));

const awayFromZero = (x: number): number => x + 0.3 * Math.sign(x);

describe('operators on broadcast operands', () => {
  const cases: readonly (readonly [string, number, ((x: number) => number)?, string?])[] = [
    ['Add', 2],
    ['Sub', 2],
    ['Mul', 2],
    ['Div', 2, awayFromZero],
    ['Sum', 3],
    ['Max', 3],
    ['Min', 2],
    ['Pow', 2, positive],
  ];
  for (const [op, count, map] of cases) {
    test(op, async () => {
      await fc.assert(
        fc.asyncProperty(broadcastable(count), fc.boolean(), async ({ shapes, seed }, sum) =>
          checkOp({ op, shapes, map, seed, sum, tolerance: 1e-6 }),
        ),
        { numRuns: 10, seed: 1 },
      );
    });
  }

  test('Mean, PRelu', async () => {
    await fc.assert(
      fc.asyncProperty(broadcastable(3), fc.boolean(), async ({ shapes, seed }, sum) =>
        checkOp({ op: 'Mean', shapes, seed, sum, type: 'float32', step: 0.5, tolerance: 1e-5 }),
      ),
      { numRuns: 5, seed: 1 },
    );
    await checkCases(
      fc.tuple(shapes(1, 4), flags(4), fc.nat(3)).map(
        ([shape, ones, skip]): OpCase => ({
          op: 'PRelu',
          shapes: [
            shape,
            shape.map((dim, axis) => (ones[axis] ? 1 : dim)).slice(Math.min(skip, shape.length)),
          ],
          map: awayFromZero,
          type: 'float32',
        }),
      ),
    );
  });

  test('Pow with a constant exponent', async () => {
    await checkCases(
      fc.tuple(shapes(0, 3), fc.constantFrom(0, 0.5, 1, 2, 3, -1.5)).map(
        ([shape, power]): OpCase => ({
          op: 'Pow',
          shapes: [shape],
          constants: [doubles('p', [power], [])],
          map: Number.isInteger(power) && power >= 0 ? undefined : positive,
        }),
      ),
      10,
    );
  });

  test('Clip with bounds of any kind, and activations with any parameters', async () => {
    // As far from the kinks as the steps of the differences reach.
    const away =
      (...kinks: readonly number[]) =>
      (x: number): number =>
        kinks.reduce((at, kink) => (Math.abs(at - kink) < 0.02 ? kink + 0.05 : at), x);
    const bound = fc.option(fc.integer({ min: -10, max: 10 }));
    await checkCases(
      fc.tuple(shapes(0, 2), bound, bound).map(([shape, first, second]): OpCase => {
        const both = first !== null && second !== null;
        const low = first === null ? null : Math.min(first, both ? second : first) / 10;
        const high = second === null ? null : Math.max(second, both ? first : second) / 10;
        return {
          op: 'Clip',
          shapes: [shape],
          type: 'float32',
          constants: [
            low === null ? '' : singles('low', [low], []),
            ...(high === null ? [] : [singles('high', [high], [])]),
          ],
          map: away(low ?? 9, high ?? 9),
        };
      }),
    );
    const parameter = fc.integer({ min: 1, max: 20 }).map((tenths) => tenths / 10);
    await checkCases(
      fc.tuple(shapes(0, 2), parameter, parameter).chain(([shape, alpha, beta]) =>
        fc.constantFrom<OpCase>(
          ...['LeakyRelu', 'Elu', 'Celu', 'ThresholdedRelu'].map(
            (op): OpCase => ({
              op,
              shapes: [shape],
              type: 'float32',
              attributes: { alpha: { float: alpha } },
              map: away(0, alpha),
            }),
          ),
          {
            op: 'HardSigmoid',
            shapes: [shape],
            type: 'float32',
            attributes: { alpha: { float: alpha }, beta: { float: beta } },
            map: away(-beta / alpha, (1 - beta) / alpha),
          },
          {
            op: 'Selu',
            shapes: [shape],
            type: 'float32',
            attributes: { alpha: { float: alpha }, gamma: { float: beta } },
            map: away(0),
          },
        ),
      ),
      12,
    );
  });

  test('operands that tie share the gradient', async () => {
    const made = await gradient(opModel({ op: 'Max', shapes: [[3], [3], [3]] }), {
      loss: 'sum',
      wrt: ['a', 'b', 'c'],
    });
    await using session = await openSession(made.model);
    const of = (...data: number[]) => ({
      type: 'float64' as const,
      shape: [3],
      data: Float64Array.from(data),
    });
    const results = await session.run({ a: of(1, 2, 5), b: of(1, 2, 3), c: of(0, 2, 4) });
    const found = ['a', 'b', 'c'].map((name) => [
      ...(results[made.gradients.get(name)!]!.data as Float64Array),
    ]);
    expect(found).toEqual([
      [0.5, 1 / 3, 1],
      [0.5, 1 / 3, 0],
      [0, 1 / 3, 0],
    ]);
  });
});
