import type { MetricText } from './metric-text.js';
import type { ExtraKey } from './spectral-descriptors.js';

/** What the singular values of one matrix say. */
export interface SpectrumMetrics {
  readonly effectiveRank: number;
  readonly effectiveRankRatio: number;
  readonly spectralEntropy: number;
  readonly stableRank: number;
  readonly numericalRank: number;
  readonly rank90: number;
  readonly rank95: number;
  readonly rank99: number;
  readonly conditionNumber: number;
  readonly spectralNorm: number;
  readonly frobeniusNorm: number;
  readonly nuclearNorm: number;
  /** True where the smallest singular value lies below what was resolved, so that the condition number is at least this. */
  readonly conditionNumberIsLowerBound: boolean;
  /** True where NumPy's tolerance lies below what was resolved (large float64 weights of low rank). */
  readonly numericalRankIsLowerBound: boolean;
}

/** The metrics of spectrumMetrics. */
export type BasicMetricKey = Exclude<keyof SpectrumMetrics, `${string}IsLowerBound`>;

/** Every metric of a report: ALL_METRICS describes each. */
export type MetricKey = BasicMetricKey | ExtraKey | 'rankDistance' | OwnMetricKey;

/** Key of a metric that a program defined; see defineMetric. */
export type OwnMetricKey = string & { readonly ownMetric: true };

/** One metric: what every table, CSV, JSON, Markdown file and document says about it. */
export interface MetricDescriptor<Key extends MetricKey = MetricKey> extends MetricText {
  readonly key: Key;
}

const DESCRIPTORS = {
  effectiveRank: {
    header: 'eff.rank',
    unit: '',
    format: 'fixed1',
    definition:
      'exp(H), H the spectral entropy: between 1 and min(m, n), as many equal singular values would have that entropy',
    source: 'Roy & Vetterli, The effective rank, EUSIPCO 2007',
    priority: 1,
  },
  effectiveRankRatio: {
    header: 'of max',
    unit: '',
    format: 'percent',
    definition: 'effective rank / min(m, n): the share of the directions that the matrix could use',
    source: 'effective rank over its upper bound',
    priority: 1,
  },
  spectralEntropy: {
    header: 'entropy',
    unit: 'nats',
    format: 'fixed2',
    definition:
      'H = -sum p_i ln p_i with p_i = s_i / sum s; arXiv 2103.10427 and its code call this the effective rank',
    source: 'Huh et al., The Low-Rank Simplicity Bias in Deep Networks, TMLR 2023 (arXiv 2103.10427)',
    priority: 6,
  },
  stableRank: {
    header: 'stable rank',
    unit: '',
    format: 'fixed2',
    definition: 'sum s_i^2 / s1^2 = ||W||_F^2 / ||W||_2^2: a rank that small singular values do not move',
    source: 'Rudelson & Vershynin, Sampling from large matrices, J. ACM 2007',
    priority: 3,
  },
  numericalRank: {
    header: 'num.rank',
    unit: '',
    format: 'count',
    definition: "how many s_i exceed s1 * max(m, n) * eps, eps of the weight's type",
    source: 'numpy.linalg.matrix_rank; Golub & Van Loan, Matrix Computations, 5.5.8',
    priority: 2,
  },
  rank90: {
    header: 'rank 90%',
    unit: '',
    format: 'count',
    definition: 'the fewest singular values with at least 90 % of sum s_i^2',
    source: 'energy criterion of truncated singular value decompositions',
    priority: 5,
  },
  rank95: {
    header: 'rank 95%',
    unit: '',
    format: 'count',
    definition: 'the fewest singular values with at least 95 % of sum s_i^2',
    source: 'energy criterion of truncated singular value decompositions',
    priority: 5,
  },
  rank99: {
    header: 'rank 99%',
    unit: '',
    format: 'count',
    definition: 'the fewest singular values with at least 99 % of sum s_i^2',
    source: 'energy criterion of truncated singular value decompositions',
    priority: 4,
  },
  conditionNumber: {
    header: 'cond.',
    unit: '',
    format: 'significant3',
    definition:
      's1 / s_min(m, n); infinite for a singular matrix; a lower bound, marked ≥, where the smallest is below 1e-7 s1 and was not resolved',
    source: 'numpy.linalg.cond',
    priority: 4,
  },
  spectralNorm: {
    header: '‖W‖₂',
    unit: 'of the weight',
    format: 'significant3',
    definition: 's1, the largest singular value',
    source: 'operator norm',
    priority: 7,
  },
  frobeniusNorm: {
    header: '‖W‖F',
    unit: 'of the weight',
    format: 'significant3',
    definition: 'sqrt(sum s_i^2), the root of the sum of the squared weights',
    source: 'Frobenius norm',
    priority: 7,
  },
  nuclearNorm: {
    header: '‖W‖*',
    unit: 'of the weight',
    format: 'significant3',
    definition: 'sum s_i',
    source: 'nuclear (trace) norm',
    priority: 8,
  },
} as const satisfies Record<BasicMetricKey, MetricText>;

/** The metrics of spectrumMetrics, in the order of the columns of a report. */
export const METRICS: readonly MetricDescriptor<BasicMetricKey>[] = (
  Object.keys(DESCRIPTORS) as BasicMetricKey[]
).map((key) => ({ key, ...DESCRIPTORS[key] }));

