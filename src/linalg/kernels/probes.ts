import { Workspace } from './module.js';

/** Vectors that a matrix is multiplied by in one call. */
export const PROBES = 4;

/** A block-diagonal matrix, its blocks row-major and consecutive; one block is any matrix. */
export interface Blocks {
  readonly count: number;
  /** Of each block. */
  readonly rows: number;
  readonly columns: number;
  /** Bytes of an element. */
  readonly element: 4 | 8;
  /** Fills `into` with the elements of whole rows from number `row` on, counted through all blocks. */
  read(into: Float32Array | Float64Array, row: number): void;
}

/** Squared norms of the rows and columns of all blocks. */
export interface Squares {
  readonly rows: Float64Array;
  readonly columns: Float64Array;
  /** The largest size of an element; NaN where one is. */
  readonly largest: number;
}

/** Bytes of a matrix that are read at a time, so that they are in the cache for all that is done with them. */
const CHUNK = 1 << 18;

/**
 * Products with a few vectors, and norms, in float64, of a matrix that is read once, in parts. Vectors stand one behind the
 * other, PROBES of them (of `multiply`, any multiple), each as long as all blocks together are wide or high.
 *
 * @example
 * // A X and A^T Y in one pass.
 * const { ax, aty } = await probe(blocksOf(a), { x, y });
 */
export async function probe(
  blocks: Blocks,
  {
    x,
    y,
    hasSquares = false,
  }: { readonly x?: Float64Array; readonly y?: Float64Array; readonly hasSquares?: boolean },
): Promise<{ readonly ax: Float64Array; readonly aty: Float64Array; readonly squares: Squares }> {
  const { count, rows, columns, element } = blocks;
  const [height, width] = [count * rows, count * columns];
  const atOnce = Math.max(2, 2 * Math.floor(CHUNK / (2 * columns * element)));
  const times = (x?.length ?? 0) / width;
  const timesY = (y?.length ?? 0) / height;
  const most = Math.min(height, atOnce) * columns;
  const work = new Workspace(most * element + 8 * ((times + timesY + 1) * (height + width)) + 64 * 8);
  try {
    const chunk = work.take(most * element);
    const vectors = (length: number, from?: Float64Array): number => {
      const at = work.take(8 * length);
      const view = work.f64(at, length);
      if (from === undefined) view.fill(0);
      else view.set(from);
      return at;
    };
    const [inX, outX] = [vectors(times * width, x), vectors(times * height)];
    const [inY, outY] = [vectors(timesY * height, y), vectors(timesY * width)];
    const ofRows = vectors(hasSquares ? height : 0);
    const ofColumns = vectors(hasSquares ? width : 0);
    const strides = [8 * width, 8 * height] as const;
    let largest = 0;
    for (let row = 0; row < height; row += atOnce) {
      const lines = Math.min(atOnce, height - row);
      const length = lines * columns;
      blocks.read(element === 4 ? work.f32(chunk, length) : work.f64(chunk, length), row);
      const part = [chunk, element, row, lines, rows, columns] as const;
      for (let v = 0; v < times; v += PROBES)
        work.kernels.probeRows(...part, inX + v * strides[0], strides[0], outX + v * strides[1], strides[1]);
      for (let v = 0; v < timesY; v += PROBES)
        work.kernels.probeColumns(
          ...part,
          inY + v * strides[1],
          strides[1],
          outY + v * strides[0],
          strides[0],
        );
      // Math.max keeps NaN.
      if (hasSquares) largest = Math.max(largest, work.kernels.squareSums(...part, ofRows, ofColumns));
    }
    const copy = (at: number, length: number): Float64Array => work.f64(at, length).slice();
    return {
      ax: copy(outX, times * height),
      aty: copy(outY, timesY * width),
      squares: {
        rows: copy(ofRows, hasSquares ? height : 0),
        columns: copy(ofColumns, hasSquares ? width : 0),
        largest,
      },
    };
  } finally {
    await work.release();
  }
}
