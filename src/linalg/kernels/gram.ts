import { reduceForValues, valuesBytes } from './eigen/band.js';
import {
  normalize,
  type Tridiagonal,
  takeTridiagonal,
  tridiagonalBytes,
  tridiagonalEigenvalues,
} from './eigen/tridiagonal.js';
import { type MatrixSource, sourceOf } from './matrix-source.js';
import { KC, pad4, Workspace } from './module.js';

/** Columns of a wider row-major matrix: `stride` values a row, columns [from, to). */
export interface ColumnRange {
  readonly stride: number;
  readonly from?: number;
  readonly to?: number;
}

/**
 * A float64 Gram matrix, n x n, collected from pieces of a matrix that never lies in memory a second time: the
 * WebAssembly memory holds the Gram matrix and one chunk of 256 or more rows or columns. float32 input widens exactly.
 *
 * @example
 * const gram = new GramAccumulator(3);
 * gram.addRows(new Float32Array([1, 2, 2, 0, 1, 0]), 2); // a 2 x 3 matrix
 * gram.eigenvalues(); // [0, ~0.545, ~9.455] (squares of the singular values, and one zero)
 */
export class GramAccumulator {
  /** Rows and columns of the Gram matrix. */
  readonly n: number;
  readonly #work: Workspace;
  readonly #t: Tridiagonal;
  readonly #chunk: number;
  readonly #chunkBytes: number;
  readonly #packed: number;
  #open = true;

  /**
   * @param chunk most bytes of columns to read at a time, if that is more than 256 columns take
   * @throws RangeError where n is not an integer >= 1, or the matrix passes 4 GiB (n about 20 000).
   */
  constructor(n: number, chunk = 0) {
    if (!Number.isInteger(n) || n < 1)
      throw new RangeError(`order of a Gram matrix: expected an integer >= 1, got ${n}`);
    this.n = n;
    const chunkBytes = Math.max(chunk, n * KC * 8);
    const packedBytes = pad4(n) * KC * 8;
    this.#work = new Workspace(
      tridiagonalBytes(n) + Math.max(chunkBytes + packedBytes + 128, valuesBytes(n)),
    );
    this.#t = takeTridiagonal(this.#work, n);
    this.#work.f64(this.#t.a, (pad4(n) * this.#t.ld) / 8).fill(0);
    // Taken without moving the allocator: the reduction uses the same bytes once the last chunk is in.
    this.#chunk = Math.ceil((this.#t.tau + n * 8) / 64) * 64;
    this.#chunkBytes = chunkBytes;
    this.#packed = Math.ceil((this.#chunk + chunkBytes) / 64) * 64;
  }

  /** Lets as many threads share the work from now on; they end with eigenvalues(). */
  async recruit(threads: number): Promise<this> {
    this.#check();
    await this.#work.recruit(threads);
    return this;
  }

  /**
   * G += A^T A for `count` rows of n values each (the natural order for a matrix with more rows than columns).
   *
   * @param rows row-major, at least count * n values; read once
   * @param scale multiplies every entry first; a power of two keeps the product exact
   * @throws RangeError where `rows` is too short; Error once eigenvalues() was called
   */
  addRows(rows: Float32Array | Float64Array | MatrixSource, count: number, scale = 1): this {
    const { n } = this;
    if (!Number.isInteger(count) || count < 0 || rows.length < count * n)
      throw new RangeError(`expected at least ${count} x ${n} values, got ${rows.length}`);
    const source = sourceOf(rows);
    const { element } = source;
    for (let r = 0; r < count; r += KC) {
      const kc = Math.min(KC, count - r);
      source.read(this.#view(element, 0, kc * n), r * n);
      this.#update({ at: 0, ld: n * element, element, across: 1 }, kc, scale);
    }
    return this;
  }

  /**
   * G += B B^T for the n x (to - from) block of columns of a row-major n x stride matrix (the natural order for a
   * matrix with more columns than rows).
   *
   * @param matrix row-major, n x columns.stride values; only the columns in the range are read
   * @throws RangeError where the range or the length does not fit; Error once eigenvalues() was called
   */
  addColumns(matrix: Float32Array | Float64Array | MatrixSource, columns: ColumnRange, scale = 1): this {
    const { n } = this;
    const { stride, from = 0, to = stride } = columns;
    if (!(from >= 0 && from <= to && to <= stride && Number.isInteger(from) && Number.isInteger(to)))
      throw new RangeError(`columns [${from}, ${to}) are not within the ${stride} of the matrix`);
    if (matrix.length < n * stride)
      throw new RangeError(`expected ${n} x ${stride} values, got ${matrix.length}`);
    const source = sourceOf(matrix);
    const { element } = source;
    const most = KC * Math.floor(this.#chunkBytes / (n * element * KC));
    for (let c = from; c < to; c += most) {
      const width = Math.min(most, to - c);
      if (width === stride) source.read(this.#view(element, 0, n * width), 0);
      else for (let i = 0; i < n; i++) source.read(this.#view(element, i * width, width), i * stride + c);
      for (let k = 0; k < width; k += KC)
        this.#update({ at: k, ld: width * element, element, across: 0 }, Math.min(KC, width - k), scale);
    }
    return this;
  }

  /** The Gram matrix so far, n x n row-major, both triangles. */
  toArray(): Float64Array {
    this.#check();
    const { n } = this;
    const out = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      const row = this.#work.f64(this.#t.a + i * this.#t.ld, i + 1);
      out.set(row, i * n);
      for (let j = 0; j < i; j++) out[j * n + i] = row[j] as number;
    }
    return out;
  }

  /**
   * All n eigenvalues, ascending, computed in place: the accumulator cannot be used afterwards. Those that are zero
   * in exact arithmetic come out near eps times the largest, with either sign.
   *
   * @throws RangeError where the Gram matrix holds NaN or Infinity; Error on a second call
   */
  eigenvalues(): Float64Array {
    this.#check();
    this.#open = false;
    try {
      const exponent = normalize(this.#work, this.#t);
      reduceForValues(this.#work, this.#t);
      return tridiagonalEigenvalues(this.#work, this.#t, exponent);
    } finally {
      void this.#work.release();
    }
  }

  #check(): void {
    if (!this.#open) throw new Error('this GramAccumulator was consumed by eigenvalues(); make a new one');
  }

  /** Elements of the chunk. */
  #view(element: 4 | 8, at: number, count: number): Float32Array | Float64Array {
    this.#check();
    const address = this.#chunk + at * element;
    return element === 4 ? this.#work.f32(address, count) : this.#work.f64(address, count);
  }

  /** Adds a part of the chunk: `at` is its first element, `ld` the bytes from row to row. */
  #update(part: { at: number; ld: number; element: 4 | 8; across: 0 | 1 }, kc: number, scale: number): void {
    const { ld, element, across } = part;
    const from = this.#chunk + part.at * element;
    const { a, ld: ldg } = this.#t;
    this.#work.together('gramAdd', from, ld, element, across, this.n, kc, this.#packed, scale, a, ldg);
  }
}
