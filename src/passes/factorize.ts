import { SVD, Matrix as SmallMatrix } from 'ml-matrix';
import { symmetricEigen } from '../kernels/index.js';
import { gram, type Matrix, matmul } from '../runtime/matmul.js';
import type { Random } from '../runtime/random.js';

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

/** Below this many elements ml-matrix takes less time than a session's call. */
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
export async function decompose(a: Matrix, epsilon: number): Promise<Decomposition> {
  const { rows, columns } = a;
  if (rows * columns <= SMALL || Math.min(rows, columns) === 1) return decomposeSmall(a, epsilon);
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const products = await gram(a, isWide ? 'rows' : 'columns');
  let squaredNorm = 0;
  for (let i = 0; i < n; i += 1) squaredNorm += products[i * n + i] as number;
  if (!Number.isFinite(squaredNorm)) throw new RangeError('has NaN or infinite values');
  const { values: ascending, vectors } = symmetricEigen(products, n);

  // Ascending to descending: the largest eigenvalue's vector comes first.
  const largest = Math.max(ascending[n - 1] ?? 0, 0);
  const floor = n * Number.EPSILON * largest;
  const squares = Float64Array.from(ascending, (value) => Math.max(value, 0)).reverse();
  const basis = { rows: n, columns: n, data: reverseRows(vectors, n) };

  // What the Gram matrix can not tell from rounding is measured on A.
  const firstUnsure = squares.findIndex((value) => value <= 1e4 * floor);
  if (firstUnsure >= 0) {
    const tail: Matrix = { rows: n - firstUnsure, columns: n, data: basis.data.subarray(firstUnsure * n) };
    const norms = await squaredNorms(tail, a, isWide);
    squares.set(norms, firstUnsure);
  }
  const rank = rankOf(squares, squaredNorm, epsilon);
  const values = squares.slice(0, rank).map((value) => Math.sqrt(Math.max(value, floor)));
  const ranked: Matrix = { rows: rank, columns: n, data: basis.data.subarray(0, rank * n) };

  const ofBasis = (scale: Float64Array): Matrix => scaledRows(ranked, scale);
  /** The side computed from A: its scale is relative to the singular values that A brings along. */
  const ofMatrix = async (scale: Float64Array): Promise<Matrix> => {
    const relative = scale.map((value, i) => value / (values[i] as number));
    const scaled = scaledRows(ranked, relative);
    const out = a.data instanceof Float64Array ? 'float64' : 'float32';
    return isWide
      ? matmul(scaled, a, { out })
      : matmul(a, scaled, { transposeB: true, out });
  };
  return {
    values,
    left: async (scale) => (isWide ? transposed(ofBasis(scale)) : ofMatrix(scale)),
    right: async (scale) => (isWide ? ofMatrix(scale) : ofBasis(scale)),
  };
}

/** The fewest leading squares that leave less than (epsilon / 2)^2 of the sum. */
function rankOf(squares: Float64Array, sum: number, epsilon: number): number {
  const allowed = (epsilon / 2) ** 2 * sum;
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
  const [values, p, q] = Math.min(rows, columns) === 1 ? vectorSvd(a) : smallSvd(a);
  const squares = values.map((value) => value * value);
  const rank = rankOf(
    squares,
    squares.reduce((sum, value) => sum + value, 0),
    epsilon,
  );
  const side = (basis: Float64Array, length: number, scale: Float64Array): Matrix => {
    // basis: row i is singular vector i.
    return scaledRows({ rows: rank, columns: length, data: basis.subarray(0, rank * length) }, scale);
  };
  return {
    values: values.slice(0, rank),
    left: async (scale) => transposed(side(p, rows, scale)),
    right: async (scale) => side(q, columns, scale),
  };
}

/** Singular value and vectors of a matrix of one row or one column. */
function vectorSvd(a: Matrix): [Float64Array, Float64Array, Float64Array] {
  const norm = norm2(a.data);
  const unit = Float64Array.from(a.data, (value) => (norm === 0 ? 0 : value / norm));
  const one = Float64Array.of(1);
  return [Float64Array.of(norm), a.rows === 1 ? one : unit, a.rows === 1 ? unit : one];
}

