import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PowerLawFit, powerLaw, powerLawDensity } from '../../../src/analysis/spectra/power-law.js';
import { Random } from '../../../src/runtime/random.js';
import { HEAVY_TAIL } from '../../reference/heavy-tail.js';

/** Singular values whose squares follow p(λ) ~ λ^-alpha from 1 on. */
function pareto(n: number, alpha: number, seed: number): Float64Array {
  const random = new Random(seed);
  return Float64Array.from({ length: n }, () => (1 - random.uniform()) ** (-0.5 / (alpha - 1)));
}

function fitted(values: ArrayLike<number>): PowerLawFit {
  const fit = powerLaw(values);
  if ('reason' in fit) throw new Error(fit.reason);
  return fit;
}

/** The definition, without a thought for speed. */
function bruteForce(values: ArrayLike<number>): { alpha: number; distance: number; tail: number } {
  const data = Array.from(values, (s) => s * s).sort((a, b) => a - b);
  let best = { alpha: 0, distance: Number.POSITIVE_INFINITY, tail: 0 };
  for (const [i, xMin] of data.entries()) {
    if (i === data.length - 1 || xMin === data[i - 1]) continue;
    const tail = data.slice(i);
    const alpha = 1 + tail.length / tail.reduce((sum, x) => sum + Math.log(x / xMin), 0);
    const distance = tail.reduce(
      (most, x, j) => Math.max(most, Math.abs(1 - (x / xMin) ** (1 - alpha) - j / tail.length)),
      0,
    );
    if (distance < best.distance) best = { alpha, distance, tail: tail.length };
  }
  return best;
}