/** Singular values below this share of the largest are noise of a float64 Gram matrix. */
export const RESOLUTION = 1e-7;

/** Cumulative sums that miss a share by rounding alone still reach it. */
const SLACK = 1e-12;

/** What spectrumMetrics needs to know of the matrix besides its singular values. */
export interface SpectrumContext {
  /** Rows of the matrix. */
  readonly rows: number;
  readonly columns: number;
  /** Machine epsilon of the type in which the matrix is stored: 2^-23 for float32. Default float32's. */
  readonly epsilon?: number | undefined;
  /** Values below this share of the largest are not known; 0 where all are. Default RESOLUTION. */
  readonly resolution?: number | undefined;
  /** How many matrices of rows x columns the values are those of, taken as the blocks of one. Default 1. */
  readonly copies?: number | undefined;
}

/**
 * The metrics of a matrix from its singular values.
 *
 * A matrix of zeros has effective, stable, numerical and energy ranks of 0, an entropy of 0 and an infinite
 * condition number (as NumPy); so does an empty one.
 *
 * @param values all min(rows, columns) singular values, in any order, in the units of the weight
 * @throws RangeError where a value is negative, NaN or infinite, or there are not min(rows, columns) of them
 * @example
 * spectrumMetrics([3, 3, 3], { rows: 3, columns: 5 }).effectiveRank; // 3
 */
export function spectrumMetrics(values: ArrayLike<number>, context: SpectrumContext): SpectrumMetrics {
  const { rows, columns, epsilon = 2 ** -23, resolution = RESOLUTION, copies = 1 } = context;
  const order = Math.min(rows, columns) * copies;
  if (values.length !== order) {
    const what =
      copies === 1 ? `a ${rows} x ${columns} matrix has` : `${copies} of ${rows} x ${columns} have`;
    throw new RangeError(`${what} ${order} singular values, not ${values.length}`);
  }
  const relative = sorted(values);
  const largest = relative[0] ?? 0;
  if (largest === 0) return ZERO;

  // So that no square or sum over- or underflows.
  divide(relative, largest);
  const sum = sumOf(relative);
  const energy = energyOf(relative);
  const entropy = entropyOf(relative, sum);
  const effectiveRank = Math.min(order, Math.exp(entropy));
  const smallest = relative[order - 1] ?? 0;
  const isResolved = smallest >= resolution;
  const tolerance = Math.max(rows, columns) * epsilon;
  return {
    effectiveRank,
    effectiveRankRatio: effectiveRank / order,
    spectralEntropy: entropy,
    stableRank: energy,
    numericalRank: countAbove(relative, isResolved ? tolerance : Math.max(tolerance, resolution)),
    rank90: energyRank(relative, 0.9 * energy),
    rank95: energyRank(relative, 0.95 * energy),
    rank99: energyRank(relative, 0.99 * energy),
    conditionNumber: isResolved ? 1 / smallest : 1 / resolution,
    spectralNorm: largest,
    frobeniusNorm: largest * Math.sqrt(energy),
    nuclearNorm: largest * sum,
    conditionNumberIsLowerBound: !isResolved,
    numericalRankIsLowerBound: !isResolved && tolerance < resolution,
  };
}

const ZERO: SpectrumMetrics = {
  effectiveRank: 0,
  effectiveRankRatio: 0,
  spectralEntropy: 0,
  stableRank: 0,
  numericalRank: 0,
  rank90: 0,
  rank95: 0,
  rank99: 0,
  conditionNumber: Number.POSITIVE_INFINITY,
  spectralNorm: 0,
  frobeniusNorm: 0,
  nuclearNorm: 0,
  conditionNumberIsLowerBound: false,
  numericalRankIsLowerBound: false,
};

// The loops over all values stand by themselves, by index: V8 optimizes them while the singular values of other weights are
// being computed, and takes 30 times as long for iterators within a long function.

/** A copy, sorted. Throws RangeError for what is no singular value. */
function sorted(values: ArrayLike<number>): Float64Array {
  const s = Float64Array.from(values).sort().reverse();
  for (let i = 0; i < s.length; i += 1) {
    const value = s[i] as number;
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY))
      throw new RangeError(`${value} is not a singular value`);
  }
  return s;
}

function divide(values: Float64Array, by: number): void {
  for (let i = 0; i < values.length; i += 1) values[i] = (values[i] as number) / by;
}

function sumOf(values: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 1) sum += values[i] as number;
  return sum;
}

function energyOf(values: Float64Array): number {
  let energy = 0;
  for (let i = 0; i < values.length; i += 1) energy += (values[i] as number) ** 2;
  return energy;
}

function entropyOf(values: Float64Array, sum: number): number {
  let entropy = 0;
  for (let i = 0; i < values.length; i += 1) {
    const p = (values[i] as number) / sum;
    if (p > 0) entropy -= p * Math.log(p);
  }
  // One value alone gives -0.
  return Math.max(0, entropy);
}

function countAbove(descending: Float64Array, tolerance: number): number {
  let count = 0;
  while (count < descending.length && (descending[count] as number) > tolerance) count += 1;
  return count;
}

/** The fewest of the largest values with a share of the energy. */
function energyRank(descending: Float64Array, wanted: number): number {
  let energy = 0;
  for (let i = 0; i < descending.length; i += 1) {
    energy += (descending[i] as number) ** 2;
    if (energy >= wanted * (1 - SLACK)) return i + 1;
  }
  return descending.length;
}
