import { type Resolution, resolutionOf, sortedSpectrum, tooFew, type Undefined } from './spectral-values.js';

/**
 * A power law p(λ) ~ λ^-alpha for the largest eigenvalues λ = s² of WᵀW. In brackets, WeightWatcher's name of the same
 * quantity.
 */
export interface PowerLawFit {
  /** The exponent [alpha], more than 1. */
  readonly alpha: number;
  /** Standard error of alpha, (alpha - 1) / sqrt(tail) [sigma]. */
  readonly standardError: number;
  /** Kolmogorov-Smirnov distance D between the tail and the fitted law, from 0 to 1 [D]. */
  readonly distance: number;
  /** Where the tail starts [xmin]: an eigenvalue, in the square of the weight's unit. */
  readonly xMin: number;
  /** The largest eigenvalue [xmax, lambda_max]. */
  readonly xMax: number;
  /** How many eigenvalues are at least xMin [num_pl_spikes]. */
  readonly tail: number;
  /** How many eigenvalues were looked at: all that are resolved and exceed `floor`. */
  readonly count: number;
}

export interface PowerLawOptions extends Resolution {
  /** Eigenvalues at most this large are left out; WeightWatcher's is 1e-5, whatever the matrix's scale. Default 0. */
  readonly floor?: number | undefined;
}

/** ln λ_max - ln λ_min of values that are equal as far as singular values are computed, to some 1e-6. */
const EQUAL = 1e-6;
/** Runs of a tail this short are looked at one by one. */
const SHORT = 8;

/**
 * Fits a power law to the tail of the eigenvalues λ = s² of WᵀW.
 *
 * For every candidate xMin (each eigenvalue but the largest) the exponent is the maximum-likelihood estimate for the n
 * eigenvalues from xMin on, alpha = 1 + n / sum ln(λ_i / xMin) (eq. 3.1), without correction for small samples; its
 * standard error is (alpha - 1) / sqrt(n) (eq. 3.2). The xMin is chosen whose D is smallest (section 3.3), the smallest
 * of equals. D = max |P(λ_i) - i/n| with i the number of tail eigenvalues before λ_i (eq. 3.9), as in the authors'
 * plfit and in WeightWatcher; the two-sided statistic of scipy.stats.kstest, which also looks at (i + 1)/n, exceeds it
 * by at most 1/n.
 *
 * alpha and D do not depend on the scale of the weights, hence not on whether eigenvalues are divided by N. They agree
 * with WeightWatcher's `alpha`, `D`, `xmin`, `sigma` and `num_pl_spikes` (fit='PL', no fix_fingers) for the same
 * eigenvalues. What differs: WeightWatcher drops eigenvalues below 1e-5 (`floor` here), looks at no matrix of fewer
 * than 10 (here 5), and multiplies those of the kh * kw slices of a convolution by kh * kw / 2, so that its xmin is that
 * much larger.
 *
 * Exact over all candidates, and fast: a candidate is given up as soon as its D exceeds the best one's, and within a
 * tail whole runs are passed over by the bound that two monotone functions give.
 *
 * Source: Clauset, Shalizi & Newman, Power-law distributions in empirical data, SIAM Review 51 (2009), arXiv 0706.1062;
 * for weights: Martin & Mahoney, Implicit self-regularization in deep neural networks, JMLR 22 (2021), arXiv 1810.01075.
 *
 * @param values singular values (not eigenvalues) in any order, those of one matrix or of several (slices) together
 * @returns the fit or, where there is none (fewer than 5 values, all equal), the reason
 * @throws RangeError where a value is negative, NaN or infinite, or an option out of range
 * @example
 * const fit = powerLaw(singularValues(weight, 512, 512));
 * if ('reason' in fit) console.log(fit.reason);
 * else console.log(fit.alpha, '±', fit.standardError);
 */