describe('powerLaw', () => {
  it('agrees with SciPy', () => {
    const { synthetic } = HEAVY_TAIL;
    expect(Object.keys(synthetic)).toHaveLength(5);
    for (const { singularValues, power_law: expected } of Object.values(synthetic)) {
      const fit = fitted(singularValues);
      expect(fit.tail).toBe(expected.num_pl_spikes);
      expect(fit.alpha / expected.alpha).toBeCloseTo(1, 11);
      expect(fit.distance / expected.D).toBeCloseTo(1, 11);
      expect(fit.xMin / expected.xmin).toBeCloseTo(1, 13);
      expect(fit.standardError / expected.sigma).toBeCloseTo(1, 11);
      // The bound on what the two-sided statistic adds.
      expect(expected.twoSidedD).toBeGreaterThanOrEqual(fit.distance - 1e-12);
      expect(expected.twoSidedD).toBeLessThanOrEqual(fit.distance + 1 / fit.tail + 1e-12);
    }
  });

  it('is what the definition says, whatever is passed over', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 5, max: 300 }),
        fc.constantFrom('pareto', 'normal', 'uniform', 'two laws', 'ties'),
        fc.nat(),
        (n, kind, seed) => {
          const random = new Random(seed, kind);
          const values = Float64Array.from({ length: n }, (_, i) => {
            if (kind === 'normal') return Math.exp(random.normal());
            if (kind === 'uniform') return 0.1 + random.uniform();
            if (kind === 'ties') return 1 + random.integer(7);
            return (1 - random.uniform()) ** (kind === 'pareto' || i % 2 ? -0.3 : -1);
          });
          if (new Set(values).size < 2) return;
          const fit = fitted(values);
          const expected = bruteForce(values);
          expect(fit.tail).toBe(expected.tail);
          expect(Math.abs(fit.alpha - expected.alpha)).toBeLessThan(1e-9 * expected.alpha);
          expect(Math.abs(fit.distance - expected.distance)).toBeLessThan(1e-12);
        },
      ),
      { seed: 4, numRuns: 60 },
    );
  });

  it('recovers the exponent of a sample within its standard error', () => {
    let near = 0;
    const runs = 60;
    for (let seed = 0; seed < runs; seed += 1) {
      const alpha = 1.5 + (seed % 8) / 2;
      const fit = fitted(pareto(800, alpha, seed));
      const error = Math.abs(fit.alpha - alpha) / fit.standardError;
      expect(error).toBeLessThan(5);
      if (error < 2) near += 1;
    }
    // 95 % for a known x_min; choosing it costs a few.
    expect(near / runs).toBeGreaterThan(0.8);
  });

  it('finds where the tail starts', () => {
    const random = new Random(1);
    const body = Float64Array.from({ length: 2000 }, () => Math.sqrt(0.1 + 0.6 * random.uniform()));
    const fit = fitted([...body, ...pareto(1000, 2.5, 2)]);
    expect(fit.xMin).toBeGreaterThanOrEqual(1);
    expect(fit.tail).toBeGreaterThan(50);
    expect(Math.abs(fit.alpha - 2.5)).toBeLessThan(3 * fit.standardError);
    expect(fit.count).toBe(3000);
  });

  it('does not depend on scale or order', () => {
    const values = pareto(300, 3, 7);
    const fit = fitted(values);
    const shuffled = values.slice().reverse();
    expect(fitted(shuffled)).toEqual(fit);
    for (const scale of [2 ** -60, 2 ** 60]) {
      const scaled = fitted(values.map((value) => value * scale));
      expect(scaled.alpha).toBeCloseTo(fit.alpha, 12);
      expect(scaled.distance).toBeCloseTo(fit.distance, 12);
      expect(scaled.xMin / scale ** 2 / fit.xMin).toBeCloseTo(1, 12);
    }
    // Squares under- or overflow here, the fit does not.
    expect(fitted(values.map((value) => value * 1e-200)).alpha).toBeCloseTo(fit.alpha, 10);
    expect(fitted(values.map((value) => value * 1e200)).alpha).toBeCloseTo(fit.alpha, 10);
  });

  it('leaves out what was not resolved, and what is below a floor', () => {
    const values = pareto(300, 3, 7);
    const noise = Float64Array.from({ length: 100 }, (_, i) => 1e-9 * (i + 1));
    expect(fitted([...values, ...noise])).toEqual(fitted(values));
    const above = values.filter((s) => s * s > 1.5);
    expect(powerLaw(values, { floor: 1.5 })).toEqual(fitted(above));
    expect(() => powerLaw(values, { floor: Number.NaN })).toThrow(RangeError);
    expect(() => powerLaw(values, { resolution: 2 })).toThrow(RangeError);
  });

  it('says why there is no fit', () => {
    const reason = (values: number[], floor = 0): unknown => powerLaw(values, { floor });
    expect(reason([])).toEqual({ reason: 'the matrix is empty' });
    expect(reason([0, 0, 0, 0, 0, 0])).toEqual({ reason: 'every singular value is zero' });
    expect(reason([3, 2, 1, 0, 0, 0])).toEqual({
      reason: 'only 3 singular values exceed 0; a distribution takes at least 5',
    });
    expect(reason([9, 3, 2, 2, 1, 1], 16)).toEqual({
      reason: 'only 1 singular value exceeds 4; a distribution takes at least 5',
    });
    expect(reason(new Array(64).fill(0.25))).toEqual({
      reason: 'all singular values are equal: they have no tail',
    });
    // Equal as far as they were computed.
    expect(powerLaw(Float64Array.from({ length: 64 }, (_, i) => 1 + i * 1e-9))).toHaveProperty('reason');
    expect(() => powerLaw([1, 2, 3, Number.NaN, 4])).toThrow('NaN is not a singular value');
    expect(() => powerLaw([1, 2, 3, -1, 4])).toThrow(RangeError);
  });

  it('passes over most of a large spectrum', () => {
    // The definition would take n^2 / 2 = 4.5e8 evaluations here.
    const fit = fitted(pareto(30_000, 2.5, 3));
    expect(Math.abs(fit.alpha - 2.5)).toBeLessThan(4 * fit.standardError);
  });

  it('has a density that integrates to its share', () => {
    const fit = fitted([...pareto(200, 3, 1), ...new Array(50).fill(0.5)]);
    let sum = 0;
    const step = 1e-3;
    // In ln x, up to where 1e-9 is left.
    for (let log = step / 2; log < 21 / (fit.alpha - 1); log += step) {
      const x = fit.xMin * Math.exp(log);
      sum += powerLawDensity(fit, x) * x * step;
    }
    expect(sum).toBeCloseTo(fit.tail / fit.count, 5);
    expect(powerLawDensity(fit, fit.xMin * 0.99)).toBe(0);
  });
});
