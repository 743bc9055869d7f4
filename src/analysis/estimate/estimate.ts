import { gram } from '../../linalg/gram.js';
import { type Matrix, matmul, type ProductPlace } from '../../linalg/index.js';
import { symmetricEigen } from '../../linalg/kernels/index.js';
import { Random } from '../../runtime/random.js';
import { runGraph } from '../../runtime/session/run-graph.js';
import { Bidiagonalization, normalProduct, type Tensor32, tensorOf } from './bidiagonalization.js';
import { integral, type Quadrature } from './quadrature.js';
import { regressedMeans } from './regression.js';
import { quantileT } from './student-t.js';

/** A figure with its interval of 95 %. */
export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** How many singular values are below shares of the largest, each step smoothed. */
export interface DensityPoint extends Interval {
  /** Share of the largest singular value. */
  readonly at: number;
}

/** The metrics that have an estimate. */
export const ESTIMATED = [
  'effectiveRank',
  'effectiveRankRatio',
  'spectralEntropy',
  'stableRank',
  'spectralNorm',
  'frobeniusNorm',
  'nuclearNorm',
] as const;
/** Key of a metric that has an estimate. */
export type EstimatedKey = (typeof ESTIMATED)[number];

/** What of a spectrum was estimated. */
export interface SpectrumEstimate {
  readonly figures: Readonly<Record<EstimatedKey, Interval>>;
  /** Share of the singular values below `at` times the largest, smoothed by a normal distribution of deviation DENSITY_WIDTH. */
  readonly density: readonly DensityPoint[];
  /** The largest singular values. */
  readonly leading: readonly Interval[];
  /** Random vectors, and steps of the bidiagonalization from each. */
  readonly probes: number;
  readonly steps: number;
  /** Whether all intervals are as narrow as was asked for. */
  readonly reached: boolean;
}

/** Options of estimateSpectrum. */
export interface EstimateOptions {
  /** Half the width of intervals, relative to the figure; of the entropy and of shares absolute. Default 0.01. */
  readonly tolerance?: number | undefined;
  /** Of the random vectors. Default 0. */
  readonly seed?: number | undefined;
  /** Names the matrix: matrices of one seed have random vectors of their own. */
  readonly key?: string | undefined;
  /** Where products run; default the CPU. */
  readonly place?: ProductPlace | undefined;
}

/** Deviation of the smoothed density, and its points, as shares of the largest singular value. */
export const DENSITY_WIDTH = 0.05;
export const DENSITY_AT = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] as const;

/** Columns of a block of the Krylov space, and blocks: X, AX, A²X. */
const BLOCK = 8;
const BLOCKS = 3;
/** Leading values that are told. */
const LEADING = 5;
const FIRST_PROBES = 24;
const MOST_PROBES = 512;
const FIRST_STEPS = 24;
const MOST_STEPS = 192;
/** Columns that go through a bidiagonalization side by side. */
const MOST_COLUMNS = 64;
/** What float32 products and vectors may do to a figure, relative to it: with 4e-6, 9 of 50 intervals of the norm missed it by rounding. */
const ROUNDING = 3e-5;

/**
 * Figures of a spectrum without the spectrum, each with an interval of 95 %.
 *
 * tr f(√A), A = WᵀW of the shorter side, is split by a basis Q that a block Krylov space of a random start gives (Musco & Musco 2015):
 * within Q the quadrature of each of its columns, outside of it the mean over random vectors orthogonal to Q (Hutch++, Meyer et al.
 * 2021). Each vᵀ f(√A) v is a Gauss quadrature by Golub-Kahan bidiagonalization (stochastic Lanczos quadrature, Ubaru, Chen & Saad
 * 2017). The means are regressed on ‖v‖² and vᵀAv, whose means are known (control variates). Intervals are Student's, by the delta
 * method for what is a function of sums, plus the difference to a quadrature of three quarters of the steps. Steps are added until that
 * difference is small, vectors until the intervals are as narrow as is asked for, or 512 of them.
 *
 * @param matrix finite, not all zero
 * @throws RangeError where the matrix holds NaN or infinite elements, or only zeros
 * @example
 * const data = new Float32Array(3000 * 4000).map(Math.random);
 * const { figures } = await estimateSpectrum({ rows: 3000, columns: 4000, data }, { tolerance: 0.01 });
 * console.log(figures.effectiveRank.value, figures.effectiveRank.low, figures.effectiveRank.high);
 */
