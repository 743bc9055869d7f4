import { type Gemm, type SmallSvd, smallSvd, symmetricEigen } from '../kernels/index.js';
import { countGarbage } from '../runtime/garbage.js';
import { gram, type Matrix, matmul } from '../runtime/matmul.js';

export type Floats = Float32Array | Float64Array;

/**
 * A = P diag(s) Q^T, cut to the fewest singular values whose remainder is below the rounding of the weight's
 * type. The sides are computed when they are asked for, since of a large matrix they are larger than A itself.
 */
export interface Decomposition {
  /** Singular values that count, descending. */
  readonly values: Float64Array;
  /** P diag(scale): rows x rank. */
  left(scale: Float64Array): Promise<Matrix>;
  /** diag(scale) Q^T: rank x columns. */
  right(scale: Float64Array): Promise<Matrix>;
}

/** A matrix that is loaded when it is needed, and may be let go in between. */
export interface MatrixSource {
  readonly rows: number;
  readonly columns: number;
  load(): Matrix;
}

/** Up to this many elements Jacobi rotations take less time than a session's calls. */
const SMALL = 2048;

/**
 * Decomposes a matrix through the eigenvectors of its smaller Gram matrix, in float64.
 *
 * The product left(s^a) right(s^b), a + b = 1, is A to the rounding of the type even where small singular values
 * are not resolved (the Gram matrix squares the condition number): the side that is not made of eigenvectors is
 * computed from A itself, so only the orthogonality of the eigenvectors counts.
 *
 * @param epsilon machine epsilon of the weight's type
 * @throws RangeError when A has NaN or infinite values
 */
export async function decompose(source: MatrixSource, epsilon: number): Promise<Decomposition> {
  const { rows, columns } = source;
  if (rows * columns <= SMALL || Math.min(rows, columns) === 1) return decomposeSmall(source.load(), epsilon);
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const products = await gramOf(source, isWide);
  let squaredNorm = 0;
  for (let i = 0; i < n; i += 1) squaredNorm += products[i * n + i] as number;
  if (!Number.isFinite(squaredNorm)) throw new RangeError('has NaN or infinite values');
  countGarbage(8 * rows * columns);
  const { values: ascending, vectors } = await symmetricEigen(products, n, { gemm, consume: true });
  countGarbage(32 * n * n);

  // Ascending to descending: the largest eigenvalue's vector comes first.
  const largest = Math.max(ascending[n - 1] ?? 0, 0);
  const floor = n * Number.EPSILON * largest;
  const squares = Float64Array.from(ascending, (value) => Math.max(value, 0)).reverse();
  const basis = { rows: n, columns: n, data: reverseRows(vectors, n) };

  const unsure = unsureOf(epsilon);
  const firstUnsure = squares.findIndex((value) => value <= unsure * floor);
  const noise = noiseOf(source, epsilon) ** 2 * squaredNorm;
  const isResolved =
    firstUnsure < 0 || (await resolveTail(basis, squares, firstUnsure, source.load(), { noise, unsure }));
  const rank = rankOf(squares, noise);
  const smallest = isResolved ? 0 : floor;
  const values = squares.slice(0, rank).map((value) => Math.sqrt(Math.max(value, smallest)));
  const ranked: Matrix = { rows: rank, columns: n, data: basis.data.subarray(0, rank * n) };

  const isDouble = epsilon < EPSILON_FLOAT32;
  /** The side computed from A: its scale is relative to the singular values that A brings along. */
  const ofMatrix = (scale: Float64Array): Promise<Matrix> => {
    const relative = scale.map((value, i) => value / (values[i] as number));
    return scaledProduct(ranked, relative, source.load(), isDouble);
  };
  return {
    values,
    left: async (scale) => (isWide ? scaledTranspose(ranked, scale, isDouble) : ofMatrix(scale)),
    right: async (scale) => (isWide ? ofMatrix(scale) : scaledRows(ranked, scale, isDouble)),
  };
}

const EPSILON_FLOAT32 = 2 ** -23;

/** A function of its own, so that the matrix can be let go before the eigenvectors are computed. */
function gramOf(source: MatrixSource, isWide: boolean): Promise<Float64Array> {
  return gram(source.load(), isWide ? 'rows' : 'columns');
}

/** Rows of scaled vectors at a time. */
const PRODUCT_ROWS = 1024;

