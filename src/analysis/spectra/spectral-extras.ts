import { Random } from '../../runtime/random.js';
import { type MarchenkoPasturFit, type MarchenkoPasturOptions, marchenkoPastur } from './marchenko-pastur.js';
import { type PowerLawFit, type PowerLawOptions, powerLaw } from './power-law.js';
import { jensenShannonDistance, logDensities } from './spectral-density.js';
import type { ExtraKey } from './spectral-descriptors.js';
import { resolutionOf, sortedSpectrum, tooFew, type Undefined } from './spectral-values.js';

/**
 * Participation ratio (sum λ)² / sum λ² of the eigenvalues λ = s² of WᵀW: how many eigenvalues carry the energy, from 1
 * to min(m, n). 0 for a matrix of zeros.
 *
 * Not the participation ratio of a vector that WeightWatcher computes for eigenvectors.
 *
 * Source: Gao et al., A theory of multineuronal dimensionality, bioRxiv 214262 (2017); exp of the Rényi entropy
 * of order 2 of λ / sum λ.
 *
 * @param values singular values, in any order
 * @throws RangeError where a value is negative, NaN or infinite
 * @example
 * participationRatio([2, 2, 2, 0]); // 3
 */
export function participationRatio(values: ArrayLike<number>): number {
  const s = sortedSpectrum(values);
  const largest = s[0] ?? 0;
  if (largest === 0) return 0;
  let [sum, squares] = [0, 0];
  for (const value of s) {
    const eigenvalue = (value / largest) ** 2;
    sum += eigenvalue;
    squares += eigenvalue * eigenvalue;
  }
  return (sum * sum) / squares;
}

/**
 * log10 sum λ^power = log10 ‖W‖^(2 power) in the Schatten norm of order 2 power, λ = s² the eigenvalues of WᵀW.
 *
 * `power` 1 gives WeightWatcher's `log_norm`, log10 ‖W‖F²; the power-law exponent alpha gives its `log_alpha_norm`.
 *
 * Source: Martin, Peng & Mahoney, Predicting trends in the quality of state-of-the-art neural networks without access
 * to training or testing data, Nature Communications 12 (2021), arXiv 2002.06716.
 *
 * @param values singular values, in any order
 * @param power more than 0, finite
 * @returns undefined for a matrix of zeros; never overflows
 * @throws RangeError where a value is negative, NaN or infinite, or power is out of range
 * @example
 * logNorm([3, 4]); // 1.398, log10 of 25
 */
export function logNorm(values: ArrayLike<number>, power = 1): number | undefined {
  if (!(power > 0 && power < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`a power must be more than 0, not ${power}`);
  }
  const s = sortedSpectrum(values);
  const largest = s[0] ?? 0;
  if (largest === 0) return undefined;
  let sum = 0;
  // The smallest first; relative to the largest, so that no power overflows.
  for (let i = s.length - 1; i >= 0; i -= 1) sum += ((s[i] as number) / largest) ** (2 * power);
  return Math.log10(sum) + 2 * power * Math.log10(largest);
}

/**
 * log10 λ_max = log10 ‖W‖2², WeightWatcher's `log_spectral_norm`; undefined for a matrix of zeros.
 *
 * Source: Martin, Peng & Mahoney, arXiv 2002.06716.
 *
 * @param values singular values, in any order
 * @throws RangeError where a value is negative, NaN or infinite
 * @example
 * logSpectralNorm([3, 10]); // 2
 */
export function logSpectralNorm(values: ArrayLike<number>): number | undefined {
  const largest = sortedSpectrum(values)[0] ?? 0;
  return largest === 0 ? undefined : 2 * Math.log10(largest);
}

/**
 * Distance to the nearest matrix of rank r, as a share of the matrix: ‖W - W_r‖F / ‖W‖F = √(sum_{i>r} s_i² / sum s_i²),
 * from 0 (rank at most r) to 1 (r = 0). 0 for a matrix of zeros.
 *
 * Source: Eckart & Young 1936; as the measure of neural rank collapse, Zangrando et al., arXiv 2402.03991.
 *
 * @param values singular values, in any order
 * @param rank a whole number of at least 0
 * @throws RangeError where a value is negative, NaN or infinite, or rank is out of range
 * @example
 * rankDistance([4, 3], 1); // 0.6
 */