export async function estimateSpectrum(
  matrix: Matrix,
  options: EstimateOptions = {},
): Promise<SpectrumEstimate> {
  const { tolerance = 0.01, seed = 0, key = '', place } = options;
  const { tensor, energy, scale } = await prepared(matrix);
  const order = Math.min(matrix.rows, matrix.columns);
  const random = new Random(seed, `estimate ${key}`);
  const basis = await krylovBasis(tensor, order, random, place);
  const runs: Run[] = [];
  const lead = await Bidiagonalization.open(tensor, basis, place);
  let steps = Math.min(order, FIRST_STEPS);
  await lead.advance(steps);
  const add = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left -= MOST_COLUMNS) {
      const { start, norms } = await probes(basis, order, Math.min(MOST_COLUMNS, left), random);
      const run = await Bidiagonalization.open(tensor, start, place);
      await run.advance(steps);
      runs.push({ run, norms });
    }
  };
  // A basis of the whole space leaves nothing to probe.
  if (basis.columns < order) await add(FIRST_PROBES);
  const spectrum = { lead, runs, order, energy };
  for (;;) {
    const count = runs.reduce((sum, { run }) => sum + run.columns, 0);
    const found = figuresOf(spectrum, steps);
    const isBiased = found.bias > tolerance / 4;
    if (isBiased && steps < Math.min(order, MOST_STEPS)) {
      steps = Math.min(order, MOST_STEPS, Math.ceil(1.5 * steps));
      for (const run of [lead, ...runs.map((one) => one.run)]) await run.advance(steps);
      continue;
    }
    const missing = found.deviation / Math.max(tolerance - found.bias, tolerance / 4);
    if (missing <= 1 || count >= MOST_PROBES)
      return scaled(found, scale, {
        // The first is known better by the bidiagonalizations.
        leading: [found.figures.spectralNorm, ...(await leadingValues(tensor, basis, place)).slice(1)],
        probes: count,
        steps,
        reached: missing <= 1 && found.bias <= tolerance / 2,
      });
    const wanted = Math.ceil(1.1 * count * missing * missing) - count;
    await add(Math.min(MOST_PROBES - count, Math.max(8, Math.min(wanted, 2 * count))));
  }
}

interface Run {
  readonly run: Bidiagonalization;
  /** Squares of the norms of its vectors. */
  readonly norms: Float64Array;
}

interface Prepared {
  readonly tensor: Tensor32;
  /** Sum of the squares of the elements of the tensor. */
  readonly energy: number;
  /** What the matrix is of the tensor. */
  readonly scale: number;
}

/** Elements of a matrix whose squares are added up at a time. */
const CHUNK = 1 << 22;

/** The matrix in float32, of elements near one. */
async function prepared({ rows, columns, data }: Matrix): Promise<Prepared> {
  let energy = 0;
  for (let at = 0; at < data.length; at += CHUNK) {
    const part = data.subarray(at, at + CHUNK);
    const type = part instanceof Float32Array ? 'float32' : 'float64';
    const { sum } = await runGraph(
      [
        {
          opType: 'Cast',
          inputs: ['x'],
          outputs: ['d'],
          attributes: { to: { int: 11 } },
        },
        { opType: 'Mul', inputs: ['d', 'd'], outputs: ['s'] },
        { opType: 'ReduceSum', inputs: ['s'], outputs: ['sum'], attributes: { keepdims: { int: 0 } } },
      ],
      { x: { type, shape: [part.length], data: part } as Parameters<typeof runGraph>[1][string] },
      ['sum'],
    );
    energy += Number(sum?.data[0]);
  }
  if (!Number.isFinite(energy) || energy === 0)
    throw new RangeError(
      energy === 0
        ? 'every singular value is zero'
        : 'it has NaN or infinite elements, or their squares leave float64',
    );
  const scale = 2 ** Math.round(Math.log2(Math.sqrt(energy / data.length)));
  const isPlain = data instanceof Float32Array && scale > 2 ** -20 && scale < 2 ** 20;
  if (isPlain) return { tensor: tensorOf(data, rows, columns), energy, scale: 1 };
  const single = new Float32Array(data.length);
  for (let i = 0; i < data.length; i += 1) single[i] = (data[i] as number) / scale;
  return { tensor: tensorOf(single, rows, columns), energy: energy / scale / scale, scale };
}

