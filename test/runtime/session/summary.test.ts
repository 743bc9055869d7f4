import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isFloatType, widen } from '../../../src/graph/index.js';
import { quantile } from '../../../src/runtime/session/bench.js';
import { summarize, topK } from '../../../src/runtime/session/summary.js';
import { tensors } from '../tensors.js';

test('min <= mean <= max, and every element is counted', () => {
  fc.assert(
    fc.property(
      tensors().filter(({ type }) => type !== 'string'),
      (tensor) => {
        const { elements, mean, nonFinite, ...range } = summarize(tensor);
        const [min, max] = [range.min, range.max].map((value) =>
          value === undefined ? undefined : Number(value),
        );
        const values = Array.from(
          isFloatType(tensor.type)
            ? widen(tensor.type, tensor.data as never)
            : (tensor.data as Iterable<number>),
          Number,
        );
        const finite = values.filter(Number.isFinite);
        expect([elements, nonFinite]).toEqual([values.length, values.length - finite.length]);
        if (finite.length === 0) expect([min, max, mean]).toEqual([undefined, undefined, undefined]);
        else {
          // Not by Object.is, which tells -0 from 0.
          expect(min === Math.min(...finite) && max === Math.max(...finite)).toBe(true);
          const slack = 1e-9 * Math.max(Math.abs(min!), Math.abs(max!));
          if (Number.isFinite(mean)) expect(mean! >= min! - slack && mean! <= max! + slack).toBe(true);
        }
      },
    ),
    { numRuns: 300, seed: 1 },
  );
});

test('topK: sorted, none outside is larger, softmax of a row sums to 1', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -50, max: 50 }), {
        minLength: 4,
        maxLength: 4,
      }),
      fc.integer({ min: 1, max: 6 }),
      (row, k) => {
        const data = Float32Array.from([...row, ...row.toReversed()]);
        const entries = topK({ type: 'float32', shape: [2, 4], data }, k);
        for (const at of [0, 1]) {
          const own = entries.filter((entry) => entry.row === at);
          expect(own.map(({ value }) => value)).toEqual(row.toSorted((a, b) => b - a).slice(0, k));
          for (const { index, value } of own) expect(Object.is(data[4 * at + index], value)).toBe(true);
          const shares = own.map(({ softmax }) => softmax);
          if (k >= 4 && shares[0] !== undefined)
            expect(shares.reduce((a, b) => a! + b!, 0)).toBeCloseTo(1, 12);
        }
      },
    ),
    { numRuns: 200, seed: 2 },
  );
});

test('NaN comes last, probabilities stay as they are, and texts have no largest', () => {
  const one = topK({ type: 'float32', shape: [3], data: Float32Array.of(Number.NaN, 1, -Infinity) }, 3);
  expect(one.map(({ index }) => index)).toEqual([1, 2, 0]);
  const [best] = topK({ type: 'float64', shape: [3], data: Float64Array.of(0.2, 0.7, 0.1) }, 1);
  expect(best).toEqual({ row: 0, index: 1, value: 0.7, softmax: undefined });
  expect(() => topK({ type: 'string', shape: [1], data: ['a'] }, 1)).toThrow('has no largest elements');
  expect(() => topK({ type: 'float32', shape: [], data: Float32Array.of(1) }, 1)).toThrow('of shape []');
});

test('quantile: the ends are the extremes, the middle is the median, and it grows with q', () => {
  expect([0, 0.25, 0.5, 0.9, 1].map((q) => quantile([1, 2, 3, 4], q))).toEqual([1, 1.75, 2.5, 3.7, 4]);
  const numbers = fc.array(fc.double({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1 });
  fc.assert(
    fc.property(numbers, fc.double({ min: 0, max: 1, noNaN: true }), (values, q) => {
      const sorted = values.toSorted((a, b) => a - b);
      expect(quantile(sorted, 0) === sorted[0]).toBe(true);
      expect(quantile(sorted, 1) === sorted.at(-1)).toBe(true);
      expect(quantile(sorted, q)).toBeLessThanOrEqual(quantile(sorted, Math.min(1, q + 0.1)) + 1e-9);
    }),
    { seed: 3 },
  );
});

test('integers of 64 bits are not rounded', () => {
  const data = BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 5n);
  const { min, max, elements } = summarize({ type: 'int64', shape: [3], data });
  expect({ min, max, elements }).toEqual({ min: -(2n ** 63n), max: 2n ** 63n - 1n, elements: 3 });
  expect(summarize({ type: 'int64', shape: [1], data: BigInt64Array.of(5n) })).toMatchObject({
    min: 5,
    max: 5,
  });
});
