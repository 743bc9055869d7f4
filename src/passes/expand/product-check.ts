import { type LinearSite, taps } from '../../affine/linear-site.js';
import { EPSILON, type FloatType, type Tensor } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { type Blocks, PROBES, probe } from '../../linalg/kernels/index.js';
import { productTolerance } from '../../linalg/product-tolerance.js';
import { Random } from '../../runtime/random.js';
import { ChainMap } from './chain-map.js';
import type { SiteFactors, WeightProbe } from './factors.js';
import type { ChainSettings } from './options.js';
import { alphaBeside, type ChainPlan } from './plan.js';

/** What a weight is like: norms, and what it makes of random vectors from both sides. */
export interface MeasuredWeight extends WeightProbe {
  /** Why it cannot be decomposed. */
  readonly problem: string | undefined;
  /** How many times the smallest row goes into the largest, or column where that is more; zeros aside. */
  readonly spread: number;
  /** The largest size of an element. */
  readonly largest: number;
}

/**
 * Measures a weight in one pass, and takes down what it makes of PROBES random vectors on each side, to be compared with what its
 * factors make of them (Freivalds, "Probabilistic machines can use less running time", 1977). The norm of a row of what differs is
 * told within a factor of 3 for nearly all of 1e5 rows; an error of 10 times what is allowed passes once in 1e4.
 *
 * @param isCompared its factors are going to be compared with it, and so it is going to be in memory
 */
export async function measureWeight(
  site: LinearSite,
  plan: ChainPlan,
  matrices: readonly MatrixSource[],
  isCompared: boolean,
): Promise<MeasuredWeight> {
  const blocks = (isCompared ? undefined : await site.blocks()) ?? weightBlocks(matrices);
  const { count, rows, columns } = blocks;
  const isOutIn = site.orientation === 'out-in';
  const vectors = (side: keyof typeof PROBE_VECTORS, length: number): Float64Array =>
    PROBE_VECTORS[side].take(isCompared ? PROBES * length : 0);
  const [inputs, outputs] = isOutIn ? [columns, rows] : [rows, columns];
  const x = vectors('inputs', count * inputs);
  const y = vectors('outputs', count * outputs);
  const { ax, aty, squares } = await probe(blocks, {
    ...(isOutIn ? { x, y } : { x: y, y: x }),
    hasSquares: true,
  });
  const problem = whyNotDecomposable(squares.largest);
  const sizes = site.channelSquares(squares);
  const alpha = alphaBeside(site, plan);
  const type = site.weight.dataType as FloatType;
  const [wx, wy] = isOutIn ? [ax, aty] : [aty, ax];
  const allowed = (squares: Float64Array, length: number): Float64Array =>
    references(squares, { groups: count, length, type });
  return {
    problem,
    largest: squares.largest,
    spread: Math.max(spreadOf(sizes.rows), spreadOf(sizes.columns)),
    errorOf: async (factors, norms) => {
      const chain = new ChainMap(site, plan, factors, norms, alpha);
      const [ofRows, ofColumns] = [
        allowed(sizes.rows, inputs),
        allowed(sizes.columns, outputs * taps(site.kernel)),
      ];
      return Math.max(
        largestError(wx, await chain.forward(x), ofRows, alpha),
        largestError(wy, await chain.backward(y), ofColumns, alpha),
      );
    },
  };
}

/**
 * Compares the product of factors, as they are stored, with the weight.
 *
 * @param factors in the order of application
 * @returns its largest error, of factors that are to keep the function, or why they are not to stand in for the weight
 */
export async function checkProduct(
  { probe, norms, error }: Pick<SiteFactors, 'probe' | 'norms' | 'error'>,
  factors: readonly Tensor[],
  type: FloatType,
  { init, residual }: ChainSettings,
): Promise<{ readonly largestError: number | undefined } | Reason> {
  const largestError = await probe?.errorOf(factors, norms);
  // What drops singular values is off, and says so.
  const allowed = error === undefined ? productTolerance(EPSILON[type]) : Number.MAX_VALUE;
  if (largestError === undefined || largestError <= allowed) return { largestError };
  const ways = [
    ...(init === 'orthogonal' ? ["`init: 'balanced'`"] : []),
    ...(init === 'identity' ? [] : ["`init: 'identity'`"]),
    ...(residual ? ['`residual: false`'] : []),
  ];
  const use = ways.length > 0 ? `; use ${ways.join(' or ')}` : '';
  const what = Number.isFinite(largestError)
    ? `rounded to ${type}, its factors would be off by ${(100 * largestError).toPrecision(2)}% of a row or column of its weight, whose elements differ too much in size`
    : `its factors would be out of the range of ${type}`;
  return { reason: `${what}${use}` };
}

