import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { jensenShannonDistance } from '../../../src/analysis/spectra/spectral-density.js';
import { EXTRA_METRICS } from '../../../src/analysis/spectra/spectral-descriptors.js';
import {
  compareWithRandomized,
  logNorm,
  logSpectralNorm,
  participationRatio,
  permuteElements,
  type RandomizedComparison,
  rankDistance,
  spectralExtras,
} from '../../../src/analysis/spectra/spectral-extras.js';
import { readModel } from '../../../src/graph/index.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/random.js';
import { HEAVY_TAIL, type ReferenceFigures } from '../../reference/heavy-tail.js';

const spectra = fc.array(fc.double({ min: 0, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 40 });

function gaussian(rows: number, columns: number, seed: number): Float64Array {
  return new Random(seed).fillNormal(new Float64Array(rows * columns));
}

/** Largest relative difference of the figures from NumPy's and SciPy's. */
function disagreement(values: ArrayLike<number>, expected: ReferenceFigures): number {
  const { figures } = spectralExtras(values, expected);
  const { power_law: tail, marchenko_pastur: bulk } = expected;
  const pairs = [
    [figures.participationRatio, expected.participation_ratio],
    [figures.logNorm, expected.log_norm],
    [figures.logSpectralNorm, expected.log_spectral_norm],
    [figures.alpha, tail.alpha],
    [figures.alphaError, tail.sigma],
    [figures.alphaDistance, tail.D],
    [figures.xMin, tail.xmin],
    [figures.tailSize, tail.num_pl_spikes],
    [figures.alphaWeighted, tail.alpha_weighted],
    [figures.logAlphaNorm, tail.log_alpha_norm],
    [figures.mpSigma, bulk.sigma],
    [figures.mpBulkMax, bulk.bulk_max],
    [figures.mpSpikes, bulk.num_spikes],
    [figures.mpSoftRank, bulk.mp_softrank],
  ];
  return Math.max(
    ...pairs.map(
      ([ours, theirs]) => Math.abs((ours ?? Number.NaN) - theirs!) / Math.max(1, Math.abs(theirs!)),
    ),
  );
}

describe('spectralExtras', () => {
  it('agrees with NumPy and SciPy on recorded spectra', () => {
    for (const expected of Object.values(HEAVY_TAIL.synthetic)) {
      // The median of a Marchenko-Pastur law is read off a table.
      const tolerance = expected.marchenko_pastur.method === 'bulk' ? 1e-11 : 1e-5;
      expect(disagreement(expected.singularValues, expected)).toBeLessThan(tolerance);
    }
  });

  it('agrees with NumPy and SciPy on the weights of a model', async () => {
    const model = await readModel(fileURLToPath(new URL('../../../fixtures/shapes.onnx', import.meta.url)));
    const { rows } = await rankReport(model, { spectra: true, concurrency: 1 });
    const { matrices } = HEAVY_TAIL['shapes.onnx'];
    expect(rows.map((row) => row.weight).sort()).toEqual(Object.keys(matrices).sort());
    for (const { weight, singularValues: values = [] } of rows) {
      expect(disagreement(values, matrices[weight]!), weight).toBeLessThan(1e-5);
    }
  });

  it('has a figure or a reason for every metric, and never NaN', () => {
    const keys = EXTRA_METRICS.map(({ key }) => key).sort();
    const nasty: [number[], number, number][] = [
      [[], 0, 7],
      [[0], 1, 7],
      [[3], 1, 7],
      [new Array(9).fill(0), 9, 9],
      [new Array(9).fill(0.5), 9, 9],
      [[5, 4, 3, 2, 0, 0, 0], 7, 9],
      [[5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 25, 25],
      [[1e200, 1e199, 1e198, 1e197, 1e190, 1e180], 6, 6],
      [[5e-324, 5e-324, 5e-324, 5e-324, 1e-323, 1e-322], 6, 6],
    ];
    for (const [values, rows, columns] of nasty) {
      const { figures, reasons } = spectralExtras(values, { rows, columns, randomized: values });
      expect(Object.keys(figures).sort()).toEqual(keys);
      for (const key of keys) {
        expect(figures[key], key).not.toBeNaN();
        expect(figures[key] === undefined, key).toBe(reasons[key] !== undefined);
      }
    }
    expect(spectralExtras([3, 0], { rows: 2, columns: 2 }).reasons).toMatchObject({
      alpha: 'only 1 singular value exceeds 0; a distribution takes at least 5',
      logAlphaNorm: 'only 1 singular value exceeds 0; a distribution takes at least 5',
      randDistance: 'not asked for',
    });
    expect(spectralExtras([0, 0], { rows: 2, columns: 2 }).reasons.logNorm).toBe(
      'every singular value is zero',
    );
  });

  it('describes each metric once', () => {
    expect(new Set(EXTRA_METRICS.map(({ header }) => header)).size).toBe(EXTRA_METRICS.length);
    const { figures } = spectralExtras([1, 2], { rows: 2, columns: 2 });
    expect(Object.keys(figures)).toEqual(EXTRA_METRICS.map(({ key }) => key));
  });
});

describe('norms and ranks', () => {
  it('knows closed forms', () => {
    expect(participationRatio([2, 2, 2, 0])).toBe(3);
    expect(participationRatio([0, 0])).toBe(0);
    expect(logNorm([3, 4])).toBeCloseTo(Math.log10(25), 14);
    expect(logNorm([2, 1], 3)).toBeCloseTo(Math.log10(65), 14);
    expect(logNorm([0])).toBeUndefined();
    expect(logNorm([1e200, 1e200], 50)).toBeCloseTo(20_000 + Math.log10(2), 9);
    expect(logSpectralNorm([3, 10])).toBe(2);
    expect(logSpectralNorm([])).toBeUndefined();
    expect(rankDistance([4, 3], 1)).toBeCloseTo(0.6, 14);
    expect(() => logNorm([1], 0)).toThrow(RangeError);
    expect(() => rankDistance([1], 0.5)).toThrow(RangeError);
    expect(() => rankDistance([Number.NaN], 1)).toThrow(RangeError);
  });

  it('obeys bounds', () => {
    fc.assert(
      fc.property(spectra, fc.nat(40), (values, rank) => {
        const ratio = participationRatio(values);
        const positive = values.filter((value) => value > 0).length;
        expect(ratio).toBeGreaterThanOrEqual(positive > 0 ? 1 - 1e-12 : 0);
        expect(ratio).toBeLessThanOrEqual(positive + 1e-9);
        const distance = rankDistance(values, rank);
        expect(distance).toBeGreaterThanOrEqual(rankDistance(values, rank + 1));
        expect(distance).toBeLessThanOrEqual(1);
        expect(rankDistance(values, 0)).toBe(positive > 0 ? 1 : 0);
        expect(rankDistance(values, positive)).toBe(0);
      }),
      { seed: 5, numRuns: 100 },
    );
  });
});

describe('the randomized matrix', () => {
  it('is a permutation that a seed and a key choose', () => {
    const data = Float32Array.from({ length: 100 }, (_, i) => i);
    const permuted = permuteElements(data, 0, 'w');
    expect(permuted).toBeInstanceOf(Float32Array);
    expect(permuted).not.toEqual(data);
    expect(permuted.slice().sort()).toEqual(data);
    expect(permuteElements(data, 0, 'w')).toEqual(permuted);
    expect(permuteElements(data, 1, 'w')).not.toEqual(permuted);
    expect(permuteElements(data, 0, 'v')).not.toEqual(permuted);
    // Every element goes everywhere equally often.
    const counts = new Float64Array(4);
    for (let seed = 0; seed < 2000; seed += 1) {
      const at = permuteElements(Float64Array.of(1, 0, 0, 0), seed).indexOf(1);
      counts[at]! += 1;
    }
    for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(100);
  });

  it("agrees with SciPy's Jensen-Shannon distance", () => {
    let compared = 0;
    for (const { singularValues: values, permuted, rand_distance } of Object.values(HEAVY_TAIL.synthetic)) {
      if (permuted === undefined || rand_distance === undefined) continue;
      const result = compareWithRandomized(values, permuted);
      if ('reason' in result) throw new Error(result.reason);
      expect(Math.abs(result.randDistance - rand_distance)).toBeLessThan(1e-9);
      expect(result.randSoftRank).toBeCloseTo((permuted[0]! / values[0]!) ** 2, 12);
      compared += 1;
    }
    expect(compared).toBe(4);
    expect(jensenShannonDistance([1, 0], [0, 1])).toBeCloseTo(Math.sqrt(Math.LN2), 14);
    expect(jensenShannonDistance([1, 3], [2, 6])).toBe(0);
    expect(() => jensenShannonDistance([0], [1])).toThrow(RangeError);
    expect(() => jensenShannonDistance([1], [1, 2])).toThrow(RangeError);
  });

  it('is near a random matrix and far from a structured one', () => {
    const [rows, columns] = [120, 80];
    const noise = gaussian(rows, columns, 1);
    const left = gaussian(rows, 8, 2);
    const right = gaussian(8, columns, 3);
    const lowRank = Float64Array.from({ length: rows * columns }, (_, index) => {
      const [i, j] = [Math.floor(index / columns), index % columns];
      let sum = 0.05 * noise[index]!;
      for (let k = 0; k < 8; k += 1) sum += left[i * 8 + k]! * right[k * columns + j]!;
      return sum;
    });
    const of = (data: Float64Array): Float64Array => singularValues(data, rows, columns);
    const compared = (w: Float64Array): RandomizedComparison => {
      const result = compareWithRandomized(of(w), of(permuteElements(w, 0)));
      if ('reason' in result) throw new Error(result.reason);
      return result;
    };
    const [near, far] = [compared(noise), compared(lowRank)];
    expect(near.randDistance).toBeLessThan(0.02);
    expect(near.randDensityDistance).toBeLessThan(0.2);
    expect(near.randSoftRank).toBeGreaterThan(0.9);
    expect(far.randDistance).toBeGreaterThan(0.4);
    expect(far.randDensityDistance).toBeGreaterThan(0.7);
    expect(far.randSoftRank).toBeLessThan(0.3);
  });

  it('is at distance 0 from itself and bounded', () => {
    const values = [9, 5, 4, 3, 2, 1, 0, 0];
    expect(compareWithRandomized(values, values)).toEqual({
      randDistance: 0,
      randDensityDistance: 0,
      randSoftRank: 1,
    });
    expect(compareWithRandomized([0, 0, 0, 0, 0], [1, 1, 1, 1, 1])).toEqual({
      reason: 'every singular value is zero',
    });
    expect(() => compareWithRandomized([1, 2], [1])).toThrow(RangeError);
    const orthogonal = new Array(8).fill(1);
    const result = compareWithRandomized(orthogonal, orthogonal);
    expect(result).toEqual({ randDistance: 0, randDensityDistance: 0, randSoftRank: 1 });
  });
});