/** An orthonormal basis of a block Krylov space. */
async function krylovBasis(
  tensor: Tensor32,
  order: number,
  random: Random,
  place: ProductPlace | undefined,
): Promise<Matrix> {
  const columns = Math.min(BLOCK, order);
  const data = random.fillNormal(new Float32Array(order * columns));
  let block = await orthonormal({ rows: order, columns, data });
  const blocks = [block];
  while (blocks.length < BLOCKS && (blocks.length + 1) * columns <= order) {
    block = await orthonormal(await normalProduct(tensor, block, place));
    if (block.columns === 0) break;
    blocks.push(block);
  }
  return orthonormal(beside(blocks));
}

function beside(blocks: readonly Matrix[]): Matrix {
  const [{ rows } = { rows: 0 }] = blocks;
  const columns = blocks.reduce((sum, block) => sum + block.columns, 0);
  const data = new Float32Array(rows * columns);
  let from = 0;
  for (const block of blocks) {
    for (let row = 0; row < rows; row += 1)
      data.set(block.data.subarray(row * block.columns, (row + 1) * block.columns), row * columns + from);
    from += block.columns;
  }
  return { rows, columns, data };
}

/** Directions below this share of the largest, squared, are noise. */
const NEGLIGIBLE = 1e-9;

/** Columns that span the same, orthonormal to rounding of float32: twice by the eigenvectors of their Gram matrix. */
async function orthonormal(given: Matrix): Promise<Matrix> {
  let matrix = given;
  for (let pass = 0; pass < 2; pass += 1) {
    const n = matrix.columns;
    if (n === 0) return matrix;
    const { values, vectors } = symmetricEigen(await gram(matrix, 'columns'), n);
    const most = values[n - 1] ?? 0;
    const kept = [...values.keys()].filter((i) => (values[i] as number) > NEGLIGIBLE * most);
    const data = new Float64Array(kept.length * n);
    for (const [row, i] of kept.entries()) {
      const factor = 1 / Math.sqrt(values[i] as number);
      for (let j = 0; j < n; j += 1) data[row * n + j] = factor * (vectors[i * n + j] as number);
    }
    const turned: Matrix = { rows: kept.length, columns: n, data };
    matrix = await matmul(matrix, turned, { transposeB: true, out: 'float32' });
  }
  return matrix;
}

/** Random unit vectors orthogonal to the basis, and the squares of the norms that they had. */
async function probes(
  basis: Matrix,
  order: number,
  count: number,
  random: Random,
): Promise<{ readonly start: Matrix; readonly norms: Float64Array }> {
  let data: Float64Array = random.fillNormal(new Float64Array(order * count));
  for (let pass = 0; pass < 2; pass += 1) {
    const within = await matmul(basis, { rows: order, columns: count, data }, { transposeA: true });
    const { data: part } = await matmul(basis, within);
    const whole: Float64Array = data;
    data = whole.map((value, at) => value - (part[at] as number));
  }
  const norms = new Float64Array(count);
  for (let at = 0; at < data.length; at += 1)
    norms[at % count] = (norms[at % count] as number) + (data[at] as number) ** 2;
  const start = Float32Array.from(data, (value, at) => value / Math.sqrt(norms[at % count] as number));
  return { start: { rows: order, columns: count, data: start }, norms };
}

interface Spectrum {
  readonly lead: Bidiagonalization;
  readonly runs: readonly Run[];
  readonly order: number;
  readonly energy: number;
}

interface Found {
  readonly figures: Readonly<Record<EstimatedKey, Interval>>;
  readonly density: readonly DensityPoint[];
  /** The widest interval of each kind: halves that more vectors make narrower, and that more steps do. */
  readonly deviation: number;
  readonly bias: number;
}

