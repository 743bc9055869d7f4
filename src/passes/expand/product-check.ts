import { outInData } from '../../affine/chains/site-layout.js';
import { type FactorSize, taps } from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { EPSILON, type FloatType, type Tensor } from '../../graph/index.js';
import { squaredSizes } from '../../linalg/even-scales.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';
import { productTolerance } from '../../linalg/product-tolerance.js';
import { countGarbage } from '../../runtime/garbage.js';
import { Random } from '../../runtime/random.js';
import type { Skip } from './chain-extras.js';
import { type ChainPlan, factorSizes } from './chain-plan.js';
import { alphaBeside, tapOf } from './extra-factors.js';
import { NORM_EPSILON, type NormStatistics } from './norm-statistics.js';
import { channelSquares } from './site-matrices.js';
import type { WeightProbe } from './types.js';

/**
 * Random vectors on each side. The norm of a row of what is left is told within a factor of 3 for nearly all of 1e5 rows;
 * an error of 10 times what is allowed passes once in 1e4.
 */
const PROBES = 4;

/** What a weight makes of random vectors on both sides, of one group. */
interface Side {
  /** (inputs * taps) x PROBES. */
  readonly x: Matrix;
  /** outputs x PROBES. */
  readonly y: Matrix;
  /** W X, outputs x PROBES. */
  readonly wx: Matrix;
  /** W^T Y, (inputs * taps) x PROBES. */
  readonly wy: Matrix;
  /** What errors of the outputs and the inputs of W are relative to. */
  readonly rows: Float64Array;
  readonly columns: Float64Array;
}

/**
 * Takes down what a weight does, to be compared with what its factors do. Both take as many multiply-adds as a few rows of
 * the weight do in factorizing it.
 */
export async function weightProbe(
  site: LinearSite,
  plan: ChainPlan,
  matrices: readonly MatrixSource[],
): Promise<WeightProbe> {
  const random = new Random('probe', site.weight.value);
  const type = site.weight.dataType as FloatType;
  const isOutIn = site.orientation === 'out-in';
  const alpha = alphaBeside(site, plan);
  const sides: Side[] = [];
  // Identities that the factors make up for bring their own rounding; fittingPlan sees that weights do not drown in it.
  const beside = plan.skips.some(({ from, isLearned }) => from === 0 && !isLearned) ? 1 : 0;
  let spread = 1;
  for (const source of matrices) {
    const a = source.load();
    const [outputs, width] = isOutIn ? [a.rows, a.columns] : [a.columns, a.rows];
    const [x, y] = [normal(width, random), normal(outputs, random)];
    const squares = squaredSizes(a);
    const { rows, columns } = channelSquares(site, squares);
    spread = Math.max(spread, spreadOf(rows), spreadOf(columns));
    sides.push({
      x,
      y,
      wx: times(await matmul(a, x, { transposeA: !isOutIn }), alpha),
      wy: times(await matmul(a, y, { transposeA: isOutIn }), alpha),
      rows: reference(rows, width, alpha, type, beside),
      columns: reference(columns, outputs * taps(site.kernel), alpha, type, beside),
    });
  }
  return {
    spread,
    errorOf: async (factors, norms) => {
      const chain = new ChainMap(site, plan, factors, norms, alpha);
      const errors: number[] = [];
      const forward = await chain.forward(sides.map(({ x }) => x));
      for (const [group, { wx, rows }] of sides.entries())
        errors.push(largestError(wx, forward[group] as Matrix, rows));
      const backward = await chain.backward(sides.map(({ y }) => y));
      for (const [group, { wy, columns }] of sides.entries())
        errors.push(largestError(wy, backward[group] as Matrix, columns));
      return errors.reduce((most, error) => Math.max(most, error), 0);
    },
  };
}

function spreadOf(squares: Float64Array): number {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const square of squares) {
    if (square > 0) least = Math.min(least, square);
    most = Math.max(most, square);
  }
  return Math.sqrt(most / least);
}

function normal(rows: number, random: Random): Matrix {
  return { rows, columns: PROBES, data: random.fillNormal(new Float64Array(rows * PROBES)) };
}

function times(matrix: Matrix, factor: number): Matrix {
  return factor === 1 ? matrix : { ...matrix, data: matrix.data.map((value) => value * factor) };
}

/** Steps of a type's smallest numbers that an element may be off, whatever its own size. */
const STEPS = 4;