function norm2(data: Floats): number {
  let sum = 0;
  for (const value of data) sum += value * value;
  return Math.sqrt(sum);
}

function smallSvd(a: Matrix): [Float64Array, Float64Array, Float64Array] {
  const svd = new SVD(SmallMatrix.from1DArray(a.rows, a.columns, Array.from(a.data)), { autoTranspose: true });
  const n = Math.min(a.rows, a.columns);
  const rowsOf = (matrix: SmallMatrix, length: number): Float64Array => {
    const out = new Float64Array(n * length);
    for (let i = 0; i < n; i += 1) for (let j = 0; j < length; j += 1) out[i * length + j] = matrix.get(j, i);
    return out;
  };
  return [
    Float64Array.from(svd.diagonal.slice(0, n)),
    rowsOf(svd.leftSingularVectors, a.rows),
    rowsOf(svd.rightSingularVectors, a.columns),
  ];
}

function scaledRows(matrix: Matrix, scale: Float64Array): Matrix {
  const { rows, columns } = matrix;
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i += 1) {
    const factor = scale[i] as number;
    const row = matrix.data.subarray(i * columns, (i + 1) * columns);
    for (let j = 0; j < columns; j += 1) data[i * columns + j] = factor * (row[j] as number);
  }
  return { rows, columns, data };
}

function transposed(matrix: Matrix): Matrix {
  const { rows, columns, data } = matrix;
  const out = new Float64Array(rows * columns);
  // Blocks keep both sides in the cache.
  const block = 32;
  for (let i0 = 0; i0 < rows; i0 += block) {
    for (let j0 = 0; j0 < columns; j0 += block) {
      const iEnd = Math.min(rows, i0 + block);
      const jEnd = Math.min(columns, j0 + block);
      for (let i = i0; i < iEnd; i += 1) for (let j = j0; j < jEnd; j += 1) out[j * rows + i] = data[i * columns + j] as number;
    }
  }
  return { rows: columns, columns: rows, data: out };
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

/** Factors in the order of multiplication, left to right: A = F_1 F_2 ... F_depth. */
export interface Factors {
  readonly factors: readonly Matrix[];
  readonly rank: number;
}

/** Which of the factors reads the input: the last of out x in matrices, the first of in x out ones. */
export type Orientation = 'out-in' | 'in-out';

/**
 * Balanced factors: F_1 = P s^(1/k), F_i = s^(1/k), F_k = s^(1/k) Q^T, so that each pair of neighbours satisfies
 * W_{i+1}^T W_{i+1} = W_i W_i^T on the rank of A, the manifold that gradient flow preserves (Arora, Cohen & Hazan,
 * "On the Optimization of Deep Networks", 2018, eq. 7). Hidden units beyond the rank have random incoming weights of
 * the same size and zero outgoing ones: they change nothing and are not dead.
 *
 * @param hidden units of each hidden layer
 * @returns undefined when the rank of A does not fit into `hidden`
 */
export async function balancedFactors(
  a: Matrix,
  orientation: Orientation,
  depth: number,
  hidden: number,
  epsilon: number,
  random: Random,
): Promise<Factors | { readonly rank: number; readonly factors: undefined }> {
  const decomposition = await decompose(a, epsilon);
  const rank = decomposition.values.length;
  if (rank > hidden) return { rank, factors: undefined };
  const root = decomposition.values.map((value) => value ** (1 / depth));
  const size = Math.sqrt(root.reduce((sum, value) => sum + value * value, 0) / Math.max(1, rank));
  const left = await decomposition.left(root);
  const first = widenColumns(left, hidden, orientation === 'in-out' ? random : undefined, size);
  const middle: Matrix[] = [];
  for (let i = 1; i < depth - 1; i += 1) middle.push(middleFactor(root, hidden, orientation, random, size));
  const right = await decomposition.right(root);
  const last = widenRows(right, hidden, orientation === 'out-in' ? random : undefined, size);
  return { rank, factors: [first, ...middle, last] };
}

/**
 * The weight itself as the factor that reads the input, identities for the rest; hidden units beyond the outputs
 * have random incoming weights and zero outgoing ones.
 *
 * @returns undefined factors when there are more outputs than hidden units
 */
export function identityFactors(
  a: Matrix,
  orientation: Orientation,
  depth: number,
  hidden: number,
  random: Random,
): Factors | { readonly rank: number; readonly factors: undefined } {
  const outputs = orientation === 'out-in' ? a.rows : a.columns;
  if (outputs > hidden) return { rank: outputs, factors: undefined };
  const inputs = orientation === 'out-in' ? a.columns : a.rows;
  const size = norm2(a.data) / Math.sqrt(Math.max(1, Math.min(outputs, inputs)));
  const ones = new Float64Array(outputs).fill(1);
  const reader = orientation === 'out-in' ? widenRows(a, hidden, random, size) : widenColumns(a, hidden, random, size);
  const middle: Matrix[] = [];
  for (let i = 1; i < depth - 1; i += 1) middle.push(middleFactor(ones, hidden, orientation, random, 1));
  const identity: Matrix = { rows: outputs, columns: outputs, data: diagonal(ones) };
  const writer =
    orientation === 'out-in' ? widenColumns(identity, hidden, undefined, 0) : widenRows(identity, hidden, undefined, 0);
  return {
    rank: outputs,
    factors: orientation === 'out-in' ? [writer, ...middle, reader] : [reader, ...middle, writer],
  };
}

function diagonal(values: Float64Array): Float64Array {
  const n = values.length;
  const data = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) data[i * n + i] = values[i] as number;
  return data;
}

