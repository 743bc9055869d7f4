import { leading, pad4, type Workspace } from '../module.js';

/** A symmetric matrix being reduced: addresses in a workspace. */
export interface Tridiagonal {
  readonly n: number;
  /** Leading dimension of `a` in bytes. */
  readonly ld: number;
  readonly a: number;
  /** Diagonal, n. */
  readonly d: number;
  /** Off-diagonal, n - 1 (and one more for the QL iteration). */
  readonly e: number;
  /** Reflector factors, n. */
  readonly tau: number;
}

/** Few are best as long as the matrix is in the cache: what they cost grows with them, 60 ms with 32 and 57 with 12 at 1000. */
function panelRows(n: number): number {
  return n < 2048 ? 12 : 64;
}

/** Least order that threads share, of values (pool.ts) or vectors (eigen.ts): a smaller one is one piece of work. */
const SHARED_ORDER = 1024;
const SHARES = 16;

/** Vectors that tridiagonalPanel adds up. They follow from the order alone, so that any number of threads gives the same bits. */
function sharesOf(n: number): number {
  return n < SHARED_ORDER ? 1 : SHARES;
}

/** Bytes of the matrix and the three vectors. */
export function tridiagonalBytes(n: number): number {
  return pad4(n) * leading(n) * 8 + 3 * (n * 8 + 128);
}

/** Bytes that reduceToTridiagonal takes from the workspace besides. */
export function reductionBytes(n: number): number {
  const nb = panelRows(n);
  return (nb + SHARES) * leading(n) * 8 + 2 * pad4(n) * 2 * nb * 8 + 2048;
}

export function takeTridiagonal(work: Workspace, n: number): Tridiagonal {
  const ld = leading(n) * 8;
  return {
    n,
    ld,
    a: work.take(pad4(n) * ld),
    d: work.take(n * 8),
    e: work.take(n * 8),
    tau: work.take(n * 8),
  };
}

/** Copies the lower triangle of a dense row-major matrix in. */
export function loadLower(work: Workspace, t: Tridiagonal, a: Float64Array): void {
  work.f64(t.a, (pad4(t.n) * t.ld) / 8).fill(0);
  for (let i = 0; i < t.n; i++) work.f64(t.a + i * t.ld, i + 1).set(a.subarray(i * t.n, i * t.n + i + 1));
}

/**
 * Multiplies by the even power of two that brings the largest entry near 1, so that no square over- or underflows.
 * @returns the exponent of the factor to undo; the zero matrix gives 0.
 * @throws RangeError on NaN or Infinity.
 */
export function normalize(work: Workspace, t: Tridiagonal): number {
  const most = work.kernels.maxAbsLower(t.a, t.ld, t.n);
  if (!(most < Number.POSITIVE_INFINITY)) throw new RangeError(`the symmetric matrix holds ${most}`);
  if (most === 0) return 0;
  const exponent = 2 * Math.round(Math.log2(most) / 2);
  if (exponent === 0) return 0;
  // Twice half the way: 2 ** 1074 is no double.
  const half = 2 ** (-exponent / 2);
  work.kernels.scaleLower(t.a, t.ld, t.n, half);
  work.kernels.scaleLower(t.a, t.ld, t.n, half);
  return exponent;
}

/**
 * One panel per call into WebAssembly: V8 replaces baseline code by optimized code between calls, never within one.
 * What is taken from the workspace here may be given to other uses afterwards.
 */
export function reduceToTridiagonal(work: Workspace, t: Tridiagonal): void {
  const nb = panelRows(t.n);
  const w = work.take(nb * t.ld);
  const px = work.take(pad4(t.n) * 2 * nb * 8);
  const py = work.take(pad4(t.n) * 2 * nb * 8);
  const pair = work.take(64);
  const parts = work.take(SHARES * t.ld);
  const shares = sharesOf(t.n);
  let k1 = t.n;
  while (k1 > 1) {
    const k0 = Math.max(1, k1 - nb);
    work.together('tridiagonalPanel', t.a, t.ld, k0, k1, w, t.d, t.e, t.tau, pair, parts, shares);
    work.together('tridiagonalUpdate', t.a, t.ld, k0, k1, w, px, py);
    k1 = k0;
  }
  work.f64(t.d, 1).set(work.f64(t.a, 1));
  work.f64(t.tau, 1)[0] = 0;
}

/** All eigenvalues, ascending, times 2 ** exponent. Destroys the matrix. */
export function tridiagonalEigenvalues(work: Workspace, t: Tridiagonal, exponent: number): Float64Array {
  if (work.kernels.tridiagonalValues(t.d, t.e, t.n) !== 0)
    throw new Error(`the QL iteration did not converge on a ${t.n} x ${t.n} matrix`);
  const values = work.f64(t.d, t.n).slice().sort();
  if (exponent !== 0) {
    const half = 2 ** (exponent / 2);
    for (let i = 0; i < t.n; i++) values[i] = (values[i] as number) * half * half;
  }
  return values;
}
