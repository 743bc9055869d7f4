import { countGarbage, release } from '../runtime/garbage.js';
import { evenScales, rescaled, squaredSizes } from './even-scales.js';
import type { Floats } from './floats.js';
import { gramEigen, type MatrixSource, NotFiniteError } from './gram-eigen.js';
import type { SmallSvd } from './kernels/index.js';
import { gram, type Matrix, matmul } from './matmul.js';
import { PartRank, partNoise, rankByParts } from './part-rank.js';
import { productTolerance } from './product-tolerance.js';

/**
 * A = P diag(s) Q^T, cut to the fewest singular values whose remainder is below the rounding of the weight's
 * type, of the whole and of each row and column. The sides are computed when they are asked for, since of a large matrix
 * they are larger than A itself.
 */
export interface Decomposition {
  /** P and Q are orthonormal but for factors of their rows: those of a matrix whose rows and columns were brought to one size. */
  readonly isScaled?: boolean;
  /** Singular values that count, descending. */
  readonly values: Float64Array;
  /** P diag(scale): rows x rank. */
  left(scale: Float64Array): Promise<Matrix>;
  /** diag(scale) Q^T: rank x columns. */
  right(scale: Float64Array): Promise<Matrix>;
  /** Gives memory back where neither side is going to be asked for any more. */
  letGo?(): void;
}

/**
 * Whether the rows and columns of a matrix are brought to one size before it is decomposed: 'auto' where they differ so much
 * that float64 would not keep the small ones.
 */
export type Scaling = 'auto' | 'always' | 'never';

/** Up to this many elements Jacobi rotations take less time than a session's calls. */
const SMALL = 2048;

/**
 * Decomposes a matrix through the eigenvectors of its smaller Gram matrix, in float64.
 *
 * The product left(s^a) right(s^b), a + b = 1, is A to the rounding of the type even where small singular values
 * are not resolved (the Gram matrix squares the condition number): the side that is not made of eigenvectors is
 * computed from A itself, so only the orthogonality of the eigenvectors counts. Along that side this holds of each row
 * (or column) by itself; along the other, down to a size that the rounding of the eigenvectors leaves.
 *
 * @param epsilon machine epsilon of the weight's type
 * @throws RangeError when A has NaN or infinite values
 */
export async function decompose(
  source: MatrixSource,
  epsilon: number,
  scaling: Scaling = 'auto',
): Promise<Decomposition> {
  const { rows, columns } = source;
  if (Math.min(rows, columns) === 1) return decomposeSmall(source.load(), epsilon);
  if (scaling === 'always') return decomposeScaled(source, epsilon);
  if (rows * columns <= SMALL) {
    const a = source.load();
    const isGraded = Object.values(squaredSizes(a)).some((squares) => isUneven(squares, epsilon));
    return scaling === 'auto' && isGraded ? decomposeScaled(source, epsilon) : decomposeSmall(a, epsilon);
  }
  const single = rankAtMostOne(source.load(), epsilon);
  if (single !== undefined) return single;
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const {
    values: eigenvalues,
    vectors,
    diagonal,
    squaredNorm,
  } = await gramEigen(source, n, isWide ? 'rows' : 'columns');
  if (scaling === 'auto' && isUneven(diagonal, epsilon)) {
    release(vectors);
    return decomposeScaled(source, epsilon);
  }
  const floor = n * Number.EPSILON * Math.max(eigenvalues[0] ?? 0, 0);
  const squares = eigenvalues.map((value) => Math.max(value, 0));
  const basis = { rows: n, columns: n, data: vectors };

  const unsure = unsureOf(epsilon);
  const firstUnsure = squares.findIndex((value) => value <= unsure * floor);
  const noise = noiseOf(source, epsilon) ** 2 * squaredNorm;
  let isResolved =
    firstUnsure < 0 || (await resolveTail(basis, squares, firstUnsure, source.load(), { noise, unsure }));
  let rank = rankOf(squares, noise);
  const part = new PartRank(basis, squares, diagonal, partNoise(noiseOf(source, epsilon), epsilon));
  if (rank < n && !(await part.suffices(rank, source.load()))) {
    // What is small in the whole is all that some rows or columns have: it has to be told apart after all.
    isResolved =
      firstUnsure < 0 || (await resolveTail(basis, squares, rank, source.load(), { noise: 0, unsure }));
    rank = await part.smallest(rank, source.load());
  }
  const smallest = isResolved ? Number.MIN_VALUE : floor;
  const values = squares.slice(0, rank).map((value) => Math.sqrt(Math.max(value, smallest)));
  const ranked: Matrix = { rows: rank, columns: n, data: basis.data.subarray(0, rank * n) };

  const isDouble = epsilon < EPSILON_FLOAT32;
  /** The side computed from A: its scale is relative to the singular values that A brings along. */
  const ofMatrix = async (scale: Float64Array): Promise<Matrix> => {
    const relative = scale.map((value, i) => value / (values[i] as number));
    const product = await scaledProduct(ranked, relative, source.load(), isDouble);
    source.letGo?.();
    return product;
  };
  return {
    values,
    left: async (scale) => (isWide ? scaledTranspose(ranked, scale, isDouble) : ofMatrix(scale)),
    right: async (scale) => (isWide ? ofMatrix(scale) : scaledRows(ranked, scale, isDouble)),
    letGo: () => release(vectors),
  };
}

/**
 * Whether there are rows (or columns) so small beside the whole that the rounding of singular vectors in float64, of some
 * 1e-14, is more than the rounding of the weight's type is to them. Those of zeros do not count.
 */
