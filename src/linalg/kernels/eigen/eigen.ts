import { availableParallelism } from 'node:os';
import type { SharedMemory } from '../exports.js';
import { type Gemm, type Product, runInside, runWith } from '../external.js';
import { pad4, Workspace } from '../module.js';
import { MOST_THREADS } from '../threads/team.js';
import { backTransform, backTransformBytes, backTransformOutside } from './back-transform.js';
import { valuesBytes } from './band.js';
import { DivideAndConquer, divideBytes } from './divide.js';
import { checkSquare } from './singular.js';
import {
  loadLower,
  normalize,
  reduceToTridiagonal,
  reductionBytes,
  type Tridiagonal,
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

/** Options of SymmetricMatrix.eigen. */
export interface SymmetricEigenOptions {
  /** Computes the large products. */
  readonly gemm: Gemm;
  /** Threads that share the reduction of a large matrix; the number of available processors, at most 8, unless given. */
  readonly threads?: number | undefined;
}

/**
 * Below this order an external gemm and more threads gain nothing. Seconds inside / with onnxruntime's MatMul, two busy
 * cores: 0.24 / 0.24 to 0.42 at 768, 0.53 / 0.41 at 1024, 2.4 / 1.8 at 2048.
 */
const EXTERNAL_ORDER = 1024;

/**
 * All eigenvalues and eigenvectors of a symmetric matrix.
 *
 * Householder tridiagonalization in panels, divide and conquer on the tridiagonal matrix, back-transformation in
 * compact WY form (Golub and Van Loan, Matrix Computations, sections 8.3 and 8.4). The residual ‖A v - λ v‖ and the
 * loss of orthogonality ‖V Vᵀ - I‖ are of the order eps * n, relative to ‖A‖ and 1. Takes about 1.5 n² doubles
 * of WebAssembly memory besides the result, freed afterwards.
 *
 * @param a n x n row-major; only the lower triangle is read, and nothing is written
 * @throws RangeError where `a` is not n x n, holds NaN or Infinity, or n is past about 20 000 (4 GiB)
 * @example
 * const { values, vectors } = symmetricEigen(new Float64Array([2, 1, 1, 2]), 2);
 * // values [1, 3]; vectors, up to sign, [[0.707, -0.707], [0.707, 0.707]]
 */
export function symmetricEigen(a: Float64Array, n: number): SymmetricEigen {
  return eigenInPlace(a.slice(), n);
}

/** The same with the eigenvectors in the place of the matrix. */
export function eigenInPlace(a: Float64Array, n: number): SymmetricEigen {
  checkSquare(a, n);
  const problem = new Problem(n, false);
  try {
    loadLower(problem.work, problem.t, a);
    return runInside(problem.solve(a.fill(0)));
  } finally {
    void problem.work.release();
  }
}

/**
 * A symmetric matrix that is filled where the kernels work, so that a large one need not be in memory twice.
 */
export class SymmetricMatrix {
  readonly n: number;
  /** Row-major, `stride` values a row, zero at first. What is above the diagonal does not matter. */
  readonly lower: Float64Array;
  readonly stride: number;
  readonly #problem: Problem;

  /** @throws RangeError where n is past about 20 000 (4 GiB) */
  constructor(n: number) {
    const problem = new Problem(n, n >= EXTERNAL_ORDER);
    this.n = n;
    this.stride = problem.t.ld / 8;
    this.lower = problem.work.f64(problem.t.a, pad4(n) * this.stride).fill(0);
    this.#problem = problem;
  }

  /** Its memory, for another thread to work in (KernelPool.eigenvalues); the matrix is gone for this one. */
  handOver(): SharedMemory {
    return this.#problem.work.memory;
  }

  /**
   * As symmetricEigen, in the place of the matrix, which is gone afterwards.
   *
   * @throws RangeError where the matrix holds NaN or Infinity; and whatever `gemm` throws
   */
  async eigen({ gemm, threads }: SymmetricEigenOptions): Promise<SymmetricEigen> {
    const { work } = this.#problem;
    try {
      if (this.n >= EXTERNAL_ORDER)
        await work.recruit(threads ?? Math.min(MOST_THREADS, availableParallelism()));
      return await runWith(this.#problem.solve(new Float64Array(this.n * this.n)), gemm);
    } finally {
      await work.release();
    }
  }
}

/** A matrix in a workspace, and the way from there to its eigenvectors. */
class Problem {
  readonly work: Workspace;
  readonly t: Tridiagonal;
  readonly #external: boolean;

  constructor(n: number, external: boolean) {
    const scratchBytes = Math.max(
      reductionBytes(n),
      valuesBytes(n),
      divideBytes(n, external),
      backTransformBytes(n, external),
    );
    this.work = new Workspace(tridiagonalBytes(n) + scratchBytes + 256);
    this.t = takeTridiagonal(this.work, n);
    this.#external = external;
  }

  /** @param vectors n x n, zero: where the eigenvectors go */
  *solve(vectors: Float64Array): Generator<Product, SymmetricEigen, void> {
    const { work, t } = this;
    const { n } = t;
    const external = this.#external;
    if (n === 0) return { values: new Float64Array(0), vectors };
    const scratch = work.mark();
    const exponent = normalize(work, t);
    reduceToTridiagonal(work, t);

    work.reset(scratch);
    const order = yield* new DivideAndConquer(work, { n, d: t.d, e: t.e, vectors }, external).run();

    work.reset(scratch);
    if (external) yield* backTransformOutside(work, t, vectors);
    else backTransform(work, t, vectors);

    const d = work.f64(t.d, n);
    const half = 2 ** (exponent / 2);
    const values = Float64Array.from(order, (row) => (d[row] as number) * half * half);
    permuteRows(vectors, order);
    return { values, vectors };
  }
}

/** Row i becomes what row order[i] was, in place. */
function permuteRows(rows: Float64Array, order: Int32Array): void {
  const n = order.length;
  const isDone = new Uint8Array(n);
  const first = new Float64Array(n);
  for (let start = 0; start < n; start++) {
    if (isDone[start] !== 0) continue;
    first.set(rows.subarray(start * n, (start + 1) * n));
    let to = start;
    for (let from = order[start] as number; from !== start; to = from, from = order[from] as number) {
      rows.copyWithin(to * n, from * n, (from + 1) * n);
      isDone[to] = 1;
    }
    rows.set(first, to * n);
    isDone[to] = 1;
  }
}
