import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  EPSILON,
  type FloatType,
  type Model,
  type NodeSpec,
  narrow,
  Tensor,
} from '../../../src/graph/index.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { openSession } from '../../../src/runtime/session/session.js';
import { buildModel } from '../../support/build.js';
import { collapsed, expectSameFunction, TOLERANCE } from '../laws.js';
import { copyOf, opsOf, valuesOf, weight } from '../models.js';

const filled = (name: string, shape: readonly number[], value: number, type: FloatType = 'float32'): Tensor =>
  Tensor.of(
    name,
    type,
    shape,
    narrow(type, new Float64Array(shape.reduce((size, dim) => size * dim, 1)).fill(value)),
  );

const vector = (name: string, values: readonly number[], type: FloatType = 'float32'): Tensor =>
  Tensor.of(name, type, [values.length], narrow(type, Float64Array.from(values)));

function network(
  x: readonly number[],
  nodes: readonly NodeSpec[],
  initializers: readonly Tensor[],
  opset = 17,
): Model {
  const type = initializers[0]!.dataType;
  return buildModel({ inputs: [['x', type, x]], outputs: [['y', type]], nodes, initializers, opset });
}

const node = (
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: NonNullable<NodeSpec['attributes']> = {},
): NodeSpec => ({ opType, name: `${opType}_${output}`, inputs, outputs: [output], attributes });

function convNorm(variance: readonly number[], epsilon: number, scale = 1, shift = 0): Model {
  return network(
    [2, 3, 5, 5],
    [
      node('Conv', ['x', 'w'], 'c'),
      node('BatchNormalization', ['c', 's', 't', 'mean', 'variance'], 'y', { epsilon: { float: epsilon } }),
    ],
    [
      weight('w', [4, 3, 1, 1]),
      filled('s', [4], scale),
      filled('t', [4], shift),
      filled('mean', [4], 0),
      vector('variance', variance),
    ],
  );
}

const products = (type: FloatType, size: number): Model =>
  network(
    [3, 6],
    [node('MatMul', ['x', 'w'], 'h'), node('MatMul', ['h', 'v'], 'y')],
    [weight('w', [6, 6], type, size), weight('v', [6, 6], type, size)],
  );

const multiplied = (type: FloatType, size: number, by: readonly number[], op = 'Mul'): Model =>
  network(
    [3, 6],
    [node('MatMul', ['x', 'w'], 'h'), node(op, ['h', 'k'], 'y')],
    [weight('w', [6, by.length], type, size), vector('k', by, type)],
  );

const gemms = (type: FloatType, size: number, first: NonNullable<NodeSpec['attributes']>): Model =>
  network(
    [3, 6],
    [node('Gemm', ['x', 'w', 'b'], 'h', first), node('Gemm', ['h', 'v', 'b'], 'y')],
    [weight('w', [6, 6], type, size), weight('v', [6, 6], type, size), weight('b', [6], type, size)],
  );

