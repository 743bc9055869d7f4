import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { METRICS, type SpectrumMetrics, spectrumMetrics } from '../../../src/analysis/spectra/metrics.js';

const square = (values: readonly number[], epsilon?: number): SpectrumMetrics =>
  spectrumMetrics(values, { rows: values.length, columns: values.length, epsilon });

const scale = fc.double({ min: 1e-30, max: 1e30, noNaN: true });
const spectrum = fc.array(fc.double({ min: 1e-3, max: 1, noNaN: true }), { minLength: 1, maxLength: 40 });

describe('closed forms', () => {
  test('n equal singular values: every rank is n, the condition number 1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), scale, (n, s) => {
        const metrics = square(new Array<number>(n).fill(s));
        expect(metrics.effectiveRank).toBeCloseTo(n, 9);
        expect(metrics.effectiveRankRatio).toBeCloseTo(1, 12);
        expect(metrics.spectralEntropy).toBeCloseTo(Math.log(n), 12);
        expect(metrics.stableRank).toBeCloseTo(n, 9);
        expect(metrics.numericalRank).toBe(n);
        expect(metrics.conditionNumber).toBe(1);
        expect(metrics.spectralNorm).toBe(s);
        expect(metrics.nuclearNorm / s).toBeCloseTo(n, 9);
        expect(metrics.frobeniusNorm / s).toBeCloseTo(Math.sqrt(n), 9);
        // Exact where 0.9 n is whole: nine of ten hold 90 %, not ten.
        expect(metrics.rank90).toBe(Math.ceil((9 * n) / 10));
        expect(metrics.rank95).toBe(Math.ceil((19 * n) / 20));
        expect(metrics.rank99).toBe(Math.ceil((99 * n) / 100));
      }),
    );
  });

  test('one singular value that is not zero: every rank is 1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), scale, (n, s) => {
        const metrics = spectrumMetrics([s, ...new Array<number>(n - 1).fill(0)], {
          rows: n,
          columns: n + 3,
          resolution: 0,
        });
        expect(metrics.effectiveRank).toBe(1);
        expect(metrics.spectralEntropy).toBe(0);
        expect(metrics.stableRank).toBe(1);
        expect(metrics.numericalRank).toBe(1);
        expect([metrics.rank90, metrics.rank95, metrics.rank99]).toEqual([1, 1, 1]);
        expect(metrics.conditionNumber).toBe(n === 1 ? 1 : Number.POSITIVE_INFINITY);
      }),
    );
  });

  test('geometric decay s_i = q^i', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.3, max: 0.95, noNaN: true }), (q) => {
        const n = 400;
        const metrics = square(Array.from({ length: n }, (_, i) => q ** i));
        // H = -ln(1 - q) - q ln(q) / (1 - q) and sum s^2 = 1 / (1 - q^2), the tails of n = 400 being negligible.
        expect(metrics.spectralEntropy).toBeCloseTo(-Math.log(1 - q) - (q * Math.log(q)) / (1 - q), 6);
        expect(metrics.stableRank).toBeCloseTo(1 / (1 - q * q), 6);
        expect(metrics.nuclearNorm).toBeCloseTo(1 / (1 - q), 6);
        // 1 - q^(2r) >= 0.9
        expect(Math.abs(metrics.rank90 - Math.log(0.1) / Math.log(q * q))).toBeLessThan(1);
      }),
    );
  });
});

describe('laws', () => {
  test('bounds and order: 1 <= stable rank <= rank, 1 <= effective rank <= n, ranks grow with the share', () => {
    fc.assert(
      fc.property(spectrum, (values) => {
        const m = square(values);
        const n = values.length;
        for (const rank of [m.effectiveRank, m.stableRank]) {
          expect(rank).toBeGreaterThanOrEqual(1);
          expect(rank).toBeLessThanOrEqual(n * (1 + 1e-12));
        }
        expect(m.rank90).toBeLessThanOrEqual(m.rank95);
        expect(m.rank95).toBeLessThanOrEqual(m.rank99);
        expect(m.rank99).toBeLessThanOrEqual(m.numericalRank);
        expect(m.spectralNorm).toBeLessThanOrEqual(m.frobeniusNorm * (1 + 1e-12));
        expect(m.frobeniusNorm).toBeLessThanOrEqual(m.nuclearNorm * (1 + 1e-12));
      }),
    );
  });

  test('order and scale do not matter to ranks', () => {
    fc.assert(
      fc.property(spectrum, scale, (values, factor) => {
        const a = square(values);
        const b = square(values.map((value) => value * factor).reverse());
        for (const key of ['effectiveRank', 'stableRank', 'conditionNumber', 'spectralEntropy'] as const) {
          expect(b[key]).toBeCloseTo(a[key], 6);
        }
        expect([b.numericalRank, b.rank90, b.rank99]).toEqual([a.numericalRank, a.rank90, a.rank99]);
      }),
    );
  });
});

describe('corners', () => {
  test('zero and empty matrices', () => {
    for (const metrics of [square([0, 0, 0]), spectrumMetrics([], { rows: 0, columns: 5 })]) {
      expect(metrics).toMatchObject({
        effectiveRank: 0,
        effectiveRankRatio: 0,
        spectralEntropy: 0,
        stableRank: 0,
        numericalRank: 0,
        rank99: 0,
        conditionNumber: Number.POSITIVE_INFINITY,
        nuclearNorm: 0,
      });
    }
  });

  test('a smallest value below the resolution makes the condition number a lower bound', () => {
    const metrics = square([2, 1, 1e-9]);
    expect(metrics.conditionNumber).toBe(1e7);
    expect(metrics.conditionNumberIsLowerBound).toBe(true);
    expect(metrics.numericalRank).toBe(2);
    expect(metrics.numericalRankIsLowerBound).toBe(false);
    // In float64 NumPy would count a value of 1e-9, which was not resolved.
    expect(square([2, 1, 1e-9], 2 ** -52)).toMatchObject({
      numericalRank: 2,
      numericalRankIsLowerBound: true,
    });
  });

  test('numbers too large or small to square', () => {
    expect(square([1e200, 1e200]).frobeniusNorm).toBeCloseTo(Math.SQRT2 * 1e200, -190);
    expect(square([1e-200, 1e-200]).stableRank).toBeCloseTo(2, 12);
  });

  test('what is no spectrum is refused', () => {
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => square([1, bad])).toThrow(RangeError);
    expect(() => spectrumMetrics([1], { rows: 2, columns: 2 })).toThrow('2 singular values, not 1');
  });
});

test('every metric is described, once', () => {
  const { conditionNumberIsLowerBound: _a, numericalRankIsLowerBound: _b, ...figures } = square([1]);
  expect(METRICS.map(({ key }) => key).sort()).toEqual(Object.keys(figures).sort());
  expect(new Set(METRICS.map(({ header }) => header)).size).toBe(METRICS.length);
  for (const { definition, source } of METRICS) expect(definition.length * source.length).toBeGreaterThan(0);
});