function isUneven(squares: Float64Array, epsilon: number): boolean {
  let smallest = Number.POSITIVE_INFINITY;
  let sum = 0;
  for (const square of squares) {
    sum += square;
    if (square > 0 && square < smallest) smallest = square;
  }
  return smallest < sum * ((64 * Number.EPSILON) / productTolerance(epsilon)) ** 2;
}

/** The decomposition of D1^-1 A D2^-1, whose rows and columns have sizes of about one, with D1 and D2, powers of two, given back to the sides. */
async function decomposeScaled(source: MatrixSource, epsilon: number): Promise<Decomposition> {
  const { rows, columns } = source;
  const scales = evenScales(source.load());
  const inverse = { rows: scales.rows.map((x) => 1 / x), columns: scales.columns.map((x) => 1 / x) };
  const load = (): Matrix => rescaled(source.load(), inverse.rows, inverse.columns);
  const letGo = (): void => source.letGo?.();
  const inner = await decompose({ rows, columns, load, letGo }, epsilon, 'never');
  return {
    ...inner,
    isScaled: true,
    left: async (scale) => rescaled(await inner.left(scale), scales.rows, undefined),
    right: async (scale) => rescaled(await inner.right(scale), undefined, scales.columns),
  };
}

const EPSILON_FLOAT32 = 2 ** -23;

/** diag(scale) V A (V n wide, A wide) or A V^T diag(scale). */
function scaledProduct(v: Matrix, scale: Float64Array, a: Matrix, isDouble: boolean): Promise<Matrix> {
  const out = isDouble ? 'float64' : 'float32';
  return a.rows <= a.columns
    ? matmul(v, a, { out, scaleRows: scale })
    : matmul(a, v, { out, transposeB: true, scaleColumns: scale });
}

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
    const { values, vectors } = await gramEigen({ load: () => product }, count, 'rows');
    squares.set(
      values.map((value) => Math.max(value, 0)),
      start,
    );
    const turned = await matmul({ rows: count, columns: count, data: vectors }, tail);
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

async function decomposeSmall(a: Matrix, epsilon: number): Promise<Decomposition> {
  const { rows, columns } = a;
  if (!a.data.every(Number.isFinite)) throw new NotFiniteError();
  const { smallSvd } = await import('./kernels/eigen/jacobi.js');
  const {
    values,
    left: p,
    right: q,
  } = Math.min(rows, columns) === 1 ? vectorSvd(a) : smallSvd(a.data, rows, columns);
  const squares = values.map((value) => value * value);
  const sum = squares.reduce((total, value) => total + value, 0);
  const noise = noiseOf(a, epsilon);
  const rank = rankByParts(
    a,
    { values, left: p, right: q },
    rankOf(squares, noise ** 2 * sum),
    partNoise(noise, epsilon),
  );
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

/**
 * The decomposition of a matrix that is zero or of which each row is a multiple of one of them, within the rounding of the
 * type: a constant fill, say. One pass, which ends at the first row that is not.
 */
function rankAtMostOne({ rows, columns, data }: Matrix, epsilon: number): Decomposition | undefined {
  const rowOf = (i: number): Floats => data.subarray(i * columns, (i + 1) * columns);
  let first = 0;
  while (first < rows && rowOf(first).every((value) => value === 0)) first += 1;
  if (first === rows) {
    const nothing = new Float64Array(0);
    return {
      values: nothing,
      left: async () => ({ rows, columns: 0, data: nothing }),
      right: async () => ({ rows: 0, columns, data: nothing }),
    };
  }
  const row = Float64Array.from(rowOf(first));
  let pivot = 0;
  for (let j = 1; j < columns; j += 1) {
    if (Math.abs(row[j] as number) > Math.abs(row[pivot] as number)) pivot = j;
  }
  const multiples = new Float64Array(rows);
  const columnRests = new Float64Array(columns);
  const columnSquares = new Float64Array(columns);
  for (let i = first; i < rows; i += 1) {
    const multiple = (data[i * columns + pivot] as number) / (row[pivot] as number);
    let rest = 0;
    let square = 0;
    for (let j = 0, at = i * columns; j < columns; j += 1, at += 1) {
      const value = data[at] as number;
      const difference = (value - multiple * (row[j] as number)) ** 2;
      rest += difference;
      square += value * value;
      columnRests[j] = (columnRests[j] as number) + difference;
      columnSquares[j] = (columnSquares[j] as number) + value * value;
    }
    // Also where something is NaN.
    if (!(rest <= (epsilon / 2) ** 2 * square)) return undefined;
    multiples[i] = multiple;
  }
  const isExact = columnRests.every(
    (rest, j) => rest <= partNoise(epsilon, epsilon) ** 2 * (columnSquares[j] as number),
  );
  if (!isExact) return undefined;
  const [p, q] = [norm2(multiples), norm2(row)];
  const isDouble = epsilon < EPSILON_FLOAT32;
  const unit = (data: Float64Array, norm: number): Matrix => ({
    rows: 1,
    columns: data.length,
    data: data.map((value) => value / norm),
  });
  const [left, right] = [unit(multiples, p), unit(row, q)];
  return {
    values: Float64Array.of(p * q),
    left: async (scale) => scaledTranspose(left, scale, isDouble),
    right: async (scale) => scaledRows(right, scale, isDouble),
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
  countGarbage((isDouble ? 8 : 4) * length);
  return isDouble ? new Float64Array(length) : new Float32Array(length);
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