/** diag(scale) V A (V n wide, A wide) or A V^T diag(scale), in parts, so that V needs no scaled copy. */
async function scaledProduct(v: Matrix, scale: Float64Array, a: Matrix, isDouble: boolean): Promise<Matrix> {
  const isWide = a.rows <= a.columns;
  const [rows, columns] = isWide ? [v.rows, a.columns] : [a.rows, v.rows];
  const data = emptyFloats(rows * columns, isDouble);
  const out = isDouble ? 'float64' : 'float32';
  for (let start = 0; start < v.rows; start += PRODUCT_ROWS) {
    const count = Math.min(PRODUCT_ROWS, v.rows - start);
    const part: Matrix = {
      rows: count,
      columns: v.columns,
      data: v.data.subarray(start * v.columns, (start + count) * v.columns),
    };
    const scaled = scaledRows(part, scale.subarray(start, start + count), true);
    if (isWide) {
      data.set((await matmul(scaled, a, { out })).data, start * columns);
    } else {
      const product = await matmul(a, scaled, { transposeB: true, out });
      for (let i = 0; i < rows; i += 1) {
        data.set(product.data.subarray(i * count, (i + 1) * count), i * columns + start);
      }
    }
    countGarbage(4 * count * Math.max(rows, columns));
  }
  return { rows, columns, data };
}

/** Large products of the eigensolver go to onnxruntime: 4096 x 4096 takes 13 s, inside WebAssembly 24 s. */
export const gemm: Gemm = async (a, b, m, k, n) => {
  countGarbage(a.byteLength + 16 * m * n);
  const { data } = await matmul({ rows: m, columns: k, data: a }, { rows: k, columns: n, data: b });
  return data as Float64Array;
};

/**
 * Eigenvalues of a Gram matrix below this many times its rounding tell too little of singular vectors. For float32 and
 * half types 1e4 leaves an imbalance of 1e-7 whatever the condition c. For float64 it left 2e-9 at c = 1e5 and depth 5,
 * 1e8 left 4e-11, 1e12 leaves 1e-12: then only the rounding of the leading vectors counts, eps c^(1 - 1/depth).
 */
function unsureOf(epsilon: number): number {
  return epsilon > 1e-10 ? 1e4 : 1e12;
}

/** Elements of the product that resolving takes. */
const RESOLVE_LIMIT = 8 << 20;

/**
 * Tells apart, from a given one on, the singular vectors and squared values that the Gram matrix does not: by the Gram
 * matrix of their product with A, which is small, so that its rounding is (Rayleigh-Ritz); again, while there is a part
 * that this does not tell apart either. Changes basis and squares in their place.
 *
 * @param limits.noise squares below it need not be told apart
 * @param limits.unsure multiple of the rounding up to which squares are not told apart
 * @returns false where that would take too much memory; then squares alone are better than they were
 */
async function resolveTail(
  basis: Matrix,
  squares: Float64Array,
  first: number,
  a: Matrix,
  limits: { readonly noise: number; readonly unsure: number },
): Promise<boolean> {
  const n = basis.rows;
  const isWide = a.rows <= a.columns;
  for (let start = first; ; ) {
    const count = n - start;
    const tail: Matrix = { rows: count, columns: n, data: basis.data.subarray(start * n) };
    if (count * Math.max(a.rows, a.columns) > RESOLVE_LIMIT) {
      squares.set(await squaredNorms(tail, a, isWide), start);
      return false;
    }
    const product = await matmul(tail, a, { transposeB: !isWide });
    const { values, vectors } = await symmetricEigen(await gram(product, 'rows'), count, { gemm });
    squares.set(values.map((value) => Math.max(value, 0)).reverse(), start);
    const turned = await matmul({ rows: count, columns: count, data: reverseRows(vectors, count) }, tail);
    basis.data.set(turned.data, start * n);
    const largest = squares[start] as number;
    const floor = limits.unsure * count * Number.EPSILON * largest;
    const next = squares.findIndex((value, i) => i > start && value <= floor);
    if (largest <= limits.noise || next < 0) return true;
    start = next;
  }
}

/** The part of the norm that counts as rounding: of the weight's type, or of the decomposition in float64. */
function noiseOf(
  { rows, columns }: { readonly rows: number; readonly columns: number },
  epsilon: number,
): number {
  // Of matrices of float64 with a rank of 1 to 50, sizes of 6 to 400: what is beyond the rank stays below half of it.
  return Math.max(epsilon / 2, Math.sqrt(Math.max(rows, columns)) * Number.EPSILON);
}

