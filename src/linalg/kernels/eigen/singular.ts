import type { SharedMemory } from '../exports.js';
import { GramAccumulator } from '../gram.js';
import { arrayOf, type MatrixSource, sourceOf } from '../matrix-source.js';
import { Workspace } from '../module.js';
import { reduceForValues, valuesBytes } from './band.js';
import {
  loadLower,
  normalize,
  type Tridiagonal,
  takeTridiagonal,
  tridiagonalBytes,
  tridiagonalEigenvalues,
} from './tridiagonal.js';

/** Beyond these a Gram matrix of doubles loses bits to under- or overflow. */
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
    const t = takeTridiagonal(work, n);
    loadLower(work, t, a);
    return eigenvaluesOf(work, t);
  } finally {
    void work.release();
  }
}

/** All eigenvalues, ascending, of a symmetric matrix that another thread filled: see SymmetricMatrix. */
export async function eigenvaluesInMemory(
  memory: SharedMemory,
  n: number,
  threads: number,
): Promise<Float64Array> {
  if (n === 0) return new Float64Array(0);
  const work = new Workspace(tridiagonalBytes(n) + valuesBytes(n), memory);
  try {
    await work.recruit(threads);
    return eigenvaluesOf(work, takeTridiagonal(work, n));
  } finally {
    await work.release();
  }
}

function eigenvaluesOf(work: Workspace, t: Tridiagonal): Float64Array {
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
 * @param matrix row-major, m x n, finite; not modified, and read once (float64 twice)
 * @returns min(m, n) values in the units of the matrix; empty where m or n is 0
 * @throws RangeError where the length does not fit, or on the first NaN or Infinity, naming its row and column
 * @example
 * singularValues(new Float32Array([3, 0, 0, 0, 4, 0]), 2, 3); // [4, 3]
 */
export function singularValues(matrix: Matrix, m: number, n: number): Float64Array {
  const source = sized(matrix, m, n);
  return Math.min(m, n) === 0 ? new Float64Array(0) : valuesOf(gramFor(source, m, n), source, m, n);
}

/** The same with the work on a matrix shared by several threads: two take 0.6 of the time at an order of 4096. */
export async function sharedSingularValues(
  matrix: Matrix,
  m: number,
  n: number,
  threads: number,
): Promise<Float64Array> {
  const source = sized(matrix, m, n);
  if (Math.min(m, n) === 0) return new Float64Array(0);
  return valuesOf(await gramFor(source, m, n).recruit(threads), source, m, n);
}

/** An array, or what is read in parts, straight into the memory of the kernels. */
type Matrix = Float32Array | Float64Array | MatrixSource;

/** A matrix of fewer rows than columns is read whole up to this size, a larger one by blocks of columns. */
const CHUNK_BYTES = 16 * 2 ** 20;

function gramFor({ element }: MatrixSource, m: number, n: number): GramAccumulator {
  return new GramAccumulator(Math.min(m, n), m <= n ? Math.min(CHUNK_BYTES, m * n * element) : 0);
}

function valuesOf(gram: GramAccumulator, matrix: MatrixSource, m: number, n: number): Float64Array {
  // The square of no float32 leaves the range of float64.
  const exponent = matrix.element === 4 ? 0 : exponentOf(arrayOf(matrix));
  const scale = 2 ** -exponent;
  if (m <= n) gram.addColumns(matrix, { stride: n }, scale);
  else gram.addRows(matrix, m, scale);
  let values: Float64Array;
  try {
    values = gram.eigenvalues().reverse();
  } catch (error) {
    // NaN and Infinity come out on the diagonal of the Gram matrix, which is smaller than the matrix.
    checkFinite(arrayOf(matrix), m, n);
    throw error;
  }
  const unit = 2 ** exponent;
  for (let i = 0; i < values.length; i++) values[i] = Math.sqrt(Math.max(0, values[i] as number)) * unit;
  return values;
}

function sized(matrix: Matrix, m: number, n: number): MatrixSource {
  if (!(Number.isInteger(m) && Number.isInteger(n) && m >= 0 && n >= 0 && matrix.length === m * n))
    throw new RangeError(`expected a ${m} x ${n} matrix, got ${matrix.length} values`);
  return sourceOf(matrix);
}

function checkFinite(matrix: Float32Array | Float64Array, m: number, n: number): void {
  const at = matrix.findIndex((value) => !Number.isFinite(value));
  if (at >= 0)
    throw new RangeError(`the ${m} x ${n} matrix holds ${matrix[at]} at [${Math.floor(at / n)}, ${at % n}]`);
}

/** Of the power of two to divide the matrix by; 0 where any is as good. */
function exponentOf(matrix: Float32Array | Float64Array): number {
  let most = 0;
  for (let i = 0; i < matrix.length; i++) most = Math.max(most, Math.abs(matrix[i] as number));
  if (most === 0 || !(most < Number.POSITIVE_INFINITY) || (most >= SMALL && most <= LARGE)) return 0;
  // 2 ** 1074 is no double, so the smallest subnormals are brought up by 2 ** 1000 only, which is enough.
  return Math.max(-1000, Math.min(1000, Math.round(Math.log2(most))));
}