export function powerLaw(values: ArrayLike<number>, options: PowerLawOptions = {}): PowerLawFit | Undefined {
  const { floor = 0 } = options;
  if (!(floor >= 0)) throw new RangeError(`floor is an eigenvalue, not ${floor}`);
  const all = sortedSpectrum(values, resolutionOf(options));
  const none = tooFew(all, Math.sqrt(floor));
  if (none !== undefined) return none;
  const s = all.filter((value) => value > Math.sqrt(floor));

  // Logarithms relative to the largest: no square over- or underflows. Ascending from here on.
  const largest = s[0] as number;
  const n = s.length;
  const logs = s.map((value) => 2 * Math.log(value / largest)).reverse();
  if (-(logs[0] as number) <= EQUAL) return { reason: 'all singular values are equal: they have no tail' };
  let best: { start: number; slope: number; distance: number } | undefined;
  const slopes = slopesOf(logs);
  for (let start = 0; start < n - 1; start += 1) {
    // Of equal values only the first is a candidate: the others' tails would lack values equal to xMin.
    if (start > 0 && logs[start] === logs[start - 1]) continue;
    if (-(logs[start] as number) <= EQUAL) break;
    const slope = slopes[start] as number;
    const distance = distanceTo(logs, start, slope, best?.distance ?? Number.POSITIVE_INFINITY);
    if (distance < (best?.distance ?? Number.POSITIVE_INFINITY)) best = { start, slope, distance };
  }
  if (best === undefined) return { reason: 'all singular values are equal: they have no tail' };
  const tail = n - best.start;
  return {
    alpha: 1 + best.slope,
    standardError: best.slope / Math.sqrt(tail),
    distance: best.distance,
    xMin: (s[tail - 1] as number) ** 2,
    xMax: largest ** 2,
    tail,
    count: n,
  };
}

/** alpha - 1 of the tail from each value on, in one pass from the largest. */
function slopesOf(ascending: Float64Array): Float64Array {
  const slopes = new Float64Array(ascending.length);
  let sum = 0;
  for (let i = ascending.length - 1; i >= 0; i -= 1) {
    const log = ascending[i] as number;
    sum += log;
    const n = ascending.length - i;
    slopes[i] = n / (sum - n * log);
  }
  return slopes;
}

/**
 * max |P(λ_j) - (j - start) / n| over the tail from `start` on, or some number of at least `limit` where it is that much.
 *
 * P and the empirical distribution both grow along the tail, so between two known values neither leaves a known range
 * and most of the tail need not be looked at.
 */
function distanceTo(ascending: Float64Array, start: number, slope: number, limit: number): number {
  const end = ascending.length - 1;
  const n = ascending.length - start;
  const first = ascending[start] as number;
  let most = 0;
  const look = (j: number): number => {
    const p = -Math.expm1(-slope * ((ascending[j] as number) - first));
    most = Math.max(most, Math.abs(p - (j - start) / n));
    return p;
  };
  const between = (low: number, pLow: number, high: number, pHigh: number): void => {
    if (high - low < 2 || most >= limit) return;
    if (Math.max(pHigh - (low + 1 - start) / n, (high - 1 - start) / n - pLow) <= most) return;
    if (high - low <= SHORT) {
      for (let j = low + 1; j < high; j += 1) look(j);
      return;
    }
    const middle = (low + high) >>> 1;
    const p = look(middle);
    between(low, pLow, middle, p);
    between(middle, p, high, pHigh);
  };
  between(start, look(start), end, look(end));
  return most;
}

/**
 * Density of the fitted law at an eigenvalue, per eigenvalue of the whole spectrum: integrates over [xMin, ∞) to
 * tail / count, so that it lies on a normalized histogram of all eigenvalues. 0 below xMin.
 *
 * p(x) = (alpha - 1) / xMin (x / xMin)^-alpha (Clauset, Shalizi & Newman 2009, eq. 2.2).
 *
 * @example
 * const curve = grid.map((x) => powerLawDensity(fit, x));
 */
export function powerLawDensity(fit: PowerLawFit, eigenvalue: number): number {
  if (!(eigenvalue >= fit.xMin)) return 0;
  const share = fit.tail / fit.count;
  return (share * (fit.alpha - 1) * (eigenvalue / fit.xMin) ** -fit.alpha) / fit.xMin;
}
