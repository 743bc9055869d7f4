import fc from 'fast-check';
import { Matrix, SVD } from 'ml-matrix';
import { expect, test } from 'vitest';
import { smallSingularValues, smallSvd } from '../../../../src/linalg/kernels/index.js';

const matrices = fc
  .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 }))
  .chain(([m, n]) =>
    fc.tuple(
      fc.constant(m),
      fc.constant(n),
      fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: m * n, maxLength: m * n }),
    ),
  );

/** Rebuilds the matrix from its parts. */
function product({ values, left, right }: ReturnType<typeof smallSvd>, m: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (const [k, value] of values.entries()) {
    for (let i = 0; i < m; i += 1) {
      for (let j = 0; j < n; j += 1) out[i * n + j]! += value * left[k * m + i]! * right[k * n + j]!;
    }
  }
  return out;
}

function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return Math.max(0, ...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
}

test('the parts multiply out to the matrix', () => {
  fc.assert(
    fc.property(matrices, ([m, n, data]) => {
      const svd = smallSvd(Float64Array.from(data), m, n);
      expect(smallSingularValues(Float64Array.from(data), m, n)).toEqual(svd.values);
      expect(worst(product(svd, m, n), data)).toBeLessThan(1e-13);
      for (let k = 1; k < svd.values.length; k += 1)
        expect(svd.values[k]!).toBeLessThanOrEqual(svd.values[k - 1]!);
    }),
    { seed: 1, numRuns: 200 },
  );
});

test('agrees with ml-matrix', () => {
  fc.assert(
    fc.property(matrices, ([m, n, data]) => {
      // ml-matrix may not end on matrices of low rank; a generic one is added.
      const generic = data.map((value, i) => value + Math.sin(1 + i * i));
      const reference = new SVD(Matrix.from1DArray(m, n, generic), { autoTranspose: true }).diagonal;
      const { values } = smallSvd(Float64Array.from(generic), m, n);
      expect(worst(values, reference)).toBeLessThan(1e-12 * (1 + values[0]!));
    }),
    { seed: 2, numRuns: 100 },
  );
});

test.each([
  [64, 147],
  [147, 64],
  [5, 5],
])('a %i x %i matrix of equal elements has rank one, and the search for it ends', (m, n) => {
  const { values } = smallSvd(new Float32Array(m * n).fill(0.02), m, n);
  expect(values[0]!).toBeCloseTo(Math.fround(0.02) * Math.sqrt(m * n), 12);
  expect(values[1]!).toBeLessThan(1e-15 * m);
});

test('resolves what a Gram matrix cannot: the condition number of the 8 x 8 Hilbert matrix, 1.5257575538060e10', () => {
  const hilbert = Float64Array.from({ length: 64 }, (_, i) => 1 / (1 + Math.floor(i / 8) + (i % 8)));
  const { values } = smallSvd(hilbert, 8, 8);
  // NumPy 1.24: numpy.linalg.cond(scipy.linalg.hilbert(8)) = 15257575538.06004
  expect(values[0]! / values[7]! / 15257575538.06004).toBeCloseTo(1, 5);
});

test.each([1e-300, 1e-20, 1e20, 1e300])('scale %d', (scale) => {
  const { values } = smallSvd(Float64Array.of(3 * scale, 0, 0, 4 * scale), 2, 2);
  expect(values[0]! / scale).toBeCloseTo(4, 12);
  expect(values[1]! / scale).toBeCloseTo(3, 12);
});

test('zero, empty and single', () => {
  expect([...smallSvd(new Float64Array(6), 2, 3).values]).toEqual([0, 0]);
  expect(smallSvd(new Float64Array(0), 0, 3).values).toHaveLength(0);
  expect([...smallSvd(Float64Array.of(-2), 1, 1).values]).toEqual([2]);
});

test('NaN is refused', () => {
  expect(() => smallSvd(Float64Array.of(1, Number.NaN), 1, 2)).toThrow(RangeError);
});