/** Sums over all singular values: of s, of s ln(s / s1), and of the smoothed steps of the density. */
function sumsOf({ lead, runs, order, energy }: Spectrum, steps: number, largest: number) {
  const functions = [
    (s: number): number => s,
    (s: number): number => (s > 0 ? s * Math.log(s / largest) : 0),
    ...DENSITY_AT.map(
      (at) =>
        (s: number): number =>
          normalShare((at - s / largest) / DENSITY_WIDTH),
    ),
  ];
  const values = (quadrature: Quadrature): number[] => functions.map((of) => integral(quadrature, of));
  const within = functions.map(() => 0);
  let led = 0;
  for (let column = 0; column < lead.columns; column += 1) {
    const own = values(lead.quadrature(column, steps));
    for (const [index, value] of own.entries()) within[index] = (within[index] as number) + value;
    led += lead.norm(column) ** 2;
  }
  const samples: number[][] = [];
  const covariates: number[][] = [];
  for (const { run, norms } of runs) {
    for (let column = 0; column < run.columns; column += 1) {
      const norm = norms[column] as number;
      samples.push(values(run.quadrature(column, steps)).map((value) => norm * value));
      covariates.push([norm - (order - lead.columns), norm * run.norm(column) ** 2 - (energy - led)]);
    }
  }
  const width = functions.length;
  const outside =
    samples.length > 0
      ? regressedMeans(samples, covariates)
      : { means: new Float64Array(width), covariance: new Float64Array(width * width), freedom: 1 };
  return { ...outside, sums: within.map((value, index) => value + (outside.means[index] as number)) };
}

function figuresOf(spectrum: Spectrum, steps: number): Found {
  const { order, energy } = spectrum;
  const { low: least, high: most } = largestOf(spectrum, steps);
  const largest = (least + most) / 2;
  const { sums, covariance, freedom } = sumsOf(spectrum, steps, largest);
  const { sums: fewer } = sumsOf(spectrum, Math.max(1, Math.floor(0.75 * steps)), largest);
  const isWhole = steps >= order;
  const t = quantileT(0.975, freedom);
  const width = sums.length;
  const entropyOf = ([sum = 1, logs = 0]: readonly number[]): number => Math.log(sum / largest) - logs / sum;
  const [sum = 1, logs = 0] = sums;
  const entropy = entropyOf(sums);
  const slope = [1 / sum + logs / (sum * sum), -1 / sum];
  const variance = (slopes: readonly number[]): number =>
    slopes.reduce(
      (total, a, i) =>
        total + slopes.reduce((row, b, j) => row + a * b * (covariance[i * width + j] as number), 0),
      0,
    );
  const deviation = (slopes: readonly number[]): number => t * Math.sqrt(Math.max(0, variance(slopes)));
  const bias = isWhole ? 0 : 1;
  const entropyDeviation = deviation(slope);
  const entropyBias = bias * Math.abs(entropy - entropyOf(fewer));
  const sumDeviation = deviation([1]);
  const sumBias = bias * Math.abs(sum - (fewer[0] as number));
  const entropyHalf = entropyDeviation + entropyBias + ROUNDING;
  const entropies = { value: entropy, low: Math.max(0, entropy - entropyHalf), high: entropy + entropyHalf };
  const ranks = mapped(entropies, (h) => Math.min(order, Math.exp(h)));
  const sumHalf = sumDeviation + sumBias + ROUNDING * sum;
  const root = Math.sqrt(energy);
  const density = DENSITY_AT.map((at, index): DensityPoint => {
    const share = (sums[index + 2] as number) / order;
    const slopes = sums.map((_, one) => Number(one === index + 2));
    const half =
      (deviation(slopes) + bias * Math.abs((sums[index + 2] as number) - (fewer[index + 2] as number))) /
      order;
    return { at, value: share, low: share - half - ROUNDING, high: share + half + ROUNDING };
  });
  const densityDeviation = Math.max(
    ...density.map((_, index) => deviation(sums.map((__, one) => Number(one === index + 2))) / order),
  );
  const densityBias = Math.max(
    ...density.map(
      (_, index) => (bias * Math.abs((sums[index + 2] as number) - (fewer[index + 2] as number))) / order,
    ),
  );
  return {
    figures: {
      effectiveRank: ranks,
      effectiveRankRatio: mapped(ranks, (rank) => rank / order),
      spectralEntropy: entropies,
      stableRank: { value: energy / largest ** 2, low: energy / most ** 2, high: energy / least ** 2 },
      spectralNorm: { value: largest, low: least, high: most },
      frobeniusNorm: { value: root, low: root * (1 - ROUNDING), high: root * (1 + ROUNDING) },
      nuclearNorm: { value: sum, low: sum - sumHalf, high: sum + sumHalf },
    },
    density,
    deviation: Math.max(entropyDeviation, sumDeviation / sum, densityDeviation),
    // The interval of the stable rank is twice as wide as that of the norm.
    bias: Math.max(entropyBias, sumBias / sum, densityBias, (most - least) / largest),
  };
}

