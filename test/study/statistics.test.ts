import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { quantileT } from '../../src/analysis/estimate/student-t.js';
import { estimate, holm, pairedDifference, spearman } from '../../src/study/statistics.js';

interface Reference {
  readonly means: readonly { values: number[]; mean: number; low: number; high: number }[];
  readonly pairs: readonly { differences: number[]; p: number }[];
  readonly trends: readonly { xs: number[]; ys: number[]; rho: number; p: number }[];
  readonly corrections: readonly { ps: number[]; holm: number[] }[];
  readonly quantiles: readonly { p: number; freedom: number; t: number }[];
}

const reference = JSON.parse(readFileSync('test/reference/statistics.json', 'utf8')) as Reference;

describe('as SciPy has it (test/reference/statistics.py)', () => {
  test('means with intervals by t', () => {
    for (const { values, mean, low, high } of reference.means) {
      const found = estimate(values);
      expect(found.mean).toBeCloseTo(mean, 12);
      expect(found.low).toBeCloseTo(low, 9);
      expect(found.high).toBeCloseTo(high, 9);
      expect(found.n).toBe(values.length);
    }
  });

  test('quantiles of t', () => {
    for (const { p, freedom, t } of reference.quantiles)
      expect(Math.abs(quantileT(p, freedom) / t - 1)).toBeLessThan(1e-9);
  });

  test('paired tests', () => {
    for (const { differences, p } of reference.pairs)
      expect(pairedDifference(differences).p).toBeCloseTo(p, 10);
  });

  test("Spearman's rank correlation, with ties", () => {
    for (const { xs, ys, rho, p } of reference.trends) {
      const found = spearman(xs, ys);
      expect(found.rho).toBeCloseTo(rho, 12);
      expect(found.p).toBeCloseTo(p, 9);
      expect(found.low).toBeLessThan(rho);
      expect(found.high).toBeGreaterThan(rho);
    }
  });

  test("Holm's correction", () => {
    for (const { ps, holm: corrected } of reference.corrections)
      for (const [i, value] of holm(ps).entries()) expect(value).toBeCloseTo(corrected[i]!, 12);
  });
});

test('Holm: never below the p value, never above 1, in the order of the p values; NaN does not count', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1 }), (ps) => {
      const made = holm(ps);
      for (const [i, p] of ps.entries()) {
        expect(made[i]).toBeGreaterThanOrEqual(p);
        expect(made[i]).toBeLessThanOrEqual(1);
        for (const [j, q] of ps.entries()) if (p < q) expect(made[i]).toBeLessThanOrEqual(made[j]!);
      }
      expect(holm([...ps, Number.NaN])).toEqual([...made, Number.NaN]);
    }),
  );
});

test('what cannot be told is NaN: one value, two points, values that are all the same', () => {
  expect(estimate([2])).toEqual({ mean: 2, low: Number.NaN, high: Number.NaN, n: 1 });
  expect(spearman([1, 2], [2, 1]).rho).toBeNaN();
  expect(spearman([1, 1, 1, 1], [1, 2, 3, 4]).rho).toBeNaN();
  expect(spearman([1, 2, 3, 4], [8, 4, 2, 1])).toMatchObject({ rho: -1, p: 0 });
  expect(() => spearman([1], [])).toThrow(RangeError);
});
