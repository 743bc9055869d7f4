/** Statistics of runs: means with intervals, differences of pairs, trends, and their correction for many tests. */

import { quantileT, twoSidedT } from '../analysis/estimate/student-t.js';

/** A mean with its two-sided interval of 95 %, by Student's t. */
export interface Estimate {
  readonly mean: number;
  /** NaN of fewer than two values. */
  readonly low: number;
  readonly high: number;
  /** How many values. */
  readonly n: number;
}

/** A difference of values that belong together in pairs: those of one seed. */
export interface PairedDifference extends Estimate {
  /** Two-sided p value of the paired t-test; NaN of fewer than two pairs. */
  readonly p: number;
}

/** What spearman returns: a rank correlation with its interval and p value. */
export interface Trend {
  /** Spearman's rank correlation; NaN where one of the two does not vary. */
  readonly rho: number;
  /** Interval of 95 %: Fisher's z with the variance of Fieller, Hartley & Pearson (1957), 1.06 / (n - 3). */
  readonly low: number;
  readonly high: number;
  /** Two-sided p value, by t with n - 2 degrees of freedom. */
  readonly p: number;
  readonly n: number;
}

/** What is called significant, after correction. */
export const LEVEL = 0.05;

/**
 * The mean of independent values, with the interval of 95 % by Student's t.
 *
 * @example
 * estimate([2.1, 2.2, 2.3]); // { mean: 2.2, low: 1.95, high: 2.45, n: 3 }
 */
export function estimate(values: readonly number[]): Estimate {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { mean, low: Number.NaN, high: Number.NaN, n };
  const half = quantileT(0.975, n - 1) * Math.sqrt(variance(values, mean) / n);
  return { mean, low: mean - half, high: mean + half, n };
}

/**
 * The mean of differences a - b, one a pair, with its interval and the paired t-test.
 *
 * @example
 * pairedDifference([0.9, 1.1, 1.3]); // mean 1.1, low 0.603, high 1.597, p 0.0108
 */
export function pairedDifference(differences: readonly number[]): PairedDifference {
  const made = estimate(differences);
  const { n, mean } = made;
  if (n < 2) return { ...made, p: Number.NaN };
  const error = Math.sqrt(variance(differences, mean) / n);
  if (error === 0) return { ...made, p: mean === 0 ? 1 : 0 };
  return { ...made, p: twoSidedT(mean / error, n - 1) };
}

function variance(values: readonly number[], mean: number): number {
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
}

/**
 * Spearman's rank correlation; equal values share the mean of their ranks.
 *
 * @throws RangeError where the lists differ in length
 * @example
 * spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]).rho; // 0.8
 */
export function spearman(xs: readonly number[], ys: readonly number[]): Trend {
  if (xs.length !== ys.length) throw new RangeError(`${xs.length} values go with ${ys.length}`);
  const n = xs.length;
  const rho = n < 3 ? Number.NaN : correlation(ranks(xs), ranks(ys));
  if (!Number.isFinite(rho)) return { rho, low: Number.NaN, high: Number.NaN, p: Number.NaN, n };
  const isExact = Math.abs(rho) > 1 - 1e-12;
  const p = isExact ? 0 : twoSidedT(rho * Math.sqrt((n - 2) / (1 - rho * rho)), n - 2);
  const half = n > 3 ? NORMAL_975 * Math.sqrt(1.06 / (n - 3)) : Number.NaN;
  const z = isExact ? Math.sign(rho) * Number.POSITIVE_INFINITY : Math.atanh(rho);
  return { rho, low: Math.tanh(z - half), high: Math.tanh(z + half), p, n };
}

const NORMAL_975 = 1.959963984540054;

function ranks(values: readonly number[]): number[] {
  const order = values.map((_, index) => index).sort((a, b) => (values[a] as number) - (values[b] as number));
  const made = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && values[order[to] as number] === values[order[from] as number]) to += 1;
    for (let at = from; at < to; at += 1) made[order[at] as number] = (from + to + 1) / 2;
    from = to;
  }
  return made;
}

function correlation(xs: readonly number[], ys: readonly number[]): number {
  const mean = (xs.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (const [i, value] of xs.entries()) {
    const [x, y] = [value - mean, (ys[i] as number) - mean];
    xy += x * y;
    xx += x * x;
    yy += y * y;
  }
  return xy / Math.sqrt(xx * yy);
}

/**
 * Holm's step-down correction (Scand. J. Statistics 6, 1979) of the p values of a family of tests; NaN stays NaN and does
 * not count.
 *
 * @example
 * holm([0.01, 0.04, 0.03]); // [0.03, 0.06, 0.06]
 */
export function holm(ps: readonly number[]): number[] {
  const order = ps
    .map((_, index) => index)
    .filter((index) => !Number.isNaN(ps[index]))
    .sort((a, b) => (ps[a] as number) - (ps[b] as number));
  const made = ps.map(() => Number.NaN);
  let most = 0;
  for (const [place, index] of order.entries()) {
    most = Math.max(most, Math.min(1, (order.length - place) * (ps[index] as number)));
    made[index] = most;
  }
  return made;
}
