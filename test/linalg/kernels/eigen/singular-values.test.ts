import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { EVD, Matrix, SVD } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  GramAccumulator,
  singularValues,
  symmetricEigenvalues,
} from '../../../../src/linalg/kernels/index.js';
import { distance, NASTY, randomMatrix, randomSymmetric, rows, symmetric } from '../matrices.js';

const runs = { seed: 1, numRuns: 40 };

function oracle(a: ArrayLike<number>, m: number, n: number): number[] {
  const values = new SVD(new Matrix(rows(a, m, n)), { autoTranspose: true }).diagonal;
  return values.sort((x, y) => y - x);
}

function frobenius(a: ArrayLike<number>): number {
  return Math.sqrt(Array.from(a).reduce((sum, x) => sum + x * x, 0));
}

describe('singularValues', () => {
  it('agrees with ml-matrix on any shape, float32 and float64', () => {
    const order = fc.integer({ min: 1, max: 70 });
    void fc.assert(
      fc.property(
        fc.record({ m: order, n: order, seed: fc.nat(), wide: fc.boolean() }),
        ({ m, n, seed, wide }) => {
          const a = randomMatrix(m, n, seed);
          const values = singularValues(wide ? Float64Array.from(a) : a, m, n);
          expect(values.length).toBe(Math.min(m, n));
          // The Gram way resolves sqrt(eps) of the largest; a random square matrix may come near that.
          expect(distance(values, oracle(a, m, n))).toBeLessThan(1e-10);
        },
      ),
      runs,
    );
  });

  it('agrees with LAPACK on a 300 x 500 matrix, both ways up', () => {
    const {
      rows: m,
      columns: n,
      seed,
      singularValues: expected,
    } = JSON.parse(readFileSync(new URL('./reference.json', import.meta.url), 'utf8'));
    const a = randomMatrix(m, n, seed);
    expect(distance(singularValues(a, m, n), expected)).toBeLessThan(1e-13);
    const transposed = new Float32Array(m * n);
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) transposed[j * m + i] = a[i * n + j]!;
    expect(distance(singularValues(transposed, n, m), expected)).toBeLessThan(1e-13);
  });

  it('descends and keeps the Frobenius norm', () => {
    for (const [m, n] of [
      [1, 1],
      [1, 9],
      [9, 1],
      [255, 257],
      [257, 255],
      [64, 600],
      [600, 64],
    ] as const) {
      const a = randomMatrix(m, n, m * n);
      const values = singularValues(a, m, n);
      expect(values.every((v, i) => v >= 0 && (i === 0 || v <= values[i - 1]!))).toBe(true);
      expect(Math.abs(frobenius(values) / frobenius(a) - 1)).toBeLessThan(1e-13);
    }
  });

  it('scales with the matrix, exactly for powers of two', () => {
    const a = Float64Array.from(randomMatrix(23, 31, 5));
    const values = singularValues(a, 23, 31);
    for (const exponent of [-1040, -1000, -600, -140, -20, 20, 126, 600, 1000]) {
      const scaled = singularValues(
        a.map((x) => x * 2 ** exponent),
        23,
        31,
      );
      // Below 2 ** -1022 the entries themselves lose bits.
      const tolerance = exponent < -1000 ? 1e-8 : 1e-12;
      // Scaled back in two steps: 2 ** 1040 is no double.
      const back = scaled.map((x) => x * 2 ** (-exponent / 2) * 2 ** (-exponent / 2));
      expect(distance(back, values), `2 ** ${exponent}`).toBeLessThan(tolerance);
    }
  });

  it('takes float32 entries from 1e-42 to 1e37', () => {
    const a = randomMatrix(20, 33, 7);
    for (const scale of [1e-42, 1e-30, 1e-20, 1e20, 1e37]) {
      const scaled = a.map((x) => x * scale);
      expect(
        distance(
          singularValues(scaled, 20, 33),
          oracle(
            Array.from(scaled, (x) => x / scale),
            20,
            33,
          ).map((x) => x * scale),
        ),
      ).toBeLessThan(1e-12);
    }
  });

  it('finds the zeros of a rank-deficient matrix to sqrt(eps)', () => {
    const u = randomMatrix(120, 4, 1);
    const v = randomMatrix(4, 90, 2);
    const a = Float64Array.from(new Matrix(rows(u, 120, 4)).mmul(new Matrix(rows(v, 4, 90))).to1DArray());
    const values = singularValues(a, 120, 90);
    expect(values[3]! / values[0]!).toBeGreaterThan(0.1);
    expect(values[4]! / values[0]!).toBeLessThan(2e-7);
  });

  it('gives zeros for a zero matrix and nothing for an empty one', () => {
    expect([...singularValues(new Float32Array(12), 3, 4)]).toEqual([0, 0, 0]);
    expect(singularValues(new Float32Array(0), 0, 4).length).toBe(0);
    expect(singularValues(new Float32Array(0), 4, 0).length).toBe(0);
  });

  it('names NaN and Infinity with their place, and a length that does not fit', () => {
    const a = randomMatrix(3, 4, 1);
    a[6] = Number.NaN;
    expect(() => singularValues(a, 3, 4)).toThrow(new RangeError('the 3 x 4 matrix holds NaN at [1, 2]'));
    a[6] = Number.NEGATIVE_INFINITY;
    expect(() => singularValues(a, 3, 4)).toThrow(RangeError);
    expect(() => singularValues(new Float32Array(11), 3, 4)).toThrow(RangeError);
  });

  it('leaves the matrix as it was', () => {
    const a = randomMatrix(30, 20, 3);
    const copy = a.slice();
    singularValues(a, 30, 20);
    expect(a).toEqual(copy);
  });
});

