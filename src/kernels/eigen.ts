import { backTransform, backTransformBytes, backTransformOutside } from './back-transform.js';
import { DivideAndConquer, divideBytes } from './divide.js';
import { type Gemm, type Product, runInside, runWith } from './external.js';
import { leading, pad4, Workspace } from './module.js';
import { checkSquare } from './singular.js';
import {
  loadLower,
  normalize,
  reduceToTridiagonal,
  reductionBytes,
  takeTridiagonal,
  tridiagonalBytes,
} from './tridiagonal.js';

/** A = V^T diag(values) V with the eigenvectors as the rows of V. */
export interface SymmetricEigen {
  /** n eigenvalues, ascending. */
  readonly values: Float64Array;
  /** n x n row-major; row i is the unit eigenvector of values[i]. */
  readonly vectors: Float64Array;
}

export interface SymmetricEigenOptions {
  /** Computes the large products; the function then returns a promise. */
  readonly gemm?: Gemm | undefined;
  /** Detach the buffer of the matrix as soon as it is copied, so that its memory is free for the rest. */
  readonly consume?: boolean | undefined;
}

/**
 * Below this order an external gemm gains nothing. Seconds inside / with onnxruntime's MatMul, two busy cores: 0.24 /
 * 0.24 to 0.42 at 768, 0.53 / 0.41 at 1024, 2.4 / 1.8 at 2048, 24 / 13.5 at 4096, of which the reduction takes 8 to 10.
 */
const EXTERNAL_ORDER = 1024;

/**
 * All eigenvalues and eigenvectors of a symmetric matrix.
 *
 * Householder tridiagonalization in panels, divide and conquer on the tridiagonal matrix, back-transformation in
 * compact WY form (Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4). The residual ‖A v - λ v‖ and the
 * loss of orthogonality ‖V Vᵀ - I‖ are of the order eps * n, relative to ‖A‖ and 1. Takes about 2.5 n² doubles of
 * WebAssembly memory besides the input and the result, freed afterwards.
 *
 * @param a n x n row-major; only the lower triangle is read, and nothing is written
 * @param options.gemm a faster float64 product than WebAssembly's: the divide and conquer and the back-transformation
 *   are nothing but products. The function then returns a promise, which rejects where `gemm` does.
 * @throws RangeError where `a` is not n x n, holds NaN or Infinity, or n is past about 14 000 (4 GiB)
 * @example
 * const { values, vectors } = symmetricEigen(new Float64Array([2, 1, 1, 2]), 2);
 * // values [1, 3]; vectors, up to sign, [[0.707, -0.707], [0.707, 0.707]]
 */
export function symmetricEigen(
  a: Float64Array,
  n: number,
  options?: SymmetricEigenOptions & { readonly gemm?: undefined },
): SymmetricEigen;
export function symmetricEigen(
  a: Float64Array,
  n: number,
  options: SymmetricEigenOptions & { readonly gemm: Gemm },
): Promise<SymmetricEigen>;
export function symmetricEigen(
  a: Float64Array,
  n: number,
  options: SymmetricEigenOptions = {},
): SymmetricEigen | Promise<SymmetricEigen> {
  const { gemm, consume = false } = options;
  if (gemm === undefined) return runInside(decompose(a, n, false, consume));
  return runWith(decompose(a, n, n >= EXTERNAL_ORDER, consume), gemm);
}

function* decompose(
  a: Float64Array,
  n: number,
  external: boolean,
  consume: boolean,
): Generator<Product, SymmetricEigen, Float64Array> {
  checkSquare(a, n);
  if (n === 0) return { values: new Float64Array(0), vectors: new Float64Array(0) };
  const scratchBytes = Math.max(reductionBytes(n), divideBytes(n, external), backTransformBytes(n, external));
  const size = pad4(n) * leading(n) * 8;
  const work = new Workspace(tridiagonalBytes(n) + size + scratchBytes + 256);
  try {
    const t = takeTridiagonal(work, n);
    const r = work.take(size);
    const scratch = work.mark();
    loadLower(work, t, a);
    // Transferring is what detaches; nobody takes the copy.
    if (consume && a.byteLength === a.buffer.byteLength)
      structuredClone(a.buffer, { transfer: [a.buffer as ArrayBuffer] });
    const exponent = normalize(work, t);
    reduceToTridiagonal(work, t);

    work.reset(scratch);
    work.f64(r, size / 8).fill(0);
    const order = yield* new DivideAndConquer(work, { n, d: t.d, e: t.e, r, ld: t.ld }, external).run();

    work.reset(scratch);
    if (external) yield* backTransformOutside(work, t, r);
    else backTransform(work, t, r);

    const d = work.f64(t.d, n);
    const half = 2 ** (exponent / 2);
    const values = new Float64Array(n);
    const vectors = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      const row = order[i] as number;
      values[i] = (d[row] as number) * half * half;
      vectors.set(work.f64(r + row * t.ld, n), i * n);
    }
    return { values, vectors };
  } finally {
    work.release();
  }
}
