import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttributeValue, FloatType, Model } from '../../../src/graph/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/expand.js';
import { expanded, expectRestored, expectSameFunction, TOLERANCE } from '../laws.js';
import { lowRank, oneLayer, opsOf, weight } from '../models.js';

const SEED = 20260101;
const runs = (numRuns: number) => ({ numRuns, seed: SEED });

const options: fc.Arbitrary<ExpandOptions> = fc.record({
  depth: fc.integer({ min: 1, max: 5 }),
  width: fc.constantFrom(0.5, 1, 1.5, 3),
  init: fc.constantFrom('balanced', 'identity'),
  seed: fc.nat(5),
});

/** Expanded it computes the same, or was left alone for its width; collapsed it is what it was. */
async function expectLaws(model: Model, settings: ExpandOptions, type: FloatType = 'float32'): Promise<void> {
  const { depth = 2, width = 1 } = settings;
  const {
    expanded: { model: after, account },
  } = await expectRestored(model, settings, type === 'float32' ? 1e-6 : type === 'float64' ? 1e-13 : 4e-3);
  if (account.rewritten.length === 1) {
    expect(opsOf(after).filter((op) => op === opsOf(model)[0])).toHaveLength(depth);
    expect(account.rewritten[0]!.rank).toBeLessThanOrEqual(account.rewritten[0]!.hidden);
    await expectSameFunction(model, after, TOLERANCE[type === 'bfloat16' ? 'float16' : type]);
  } else if (depth === 1) {
    expect(account.skipped[0]!.reason).toMatch(/`depth: 2`/);
    expect(after.changed).toBe(false);
  } else {
    expect(width).toBeLessThan(1);
    expect(account.skipped[0]!.reason).toMatch(/use `width: /);
    expect(after.changed).toBe(false);
  }
}

describe('an expanded model computes what the model computes', () => {
  test('Gemm of any attributes, bias and opset', async () => {
    const cases = fc.record({
      m: fc.integer({ min: 2, max: 4 }),
      k: fc.integer({ min: 1, max: 9 }),
      n: fc.integer({ min: 1, max: 9 }),
      transA: fc.constantFrom(undefined, 0, 1),
      transB: fc.constantFrom(undefined, 0, 1),
      alpha: fc.constantFrom(undefined, 1, 0.5, -2),
      beta: fc.constantFrom(undefined, 1, 0.25),
      c: fc.constantFrom('none', '[]', '[1]', '[N]', '[1,N]', '[M,N]', '[M,1]'),
      opset: fc.constantFrom(7, 9, 11, 13, 17),
      type: fc.constantFrom('float32' as const, 'float64' as const),
      ir: fc.constantFrom(3, 8),
    });
    await fc.assert(
      fc.asyncProperty(
        cases,
        options,
        async ({ m, k, n, transA, transB, alpha, beta, c, opset, type, ir }, settings) => {
          const shapes: Record<string, number[]> = {
            '[]': [],
            '[1]': [1],
            '[N]': [n],
            '[1,N]': [1, n],
            '[M,N]': [m, n],
            '[M,1]': [m, 1],
          };
          const shape = shapes[c] ?? (opset < 11 ? [n] : undefined);
          const attributes: Record<string, AttributeValue> = {
            ...(alpha !== undefined && { alpha: { float: alpha } }),
            ...(beta !== undefined && { beta: { float: beta } }),
            ...(transA !== undefined && { transA: { int: transA } }),
            ...(transB !== undefined && { transB: { int: transB } }),
          };
          const model = oneLayer(
            {
              opType: 'Gemm',
              x: transA ? [k, m] : [m, k],
              y: [m, n],
              weight: weight('w', transB ? [n, k] : [k, n], type),
              bias: shape && weight('c', shape, type),
              attributes,
            },
            { opset, ir },
          );
          await expectLaws(model, settings, type);
        },
      ),
      runs(60),
    );
  });

  test('MatMul with the weight on either side of data of rank 1 to 4', async () => {
    const cases = fc.record({
      batch: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
      m: fc.integer({ min: 2, max: 4 }),
      k: fc.integer({ min: 1, max: 9 }),
      n: fc.integer({ min: 1, max: 9 }),
      isVector: fc.boolean(),
      isWeightLeft: fc.boolean(),
      type: fc.constantFrom('float32' as const, 'float64' as const, 'float16' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async ({ batch, m, k, n, isVector, isWeightLeft, type }, settings) => {
        const [x, y] = isVector
          ? [[k], [n]]
          : isWeightLeft
            ? [
                [...batch, k, m],
                [...batch, n, m],
              ]
            : [
                [...batch, m, k],
                [...batch, m, n],
              ];
        const w = weight('w', isWeightLeft ? [n, k] : [k, n], type);
        await expectLaws(oneLayer({ opType: 'MatMul', x, y, weight: w, isWeightLeft }), settings, type);
      }),
      runs(50),
    );
  });

  test('Conv of 1 to 3 dimensions, any groups, strides, dilations and pads', async () => {
    const cases = fc.record({
      dimensions: fc.integer({ min: 1, max: 3 }),
      groups: fc.constantFrom(1, 1, 2, 3),
      inputs: fc.integer({ min: 1, max: 3 }),
      outputs: fc.integer({ min: 1, max: 4 }),
      isDepthwise: fc.boolean(),
      kernel: fc.tuple(...Array.from({ length: 3 }, () => fc.integer({ min: 1, max: 3 }))),
      strides: fc.option(fc.tuple(...Array.from({ length: 3 }, () => fc.integer({ min: 1, max: 2 }))), {
        nil: undefined,
      }),
      dilations: fc.option(fc.tuple(...Array.from({ length: 3 }, () => fc.integer({ min: 1, max: 2 }))), {
        nil: undefined,
      }),
      pads: fc.oneof(
        fc.tuple(...Array.from({ length: 6 }, () => fc.integer({ min: 0, max: 2 }))),
        fc.constantFrom('SAME_UPPER', 'SAME_LOWER', 'VALID', undefined),
      ),
      hasBias: fc.boolean(),
      hasShape: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async (c, settings) => {
        const d = c.dimensions;
        const groups = c.isDepthwise ? 3 : c.groups;
        const perGroup = c.isDepthwise ? 1 : c.inputs;
        const kernel = c.kernel.slice(0, d);
        const isAutomatic = typeof c.pads === 'string';
        const w = weight('w', [groups * c.outputs, perGroup, ...kernel]);
        const attributes: Record<string, AttributeValue> = {
          ...(c.hasShape && { kernel_shape: { ints: kernel } }),
          ...(groups > 1 && { group: { int: groups } }),
          ...(c.strides && { strides: { ints: c.strides.slice(0, d) } }),
          // onnxruntime computes SAME for undilated kernels only.
          ...(c.dilations && !isAutomatic && { dilations: { ints: c.dilations.slice(0, d) } }),
          ...(isAutomatic && { auto_pad: { string: c.pads as string } }),
          ...(Array.isArray(c.pads) && {
            pads: { ints: [...c.pads.slice(0, d), ...c.pads.slice(3, 3 + d)] },
          }),
        };
        const x = [2, groups * perGroup, ...Array.from({ length: d }, () => 6)];
        const bias = c.hasBias ? weight('b', [groups * c.outputs]) : undefined;
        const y = [2, groups * c.outputs, ...Array.from({ length: d }, () => undefined as unknown as number)];
        await expectLaws(oneLayer({ opType: 'Conv', x, y, weight: w, bias, attributes }), settings);
      }),
      runs(60),
    );
  });

  test('weights of any rank, down to zero', async () => {
    const cases = fc.record({
      rows: fc.integer({ min: 1, max: 12 }),
      columns: fc.integer({ min: 1, max: 12 }),
      rank: fc.integer({ min: 0, max: 12 }),
      type: fc.constantFrom('float32' as const, 'float64' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async ({ rows, columns, rank, type }, settings) => {
        const truly = Math.min(rank, rows, columns);
        const model = oneLayer({
          opType: 'MatMul',
          x: [4, rows],
          y: [4, columns],
          weight: lowRank('w', rows, columns, truly, type),
        });
        const { account } = await expanded(model, settings);
        // float32 rounds a matrix of low rank to one of full rank, by less than what counts.
        if (settings.init === 'balanced' && account.rewritten.length === 1)
          expect(account.rewritten[0]!.rank).toBe(truly);
        const { depth = 2, width = 1 } = settings;
        const hidden = Math.max(1, Math.round(width * columns));
        const needed = settings.init === 'balanced' ? truly : columns;
        expect(account.rewritten).toHaveLength(depth > 1 && needed <= hidden ? 1 : 0);
        if (depth > 1) await expectLaws(model, { ...settings, width: Math.max(1, width) }, type);
      }),
      runs(40),
    );
  });

  test('large weights, whose factors come from the Gram matrix', async () => {
    for (const [rows, columns, rank] of [
      [96, 64, 64],
      [64, 96, 64],
      [80, 80, 5],
    ] as const) {
      for (const depth of [2, 3, 5]) {
        for (const type of ['float32', 'float64'] as const) {
          const model = oneLayer({
            opType: 'MatMul',
            x: [4, rows],
            y: [4, columns],
            weight: lowRank('w', rows, columns, rank, type),
          });
          await expectLaws(model, { depth, width: 1.25 }, type);
          const { account } = await expanded(model, { depth });
          expect(account.rewritten[0]!.rank).toBe(rank);
        }
      }
    }
  });
});

test('a width below the rank is refused, and the width named that would do does', async () => {
  const groups = 2;
  // The second group has the larger rank.
  const [low, high] = [lowRank('low', 8, 9, 3), lowRank('high', 8, 9, 6)];
  const data = Float32Array.from([...low.floats(), ...high.floats()]);
  const w = weight('w', [16, 1, 3, 3]);
  (w.floats() as Float32Array).set(data);
  const model = oneLayer({
    opType: 'Conv',
    x: [1, 2, 5, 5],
    y: [1, 16, 3, 3],
    weight: w,
    attributes: { group: { int: groups } },
  });
  const { account } = await expanded(model, { width: 0.3 });
  expect(account.rewritten).toEqual([]);
  const [skip] = account.skipped;
  expect(skip!.reason).toBe(
    'its weight has rank 6 a group, more than the 2 hidden units of width 0.3; use `width: 0.75` or more, or `allowLossy: true`',
  );
  const again = await expanded(model, { width: 0.75 });
  expect(again.account.rewritten).toMatchObject([{ rank: 6, hidden: 12 }]);
  await expectSameFunction(model, again.model);
  const identity = await expanded(model, { width: 0.75, init: 'identity' });
  expect(identity.account.skipped[0]!.reason).toMatch(
    /identities need 8 hidden units a group, .* use `width: 1` or more/,
  );
});
