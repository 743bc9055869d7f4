import { type Resolution, resolutionOf, sortedSpectrum, tooFew, type Undefined } from './spectral-values.js';

/**
 * The part of a spectrum that a matrix of independent random elements would have. In brackets, WeightWatcher's name of
 * the quantity. Eigenvalues are λ = s² of WᵀW, in the square of the weight's unit; N >= M are the dimensions.
 */
export interface MarchenkoPasturFit {
  /** Standard deviation of the random elements, in the weight's unit. */
  readonly sigma: number;
  /** sigma over the root mean square of all elements, at most about 1 [sigma_mp, for its rescaled weights]. */
  readonly sigmaRelative: number;
  /** λ₋, the lower edge of the bulk [bulk_min]. */
  readonly bulkMin: number;
  /** λ₊, the upper edge of the bulk [bulk_max]. */
  readonly bulkMax: number;
  /** Eigenvalues beyond this are spikes: λ₊ and the margin of the finite size. */
  readonly threshold: number;
  /** How many eigenvalues are spikes [num_spikes]. */
  readonly spikes: number;
  /** λ₊ / λ_max [mp_softrank]: about 1 for a random matrix, small where spikes dominate. */
  readonly softRank: number;
  /** Kolmogorov-Smirnov distance between the bulk and the fitted law, from 0 to 1: large where no such bulk exists. */
  readonly distance: number;
  /** How many eigenvalues there are. */
  readonly count: number;
  /** How sigma was found: 'bulk' from all eigenvalues but the spikes, 'median' where those would be the majority. */
  readonly method: 'bulk' | 'median';
}

export interface MarchenkoPasturOptions extends Resolution {
  /** Of the matrix or, where several of one shape are pooled (slices of a convolution), of each. */
  readonly rows: number;
  readonly columns: number;
  /**
   * How far beyond the edge a spike begins, in units of the Tracy-Widom scale. Default 3.2724, the 99.9 % quantile of
   * the Tracy-Widom law F₁: one Gaussian matrix in a thousand shows a spike.
   */
  readonly margin?: number | undefined;
}

/** The 99.9 % quantile of the Tracy-Widom law for real matrices (that of 95 % is 0.9793, of 99 % 2.0234). */
const TRACY_WIDOM = 3.2724;

/**
 * Fits the Marchenko-Pastur law to the bulk of a spectrum.
 *
 * Eigenvalues λ = s² of an N x M matrix of independent elements of variance sigma² fill [λ₋, λ₊],
 * λ± = sigma² (√N ± √M)². (Textbooks and WeightWatcher divide by N: sigma² (1 ± √(M/N))².) Starting from all
 * eigenvalues, those beyond the edge are taken away and sigma is computed anew from what remains,
 * sigma² = sum λ_bulk / ((N - k) (M - k)), until no more go; after k spikes the bulk is that of an (N - k) x (M - k)
 * matrix, and so are the edges reported. The result is the fewest spikes whose removal leaves a spectrum that ends at
 * its own edge.
 *
 * Heavy-tailed spectra have no such edge and most of them would go. Where fewer than half of the eigenvalues remain,
 * sigma is the one whose law has the median of the singular values, sigma² = median² / (median of the law for sigma 1)
 * (Gavish & Donoho 2014, for unknown noise), N and M are those of the matrix, and `method` is 'median'; at most half
 * of the values are spikes then. `distance` tells how much of a Marchenko-Pastur law the bulk is.
 *
 * The largest eigenvalue of a random matrix fluctuates about λ₊ by the scale sigma² (√N + √M) (1/√N + 1/√M)^(1/3)
 * (Johnstone 2001, theorem 1.1, with N - 1 for N); `margin` of these are allowed before a value counts as a spike.
 *
 * WeightWatcher fits sigma to a kernel density estimate of the eigenvalues rescaled by W_scale² = M / ‖W‖F²; the
 * bulk_min and bulk_max of version 0.7.7 are scaled back already. Its margin, √(Q^-½ λ₊^⅔ M^-⅔) on that scale, is not that of
 * Tracy and Widom, hence its number of spikes may differ by a few.
 *
 * Source: Marčenko & Pastur 1967; Johnstone, On the distribution of the largest eigenvalue in principal components
 * analysis, Annals of Statistics 29 (2001); Gavish & Donoho, The optimal hard threshold for singular values is 4/√3,
 * IEEE Trans. Inf. Theory 60 (2014), arXiv 1305.5870; Martin & Mahoney, JMLR 22 (2021), arXiv 1810.01075
 * (MP soft rank).
 *
 * @param values all singular values, in any order: min(rows, columns), or a multiple where matrices are pooled
 * @returns the fit or, where there is none (fewer than 5 values, most of them zero), the reason
 * @throws RangeError where a value is negative, NaN or infinite, their number does not fit, or an option is out of range
 * @example
 * const fit = marchenkoPastur(singularValues(weight, 512, 256), { rows: 512, columns: 256 });
 * if (!('reason' in fit)) console.log(fit.sigma, fit.spikes, fit.softRank);
 */