/** What folds where the numbers are tame, and must not where they are not. */
const CASES: readonly (readonly [what: string, tame: Model, wild: Model, reason: RegExp])[] = [
  ['a product overflows float16', products('float16', 1), products('float16', 2000), /overflow float16/],
  ['a product overflows float32', products('float32', 1), products('float32', 1e25), /overflow float32/],
  ['a product overflows bfloat16', products('bfloat16', 1), products('bfloat16', 1e25), /overflow bfloat16/],
  ['a product overflows float64', products('float64', 1), products('float64', 1e200), /not be finite/],
  ['a product vanishes in float16', products('float16', 1), products('float16', 1e-4), /vanish in float16/],
  ['a product vanishes in float32', products('float32', 1), products('float32', 1e-25), /vanish in float32/],
  ['a product vanishes in float64', products('float64', 1), products('float64', 1e-200), /vanish/],
  [
    'a factor makes one output vanish in float64',
    multiplied('float64', 1, [1, 2, 3]),
    multiplied('float64', 1e-200, [1e200, 1e-200, 1]),
    /channel 1 would vanish/,
  ],
  [
    'numbers without a weight vanish in float64',
    network(
      [3, 6],
      [node('Mul', ['x', 'a'], 'h'), node('Mul', ['h', 'b'], 'y')],
      [filled('a', [6], 2, 'float64'), filled('b', [6], 2, 'float64')],
    ),
    network(
      [3, 6],
      [node('Mul', ['x', 'a'], 'h'), node('Mul', ['h', 'b'], 'y')],
      [filled('a', [6], 1e-200, 'float64'), filled('b', [6], 1e-200, 'float64')],
    ),
    /vanish/,
  ],
  ['a product loses its bits in float32', products('float32', 1), products('float32', 1e-20), /vanish/],
  ['a factor overflows', multiplied('float16', 1, [2, 2]), multiplied('float16', 1e3, [2, 2e3]), /overflow/],
  [
    'a factor makes one output vanish',
    multiplied('float32', 1e-3, [1, 2, 3]),
    multiplied('float32', 1e-3, [1, 1e-38, 1]),
    /channel 1 would vanish/,
  ],
  [
    'a divisor of zero',
    multiplied('float32', 1, [1, 2], 'Div'),
    multiplied('float32', 1, [1, 0], 'Div'),
    /finite/,
  ],
  [
    'a divisor that is small',
    multiplied('float16', 1, [1, 2], 'Div'),
    multiplied('float16', 1e3, [1, 1e-3], 'Div'),
    /overflow/,
  ],
  [
    'alpha',
    gemms('float32', 1, { alpha: { float: 2 } }),
    gemms('float32', 1e10, { alpha: { float: 1e30 } }),
    /weight would overflow/,
  ],
  [
    'a small alpha',
    gemms('float32', 1, { alpha: { float: 0.5 } }),
    gemms('float32', 1e-10, { alpha: { float: 1e-25 }, beta: { float: 0 } }),
    /vanish|overflow/,
  ],
  [
    'beta, in the bias alone',
    gemms('float32', 1, { beta: { float: 2 } }),
    gemms('float32', 1e10, { beta: { float: 1e30 } }),
    /bias would overflow/,
  ],
  ['a variance of zero', convNorm([1, 2, 3, 4], 0), convNorm([1, 0, 3, 4], 0), /finite/],
  ['a variance below zero', convNorm([1, 2, 3, 4], 1e-5), convNorm([1, 2, -1, 4], 1e-5), /finite/],
  ['a normalization that vanishes', convNorm([1, 1, 1, 1], 0), convNorm([1, 1, 1, 1], 0, 1e-42), /vanish/],
  [
    'summands',
    network(
      [3, 6],
      [node('Add', ['x', 'a'], 'h'), node('MatMul', ['h', 'w'], 'y')],
      [weight('w', [6, 4], 'float16'), filled('a', [6], 1, 'float16')],
    ),
    network(
      [3, 6],
      [node('Add', ['x', 'a'], 'h'), node('MatMul', ['h', 'w'], 'y')],
      [filled('w', [6, 4], 2, 'float16'), filled('a', [6], 6e4, 'float16')],
    ),
    /bias would overflow/,
  ],
  [
    'numbers without a weight',
    network(
      [3, 6],
      [node('Mul', ['x', 'a'], 'h'), node('Mul', ['h', 'b'], 'y')],
      [filled('a', [6], 2), filled('b', [6], 2)],
    ),
    network(
      [3, 6],
      [node('Mul', ['x', 'a'], 'h'), node('Mul', ['h', 'b'], 'y')],
      [filled('a', [6], 1e-30), filled('b', [6], 1e-30)],
    ),
    /vanish/,
  ],
];

test.each(CASES)('%s: refused, with the reason', async (_what, tame, wild, reason) => {
  expect((await collapsed(tame)).account.rewritten).toHaveLength(1);
  for (const options of [{}, { dryRun: true }, { force: true }]) {
    const { model, account } = await collapsed(wild, options);
    expect(account.rewritten).toEqual([]);
    expect(account.skipped.map((skip) => skip.reason)).toContainEqual(expect.stringMatching(reason));
    expect(opsOf(model)).toEqual(opsOf(wild));
  }
});

test('with chainsOnly, and where the chain says that it is one', async () => {
  for (const wild of [products('float16', 2000), products('float32', 1e-25)]) {
    const { account } = await collapsed(wild, { chainsOnly: true });
    expect(account.rewritten).toEqual([]);
    expect(account.skipped).toHaveLength(1);
  }
  const model = network([3, 6], [node('MatMul', ['x', 'w'], 'y')], [weight('w', [6, 6])]);
  await model.apply(expand({ depth: 3 }));
  const initializers = [...model.graph.initializers.values()];
  model.graph.edit({
    setInitializers: initializers.map((tensor) =>
      Tensor.of(
        tensor.name,
        'float32',
        tensor.shape,
        Float32Array.from(tensor.floats(), (value) => value * 1e13),
      ),
    ),
  });
  for (const chainsOnly of [true, false]) {
    const { model: left, account } = await collapsed(model, { chainsOnly });
    expect(account.rewritten).toEqual([]);
    expect(account.skipped.map((skip) => skip.reason)).toEqual([
      expect.stringMatching('weight would overflow float32'),
    ]);
    expect(opsOf(left)).toEqual(['MatMul', 'MatMul', 'MatMul']);
  }
});

