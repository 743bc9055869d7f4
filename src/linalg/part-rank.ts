import { Random } from '../runtime/random.js';
import { squaredSizes } from './even-scales.js';
import type { SmallSvd } from './kernels/index.js';
import { type Matrix, matmul } from './matmul.js';
import { productTolerance } from './product-tolerance.js';

/** Noise is never spread quite evenly: rows of exact low rank, rounded, have up to some 4 times that of the whole. */
const SLACK = 8;

/**
 * What a cut may leave out of a row or column, relative to its norm.
 *
 * @param noise what it may leave out of the whole
 * @param epsilon machine epsilon of the weight's type
 */
export function partNoise(noise: number, epsilon: number): number {
  return Math.min(SLACK * noise, productTolerance(epsilon) / 2);
}

/** Random vectors that stand for the norms of rows; the square of an estimate is 20 times too small once in some 1e6. */
const PROBES = 8;

/**
 * How many singular values it takes for each row and column to be left with no more than the rounding of its own elements,
 * where the whole is left with less: a cut by the norm of the whole takes all from rows that are small beside it.
 */
export class PartRank {
  readonly #basis: Matrix;
  readonly #squares: Float64Array;
  readonly #short: Float64Array;
  readonly #allowed: number;
  #long: Float64Array | undefined;

  /**
   * @param basis singular vectors along the shorter side, as rows; with squares it may change in between
   * @param short squared norms along the shorter side
   * @param allowed what may be left out of a row or column, as partNoise
   */
  constructor(basis: Matrix, squares: Float64Array, short: Float64Array, allowed: number) {
    this.#basis = basis;
    this.#squares = squares;
    this.#short = short;
    this.#allowed = allowed ** 2;
  }

  /** Whether so many values are enough. */
  async suffices(rank: number, a: Matrix): Promise<boolean> {
    return this.#ofShort(rank) && (await this.#ofLong(rank, a));
  }

  /** The fewest that are, at least `from`; by bisection, for parts that are left get no larger with more values. */
  async smallest(from: number, a: Matrix): Promise<number> {
    let [low, high] = [from, this.#basis.rows];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (await this.suffices(middle, a)) high = middle;
      else low = middle + 1;
    }
    return high;
  }

  /** The parts of the columns of a tall matrix, the rows of a wide one: sums of s^2 v^2. */
  #ofShort(rank: number): boolean {
    const { rows: n, data } = this.#basis;
    const left = new Float64Array(n);
    for (let k = rank; k < n; k += 1) {
      const square = this.#squares[k] as number;
      for (let j = 0; j < n; j += 1) (left[j] as number) += square * (data[k * n + j] as number) ** 2;
    }
    return left.every(
      (rest, j) => rest <= this.#allowed * (this.#short[j] as number) || this.#short[j] === 0,
    );
  }

  /** Norms of rows of A V^T, of the vectors V left out, are told by random vectors: A (V^T G), a product of few columns. */
  async #ofLong(rank: number, a: Matrix): Promise<boolean> {
    const { rows: n, data } = this.#basis;
    const count = n - rank;
    if (count === 0) return true;
    const isWide = a.rows <= a.columns;
    const random = new Random('part-rank');
    const g = random.fillNormal(new Float64Array(PROBES * n)).subarray(0, PROBES * count);
    const tail: Matrix = { rows: count, columns: n, data: data.subarray(rank * n) };
    const mixed = await matmul({ rows: PROBES, columns: count, data: g }, tail);
    // PROBES x long, or long x PROBES.
    const rest = isWide ? await matmul(mixed, a) : await matmul(a, mixed, { transposeB: true });
    this.#long ??= squaredSizes(a)[isWide ? 'columns' : 'rows'];
    const long = this.#long;
    const left = new Float64Array(long.length);
    for (const [at, value] of rest.data.entries()) {
      const i = isWide ? at % long.length : Math.floor(at / PROBES);
      (left[i] as number) += value ** 2 / PROBES;
    }
    return left.every((square, i) => square <= this.#allowed * (long[i] as number) || long[i] === 0);
  }
}

/** The same of a small matrix, at least `from`, from both its sides. */
export function rankByParts(
  matrix: Matrix,
  { values, left, right }: SmallSvd,
  from: number,
  part: number,
): number {
  const { rows, columns } = matrix;
  const allowed = part ** 2;
  const sizes = squaredSizes(matrix);
  const isLeft = (rest: Float64Array, whole: Float64Array): boolean =>
    rest.some((square, i) => (whole[i] as number) > 0 && square > allowed * (whole[i] as number));
  const rests = { rows: new Float64Array(rows), columns: new Float64Array(columns) };
  let rank = values.length;
  while (rank > from) {
    const k = rank - 1;
    const square = (values[k] as number) ** 2;
    for (let i = 0; i < rows; i += 1)
      (rests.rows[i] as number) += square * (left[k * rows + i] as number) ** 2;
    for (let j = 0; j < columns; j += 1)
      (rests.columns[j] as number) += square * (right[k * columns + j] as number) ** 2;
    if (isLeft(rests.rows, sizes.rows) || isLeft(rests.columns, sizes.columns)) break;
    rank = k;
  }
  return rank;
}