/**
 * Norms that errors are relative to: of rows of zeros, that of the largest row, and none below what the smallest numbers of the
 * type can tell apart.
 */
function reference(
  squares: Float64Array,
  length: number,
  alpha: number,
  type: FloatType,
  beside: number,
): Float64Array {
  const largest = squares.reduce((most, square) => Math.max(most, square), 0);
  const least = (STEPS * SMALLEST[type] * Math.sqrt(length)) / productTolerance(EPSILON[type]);
  return squares.map((square) =>
    Math.max(beside, Math.abs(alpha) * Math.max(Math.sqrt(square > 0 ? square : largest), least)),
  );
}

/** The smallest number above zero. */
const SMALLEST = {
  float16: 2 ** -24,
  bfloat16: 2 ** -133,
  float32: 2 ** -149,
  float64: 2 ** -1074,
} as const satisfies Record<FloatType, number>;

/** NaN where something is. Consecutive rows share one norm where there are fewer norms than rows. */
function largestError(of: Matrix, product: Matrix, norms: Float64Array): number {
  const count = of.data.length / norms.length;
  let largest = 0;
  for (const [i, norm] of norms.entries()) {
    let square = 0;
    for (let at = i * count; at < (i + 1) * count; at += 1)
      square += ((of.data[at] as number) - (product.data[at] as number)) ** 2;
    largest = Math.max(largest, square === 0 ? 0 : Math.sqrt(square / PROBES) / norm);
  }
  return largest;
}