test('what fits within a region that does not is folded', async () => {
  const model = network(
    [3, 6],
    [node('MatMul', ['x', 'w'], 'h'), node('MatMul', ['h', 'v'], 'p'), node('Mul', ['p', 'k'], 'y')],
    [
      weight('w', [6, 6], 'float16', 100),
      weight('v', [6, 6], 'float16', 1),
      filled('k', [6], 2e4, 'float16'),
    ],
  );
  const { model: folded, account } = await collapsed(model);
  expect(account.rewritten.map(({ fromOps }) => fromOps)).toEqual([['MatMul', 'MatMul']]);
  expect(account.skipped.map((skip) => skip.reason)).toEqual([expect.stringMatching('overflow float16')]);
  expect(opsOf(folded)).toEqual(['MatMul', 'Mul']);
  const rest = network(
    [3, 6],
    [
      node('MatMul', ['x', 'w'], 'h'),
      node('Relu', ['h'], 'r'),
      node('Mul', ['r', 'j'], 'p'),
      node('MatMul', ['p', 'v'], 'q'),
      node('Mul', ['q', 'k'], 'y'),
    ],
    [
      weight('w', [6, 6], 'float16', 1),
      weight('v', [6, 6], 'float16', 1),
      filled('j', [6], 300, 'float16'),
      filled('k', [6], 300, 'float16'),
    ],
  );
  const { model: part, account: made } = await collapsed(rest);
  expect(made.rewritten).toHaveLength(1);
  expect(opsOf(part)).toHaveLength(4);
  const { account: planned } = await collapsed(rest, { dryRun: true });
  expect(planned.rewritten).toEqual(made.rewritten);
});

test('an output that is its bias alone may lose its weights, all of them may not', async () => {
  const dead = (scales: readonly number[]): Model =>
    network(
      [2, 3, 5, 5],
      [node('Conv', ['x', 'w'], 'c'), node('BatchNormalization', ['c', 's', 't', 'm', 'v'], 'y')],
      [
        weight('w', [4, 3, 1, 1]),
        vector('s', scales),
        filled('t', [4], 0.5),
        filled('m', [4], 0),
        filled('v', [4], 1),
      ],
    );
  const model = dead([1, 1e-42, 2, 1]);
  const { model: folded, account } = await collapsed(model);
  expect(account.rewritten).toHaveLength(1);
  await expectSameFunction(model, folded, TOLERANCE.float32);
  expect((await collapsed(dead([1e-42, 1e-42, 1e-42, 1e-42]))).account.rewritten).toEqual([]);
});

test('with explain, what computes nothing finite is not folded', async () => {
  const model = network(
    [3, 6],
    [node('MatMul', ['x', 'w'], 'h'), node('Mul', ['h', 'k'], 'y')],
    [weight('w', [6, 6], 'float16', 6e4), filled('k', [6], 1e-4, 'float16')],
  );
  for (const dryRun of [true, false]) {
    const { account } = await collapsed(model, { explain: true, dryRun });
    expect(account.rewritten).toEqual([]);
    expect(account.skipped.map((skip) => skip.reason)).toContainEqual(expect.stringMatching('finite'));
  }
});

test('what is zero, or cancels, is folded: nothing is lost', async () => {
  const zeros = multiplied('float64', 1, [1, 0, 3]);
  const { model: folded, account } = await collapsed(zeros);
  expect(account.rewritten).toHaveLength(1);
  await expectSameFunction(zeros, folded, TOLERANCE.float64);
});

test('where nodes overflow within, the folded node computes what they would in a larger type', async () => {
  const model = network(
    [2, 1],
    [node('Mul', ['x', 'k'], 'h'), node('MatMul', ['h', 'w'], 'y')],
    [filled('k', [1], 1e30), filled('w', [1, 1], 1e-30)],
  );
  const { model: folded, account } = await collapsed(model);
  expect(account.rewritten).toHaveLength(1);
  const run = async (of: Model): Promise<number[]> => {
    // As written: onnxruntime would fold it too.
    await using session = await openSession(of, { optimization: 'disabled' });
    const data = Float32Array.of(0.5, 1e10);
    const { y } = await session.run({ x: { type: 'float32', shape: [2, 1], data } });
    return [...(y!.data as Float32Array)];
  };
  const [was, is] = [await run(model), await run(folded)];
  expect(was[1]).toBe(Number.POSITIVE_INFINITY);
  expect(is[1]! / 1e10).toBeCloseTo(1, 5);
  expect(is[0]! / was[0]!).toBeCloseTo(1, 5);
  // A probe compares what the nodes compute a number of.
  expect((await collapsed(model, { explain: true })).account.rewritten[0]?.probe).toBeLessThan(1e-5);
});