export function rankDistance(values: ArrayLike<number>, rank: number): number {
  if (!Number.isInteger(rank) || rank < 0) throw new RangeError(`a rank is a whole number, not ${rank}`);
  const s = sortedSpectrum(values);
  const largest = s[0] ?? 0;
  if (largest === 0) return 0;
  let energy = 0;
  let rest = 0;
  for (let i = s.length - 1; i >= 0; i -= 1) {
    energy += ((s[i] as number) / largest) ** 2;
    if (i === rank) rest = energy;
  }
  return Math.sqrt(rest / energy);
}

/**
 * The elements of a matrix in random order: what its spectrum is compared with. The same seed gives the same order.
 *
 * A uniform permutation (Fisher & Yates; Knuth, The Art of Computer Programming 3.4.2, algorithm P).
 *
 * @param data not modified
 * @param key names the weight, so that those of one model are permuted each in its own way
 * @example
 * const randomized = singularValues(permuteElements(weight, 0, 'layer1.weight'), 512, 256);
 */
export function permuteElements<A extends Float32Array | Float64Array>(
  data: A,
  seed: number | string,
  key = '',
): A {
  const random = new Random(seed, `permute ${key}`);
  const permuted = data.slice() as A;
  for (let i = permuted.length - 1; i > 0; i -= 1) {
    const j = random.integer(i + 1);
    const value = permuted[i] as number;
    permuted[i] = permuted[j] as number;
    permuted[j] = value;
  }
  return permuted;
}

/** How far a spectrum is from that of the same elements in random order. */
export interface RandomizedComparison {
  /**
   * Jensen-Shannon distance between the eigenvalues of both, each in descending order and divided by their sum
   * [rand_distance]: from 0 to √ln 2 = 0.83.
   */
  readonly randDistance: number;
  /** Jensen-Shannon distance between the densities of ln λ (histograms over common bins): from 0 to √ln 2 = 0.83. */
  readonly randDensityDistance: number;
  /** Largest eigenvalue of the randomized matrix over that of the matrix [ww_softrank]. */
  readonly randSoftRank: number;
}

/**
 * Compares a spectrum with that of the same matrix with its elements in random order, which has lost all correlation.
 *
 * WeightWatcher's `rand_distance` is the Jensen-Shannon distance, natural logarithm, of the two lists of eigenvalues
 * taken as distributions over their ranks; so is randDistance, and the figures agree for the same permutation. It is
 * not a distance between densities; that is randDensityDistance, for which eigenvalues of both are counted in
 * 2 n^(1/3) (Rice's rule) bins of equal width in ln λ over the range of both, those not resolved in a bin of their own.
 *
 * Source: Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37 (1991); Endres &
 * Schindelin 2003 (its root is a metric); Martin & Mahoney, JMLR 22 (2021), arXiv 1810.01075.
 *
 * @param values singular values, in any order
 * @param randomized as many, of the randomized matrix: see permuteElements
 * @returns the distances, or the reason where a spectrum has none
 * @throws RangeError where a value is negative, NaN or infinite, or the lengths differ
 * @example
 * compareWithRandomized(singularValues(w, m, n), singularValues(permuteElements(w, 0), m, n));
 */
export function compareWithRandomized(
  values: ArrayLike<number>,
  randomized: ArrayLike<number>,
  options: { readonly resolution?: number | undefined } = {},
): RandomizedComparison | Undefined {
  if (values.length !== randomized.length) {
    throw new RangeError(`${values.length} singular values cannot be compared with ${randomized.length}`);
  }
  const resolution = resolutionOf(options);
  const [a, b] = [sortedSpectrum(values, resolution), sortedSpectrum(randomized, resolution)];
  const [none] = [tooFew(a), tooFew(b)].filter((found) => found !== undefined);
  if (none !== undefined) return none;
  const unit = Math.max(a[0] as number, b[0] as number);
  const [p, q] = [a, b].map((s) => s.map((value) => (value / unit) ** 2)) as [Float64Array, Float64Array];
  return {
    randDistance: jensenShannonDistance(p, q),
    randDensityDistance: jensenShannonDistance(...logDensities(a, b)),
    randSoftRank: ((b[0] as number) / (a[0] as number)) ** 2,
  };
}

