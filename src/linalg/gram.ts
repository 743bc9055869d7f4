import { availableParallelism } from 'node:os';
import { release } from '../runtime/garbage.js';
import type { Session } from '../runtime/types.js';
import {
  BLOCK_BYTES,
  checkFilled,
  gemmKernel,
  LOOP_LIMIT,
  type Matrix,
  type ProductPlace,
  Widener,
} from './matrix.js';

export interface GramOptions {
  /** Bytes that temporaries may take beside the result; default what the matrix takes, at least 8 and at most 24 MiB. */
  readonly blockBytes?: number | undefined;
  /** Default the CPU. */
  readonly place?: ProductPlace | undefined;
}

/** Rows and columns of one tile of the result: only tiles on and below the diagonal are computed. */
const TILE = 512;
/**
 * Threads of one tile: up to eight, onnxruntime gives each at least 64 columns of it, and the bits of the product do not depend
 * on how many there are. With 16 they do.
 */
const MOST_THREADS = 8;
/** Enough for the sums of 3,072 products to be made at once: the fewer the parts, the less is added up. */
const MOST_BYTES = 3 * BLOCK_BYTES;

/** A square matrix, row-major, in rows of `stride` values. */
export interface Square {
  readonly data: Float64Array;
  readonly stride: number;
}

/**
 * The Gram matrix of a matrix A in float64: A A^T for 'rows' (rows x rows), A^T A for 'columns' (columns x columns),
 * row-major and exactly symmetric.
 *
 * @throws ModelError when the data does not fill the shape
 * @example
 * const g = await gram({ rows: 64, columns: 576, data: weight }, 'rows'); // 64 x 64
 */
export async function gram(
  matrix: Matrix,
  side: 'rows' | 'columns',
  options: GramOptions = {},
): Promise<Float64Array> {
  const n = side === 'rows' ? matrix.rows : matrix.columns;
  const data = new Float64Array(n * n);
  await gramInto({ data, stride: n }, matrix, side, options);
  mirror(data, n);
  return data;
}

/**
 * Writes the lower triangle of a Gram matrix to its place; what is above the diagonal is left undefined.
 *
 * Both operands of a tile are widened for it, and only the tiles on and below the diagonal are computed: 56 % of the
 * multiplications at 4096 rows.
 *
 * @param target zero
 * @throws ModelError when the data does not fill the shape
 */
export async function gramInto(
  target: Square,
  matrix: Matrix,
  side: 'rows' | 'columns',
  options: GramOptions = {},
): Promise<void> {
  checkFilled('the matrix', matrix, 1);
  const isRows = side === 'rows';
  const [n, k] = isRows ? [matrix.rows, matrix.columns] : [matrix.columns, matrix.rows];
  if (n === 0 || k === 0) return;
  if (n * n * k <= LOOP_LIMIT && options.blockBytes === undefined) {
    gramLoop(target, matrix, isRows);
    return;
  }
  const ample = Math.min(MOST_BYTES, Math.max(BLOCK_BYTES, matrix.data.byteLength));
  const blockBytes = options.blockBytes ?? ample;
  const tile = Math.max(1, Math.min(TILE, Math.floor(Math.sqrt(blockBytes / 32))));
  const depth = Math.min(k, Math.max(1, Math.floor(blockBytes / (16 * tile))));
  const threads = Math.min(MOST_THREADS, availableParallelism());
  const session = await gemmKernel(!isRows, isRows, false, options.place, threads);
  using tiles = new Tiles(session, target, matrix, isRows);
  for (let row = 0; row < n; row += tile) {
    for (let from = 0; from < k; from += depth) {
      const to = Math.min(k, from + depth);
      for (let column = 0; column <= row; column += tile) {
        const rows = { start: row, count: Math.min(tile, n - row) };
        await tiles.compute(rows, { start: column, count: Math.min(tile, n - column) }, from, to);
      }
    }
  }
}

interface Span {
  readonly start: number;
  readonly count: number;
}

/** Computes tiles of a Gram matrix; what is the same from one to the next is not widened again. */
class Tiles implements Disposable {
  readonly #session: Session;
  readonly #target: Square;
  readonly #matrix: Matrix;
  readonly #isRows: boolean;
  readonly #left = new Widener();
  readonly #right = new Widener();
  #leftKey = '';
  #leftPanel: Float64Array = new Float64Array(0);
  #product: Float64Array = new Float64Array(0);

  constructor(session: Session, target: Square, matrix: Matrix, isRows: boolean) {
    this.#session = session;
    this.#target = target;
    this.#matrix = matrix;
    this.#isRows = isRows;
  }

  /** Adds the products of elements [from, to) of the rows and columns. */
  async compute(rows: Span, columns: Span, from: number, to: number): Promise<void> {
    const depth = to - from;
    const key = `${rows.start} ${from}`;
    if (key !== this.#leftKey) this.#leftPanel = this.#panel(this.#left, rows, from, depth);
    this.#leftKey = key;
    const right =
      rows.start === columns.start ? this.#leftPanel : this.#panel(this.#right, columns, from, depth);
    const size = rows.count * columns.count;
    if (this.#product.length < size) {
      release(this.#product);
      this.#product = new Float64Array(size);
    }
    const product = this.#product.subarray(0, size);
    await this.#session.run(
      { a: this.#tensor(this.#leftPanel, rows, depth), b: this.#tensor(right, columns, depth) },
      { into: { y: { type: 'float64', shape: [rows.count, columns.count], data: product } } },
    );
    const { data, stride } = this.#target;
    for (let i = 0; i < rows.count; i += 1) {
      const at = (rows.start + i) * stride + columns.start;
      const row = product.subarray(i * columns.count, (i + 1) * columns.count);
      if (from === 0) data.set(row, at);
      else
        for (let j = 0; j < columns.count; j += 1)
          data[at + j] = (data[at + j] as number) + (row[j] as number);
    }
  }

  [Symbol.dispose](): void {
    this.#left[Symbol.dispose]();
    this.#right[Symbol.dispose]();
    release(this.#product);
  }

  #panel(widener: Widener, { start, count }: Span, from: number, depth: number): Float64Array {
    return this.#isRows
      ? widener.block(this.#matrix, start, count, from, depth)
      : widener.block(this.#matrix, from, depth, start, count);
  }

  #tensor(data: Float64Array, { count }: Span, depth: number) {
    return { type: 'float64', shape: this.#isRows ? [count, depth] : [depth, count], data } as const;
  }
}

/** Copies the lower triangle to the upper one, in squares that stay in the cache. */
function mirror(result: Float64Array, n: number): void {
  const square = 64;
  for (let row = 0; row < n; row += square) {
    for (let column = 0; column <= row; column += square) {
      for (let i = row; i < Math.min(n, row + square); i += 1) {
        for (let j = column; j < Math.min(i, column + square); j += 1) {
          result[j * n + i] = result[i * n + j] as number;
        }
      }
    }
  }
}

function gramLoop({ data: result, stride }: Square, { rows, columns, data }: Matrix, isRows: boolean): void {
  const [n, k] = isRows ? [rows, columns] : [columns, rows];
  const [step, next] = isRows ? [columns, 1] : [1, columns];
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = 0;
      for (let l = 0; l < k; l += 1) {
        sum += (data[i * step + l * next] as number) * (data[j * step + l * next] as number);
      }
      result[i * stride + j] = sum;
    }
  }
}
