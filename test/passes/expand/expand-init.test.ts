import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Model } from '../../../src/graph/index.js';
import { smallSvd } from '../../../src/linalg/kernels/index.js';
import type { ExpandInit, ExpandOptions } from '../../../src/passes/expand/expand.js';
import { activationGain } from '../../../src/passes/expand/fresh.js';
import { Random } from '../../../src/runtime/random.js';
import { openSession } from '../../../src/runtime/session/session.js';
import { buildModel } from '../../support/build.js';
import { expanded, expectRestored, expectSameFunction, TOLERANCE } from '../laws.js';
import { type Layer, lowRank, oneLayer, relativeError, stack, valuesOf, weight } from '../models.js';

const FRESH = [
  'fresh:kaiming',
  'fresh:xavier',
  'fresh:orthogonal',
  'fresh:normal',
  'fresh:uniform',
] as const satisfies ExpandInit[];

describe('orthogonal', () => {
  test('the function stays, and collapse gives the weight back', async () => {
    const cases = fc.record({
      rows: fc.integer({ min: 1, max: 9 }),
      columns: fc.integer({ min: 1, max: 9 }),
      rank: fc.integer({ min: 0, max: 9 }),
      depth: fc.integer({ min: 2, max: 4 }),
      width: fc.constantFrom(1, 2.5),
      type: fc.constantFrom('float32' as const, 'float64' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, columns, rank, depth, width, type }) => {
        const w = lowRank('w', rows, columns, Math.min(rank, rows, columns), type);
        const model = oneLayer({ opType: 'MatMul', x: [3, rows], y: [3, columns], weight: w });
        const { expanded: after } = await expectRestored(
          model,
          { depth, width, init: 'orthogonal' },
          type === 'float32' ? 2e-6 : 1e-13,
        );
        await expectSameFunction(model, after.model, TOLERANCE[type]);
      }),
      { numRuns: 40, seed: 20260301 },
    );
  });

  test('every factor has the singular values s^(1/depth), neighbours are balanced, and no factor is diagonal', async () => {
    const n = 8;
    const w = weight('w', [n, n], 'float64');
    const depth = 3;
    const model = oneLayer({ opType: 'MatMul', x: [2, n], y: [2, n], weight: w });
    const { model: after } = await expanded(model, { depth, init: 'orthogonal' });
    const { values } = smallSvd(w.floats(), n, n);
    const factors = Array.from({ length: depth }, (_, i) => valuesOf(after, `w/overparam/${i}`));
    for (const factor of factors) {
      const own = smallSvd(factor, n, n).values;
      expect(
        relativeError(
          values.map((value) => value ** (1 / depth)),
          own,
        ),
      ).toBeLessThan(1e-12);
      expect([...factor].filter((value) => Math.abs(value) < 1e-6).length).toBeLessThan(n);
    }
    for (let i = 0; i + 1 < depth; i += 1) {
      // Of matrices in x out: W_i^T W_i = W_{i+1} W_{i+1}^T.
      const [a, b] = [factors[i]!, factors[i + 1]!];
      for (let p = 0; p < n; p += 1) {
        for (let q = 0; q < n; q += 1) {
          let [left, right] = [0, 0];
          for (let l = 0; l < n; l += 1) {
            left += a[l * n + p]! * a[l * n + q]!;
            right += b[p * n + l]! * b[q * n + l]!;
          }
          expect(Math.abs(left - right)).toBeLessThan(1e-12);
        }
      }
    }
  });

  test('of grouped convolutions', async () => {
    const model = oneLayer({
      opType: 'Conv',
      x: [1, 6, 5, 5],
      y: [1, 9, 3, 3],
      weight: weight('w', [9, 2, 3, 3]),
      bias: weight('b', [9]),
      attributes: { group: { int: 3 } },
    });
    const { expanded: after } = await expectRestored(model, { depth: 3, width: 2, init: 'orthogonal' });
    await expectSameFunction(model, after.model);
  });
});