export interface SpectralExtrasOptions extends MarchenkoPasturOptions, PowerLawOptions {
  /** Singular values of the matrix with its elements permuted; without them its distance is left out. */
  readonly randomized?: ArrayLike<number> | undefined;
}

/** Heavy-tail and random-matrix figures of a spectrum. */
export interface SpectralExtras {
  /** Undefined where a figure does not exist, or was not asked for; `reasons` then says why. Never NaN. */
  readonly figures: Readonly<Record<ExtraKey, number | undefined>>;
  readonly reasons: Readonly<Partial<Record<ExtraKey, string>>>;
  /** For curves: powerLawDensity and marchenkoPasturDensity take these. */
  readonly powerLaw: PowerLawFit | Undefined;
  readonly marchenkoPastur: MarchenkoPasturFit | Undefined;
}

/**
 * All figures of EXTRA_METRICS for one matrix, or for several of one shape that are pooled (slices of a convolution).
 *
 * @param values all singular values, in any order: min(rows, columns), or a multiple where matrices are pooled
 * @throws RangeError where a value is negative, NaN or infinite, or their number does not fit
 * @example
 * const { figures, reasons } = spectralExtras(values, { rows: 512, columns: 256 });
 * console.log(figures.alpha ?? reasons.alpha);
 */
export function spectralExtras(values: ArrayLike<number>, options: SpectralExtrasOptions): SpectralExtras {
  const s = sortedSpectrum(values);
  const tail = powerLaw(s, options);
  const bulk = marchenkoPastur(s, options);
  const random =
    options.randomized === undefined
      ? { reason: 'not asked for' }
      : compareWithRandomized(s, options.randomized, options);
  const zeros = { reason: s.length === 0 ? 'the matrix is empty' : 'every singular value is zero' };
  const logSpectral = logSpectralNorm(s);
  const pick = <T extends object, K extends keyof T>(from: T | Undefined, key: K): T[K] | Undefined =>
    'reason' in from ? (from as Undefined) : from[key];
  const results: Record<ExtraKey, number | Undefined> = {
    participationRatio: participationRatio(s),
    logNorm: logNorm(s) ?? zeros,
    logSpectralNorm: logSpectral ?? zeros,
    alpha: pick(tail, 'alpha'),
    alphaError: pick(tail, 'standardError'),
    alphaDistance: pick(tail, 'distance'),
    xMin: pick(tail, 'xMin'),
    tailSize: pick(tail, 'tail'),
    alphaWeighted: 'reason' in tail ? tail : logSpectral === undefined ? zeros : tail.alpha * logSpectral,
    logAlphaNorm: 'reason' in tail ? tail : (logNorm(s, tail.alpha) ?? zeros),
    mpSigma: pick(bulk, 'sigma'),
    mpSigmaRelative: pick(bulk, 'sigmaRelative'),
    mpBulkMin: pick(bulk, 'bulkMin'),
    mpBulkMax: pick(bulk, 'bulkMax'),
    mpSpikes: pick(bulk, 'spikes'),
    mpSoftRank: pick(bulk, 'softRank'),
    mpDistance: pick(bulk, 'distance'),
    randDistance: pick(random, 'randDistance'),
    randDensityDistance: pick(random, 'randDensityDistance'),
    randSoftRank: pick(random, 'randSoftRank'),
  };
  const figures = {} as Record<ExtraKey, number | undefined>;
  const reasons: Partial<Record<ExtraKey, string>> = {};
  for (const [key, result] of Object.entries(results) as [ExtraKey, number | Undefined][]) {
    figures[key] = typeof result === 'number' ? result : undefined;
    if (typeof result !== 'number') reasons[key] = result.reason;
  }
  return { figures, reasons, powerLaw: tail, marchenkoPastur: bulk };
}
