import { outInData } from '../../affine/chains/site-layout.js';
import { type FactorSize, taps } from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { EPSILON, type FloatType, type Tensor } from '../../graph/index.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { type Blocks, fileSource, PROBES, probe } from '../../linalg/kernels/index.js';
import { productTolerance } from '../../linalg/product-tolerance.js';
import { countGarbage } from '../../runtime/garbage.js';
import { Random } from '../../runtime/random.js';
import type { Skip } from './chain-extras.js';
import { type ChainPlan, factorSizes } from './chain-plan.js';
import { alphaBeside, tapOf } from './extra-factors.js';
import { NORM_EPSILON, type NormStatistics } from './norm-statistics.js';
import type { ChainSettings } from './options.js';
import { channelSquares } from './site-matrices.js';
import type { SiteFactors, WeightProbe } from './types.js';

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
 * @param isCompared its factors are going to be compared with it
 */
export async function measureWeight(
  site: LinearSite,
  plan: ChainPlan,
  matrices: readonly MatrixSource[],
  isCompared: boolean,
): Promise<MeasuredWeight> {
  const blocks = weightBlocks(matrices);
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
  const sizes = channelSquares(site, squares);
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
): Promise<{ readonly largestError: number | undefined } | { readonly reason: string }> {
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

/**
 * A chain, connections and normalizations included, as a linear map of the patch that one output sees, and its transpose. A
 * value is PROBES vectors of (channels * places), of all groups.
 */
class ChainMap {
  readonly #site: LinearSite;
  readonly #plan: ChainPlan;
  readonly #factors: readonly Tensor[];
  readonly #alpha: number;
  readonly #sizes: readonly FactorSize[];
  /** Of each value, from the input's on: the extents that are left of the kernel. */
  readonly #extents: readonly (readonly number[])[];
  /** What the normalization behind each factor multiplies channels by. */
  readonly #gains: readonly (Float64Array | undefined)[];

  constructor(
    site: LinearSite,
    plan: ChainPlan,
    factors: readonly Tensor[],
    norms: readonly NormStatistics[],
    alpha: number,
  ) {
    this.#site = site;
    this.#plan = plan;
    this.#factors = factors;
    this.#alpha = alpha;
    this.#sizes = factorSizes(site, plan);
    const extents: (readonly number[])[] = [site.kernel];
    for (const { kernel } of this.#sizes)
      extents.push((extents.at(-1) ?? []).map((extent, axis) => extent - (kernel[axis] ?? 1) + 1));
    this.#extents = extents;
    this.#gains = factors.map((_, i) => {
      const norm = norms.find(({ factor }) => factor === i);
      return (
        norm &&
        Float64Array.from(
          norm.scale,
          (scale, at) => scale / Math.sqrt((norm.variance[at] as number) + NORM_EPSILON),
        )
      );
    });
  }

  async forward(input: Float64Array): Promise<Float64Array> {
    const values = [input];
    for (const index of this.#factors.keys()) {
      const seen = this.#windows(index, values[index] as Float64Array);
      const made = this.#behind(index, await this.#times(index, seen, 'forward'), 'forward');
      for (const { from } of this.#skipsTo(index + 1))
        this.#addPlace(made, values[from] as Float64Array, from, index + 1, 'forward');
      values.push(made);
    }
    return values.at(-1) ?? input;
  }

  async backward(output: Float64Array): Promise<Float64Array> {
    const { depth } = this.#plan;
    const values = this.#extents.map((extents, i) => {
      const channels = (i === 0 ? this.#sizes[0]?.inputs : this.#sizes[i - 1]?.outputs) ?? 0;
      return new Float64Array(PROBES * this.#site.groups * channels * taps(extents));
    });
    values[depth]?.set(output);
    for (let index = depth - 1; index >= 0; index -= 1) {
      const above = values[index + 1] as Float64Array;
      for (const { from } of this.#skipsTo(index + 1))
        this.#addPlace(values[from] as Float64Array, above, from, index + 1, 'backward');
      const product = await this.#times(index, this.#behind(index, above, 'backward'), 'backward');
      this.#addWindows(index, values[index] as Float64Array, product);
    }
    return values[0] as Float64Array;
  }

  /** Vectors times a factor or its transpose, as it is stored. */
  async #times(index: number, vectors: Float64Array, way: Way): Promise<Float64Array> {
    const { blocks, isTransposed } = factorBlocks(
      this.#site,
      this.#factors[index] as Tensor,
      this.#sizes[index] as FactorSize,
    );
    const isOfRows = (way === 'forward') !== isTransposed;
    const { ax, aty } = await probe(blocks, isOfRows ? { x: vectors } : { y: vectors });
    return isOfRows ? ax : aty;
  }

  #skipsTo(value: number): readonly Skip[] {
    return this.#plan.skips.filter(({ to, isLearned }) => to === value && !isLearned);
  }

  /** Products at each place, (places * PROBES) x channels, as a value behind the factor, or the other way about; scaled. */
  #behind(index: number, data: Float64Array, way: Way): Float64Array {
    const gains = this.#gains[index];
    const alpha = index === this.#plan.depth - 1 ? this.#alpha : 1;
    const places = taps(this.#extents[index + 1] ?? []);
    if (gains === undefined && alpha === 1 && places === 1) return data;
    const channels = this.#site.groups * (this.#sizes[index] as FactorSize).outputs;
    const out = new Float64Array(data.length);
    for (let place = 0, product = 0; place < places; place += 1) {
      for (let p = 0; p < PROBES; p += 1) {
        for (let channel = 0; channel < channels; channel += 1, product += 1) {
          const value = (p * channels + channel) * places + place;
          const [to, from] = way === 'forward' ? [value, product] : [product, value];
          out[to] = (data[from] as number) * alpha * (gains?.[channel] ?? 1);
        }
      }
    }
    return out;
  }

  /** Adds a value to one behind it, or the other way about; the one in front has the place that the identity stands at. */
  #addPlace(target: Float64Array, source: Float64Array, from: number, to: number, way: Way): void {
    const places = taps(this.#extents[from] ?? []);
    const isOnePlace = places === taps(this.#extents[to] ?? []);
    const tap = isOnePlace ? 0 : tapOf(this.#site);
    const step = isOnePlace ? 1 : places;
    const count = (way === 'forward' ? target : source).length;
    for (let i = 0; i < count; i += 1) {
      const place = i * step + tap;
      const [into, of] = way === 'forward' ? [i, place] : [place, i];
      (target[into] as number) += source[of] as number;
    }
  }

  /** A value as (places * PROBES) x (channels * taps): what the factor sees at each place. */
  #windows(index: number, value: Float64Array): Float64Array {
    const places = taps(this.#extents[index + 1] ?? []);
    if (places === 1) return value;
    const seen = new Float64Array(
      (value.length / taps(this.#extents[index] ?? [])) * places * this.#taps(index),
    );
    this.#eachSeen(index, (to, from) => {
      seen[to] = value[from] as number;
    });
    return seen;
  }

  /** The transpose of `windows`, added to a value. */
  #addWindows(index: number, value: Float64Array, seen: Float64Array): void {
    if (taps(this.#extents[index + 1] ?? []) === 1) {
      for (const [at, number] of seen.entries()) (value[at] as number) += number;
      return;
    }
    this.#eachSeen(index, (to, from) => {
      (value[from] as number) += seen[to] as number;
    });
  }

  #taps(index: number): number {
    return taps((this.#sizes[index] as FactorSize).kernel);
  }

  #eachSeen(index: number, visit: (seen: number, value: number) => void): void {
    const { inputs, kernel } = this.#sizes[index] as FactorSize;
    const [before, after] = [this.#extents[index] ?? [], this.#extents[index + 1] ?? []];
    const [size, width, places] = [taps(before), taps(kernel), taps(after)];
    const rows = PROBES * this.#site.groups * inputs;
    for (let place = 0; place < places; place += 1) {
      const corner = placeOf(place, after);
      for (let tap = 0; tap < width; tap += 1) {
        const from = placeOf(tap, kernel).reduce(
          (sum, offset, axis) => sum * (before[axis] as number) + offset + (corner[axis] as number),
          0,
        );
        for (let row = 0; row < rows; row += 1) visit((place * rows + row) * width + tap, row * size + from);
      }
    }
  }
}

type Way = 'forward' | 'backward';

/** A factor as it is stored: out x (in * kernel) of each group, or transposed. */
function factorBlocks(
  site: LinearSite,
  tensor: Tensor,
  size: FactorSize,
): { readonly blocks: Blocks; readonly isTransposed: boolean } {
  const { groups, op, orientation } = site;
  const width = size.inputs * taps(size.kernel);
  // That of a transposed convolution is not a matrix: its outputs stand in front of the kernel.
  const inner = op === 'ConvTranspose' ? outInData(site, tensor.floats(), size) : undefined;
  const isTransposed = orientation === 'in-out' && inner === undefined;
  const [rows, columns] = isTransposed ? [width, size.outputs] : [size.outputs, width];
  const read = (into: Float32Array | Float64Array, row: number): void => {
    const start = row * columns;
    if (inner === undefined) readElements(tensor, into, start);
    else into.set(inner.subarray(start, start + into.length));
  };
  const element = tensor.dataType === 'float64' ? 8 : 4;
  return { blocks: { count: groups, rows, columns, element, read }, isTransposed };
}

/** Elements of a tensor from a given one on, from its file where they stand there as they are. */
function readElements(tensor: Tensor, into: Float32Array | Float64Array, start: number): void {
  const type = tensor.dataType;
  const range = type === 'float32' || type === 'float64' ? tensor.inFile(start, into.length) : undefined;
  if (range !== undefined && (type === 'float32' || type === 'float64')) {
    fileSource({ ...range, type }, into.length).read(into, 0);
    range.check();
    return;
  }
  countGarbage(into.byteLength);
  into.set(tensor.floats(start, into.length));
}

/** The coordinates of an element, row by row. */
function placeOf(index: number, extents: readonly number[]): number[] {
  const place: number[] = [];
  let rest = index;
  for (const extent of [...extents].reverse()) {
    place.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return place;
}