export function marchenkoPastur(
  values: ArrayLike<number>,
  options: MarchenkoPasturOptions,
): MarchenkoPasturFit | Undefined {
  const { rows, columns, margin = TRACY_WIDOM } = options;
  const [m, n] = rows < columns ? [rows, columns] : [columns, rows];
  if (!(Number.isInteger(m) && Number.isInteger(n) && m >= 0)) {
    throw new RangeError(`a matrix has no ${rows} x ${columns} elements`);
  }
  const copies = m === 0 ? 0 : values.length / m;
  if (!Number.isInteger(copies) || copies * m !== values.length || (m > 0 && copies === 0)) {
    throw new RangeError(
      `${values.length} singular values are not those of matrices of ${rows} x ${columns}`,
    );
  }
  if (!(margin >= 0)) throw new RangeError(`the margin must be at least 0, not ${margin}`);
  const s = sortedSpectrum(values, resolutionOf(options));
  const none = tooFew(s);
  if (none !== undefined) return none;

  // Relative to the largest, so that no square or sum over- or underflows.
  const largest = s[0] as number;
  const eigenvalues = s.map((value) => (value / largest) ** 2);
  const found = fitBulk(
    eigenvalues,
    (spikes) => ({ tall: n - spikes / copies, wide: m - spikes / copies }),
    margin,
  );
  if (found === undefined) return { reason: 'most singular values are zero: there is no bulk' };
  const { bulk, spikes, method } = found;
  const unit = largest * largest;
  return {
    sigma: bulk.sigma * largest,
    sigmaRelative: bulk.sigma / Math.sqrt(sumOf(eigenvalues) / (n * m * copies)),
    bulkMin: bulk.min * unit,
    bulkMax: bulk.max * unit,
    threshold: bulk.threshold * unit,
    spikes,
    softRank: bulk.max,
    distance: distanceTo(eigenvalues.subarray(spikes), bulk),
    count: s.length,
    method,
  };
}

interface Bulk {
  readonly sigma: number;
  readonly min: number;
  readonly max: number;
  readonly threshold: number;
}

/** Dimensions of a matrix without its spikes; not whole numbers where several matrices share them. */
interface Dims {
  readonly tall: number;
  readonly wide: number;
}

/** Undefined where the median is zero. */
function fitBulk(
  eigenvalues: Float64Array,
  dims: (spikes: number) => Dims,
  margin: number,
): { bulk: Bulk; spikes: number; method: MarchenkoPasturFit['method'] } | undefined {
  const count = eigenvalues.length;
  for (let spikes = 0; 2 * spikes <= count; ) {
    const { tall } = dims(spikes);
    const bulk = bulkOf(
      sumOf(eigenvalues.subarray(spikes)) / (tall * (count - spikes)),
      dims(spikes),
      margin,
    );
    if (bulk.sigma === 0) break;
    const beyond = countAbove(eigenvalues, bulk.threshold);
    // Never fewer: a smaller sum has a smaller edge.
    if (beyond <= spikes) return { bulk, spikes, method: 'bulk' };
    spikes = beyond;
  }
  const variance = medianOf(eigenvalues) / lawOf(bulkOf(1, dims(0), margin)).median;
  if (!(variance > 0)) return undefined;
  const bulk = bulkOf(variance, dims(0), margin);
  return { bulk, spikes: countAbove(eigenvalues, bulk.threshold), method: 'median' };
}

function bulkOf(variance: number, { tall, wide }: Dims, margin: number): Bulk {
  const [a, b] = [Math.sqrt(Math.max(1, tall - 1)), Math.sqrt(wide)];
  const scale = (a + b) * Math.cbrt(1 / a + 1 / b);
  const max = variance * (Math.sqrt(tall) + Math.sqrt(wide)) ** 2;
  return {
    sigma: Math.sqrt(variance),
    min: variance * (Math.sqrt(tall) - Math.sqrt(wide)) ** 2,
    max,
    threshold: Math.max(max, variance * ((a + b) ** 2 + margin * scale)),
  };
}