/**
 * A chain, connections and normalizations included, as a linear map of the patch that one output sees, and its transpose. A
 * value is a matrix (channels * places) x PROBES of each group.
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
  #loaded: { readonly index: number; readonly matrices: readonly Matrix[] } | undefined;

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

  async forward(input: readonly Matrix[]): Promise<readonly Matrix[]> {
    const values: (readonly Matrix[])[] = [input];
    for (const index of this.#factors.keys()) {
      const made: Matrix[] = [];
      for (const [group, factor] of this.#matricesOf(index).entries()) {
        const value = this.#windows(index, (values[index] as readonly Matrix[])[group] as Matrix);
        const product = await matmul(factor, value, { transposeA: this.#isTransposed });
        made.push(asColumns(this.#scaled(index, group, product), PROBES));
      }
      for (const { from } of this.#skipsTo(index + 1)) {
        for (const [group, value] of made.entries())
          this.#addPlace(value, (values[from] as readonly Matrix[])[group] as Matrix, from, index + 1, 'out');
      }
      values.push(made);
    }
    return values.at(-1) ?? input;
  }

  async backward(output: readonly Matrix[]): Promise<readonly Matrix[]> {
    const { depth } = this.#plan;
    const values: Matrix[][] = Array.from({ length: depth + 1 }, (_, i) =>
      output.map(() => {
        const channels = i === 0 ? this.#sizes[0]?.inputs : this.#sizes[i - 1]?.outputs;
        const rows = (channels ?? 0) * taps(this.#extents[i] ?? []);
        return { rows, columns: PROBES, data: new Float64Array(rows * PROBES) };
      }),
    );
    for (const [group, { data }] of output.entries()) values[depth]?.[group]?.data.set(data);
    for (let index = depth - 1; index >= 0; index -= 1) {
      const above = values[index + 1] as Matrix[];
      const below = values[index] as Matrix[];
      for (const { from } of this.#skipsTo(index + 1)) {
        for (const [group, value] of above.entries())
          this.#addPlace((values[from] as Matrix[])[group] as Matrix, value, from, index + 1, 'in');
      }
      for (const [group, factor] of this.#matricesOf(index).entries()) {
        const { outputs } = this.#sizes[index] as FactorSize;
        const value = this.#scaled(index, group, asRows(above[group] as Matrix, outputs));
        const product = await matmul(factor, value, { transposeA: !this.#isTransposed });
        this.#addWindows(index, below[group] as Matrix, product);
      }
    }
    return values[0] as Matrix[];
  }

  /** Factors of matrices are taken as they are stored; those of transposed convolutions are not matrices then. */
  get #isTransposed(): boolean {
    return this.#site.orientation === 'in-out' && this.#site.op !== 'ConvTranspose';
  }

  /** One factor is in memory at a time; the last one serves both directions. */
  #matricesOf(index: number): readonly Matrix[] {
    if (this.#loaded?.index === index) return this.#loaded.matrices;
    this.#loaded = undefined;
    const tensor = this.#factors[index] as Tensor;
    const size = this.#sizes[index] as FactorSize;
    const { groups, op } = this.#site;
    countGarbage(tensor.byteLength);
    const floats = tensor.floats();
    const data = op === 'ConvTranspose' ? outInData(this.#site, floats, size) : floats;
    const width = size.inputs * taps(size.kernel);
    const [rows, columns] = this.#isTransposed ? [width, size.outputs] : [size.outputs, width];
    const matrices = Array.from({ length: groups }, (_, group) => ({
      rows,
      columns,
      data: data.subarray(group * rows * columns, (group + 1) * rows * columns),
    }));
    this.#loaded = { index, matrices };
    return matrices;
  }

  #skipsTo(value: number): readonly Skip[] {
    return this.#plan.skips.filter(({ to, isLearned }) => to === value && !isLearned);
  }

  /** Rows times what stands behind a factor. */
  #scaled(index: number, group: number, matrix: Matrix): Matrix {
    const gains = this.#gains[index];
    const factor = index === this.#plan.depth - 1 ? this.#alpha : 1;
    if (gains === undefined) return times(matrix, factor);
    const { rows, columns, data } = matrix;
    const own = gains.subarray(group * rows, (group + 1) * rows);
    return {
      rows,
      columns,
      data: data.map((value, at) => value * factor * (own[Math.floor(at / columns)] as number)),
    };
  }

  /** Adds a value to one behind it, or the other way about; the one in front has the place that the identity stands at. */
  #addPlace(target: Matrix, source: Matrix, from: number, to: number, way: 'in' | 'out'): void {
    const front = taps(this.#extents[from] ?? []);
    const isOnePlace = front === taps(this.#extents[to] ?? []);
    const tap = isOnePlace ? 0 : tapOf(this.#site);
    const step = isOnePlace ? 1 : front;
    const count = (way === 'out' ? target : source).rows;
    for (let i = 0; i < count; i += 1) {
      const place = i * step + tap;
      const [into, of] = way === 'out' ? [i, place] : [place, i];
      for (let p = 0; p < PROBES; p += 1)
        (target.data[into * PROBES + p] as number) += source.data[of * PROBES + p] as number;
    }
  }

  /** A value as (channels * taps) x (places * PROBES): what the factor sees at each place. */
  #windows(index: number, value: Matrix): Matrix {
    const { inputs, kernel } = this.#sizes[index] as FactorSize;
    const places = taps(this.#extents[index + 1] ?? []);
    if (places === taps(this.#extents[index] ?? []) || places === 1)
      return asRows(value, inputs * taps(kernel));
    const seen = new Float64Array(inputs * taps(kernel) * places * PROBES);
    this.#eachWindow(index, (to, from) => {
      for (let p = 0; p < PROBES; p += 1) seen[to + p] = value.data[from + p] as number;
    });
    return { rows: inputs * taps(kernel), columns: places * PROBES, data: seen };
  }

  /** The transpose of `windows`, added to a value. */
  #addWindows(index: number, value: Matrix, seen: Matrix): void {
    const places = taps(this.#extents[index + 1] ?? []);
    if (places === taps(this.#extents[index] ?? []) || places === 1) {
      for (const [at, number] of seen.data.entries()) (value.data[at] as number) += number;
      return;
    }
    this.#eachWindow(index, (to, from) => {
      for (let p = 0; p < PROBES; p += 1) (value.data[from + p] as number) += seen.data[to + p] as number;
    });
  }

  #eachWindow(index: number, visit: (to: number, from: number) => void): void {
    const { inputs, kernel } = this.#sizes[index] as FactorSize;
    const [before, after] = [this.#extents[index] ?? [], this.#extents[index + 1] ?? []];
    const [size, width, places] = [taps(before), taps(kernel), taps(after)];
    for (let place = 0; place < places; place += 1) {
      const corner = placeOf(place, after);
      for (let tap = 0; tap < width; tap += 1) {
        const from = placeOf(tap, kernel).reduce(
          (sum, offset, axis) => sum * (before[axis] as number) + offset + (corner[axis] as number),
          0,
        );
        for (let channel = 0; channel < inputs; channel += 1)
          visit(((channel * width + tap) * places + place) * PROBES, (channel * size + from) * PROBES);
      }
    }
  }
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

function asColumns({ data }: Matrix, columns: number): Matrix {
  return { rows: data.length / columns, columns, data };
}

function asRows({ data }: Matrix, rows: number): Matrix {
  return { rows, columns: data.length / rows, data };
}