function mapped({ value, low, high }: Interval, of: (value: number) => number): Interval {
  return { value: of(value), low: of(low), high: of(high) };
}

/** The largest singular value: at least the largest node of all, and near it by its residual. */
function largestOf({ lead, runs }: Spectrum, steps: number): { readonly low: number; readonly high: number } {
  const quadratures: Quadrature[] = [];
  for (const run of [lead, ...runs.map((one) => one.run)])
    for (let column = 0; column < run.columns; column += 1) quadratures.push(run.quadrature(column, steps));
  const top = quadratures.reduce((best, one) =>
    (one.nodes.at(-1) ?? 0) > (best.nodes.at(-1) ?? 0) ? one : best,
  );
  const value = top.nodes.at(-1) ?? 0;
  const low = value * (1 - ROUNDING);
  const high = Math.sqrt(value * value + top.residual) * (1 + ROUNDING);
  return { low, high };
}

/**
 * The leading singular values by Rayleigh-Ritz in the Krylov basis. Each value is at least what is found, and its square is within the
 * residual of the square of a singular value.
 */
async function leadingValues(
  tensor: Tensor32,
  basis: Matrix,
  place: ProductPlace | undefined,
): Promise<Interval[]> {
  const n = basis.columns;
  const applied = await normalProduct(tensor, basis, place);
  const { data } = await matmul(basis, applied, { transposeA: true });
  const symmetric = Float64Array.from(data, (value, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return (value + (data[j * n + i] as number)) / 2;
  });
  const { values, vectors } = symmetricEigen(symmetric, n);
  const turned: Matrix = { rows: n, columns: n, data: vectors };
  const image = await matmul(applied, turned, { transposeB: true });
  const ritz = await matmul(basis, turned, { transposeB: true });
  const residuals = new Float64Array(n);
  for (let at = 0; at < image.data.length; at += 1) {
    const off = (image.data[at] as number) - (values[at % n] as number) * (ritz.data[at] as number);
    residuals[at % n] = (residuals[at % n] as number) + off * off;
  }
  return Array.from({ length: Math.min(LEADING, n) }, (_, place) => {
    const i = n - 1 - place;
    const square = Math.max(0, values[i] as number);
    const value = Math.sqrt(square);
    return {
      value,
      low: value * (1 - ROUNDING),
      high: Math.sqrt(square + Math.sqrt(residuals[i] as number)) * (1 + ROUNDING),
    };
  });
}

/** What a singular value, as a share of the largest, adds to the density at a threshold: a smoothed step. */
export function smoothedShare(at: number, value: number): number {
  return normalShare((at - value) / DENSITY_WIDTH);
}

/** P(Z < z), to 1e-7 (Abramowitz & Stegun 26.2.17). */
function normalShare(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail =
    (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) *
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z > 0 ? 1 - tail : tail;
}

const IN_UNITS: readonly EstimatedKey[] = ['spectralNorm', 'frobeniusNorm', 'nuclearNorm'];

function scaled(
  { figures, density }: Found,
  scale: number,
  { leading, ...rest }: Pick<SpectrumEstimate, 'leading' | 'probes' | 'steps' | 'reached'>,
): SpectrumEstimate {
  const times = (interval: Interval): Interval => mapped(interval, (value) => value * scale);
  const own = Object.entries(figures).map(([key, interval]) => [
    key,
    IN_UNITS.includes(key as EstimatedKey) ? times(interval) : interval,
  ]);
  return {
    figures: Object.fromEntries(own) as Record<EstimatedKey, Interval>,
    density,
    leading: leading.map(times),
    ...rest,
  };
}
