import { reduceForValues, valuesBytes } from './band.js';
import { GramAccumulator } from './gram.js';
import { Workspace } from './module.js';
import {
  loadLower,
  normalize,
  takeTridiagonal,
  tridiagonalBytes,
  tridiagonalEigenvalues,
} from './tridiagonal.js';

/** Beyond these a Gram matrix of doubles loses bits to under- or overflow; no float32 comes near. */
const SMALL = 2 ** -250;
const LARGE = 2 ** 250;

/**
 * All eigenvalues, ascending, of a symmetric matrix.
 *
 * Householder tridiagonalization in panels (of large matrices by way of a band), then the square-root-free QL iteration (Parlett, The Symmetric Eigenvalue
 * Problem, chapters 7 and 8). Absolute error about eps * n times the largest eigenvalue.
 *
 * @param a n x n row-major; only the lower triangle is read, and nothing is written
 * @throws RangeError where `a` is not n x n or holds NaN or Infinity
 * @example
 * symmetricEigenvalues(new Float64Array([2, 1, 1, 2]), 2); // [1, 3]
 */
export function symmetricEigenvalues(a: Float64Array, n: number): Float64Array {
  checkSquare(a, n);
  if (n === 0) return new Float64Array(0);
  const work = new Workspace(tridiagonalBytes(n) + valuesBytes(n));
  try {
    return eigenvaluesIn(work, a, n);
  } finally {
    void work.release();
  }
}

/** The same with the work shared by several threads. */
export async function sharedEigenvalues(a: Float64Array, n: number, threads: number): Promise<Float64Array> {
  checkSquare(a, n);
  if (n === 0) return new Float64Array(0);
  const work = new Workspace(tridiagonalBytes(n) + valuesBytes(n));
  try {
    await work.recruit(threads);
    return eigenvaluesIn(work, a, n);
  } finally {
    await work.release();
  }
}

function eigenvaluesIn(work: Workspace, a: Float64Array, n: number): Float64Array {
  const t = takeTridiagonal(work, n);
  loadLower(work, t, a);
  const exponent = normalize(work, t);
  reduceForValues(work, t);
  return tridiagonalEigenvalues(work, t, exponent);
}

export function checkSquare(a: Float64Array, n: number): void {
  if (!Number.isInteger(n) || n < 0 || a.length !== n * n)
    throw new RangeError(`expected a square matrix of order ${n}, got ${a.length} values`);
}

/**
 * All min(m, n) singular values, descending: square roots of the eigenvalues of the smaller Gram matrix in float64.
 *
 * Relative to the largest singular value s1, ordinary values come out to about 1e-12. Those below 1e-7 s1 are not
 * resolved: they appear anywhere between 0 and about 1e-7 s1 (the square root of float64 precision).
 *
 * @param matrix row-major, m x n, finite; not modified
 * @returns min(m, n) values in the units of the matrix; empty where m or n is 0
 * @throws RangeError where the length does not fit, or on the first NaN or Infinity, naming its row and column
 * @example
 * singularValues(new Float32Array([3, 0, 0, 0, 4, 0]), 2, 3); // [4, 3]
 */
export function singularValues(matrix: Float32Array | Float64Array, m: number, n: number): Float64Array {
  const exponent = checkMatrix(matrix, m, n);
  const order = Math.min(m, n);
  if (order === 0 || exponent === undefined) return new Float64Array(order);
  return valuesOf(new GramAccumulator(order), matrix, m, n, exponent);
}

/** The same with the work on a matrix shared by several threads: two take 0.6 of the time at an order of 4096. */
export async function sharedSingularValues(
  matrix: Float32Array | Float64Array,
  m: number,
  n: number,
  threads: number,
): Promise<Float64Array> {
  const exponent = checkMatrix(matrix, m, n);
  const order = Math.min(m, n);
  if (order === 0 || exponent === undefined) return new Float64Array(order);
  return valuesOf(await new GramAccumulator(order).recruit(threads), matrix, m, n, exponent);
}

function valuesOf(
  gram: GramAccumulator,
  matrix: Float32Array | Float64Array,
  m: number,
  n: number,
  exponent: number,
): Float64Array {
  const scale = 2 ** -exponent;
  if (m <= n) gram.addColumns(matrix, { stride: n }, scale);
  else gram.addRows(matrix, m, scale);
  const values = gram.eigenvalues().reverse();
  const unit = 2 ** exponent;
  for (let i = 0; i < values.length; i++) values[i] = Math.sqrt(Math.max(0, values[i] as number)) * unit;
  return values;
}

/** The power of two to divide the matrix by; undefined where it is all zeros. */
function checkMatrix(matrix: Float32Array | Float64Array, m: number, n: number): number | undefined {
  if (!(Number.isInteger(m) && Number.isInteger(n) && m >= 0 && n >= 0 && matrix.length === m * n))
    throw new RangeError(`expected a ${m} x ${n} matrix, got ${matrix.length} values`);
  let most = 0;
  for (let i = 0; i < matrix.length; i++) {
    const x = Math.abs(matrix[i] as number);
    if (!(x <= most)) {
      if (!(x < Number.POSITIVE_INFINITY))
        throw new RangeError(`the ${m} x ${n} matrix holds ${matrix[i]} at [${Math.floor(i / n)}, ${i % n}]`);
      most = x;
    }
  }
  if (most === 0) return undefined;
  if (most >= SMALL && most <= LARGE) return 0;
  // 2 ** 1074 is no double, so the smallest subnormals are brought up by 2 ** 1000 only, which is enough.
  return Math.max(-1000, Math.min(1000, Math.round(Math.log2(most))));
}
