import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type MarchenkoPasturFit,
  type MarchenkoPasturOptions,
  marchenkoPastur,
  marchenkoPasturDensity,
} from '../../../src/analysis/spectra/marchenko-pastur.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/random.js';
import { HEAVY_TAIL } from '../../reference/heavy-tail.js';

interface Spiked {
  readonly spikes?: readonly number[];
  readonly scale?: number;
  readonly seed?: number;
}

/** Singular values of scale * (Gaussian noise + spikes), each spike of so many times the detectable strength. */
function spectrum(rows: number, columns: number, { spikes = [], scale = 1, seed = 0 }: Spiked): Float64Array {
  const random = new Random(seed, `${rows} x ${columns}`);
  const w = random.fillNormal(new Float64Array(rows * columns));
  for (const strength of spikes) {
    const u = unit(random.fillNormal(new Float64Array(rows)));
    const v = unit(random.fillNormal(new Float64Array(columns)));
    // Benaych-Georges & Nadakuditi 2012: noise hides what is weaker than (N M)^(1/4).
    const theta = strength * (rows * columns) ** 0.25;
    for (let i = 0; i < rows; i += 1) {
      for (let j = 0; j < columns; j += 1) w[i * columns + j]! += theta * u[i]! * v[j]!;
    }
  }
  return singularValues(
    w.map((value) => value * scale),
    rows,
    columns,
  );
}

function unit(vector: Float64Array): Float64Array {
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}

function fitted(values: ArrayLike<number>, options: MarchenkoPasturOptions): MarchenkoPasturFit {
  const fit = marchenkoPastur(values, options);
  if ('reason' in fit) throw new Error(fit.reason);
  return fit;
}

