import { Random } from '../runtime/index.js';
import { shuffledOrder } from '../training/data/index.js';
import type { Estimate, Interval } from './types.js';

/** Samples beyond this many are drawn in groups of random ones, which moves the width of an interval by less than 1 %. */
const MOST_UNITS = 20_000;
const [LOW, HIGH] = [0.025, 0.975];

/** Figures of samples, side by side: of each sample `width` numbers. */
export interface SampleSums {
  readonly width: number;
  readonly rows: Float64Array;
}

/**
 * The sums over all samples, and over resamples of as many samples drawn with replacement (Efron & Tibshirani, "An
 * Introduction to the Bootstrap", 1993, section 13.3). All columns are of the same draws, so that differences between
 * them are paired.
 */
export class Bootstrap {
  readonly #total: Float64Array;
  readonly #resampled: readonly Float64Array[];

  constructor(sums: SampleSums, { resamples, seed }: { readonly resamples: number; readonly seed: number }) {
    const units = unitsOf(sums, seed);
    const { width, rows } = units;
    const count = rows.length / width;
    this.#total = new Float64Array(width);
    for (let unit = 0; unit < count; unit += 1) addRow(this.#total, rows, unit * width);
    const random = new Random(seed, 'bootstrap');
    this.#resampled = Array.from({ length: count > 1 ? resamples : 0 }, () => {
      const sum = new Float64Array(width);
      for (let draw = 0; draw < count; draw += 1) addRow(sum, rows, random.integer(count) * width);
      return sum;
    });
  }

  /** A figure that is made from the sums of the columns. */
  estimate(of: (sums: Float64Array) => number): Estimate {
    return { value: of(this.#total), interval: percentiles(this.#resampled.map(of)) };
  }
}

function addRow(sum: Float64Array, rows: Float64Array, at: number): void {
  for (let column = 0; column < sum.length; column += 1)
    sum[column] = (sum[column] as number) + (rows[at + column] as number);
}

function unitsOf({ width, rows }: SampleSums, seed: number): SampleSums {
  const count = rows.length / width;
  if (count <= MOST_UNITS) return { width, rows };
  const order = shuffledOrder(count, seed, -2);
  const units = new Float64Array(MOST_UNITS * width);
  for (const [sample, place] of order.entries()) {
    const [to, from] = [(place % MOST_UNITS) * width, sample * width];
    for (let column = 0; column < width; column += 1)
      units[to + column] = (units[to + column] as number) + (rows[from + column] as number);
  }
  return { width, rows: units };
}

/** Undefined where a resample has no such figure. */
function percentiles(values: readonly number[]): Interval | undefined {
  if (values.length === 0 || values.some((value) => !Number.isFinite(value))) return undefined;
  const sorted = Float64Array.from(values).sort();
  return { low: quantile(sorted, LOW), high: quantile(sorted, HIGH) };
}

/** By linear interpolation between order statistics, as NumPy's default. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const [low = 0, high = low] = [sorted[below], sorted[below + 1]];
  return low + (place - below) * (high - low);
}