/** Variance of the outputs for normal inputs, over channels and places. */
async function outputVariance(model: Model, shape: readonly number[]): Promise<number> {
  const data = new Random(5).fillNormal(new Float32Array(shape.reduce((a, b) => a * b, 1)));
  await using session = await openSession(model);
  const { y } = await session.run({ x: { type: 'float32', shape, data } });
  const values = y!.data as Float32Array;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

describe('fresh weights', () => {
  const gemm: Layer = { opType: 'MatMul', x: [64, 96], y: [64, 128], weight: weight('w', [96, 128]) };
  const conv: Layer = {
    opType: 'Conv',
    x: [4, 32, 12, 12],
    y: [4, 64, 10, 10],
    weight: weight('w', [64, 16, 3, 3]),
    attributes: { group: { int: 2 } },
  };

  /** What one layer of the init does to the variance of its input, by the books. */
  function oneLayerVariance(init: (typeof FRESH)[number], op: string, fanIn: number, fanOut: number): number {
    if (init === 'fresh:kaiming') return op === 'Conv' ? fanIn / fanOut : 1;
    return init === 'fresh:xavier' ? (2 * fanIn) / (fanIn + fanOut) : 1;
  }

  test.each(FRESH)('%s: a chain of any depth and width gives the variance of one layer', async (init) => {
    for (const layer of [gemm, conv]) {
      const [fanIn, fanOut] = layer === gemm ? [96, 128] : [16 * 9, 32 * 9];
      const expected = oneLayerVariance(init, layer.opType, fanIn, fanOut);
      for (const [depth, width, gain] of [
        [2, 1, 1],
        [3, 2, 1],
        [4, 0.75, Math.SQRT2],
      ] as const) {
        const { model } = await expanded(oneLayer(layer), { init, depth, width, gain });
        const variance = await outputVariance(model, layer.x);
        // Hidden layers of 24 to 256 units: the spread of their products' variance is some 10%.
        const ratio = variance / (expected * gain * gain);
        expect(Math.abs(Math.log(ratio)), `${layer.opType} ${depth} ${width}: ${ratio}`).toBeLessThan(0.3);
      }
    }
  });

  test('Gemm with alpha, and a transposed convolution', async () => {
    const alpha = oneLayer({
      opType: 'Gemm',
      x: [64, 96],
      y: [64, 128],
      weight: weight('w', [128, 96]),
      attributes: { alpha: { float: 0.1 }, transB: { int: 1 } },
    });
    const turned = stack(
      [2, 32, 8, 8],
      [
        {
          opType: 'ConvTranspose',
          name: 'up',
          inputs: ['x', 'w'],
          outputs: ['y'],
          attributes: { strides: { ints: [2, 2] }, pads: { ints: [1, 1, 1, 1] } },
        },
      ],
      [weight('w', [32, 48, 4, 4])],
    );
    for (const init of ['fresh:normal', 'fresh:orthogonal', 'fresh:kaiming'] as const) {
      const { model } = await expanded(alpha, { init, depth: 3 });
      expect(Math.abs(Math.log(await outputVariance(model, [64, 96])))).toBeLessThan(0.3);
      if (init === 'fresh:orthogonal') continue;
      const { model: up } = await expanded(turned, { init, depth: 2, width: 2 });
      // The border has fewer taps.
      expect(Math.abs(Math.log(await outputVariance(up, [2, 32, 8, 8])))).toBeLessThan(0.35);
    }
  });

  test('the standard deviations are those of the formulas', async () => {
    const deviation = (model: Model, i: number): number => {
      const values = [...valuesOf(model, `w/overparam/${i}`)];
      return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    };
    const cases: [ExpandInit, Layer, number[]][] = [
      ['fresh:kaiming', gemm, [1 / Math.sqrt(96), 2 / Math.sqrt(256)]],
      ['fresh:kaiming', conv, [1 / Math.sqrt(64 * 9), 2 / Math.sqrt(32)]],
      ['fresh:normal', conv, [1 / Math.sqrt(16 * 9), 2 / Math.sqrt(64)]],
      ['fresh:uniform', gemm, [1 / Math.sqrt(96), 2 / Math.sqrt(256)]],
    ];
    for (const [init, layer, expected] of cases) {
      const { model } = await expanded(oneLayer(layer), { init, width: 2, gain: 2 });
      for (const [i, value] of expected.entries()) {
        expect(Math.abs(deviation(model, i) / value - 1), `${init} ${i}`).toBeLessThan(0.05);
      }
    }
    const { model } = await expanded(oneLayer(gemm), { init: 'fresh:uniform', width: 2 });
    const largest = Math.max(...valuesOf(model, 'w/overparam/0').map(Math.abs));
    expect(largest).toBeLessThanOrEqual(Math.sqrt(3 / 96));
    expect(largest).toBeGreaterThan(0.99 * Math.sqrt(3 / 96));
  });

  test('orthogonal factors have equal singular values', async () => {
    const { model } = await expanded(
      oneLayer({ opType: 'MatMul', x: [1, 6], y: [1, 9], weight: weight('w', [6, 9]) }),
      { init: 'fresh:orthogonal', depth: 3, gain: 3 },
    );
    const shapes = [
      [6, 9, Math.sqrt(9 / 6)],
      [9, 9, 1],
      [9, 9, 3],
    ] as const;
    for (const [i, [rows, columns, value]] of shapes.entries()) {
      const { values } = smallSvd(valuesOf(model, `w/overparam/${i}`), rows, columns);
      for (const own of values) expect(Math.abs(own / value - 1)).toBeLessThan(1e-6);
    }
  });

  test('the gain is that of the activation behind the layer', async () => {
    const norms = ['s', 's', 's', 's'];
    const behind: [string, number][] = [
      ['Relu', Math.SQRT2],
      ['Tanh', 5 / 3],
      ['Softmax', 1],
    ];
    for (const [opType, gain] of behind) {
      for (const hasNorm of [false, true]) {
        const model = stack(
          [8, 40],
          [
            { opType: 'MatMul', name: 'layer', inputs: ['x', 'w'], outputs: ['h'] },
            { opType: 'Add', name: 'bias', inputs: ['b', 'h'], outputs: ['hb'] },
            hasNorm
              ? { opType: 'BatchNormalization', name: 'norm', inputs: ['hb', ...norms], outputs: ['n'] }
              : { opType: 'Identity', name: 'norm', inputs: ['hb'], outputs: ['n'] },
            { opType, name: 'act', inputs: ['n'], outputs: ['y'] },
          ],
          [weight('w', [40, 50]), weight('b', [50]), weight('s', [50])],
        );
        const [auto, explicit] = [
          await expanded(model, { init: 'fresh:normal' }),
          await expanded(model, { init: 'fresh:normal', gain }),
        ];
        expect(valuesOf(auto.model, 'w/overparam/1')).toEqual(valuesOf(explicit.model, 'w/overparam/1'));
      }
    }
  });

  test('nothing of the weight is read, biases stay, and the account says that the function went', async () => {
    const layer: Layer = {
      opType: 'Gemm',
      x: [2, 5],
      y: [2, 4],
      weight: weight('w', [5, 4]),
      bias: weight('b', [4]),
    };
    const [a, b] = [oneLayer(layer), oneLayer({ ...layer, weight: weight('w', [5, 4], 'float32', 9) })];
    for (const init of FRESH) {
      const [first, second] = [await expanded(a, { init }), await expanded(b, { init })];
      expect(first.account.rewritten).toMatchObject([{ isPreserved: false, init, rank: undefined }]);
      expect(valuesOf(first.model, 'b')).toEqual(valuesOf(a, 'b'));
      for (const i of [0, 1]) {
        expect(valuesOf(first.model, `w/overparam/${i}`)).toEqual(valuesOf(second.model, `w/overparam/${i}`));
      }
      const other = await expanded(a, { init, seed: 1 });
      expect(
        relativeError(valuesOf(first.model, 'w/overparam/0'), valuesOf(other.model, 'w/overparam/0')),
      ).toBeGreaterThan(0.1);
    }
  });
});

test('noise is as large as it says, on top of the factors that there are without it', async () => {
  const model = oneLayer({ opType: 'MatMul', x: [2, 60], y: [2, 50], weight: weight('w', [60, 50]) });
  for (const init of ['balanced', 'identity', 'orthogonal'] as const) {
    const options: ExpandOptions = { init, depth: 3, width: 1.5 };
    const exact = await expanded(model, options);
    for (const noise of [0.01, 0.5]) {
      const noisy = await expanded(model, { ...options, noise });
      expect(exact.account.rewritten[0]!.isPreserved).toBe(true);
      expect(noisy.account.rewritten[0]!.isPreserved).toBe(false);
      for (const i of [0, 1, 2]) {
        const name = `w/overparam/${i}`;
        const error = relativeError(valuesOf(exact.model, name), valuesOf(noisy.model, name));
        expect(Math.abs(error / noise - 1)).toBeLessThan(0.1);
      }
    }
  }
});

describe('a width below the rank', () => {
  test('gives the closest product, and the error is the one that collapse finds', async () => {
    const cases = fc.record({
      inputs: fc.integer({ min: 3, max: 8 }),
      outputs: fc.integer({ min: 3, max: 8 }),
      groups: fc.integer({ min: 1, max: 2 }),
      hidden: fc.integer({ min: 1, max: 2 }),
      depth: fc.integer({ min: 2, max: 4 }),
      init: fc.constantFrom('balanced' as const, 'orthogonal' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ inputs, outputs, groups, hidden, depth, init }) => {
        const w = weight('w', [groups * outputs, inputs, 1, 1]);
        const model = oneLayer({
          opType: 'Conv',
          x: [1, groups * inputs, 2, 2],
          y: [1, groups * outputs, 2, 2],
          weight: w,
          attributes: { group: { int: groups } },
        });
        const options = { depth, init, width: hidden / outputs, allowLossy: true };
        const [dry] = [await expanded(model, { ...options, dryRun: true })];
        const { expanded: result, restored } = await expectRestored(model, options, 1);
        const { error, isPreserved } = result.account.rewritten[0]!;
        const values = Array.from({ length: groups }, (_, g) => {
          const length = outputs * inputs;
          return [...smallSvd(w.floats().subarray(g * length, (g + 1) * length), outputs, inputs).values];
        });
        const square = (list: number[]): number => list.reduce((sum, value) => sum + value * value, 0);
        const dropped = values.map((list) => square(list.slice(hidden))).reduce((a, b) => a + b);
        const all = values.map(square).reduce((a, b) => a + b);
        expect(isPreserved).toBe(false);
        expect(Math.abs(error! - Math.sqrt(dropped / all))).toBeLessThan(1e-6);
        expect(dry.account.rewritten[0]!.error).toBeCloseTo(error!, 9);
        expect(relativeError(w.floats(), valuesOf(restored, 'w'))).toBeCloseTo(error!, 5);
      }),
      { numRuns: 30, seed: 20260302 },
    );
  });

  test('a width that is enough says no error', async () => {
    const model = oneLayer({ opType: 'MatMul', x: [2, 6], y: [2, 5], weight: lowRank('w', 6, 5, 2) });
    const { account } = await expanded(model, { width: 0.4, allowLossy: true });
    expect(account.rewritten).toMatchObject([{ hidden: 2, rank: 2, isPreserved: true, error: undefined }]);
  });
});

test.each<[readonly string[], number]>([
  [['Relu'], Math.SQRT2],
  [['BatchNormalization', 'Relu'], Math.SQRT2],
  [['LayerNormalization', 'Dropout', 'Relu'], Math.SQRT2],
  [['Transpose', 'Identity', 'Tanh'], 5 / 3],
  [['Softmax', 'Relu'], 1],
  [['Sin', 'Relu'], 1],
])('the gain of the activation behind a layer is seen through what only normalizes or turns: %j', (ops, gain) => {
  const model = buildModel({
    inputs: [['x', 'float32', [6, 6]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['v0'] },
      ...ops.map((opType, i) => {
        const size = opType === 'BatchNormalization' ? 5 : opType === 'LayerNormalization' ? 3 : 1;
        const inputs = [`v${i}`, ...Array(size - 1).fill('s')];
        return { opType, inputs, outputs: [i === ops.length - 1 ? 'y' : `v${i + 1}`] };
      }),
    ],
    initializers: [weight('w', [6, 6]), weight('s', [6])],
    opset: 17,
  });
  expect(activationGain(model.graph.nodes[0]!)).toBe(gain);
});