/** hidden x hidden: diag(values), and for the units beyond them random incoming weights from the units within. */
function middleFactor(
  values: Float64Array,
  hidden: number,
  orientation: Orientation,
  random: Random,
  size: number,
): Matrix {
  const rank = values.length;
  const data = new Float64Array(hidden * hidden);
  for (let i = 0; i < rank; i += 1) data[i * hidden + i] = values[i] as number;
  const deviation = (size || 1) / Math.sqrt(Math.max(1, rank));
  if (orientation === 'out-in') {
    for (let i = rank; i < hidden; i += 1) normals(data.subarray(i * hidden, i * hidden + rank), random, deviation);
  } else {
    for (let i = 0; i < rank; i += 1) normals(data.subarray(i * hidden + rank, (i + 1) * hidden), random, deviation);
  }
  return { rows: hidden, columns: hidden, data };
}

/** Adds rows up to `rows`: zero, or (incoming weights) random with the norm `size`. */
function widenRows(matrix: Matrix, rows: number, random: Random | undefined, size: number): Matrix {
  if (matrix.rows === rows) return matrix;
  const { columns } = matrix;
  const data = emptyLike(matrix.data, rows * columns);
  data.set(matrix.data);
  if (random) normals(data.subarray(matrix.rows * columns), random, (size || 1) / Math.sqrt(columns));
  return { rows, columns, data };
}

/** Adds columns up to `columns`: zero, or (incoming weights) random with the norm `size`. */
function widenColumns(matrix: Matrix, columns: number, random: Random | undefined, size: number): Matrix {
  if (matrix.columns === columns) return matrix;
  const { rows } = matrix;
  const data = emptyLike(matrix.data, rows * columns);
  const deviation = (size || 1) / Math.sqrt(rows);
  for (let i = 0; i < rows; i += 1) {
    data.set(matrix.data.subarray(i * matrix.columns, (i + 1) * matrix.columns), i * columns);
    if (random) normals(data.subarray(i * columns + matrix.columns, (i + 1) * columns), random, deviation);
  }
  return { rows, columns, data };
}

function emptyLike(data: Floats, length: number): Floats {
  return data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}

function normals(target: Floats, random: Random, deviation: number): void {
  for (let i = 0; i < target.length; i += 1) target[i] = deviation * random.normal();
}