/** The square of the median of the square roots. */
function medianOf(descending: Float64Array): number {
  const half = descending.length / 2;
  const [a, b] = [descending[Math.ceil(half) - 1] as number, descending[Math.floor(half)] as number];
  return ((Math.sqrt(a) + Math.sqrt(b)) / 2) ** 2;
}

/** The smallest first. */
function sumOf(descending: Float64Array): number {
  let sum = 0;
  for (let i = descending.length - 1; i >= 0; i -= 1) sum += descending[i] as number;
  return sum;
}

function countAbove(descending: Float64Array, threshold: number): number {
  const count = descending.findIndex((value) => !(value > threshold));
  return count < 0 ? descending.length : count;
}

/** Steps of the table of the distribution function; with 1024 it is good to some 1e-6. */
const STEPS = 1024;

interface Law {
  /** The share of the eigenvalues that are at most this large. */
  readonly probability: (eigenvalue: number) => number;
  readonly median: number;
}

/** The distribution function of the Marchenko-Pastur law, by the trapezoidal rule and linear interpolation. */
function lawOf({ min, max }: Bulk): Law {
  // λ = centre - half cos θ makes the density smooth in θ, also where it is infinite in λ (square matrices).
  const [centre, half] = [(min + max) / 2, (max - min) / 2];
  const density = (theta: number): number => {
    const sine = half * Math.sin(theta);
    const eigenvalue = centre - half * Math.cos(theta);
    return eigenvalue > 0 ? (sine * sine) / eigenvalue : 2 * half;
  };
  const table = new Float64Array(STEPS + 1);
  for (let i = 1; i <= STEPS; i += 1) {
    const step = density(((i - 1) * Math.PI) / STEPS) + density((i * Math.PI) / STEPS);
    table[i] = (table[i - 1] as number) + step;
  }
  const whole = table[STEPS] as number;
  const middle = table.findIndex((value) => value >= whole / 2);
  const [below, above] = [table[middle - 1] as number, table[middle] as number];
  const theta = (middle - (above - whole / 2) / (above - below)) * (Math.PI / STEPS);
  return {
    median: centre - half * Math.cos(theta),
    probability: (eigenvalue) => {
      const cosine = Math.min(1, Math.max(-1, (centre - eigenvalue) / half));
      const at = (Math.acos(cosine) / Math.PI) * STEPS;
      const low = Math.min(STEPS - 1, Math.floor(at));
      const [p, q] = [table[low] as number, table[low + 1] as number];
      return (p + (at - low) * (q - p)) / whole;
    },
  };
}

/** Two-sided Kolmogorov-Smirnov distance of the eigenvalues, in descending order, to the law of the bulk. */
function distanceTo(descending: Float64Array, bulk: Bulk): number {
  const { probability } = lawOf(bulk);
  const n = descending.length;
  let most = 0;
  for (let i = 0; i < n; i += 1) {
    const p = probability(descending[i] as number);
    // In descending order: n - i values are at most this one.
    most = Math.max(most, Math.abs(p - (n - i) / n), Math.abs(p - (n - i - 1) / n));
  }
  return most;
}

/**
 * Density of the fitted law at an eigenvalue λ = s², per eigenvalue of the whole spectrum: integrates over the bulk to
 * its share 1 - spikes / count, so that it lies on a normalized histogram of all eigenvalues. 0 outside the bulk.
 *
 * ρ(λ) = √((λ₊ - λ)(λ - λ₋)) / (2π sigma² M λ) (Marčenko & Pastur 1967), where sigma² M = ((√λ₊ - √λ₋) / 2)².
 *
 * @example
 * const curve = grid.map((x) => marchenkoPasturDensity(fit, x));
 */
export function marchenkoPasturDensity(fit: MarchenkoPasturFit, eigenvalue: number): number {
  const { bulkMin, bulkMax, spikes, count } = fit;
  if (!(eigenvalue > bulkMin && eigenvalue < bulkMax)) return 0;
  const scale = ((Math.sqrt(bulkMax) - Math.sqrt(bulkMin)) / 2) ** 2;
  const root = Math.sqrt(bulkMax - eigenvalue) * Math.sqrt(eigenvalue - bulkMin);
  return ((1 - spikes / count) * root) / (2 * Math.PI * scale * eigenvalue);
}