/** The fewest leading squares that leave no more than `allowed` of the sum. */
function rankOf(squares: Float64Array, allowed: number): number {
  let tail = 0;
  let rank = squares.length;
  while (rank > 0 && tail + (squares[rank - 1] as number) <= allowed) {
    rank -= 1;
    tail += squares[rank] as number;
  }
  return rank;
}

function decomposeSmall(a: Matrix, epsilon: number): Decomposition {
  const { rows, columns } = a;
  if (!a.data.every(Number.isFinite)) throw new RangeError('has NaN or infinite values');
  const {
    values,
    left: p,
    right: q,
  } = Math.min(rows, columns) === 1 ? vectorSvd(a) : smallSvd(a.data, rows, columns);
  const squares = values.map((value) => value * value);
  const sum = squares.reduce((total, value) => total + value, 0);
  const rank = rankOf(squares, noiseOf(a, epsilon) ** 2 * sum);
  // basis: row i is singular vector i.
  const side = (basis: Float64Array, length: number): Matrix => ({
    rows: rank,
    columns: length,
    data: basis.subarray(0, rank * length),
  });
  return {
    values: values.slice(0, rank),
    left: async (scale) => scaledTranspose(side(p, rows), scale, true),
    right: async (scale) => scaledRows(side(q, columns), scale, true),
  };
}

/** Singular value and vectors of a matrix of one row or one column. */
function vectorSvd(a: Matrix): SmallSvd {
  const norm = norm2(a.data);
  const unit = Float64Array.from(a.data, (value) => (norm === 0 ? 0 : value / norm));
  const one = Float64Array.of(1);
  return { values: Float64Array.of(norm), left: a.rows === 1 ? one : unit, right: a.rows === 1 ? unit : one };
}

export function norm2(data: Floats): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

function scaledRows({ rows, columns, data }: Matrix, scale: Float64Array, isDouble: boolean): Matrix {
  const out = emptyFloats(rows * columns, isDouble);
  for (let i = 0; i < rows; i += 1) {
    const factor = scale[i] as number;
    for (let at = i * columns; at < (i + 1) * columns; at += 1) out[at] = factor * (data[at] as number);
  }
  return { rows, columns, data: out };
}

/** (diag(scale) A)^T. */
function scaledTranspose({ rows, columns, data }: Matrix, scale: Float64Array, isDouble: boolean): Matrix {
  const out = emptyFloats(rows * columns, isDouble);
  // Blocks keep both sides in the cache.
  const block = 32;
  for (let i0 = 0; i0 < rows; i0 += block) {
    for (let j0 = 0; j0 < columns; j0 += block) {
      const iEnd = Math.min(rows, i0 + block);
      const jEnd = Math.min(columns, j0 + block);
      for (let i = i0; i < iEnd; i += 1) {
        const factor = scale[i] as number;
        for (let j = j0; j < jEnd; j += 1) out[j * rows + i] = factor * (data[i * columns + j] as number);
      }
    }
  }
  return { rows: columns, columns: rows, data: out };
}

function emptyFloats(length: number, isDouble: boolean): Floats {
  return isDouble ? new Float64Array(length) : new Float32Array(length);
}

function reverseRows(data: Float64Array, n: number): Float64Array {
  const row = new Float64Array(n);
  for (let top = 0, bottom = n - 1; top < bottom; top += 1, bottom -= 1) {
    row.set(data.subarray(top * n, (top + 1) * n));
    data.copyWithin(top * n, bottom * n, (bottom + 1) * n);
    data.set(row, bottom * n);
  }
  return data;
}

/** Squared norms of the rows of V A (wide) or of the columns of A V^T, a few at a time. */
async function squaredNorms(vectors: Matrix, a: Matrix, isWide: boolean): Promise<Float64Array> {
  const out = new Float64Array(vectors.rows);
  const step = Math.max(1, Math.floor((8 << 20) / (8 * Math.max(a.rows, a.columns))));
  for (let start = 0; start < vectors.rows; start += step) {
    const count = Math.min(step, vectors.rows - start);
    const block: Matrix = {
      rows: count,
      columns: vectors.columns,
      data: vectors.data.subarray(start * vectors.columns, (start + count) * vectors.columns),
    };
    const product = isWide ? await matmul(block, a) : await matmul(block, a, { transposeB: true });
    const diagonal = await gram(product, 'rows');
    for (let i = 0; i < count; i += 1) out[start + i] = diagonal[i * count + i] as number;
  }
  return out;
}