/** Random numbers that are drawn once, and taken from the start for each weight, which does not know them: they take longer to draw than to use. */
class NormalNumbers {
  readonly #random: Random;
  #drawn = new Float64Array(0);

  constructor(seed: string) {
    this.#random = new Random(seed);
  }

  take(count: number): Float64Array {
    if (count > this.#drawn.length) {
      const more = new Float64Array(count);
      more.set(this.#drawn);
      this.#random.fillNormal(more.subarray(this.#drawn.length));
      this.#drawn = more;
    }
    return this.#drawn.subarray(0, count);
  }
}

const PROBE_VECTORS = { inputs: new NormalNumbers('inputs'), outputs: new NormalNumbers('outputs') } as const;

function whyNotDecomposable(largest: number): string | undefined {
  if (!Number.isFinite(largest)) return 'its weight has NaN or infinite values';
  const isInRange = largest === 0 || (largest > 1e-140 && largest < 1e140);
  return isInRange
    ? undefined
    : `its weight has values of the order of ${largest.toExponential(0)}, whose squares are out of range`;
}

function spreadOf(squares: Float64Array): number {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const square of squares) {
    if (square > 0) least = Math.min(least, square);
    most = Math.max(most, square);
  }
  return most === 0 ? 1 : Math.sqrt(most / least);
}

/** Steps of a type's smallest numbers that an element may be off, whatever its own size. */
const STEPS = 4;

/**
 * Norms that errors are relative to: of rows of zeros, that of the largest row of their group, and none below what the smallest
 * numbers of the type can tell apart.
 */
function references(
  squares: Float64Array,
  { groups, length, type }: { readonly groups: number; readonly length: number; readonly type: FloatType },
): Float64Array {
  const each = squares.length / groups;
  const least = (STEPS * SMALLEST[type] * Math.sqrt(length)) / productTolerance(EPSILON[type]);
  const norms = new Float64Array(squares.length);
  for (let start = 0; start < squares.length; start += each) {
    const own = squares.subarray(start, start + each);
    const largest = own.reduce((most, square) => Math.max(most, square), 0);
    norms.set(
      own.map((square) => Math.max(Math.sqrt(square > 0 ? square : largest), least)),
      start,
    );
  }
  return norms;
}

/** The smallest number above zero. */
const SMALLEST = {
  float16: 2 ** -24,
  bfloat16: 2 ** -133,
  float32: 2 ** -149,
  float64: 2 ** -1074,
} as const satisfies Record<FloatType, number>;

/** NaN where something is. Consecutive elements share one norm where there are fewer norms than elements. */
function largestError(of: Float64Array, product: Float64Array, norms: Float64Array, alpha: number): number {
  const length = of.length / PROBES;
  const count = length / norms.length;
  let largest = 0;
  for (const [i, norm] of norms.entries()) {
    let square = 0;
    for (let p = 0; p < PROBES; p += 1) {
      for (let at = p * length + i * count, end = at + count; at < end; at += 1)
        square += ((of[at] as number) - (product[at] as number) / alpha) ** 2;
    }
    largest = Math.max(largest, square === 0 ? 0 : Math.sqrt(square / PROBES) / norm);
  }
  return largest;
}

/** The matrices of the groups, one loaded at a time. */
function weightBlocks(matrices: readonly MatrixSource[]): Blocks {
  const { rows, columns } = matrices[0] ?? { rows: 0, columns: 0 };
  let loaded: { readonly group: number; readonly data: Float32Array | Float64Array } | undefined;
  const dataOf = (group: number): Float32Array | Float64Array => {
    if (loaded?.group !== group) {
      loaded = undefined;
      loaded = { group, data: (matrices[group] as MatrixSource).load().data };
    }
    return loaded.data;
  };
  return {
    count: matrices.length,
    rows,
    columns,
    element: dataOf(0) instanceof Float32Array ? 4 : 8,
    read: (into, row) => {
      for (let at = 0; at < into.length; ) {
        const start = ((row + at / columns) % rows) * columns;
        const count = Math.min(into.length - at, rows * columns - start);
        const data = dataOf(Math.floor((row + at / columns) / rows));
        into.set(data.subarray(start, start + count), at);
        at += count;
      }
    },
  };
}