describe('symmetricEigenvalues', () => {
  it('agrees with ml-matrix', () => {
    void fc.assert(
      fc.property(fc.integer({ min: 1, max: 80 }), fc.nat(), (n, seed) => {
        const a = randomSymmetric(n, seed);
        const expected = new EVD(new Matrix(rows(a, n, n)), { assumeSymmetric: true }).realEigenvalues;
        expect(
          distance(
            symmetricEigenvalues(a, n),
            expected.sort((x, y) => x - y),
          ),
        ).toBeLessThan(1e-13);
      }),
      runs,
    );
  });

  it('reads the lower triangle only', () => {
    const a = randomSymmetric(37, 1);
    const lower = a.map((x, at) => (at % 37 > Math.floor(at / 37) ? Number.NaN : x));
    expect(symmetricEigenvalues(lower, 37)).toEqual(symmetricEigenvalues(a, 37));
  });

  it('knows the spectrum of the second difference', () => {
    // The last goes by way of a band.
    for (const n of [1, 2, 3, 50, 333, 2050]) {
      const expected = Array.from({ length: n }, (_, i) => 2 - 2 * Math.cos(((i + 1) * Math.PI) / (n + 1)));
      expect(distance(symmetricEigenvalues(NASTY['second difference']!(n), n), expected)).toBeLessThan(1e-13);
    }
  });

  it('splits the largest pair of Wilkinson W21+', () => {
    const values = symmetricEigenvalues(NASTY['Wilkinson W+']!(21), 21);
    // Wilkinson, The Algebraic Eigenvalue Problem, p. 309.
    expect(values[20]).toBeCloseTo(10.746194182903393, 12);
    expect(values[19]).toBeCloseTo(10.746194182903322, 12);
  });

  it.each(Object.keys(NASTY))('keeps trace and Frobenius norm: %s', (name) => {
    for (const n of [1, 2, 21, 84, 150]) {
      const a = NASTY[name]!(n);
      let size = 0;
      for (const x of a) size = Math.max(size, Math.abs(x));
      const unit = size || 1;
      const values = symmetricEigenvalues(a, n).map((x) => x / unit);
      let trace = 0;
      for (let i = 0; i < n; i++) trace += a[i * n + i]! / unit;
      const norm = frobenius(a.map((x) => x / unit));
      // Subnormal eigenvalues are rounded to whole multiples of 5e-324.
      const tolerance = name === 'subnormal' ? 0.5 * n : 1e-13 * n * (norm || 1);
      expect(Math.abs(values.reduce((s, x) => s + x, 0) - trace)).toBeLessThanOrEqual(tolerance);
      expect(Math.abs(frobenius(values) - norm)).toBeLessThanOrEqual(tolerance);
    }
  });

  it('refuses NaN and what is not square', () => {
    expect(() =>
      symmetricEigenvalues(
        symmetric(5, () => Number.NaN),
        5,
      ),
    ).toThrow(RangeError);
    expect(() => symmetricEigenvalues(new Float64Array(5), 2)).toThrow(RangeError);
    expect(symmetricEigenvalues(new Float64Array(0), 0).length).toBe(0);
  });
});

describe('GramAccumulator', () => {
  it('adds up to the same whatever the pieces', () => {
    void fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 600 }),
        fc.nat(599),
        fc.nat(),
        fc.nat(40 * 600 * 8),
        (n, length, cut, seed, more) => {
          const at = Math.min(cut, length);
          const tall = randomMatrix(length, n, seed);
          const wide = new Float32Array(n * length);
          for (let i = 0; i < n; i++)
            for (let p = 0; p < length; p++) wide[i * length + p] = tall[p * n + i]!;
          const whole = new GramAccumulator(n).addRows(tall, length).toArray();
          const parts = new GramAccumulator(n).addRows(tall, at).addRows(tall.subarray(at * n), length - at);
          const columns = new GramAccumulator(n, more)
            .addColumns(wide, { stride: length, to: at })
            .addColumns(Float64Array.from(wide), { stride: length, from: at });
          expect(distance(parts.toArray(), whole)).toBeLessThan(1e-14);
          expect(distance(columns.toArray(), whole)).toBeLessThan(1e-14);
          const t = new Matrix(rows(tall, length, n));
          expect(distance(whole, t.transpose().mmul(t).to1DArray())).toBeLessThan(1e-14);
        },
      ),
      { seed: 2, numRuns: 25 },
    );
  });

  it('is used up by eigenvalues()', () => {
    const gram = new GramAccumulator(2).addRows(new Float32Array([3, 0, 0, 4]), 2);
    expect(distance(gram.eigenvalues(), [9, 16])).toBeLessThan(1e-15);
    expect(() => gram.eigenvalues()).toThrow('consumed');
    expect(() => gram.addRows(new Float32Array(2), 1)).toThrow('consumed');
  });

  it('starts from zero in memory that another one has used', () => {
    for (let i = 0; i < 3; i++) {
      const gram = new GramAccumulator(50).addRows(randomMatrix(60, 50, i), 60);
      gram.eigenvalues();
    }
    expect([...new GramAccumulator(50).eigenvalues()]).toEqual(new Array(50).fill(0));
  });

  it('checks orders and ranges', () => {
    expect(() => new GramAccumulator(0)).toThrow(RangeError);
    expect(() => new GramAccumulator(1.5)).toThrow(RangeError);
    expect(() => new GramAccumulator(40000)).toThrow('too large');
    expect(() => new GramAccumulator(3).addRows(new Float32Array(5), 2)).toThrow(RangeError);
    expect(() =>
      new GramAccumulator(2).addColumns(new Float32Array(8), { stride: 4, from: 2, to: 5 }),
    ).toThrow(RangeError);
  });
});