test('whatever the scales of factors, outputs and types, what is folded is right for each output', async () => {
  const exponent = fc.integer({ min: -24, max: 22 });
  let [folds, refusals] = [0, 0];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<FloatType>('float32', 'float16'),
      fc.tuple(exponent, exponent),
      fc.array(exponent, { minLength: 3, maxLength: 3 }),
      fc.boolean(),
      async (type, [first, second], each, hasScale) => {
        // The range of float16 is about a tenth of float32's, in powers.
        const by = type === 'float32' ? 1 : 0.15;
        const power = (of: number): number => 2 ** Math.round(Math.log2(10) * of * by);
        const scales = filled('k', [3], 1, type);
        const model = network(
          [4, 6],
          [node('MatMul', ['x', 'w'], 'h'), node('MatMul', ['h', 'v'], 'p'), node('Mul', ['p', 'k'], 'y')],
          [
            weight('w', [6, 4], type, power(first)),
            weight('v', [4, 3], type, power(second)),
            hasScale ? vector('k', each.map(power), type) : scales,
          ],
        );
        const exact = exactProduct(model);
        const { model: folded, account } = await collapsed(model, { force: true });
        if (opsOf(folded).length > 1) {
          expect(account.skipped.map((skip) => skip.reason)).toContainEqual(
            expect.stringMatching(/vanish|overflow/),
          );
          refusals += 1;
          return;
        }
        folds += 1;
        const made = valuesOf(folded, folded.graph.nodes[0]!.inputs[1]!);
        for (let output = 0; output < 3; output += 1) {
          const at = [0, 1, 2, 3, 4, 5].map((input) => 3 * input + output);
          const size = at.reduce((sum, i) => sum + Math.abs(exact[i]!), 0);
          const lost = at.reduce((sum, i) => sum + Math.abs(exact[i]! - made[i]!), 0);
          expect(lost).toBeLessThanOrEqual(20 * EPSILON[type] * size);
        }
      },
    ),
    { numRuns: 60, seed: 5 },
  );
  expect(Math.min(folds, refusals)).toBeGreaterThan(5);
});

function exactProduct(model: Model): Float64Array {
  const [w, v, k] = ['w', 'v', 'k'].map((name) => valuesOf(model, name));
  return Float64Array.from({ length: 18 }, (_, i) => {
    let sum = 0;
    for (let h = 0; h < 4; h += 1) sum += w![4 * Math.floor(i / 3) + h]! * v![3 * h + (i % 3)]!;
    return sum * k![i % 3]!;
  });
}

test.each([
  7, 9, 13,
])('a BatchNormalization of operator set %i with the outputs of training is left; with one output it folds', async (opset) => {
  const model = (outputs: readonly string[]): Model =>
    network(
      [4, 3, 8, 8],
      [
        node('Conv', ['x', 'w'], 'c'),
        { opType: 'BatchNormalization', name: 'bn', inputs: ['c', 's', 's', 's', 's'], outputs },
      ],
      [weight('w', [8, 3, 3, 3]), filled('s', [8], 4)],
      opset,
    );
  for (const outputs of [['y'], ['y', '', '', '', '']])
    expect((await collapsed(model(outputs))).account.rewritten).toHaveLength(1);
  const { account } = await collapsed(model(['y', 'mean', 'var', 'saved_mean', 'saved_var']));
  expect(account.rewritten).toEqual([]);
  expect(account.skipped.map((skip) => skip.reason)).toEqual([expect.stringMatching('training mode')]);
});

test.each([
  ['com.microsoft', 'uint16'],
  ['com.microsoft', 'int8'],
  ['', 'int8'],
] as const)('a weight behind DequantizeLinear of %o, of %s, is quantized', async (domain, type) => {
  const integers = (values: readonly number[]): Uint16Array | Int8Array =>
    type === 'uint16' ? Uint16Array.from(values) : Int8Array.from(values);
  const model = buildModel({
    inputs: [['x', 'float32', [1, 8, 8, 8]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'DequantizeLinear', domain, inputs: ['q', 's', 'z'], outputs: ['w'] },
      node('Conv', ['x', 'w'], 'c'),
      node('Mul', ['c', 's'], 'y'),
    ],
    initializers: [
      Tensor.of('q', type, [16, 8, 3, 3], integers(Array.from({ length: 1152 }, (_, i) => (i * 37) % 101))),
      Tensor.of('s', 'float32', [], Float32Array.of(0.01)),
      Tensor.of('z', type, [], integers([50])),
    ],
    opset: { '': 17, 'com.microsoft': 1 },
  });
  const copy = await copyOf(model);
  const [account] = await copy.apply(expand());
  expect(account.rewritten).toEqual([]);
  expect(account.skipped.map((skip) => skip.reason)).toEqual([expect.stringMatching('quantized')]);
  expect((await collapsed(model)).account.rewritten).toEqual([]);
});

