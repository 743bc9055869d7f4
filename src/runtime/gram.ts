import { countGarbage } from './garbage.js';
import { BLOCK_BYTES, checkFilled, gemmKernel, LOOP_LIMIT, type Matrix, Widener } from './matrix.js';

export interface GramOptions {
  /** Bytes that temporaries may take beside the result; default 24 MiB. */
  readonly blockBytes?: number | undefined;
}

/** Rows and columns of one tile of the result: only tiles on and below the diagonal are computed. */
const TILE = 512;

/**
 * The Gram matrix of a matrix A in float64: A A^T for 'rows' (rows x rows), A^T A for 'columns' (columns x columns),
 * row-major and exactly symmetric.
 *
 * The matrix is widened chunk by chunk along the dimension that is summed over, and only the tiles on and below the
 * diagonal are computed: 56 % of the multiplications at 4096 rows.
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
  checkFilled('the matrix', matrix, 1);
  const isRows = side === 'rows';
  const [n, k] = isRows ? [matrix.rows, matrix.columns] : [matrix.columns, matrix.rows];
  const result = new Float64Array(n * n);
  if (n === 0 || k === 0) return result;
  if (n * n * k <= LOOP_LIMIT && options.blockBytes === undefined) {
    gramLoop(result, matrix, isRows);
    return result;
  }
  const session = await gemmKernel(!isRows, isRows);
  const blockBytes = options.blockBytes ?? BLOCK_BYTES;
  const tile = Math.max(1, Math.min(TILE, Math.floor(Math.sqrt(blockBytes / 32))));
  const blocks = Array.from({ length: Math.ceil(n / tile) }, (_, index) => ({
    start: index * tile,
    count: Math.min(tile, n - index * tile),
    widener: new Widener(),
  }));
  const chunk = Math.min(k, Math.max(1, Math.floor((blockBytes * 3) / 4 / (8 * n))));
  const buffer = new Float64Array(Math.min(tile, n) ** 2);
  for (let from = 0; from < k; from += chunk) {
    const depth = Math.min(chunk, k - from);
    const panels = blocks.map(({ start, count, widener }) => ({
      start,
      count,
      tensor: {
        type: 'float64',
        shape: isRows ? [count, depth] : [depth, count],
        data: isRows
          ? widener.block(matrix, start, count, from, depth)
          : widener.block(matrix, from, depth, start, count),
      } as const,
    }));
    for (const [index, a] of panels.entries()) {
      for (const b of panels.slice(0, index + 1)) {
        const product = buffer.subarray(0, a.count * b.count);
        await session.run(
          { a: a.tensor, b: b.tensor },
          { into: { y: { type: 'float64', shape: [a.count, b.count], data: product } } },
        );
        addTile(result, n, product, a, b);
        countGarbage(product.byteLength);
      }
    }
  }
  mirror(result, n);
  return result;
}

interface Span {
  readonly start: number;
  readonly count: number;
}

function addTile(result: Float64Array, n: number, product: Float64Array, rows: Span, columns: Span): void {
  for (let i = 0; i < rows.count; i += 1) {
    const to = (rows.start + i) * n + columns.start;
    const from = i * columns.count;
    for (let j = 0; j < columns.count; j += 1) {
      result[to + j] = (result[to + j] as number) + (product[from + j] as number);
    }
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

function gramLoop(result: Float64Array, { rows, columns, data }: Matrix, isRows: boolean): void {
  const [n, k] = isRows ? [rows, columns] : [columns, rows];
  const [step, next] = isRows ? [columns, 1] : [1, columns];
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      let sum = 0;
      for (let l = 0; l < k; l += 1) {
        sum += (data[i * step + l * next] as number) * (data[j * step + l * next] as number);
      }
      result[i * n + j] = sum;
      result[j * n + i] = sum;
    }
  }
}