describe('marchenkoPastur', () => {
  it('agrees with a search over all numbers of spikes in NumPy and SciPy', () => {
    const found: Record<string, number> = {};
    for (const [name, of] of Object.entries(HEAVY_TAIL.synthetic)) {
      const fit = fitted(of.singularValues, { rows: of.rows, columns: of.columns });
      const expected = of.marchenko_pastur;
      found[name] = fit.spikes;
      expect(fit.method).toBe(expected.method);
      expect(fit.spikes).toBe(expected.num_spikes);
      // The median of the law is read off a table.
      const digits = fit.method === 'bulk' ? 11 : 5;
      expect(fit.sigma / expected.sigma).toBeCloseTo(1, digits);
      expect(fit.bulkMin / expected.bulk_min).toBeCloseTo(1, Math.min(9, digits));
      expect(fit.bulkMax / expected.bulk_max).toBeCloseTo(1, digits);
      expect(fit.softRank / expected.mp_softrank).toBeCloseTo(1, digits);
      // The table of the distribution function against adaptive quadrature.
      expect(Math.abs(fit.distance - expected.distance)).toBeLessThan(1e-5);
    }
    expect(found).toMatchObject({ gaussian: 0, spiked: 3, product: 37 });
  });

  it('finds sigma and no spikes in random matrices', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 60, max: 160 }),
        fc.integer({ min: 60, max: 160 }),
        fc.nat(1000),
        fc.constantFrom(1e-20, 0.02, 1, 1e20),
        (rows, columns, seed, scale) => {
          const fit = fitted(spectrum(rows, columns, { seed, scale }), { rows, columns });
          const [m, n] = rows < columns ? [rows, columns] : [columns, rows];
          expect(fit.spikes).toBe(0);
          expect(Math.abs(fit.sigma / scale - 1)).toBeLessThan(0.03);
          expect(fit.sigmaRelative).toBeCloseTo(1, 12);
          expect(fit.softRank).toBeGreaterThan(0.85);
          expect(fit.distance).toBeLessThan(0.06);
          // Without spikes, the textbook's edges.
          expect(fit.bulkMax / (fit.sigma * (Math.sqrt(n) + Math.sqrt(m))) ** 2).toBeCloseTo(1, 12);
          expect(Math.sqrt(fit.bulkMin) / fit.sigma).toBeCloseTo(Math.sqrt(n) - Math.sqrt(m), 6);
          expect(fit.count).toBe(m);
        },
      ),
      { seed: 11, numRuns: 12 },
    );
  });

  it('counts spikes', () => {
    for (const [rows, columns, spikes] of [
      [200, 100, [3]],
      [100, 200, [5, 4, 3]],
      [150, 150, [200, 20, 9, 6, 4, 3, 2.5]],
    ] as const) {
      const fit = fitted(spectrum(rows, columns, { spikes }), { rows, columns });
      expect(fit.spikes).toBe(spikes.length);
      expect(Math.abs(fit.sigma - 1)).toBeLessThan(0.03);
      expect(fit.softRank).toBeLessThan(0.7);
      expect(fit.sigmaRelative).toBeLessThan(1);
    }
    // Below the threshold there is nothing to see.
    expect(fitted(spectrum(200, 200, { spikes: [0.5] }), { rows: 200, columns: 200 }).spikes).toBe(0);
  });

  it('tells that a spectrum has no such bulk', () => {
    const values = Float64Array.from({ length: 100 }, (_, i) => 0.9 ** i);
    const fit = fitted(values, { rows: 100, columns: 100 });
    expect(fit.distance).toBeGreaterThan(0.1);
  });

  it('pools the slices of a convolution', () => {
    const slices = [0, 1, 2, 3].map((seed) => spectrum(80, 60, { seed, spikes: seed < 2 ? [4] : [] }));
    const pooled = fitted(Float64Array.from(slices.flatMap((slice) => [...slice])), {
      rows: 80,
      columns: 60,
    });
    expect(pooled.spikes).toBe(2);
    expect(pooled.count).toBe(240);
    expect(Math.abs(pooled.sigma - 1)).toBeLessThan(0.02);
  });

  it('says why there is no fit, and never NaN', () => {
    const reason = (values: number[], rows: number, columns: number): unknown =>
      marchenkoPastur(values, { rows, columns });
    expect(reason([], 0, 5)).toEqual({ reason: 'the matrix is empty' });
    expect(reason([0, 0, 0, 0, 0], 5, 5)).toEqual({ reason: 'every singular value is zero' });
    expect(reason([2, 1], 2, 9)).toHaveProperty('reason');
    const large = Float64Array.from({ length: 200_000 }, (_, i) => (i < 9 ? 1 : 0));
    expect(marchenkoPastur(large, { rows: 1000, columns: 2000 })).toHaveProperty('reason');
    const lowRank = [9, 8, 7, 6, 5, ...new Array(95).fill(1e-9)];
    expect(reason(lowRank, 100, 100)).toEqual({
      reason: 'most singular values are zero: there is no bulk',
    });
    const flat = marchenkoPastur(new Array(50).fill(3), { rows: 50, columns: 50 });
    for (const value of Object.values(flat)) expect(Number.isFinite(value) || value === 'bulk').toBe(true);
    for (const zeros of [0, 1, 40, 44]) {
      const values = Array.from({ length: 50 }, (_, i) => (i < 50 - zeros ? 1 + i : 0));
      for (const value of Object.values(marchenkoPastur(values, { rows: 50, columns: 70 }))) {
        expect(value).not.toBeNaN();
      }
    }
    expect(() => marchenkoPastur([1, 2, 3], { rows: 2, columns: 2 })).toThrow(RangeError);
    expect(() => marchenkoPastur([1], { rows: 0, columns: 2 })).toThrow(RangeError);
    expect(() => marchenkoPastur([1, 1], { rows: 2, columns: 2, margin: -1 })).toThrow(RangeError);
  });

  it('has a density that integrates to the share of the bulk', () => {
    for (const [rows, columns, spikes] of [
      [90, 60, []],
      [80, 80, [5, 5]],
    ] as const) {
      const fit = fitted(spectrum(rows, columns, { spikes }), { rows, columns });
      const steps = 4000;
      let sum = 0;
      for (let i = 0; i < steps; i += 1) {
        // Finer towards the lower edge, where the density of a square matrix is infinite.
        const [from, to] = [i / steps, (i + 1) / steps].map(
          (t) => fit.bulkMin + (fit.bulkMax - fit.bulkMin) * t ** 3,
        ) as [number, number];
        sum += marchenkoPasturDensity(fit, (from + to) / 2) * (to - from);
      }
      expect(sum).toBeCloseTo(1 - spikes.length / fit.count, 3);
      expect(marchenkoPasturDensity(fit, fit.bulkMax * 1.001)).toBe(0);
    }
  });
});