/** BatchNormalization behind a Relu, then a product of matrices: one node on matrices, two on what has more axes. */
function normalizedMatrix(x: readonly (number | undefined)[], noted: readonly number[] | undefined): Model {
  return buildModel({
    inputs: [['x', 'float32', x]],
    outputs: [['y', 'float32']],
    values: noted ? [['r', 'float32', noted]] : [],
    nodes: [
      node('Relu', ['x'], 'r'),
      node('BatchNormalization', ['r', 's', 't', 'm', 'v'], 'n'),
      node('MatMul', ['n', 'w'], 'y'),
    ],
    initializers: [
      vector('s', [1, 2, 3]),
      vector('t', [4, 5, 6]),
      vector('m', [0.1, 0.2, 0.3]),
      vector('v', [1, 2, 3]),
      weight('w', [3, 5]),
    ],
  });
}

test('what nodes compute counts, not what the file notes of it', async () => {
  for (const noted of [undefined, [2, 3], [2, 3, 3], [2, 3, 3, 3]]) {
    const matrix = normalizedMatrix([2, 3], noted);
    const { model: folded, account } = await collapsed(matrix);
    expect(account.rewritten).toHaveLength(1);
    await expectSameFunction(matrix, folded);
    const deeper = normalizedMatrix([2, 3, 3], noted);
    const { model: left, account: none } = await collapsed(deeper);
    expect(none.rewritten).toEqual([]);
    await expectSameFunction(deeper, left);
  }
});

test('an axis that an input leaves open is open behind it, whatever is noted', async () => {
  const model = (batch: number | undefined): Model =>
    buildModel({
      inputs: [['x', 'float32', [batch, 2, 3]]],
      outputs: [['y', 'float32']],
      values: [
        ['r', 'float32', [1, 2, 3]],
        ['h', 'float32', [1, 2, 6]],
        ['t', 'float32', [2, 1, 6]],
      ],
      nodes: [
        node('Relu', ['x'], 'r'),
        node('MatMul', ['r', 'w'], 'h'),
        node('Transpose', ['h'], 't', { perm: { ints: [1, 0, 2] } }),
        node('Mul', ['t', 'k'], 'y'),
      ],
      initializers: [weight('w', [3, 6]), filled('k', [6], 3)],
    });
  for (const batch of [1, 4, undefined]) {
    const { model: folded } = await collapsed(model(batch));
    expect(opsOf(folded)).not.toContain('Reshape');
    await expectSameFunction(model(batch), folded);
  }
});

test('a scale that leaves a normalization only the rounding of its mean is not folded into it', async () => {
  const scaled = (scale: number): Model =>
    network(
      [2, 3, 4],
      [node('Mul', ['x', 'k'], 'm'), node('BatchNormalization', ['m', 's', 't', 'mean', 'variance'], 'y')],
      [
        filled('k', [3, 1], scale),
        filled('s', [3], 1 / scale),
        filled('t', [3], 0.5),
        filled('mean', [3], 1e6),
        filled('variance', [3], 1),
      ],
    );
  const { model, account } = await collapsed(scaled(1e6));
  expect(account.rewritten).toEqual([]);
  expect(account.skipped[0]?.reason).toMatch(/bias of channel 0 .* and the mean would cancel/);
  expect(opsOf(model)).toEqual(['Mul', 'BatchNormalization']);
  const tame = await collapsed(scaled(2));
  expect(tame.account.rewritten).toHaveLength(1);
  await expectSameFunction(scaled(2), tame.model);
});

test('float64 branches that cancel exactly are folded, not said to vanish', async () => {
  const model = network(
    [2, 3],
    [
      node('MatMul', ['x', 'w'], 'a'),
      node('MatMul', ['x', 'w'], 'b'),
      node('Sub', ['a', 'b'], 'd'),
      node('Add', ['d', 't'], 'y'),
    ],
    [filled('w', [3, 4], 0.5, 'float64'), filled('t', [4], 2, 'float64')],
  );
  const { model: after, account } = await collapsed(model);
  expect(account.skipped.filter(({ reason }) => reason.includes('vanish'))).toEqual([]);
  await expectSameFunction(model, after);
});
