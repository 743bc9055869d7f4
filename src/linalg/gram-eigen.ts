import { AsyncLocalStorage } from 'node:async_hooks';
import { availableParallelism } from 'node:os';
import { countGarbage } from '../runtime/garbage.js';
import { type SymmetricEigen, SymmetricMatrix } from './kernels/eigen/eigen.js';
import type { Gemm } from './kernels/external.js';
import { KernelPool } from './kernels/threads/pool.js';
import { gemmInto, gramInto, type Square } from './matmul.js';
import type { Matrix } from './matrix.js';

/** A matrix that is loaded when it is needed, and may be let go in between. */
export interface MatrixSource {
  readonly rows: number;
  readonly columns: number;
  load(): Matrix;
  /** Gives its memory back, for what was loaded is in use no more; it can be loaded again. */
  letGo?(): void;
}

/** A matrix is no matrix of numbers: not to be mistaken for the RangeErrors of V8, where memory is short. */
export class NotFiniteError extends RangeError {
  override name = 'NotFiniteError';

  constructor() {
    super('has NaN or infinite values');
  }
}

/** Eigenvalues, descending, and eigenvectors, as rows, of a Gram matrix. */
export interface GramEigen extends SymmetricEigen {
  /** Squared norms of the rows or columns. */
  readonly diagonal: Float64Array;
  /** The sum of the squares of the matrix. */
  readonly squaredNorm: number;
}

/** Orders that a thread of the pool has to itself: smaller ones are done before it has them, larger ones take all threads. */
const POOLED = { from: 48, to: 1024 } as const;

type Loaded = Pick<MatrixSource, 'load' | 'letGo'>;

const current = new AsyncLocalStorage<KernelPool>();

/**
 * Does work whose eigenvectors of matrices of medium size are computed on other threads: one fewer than there are
 * processors, since this one has the Gram matrices, the products and the files.
 */
export async function withEigenThreads<T>(work: () => Promise<T>): Promise<T> {
  await using pool = new KernelPool({ size: Math.max(1, Math.min(8, availableParallelism() - 1)) });
  return await current.run(pool, work);
}

/** Whether the Gram matrix of an order would be decomposed on one thread, beside others. */
export function isPooled(n: number): boolean {
  return n < POOLED.to;
}

/**
 * Decomposes the Gram matrix of the rows or columns of a matrix, in float64.
 *
 * @param source loaded once, and let go before the eigenvectors are computed
 * @throws RangeError when the matrix has NaN or infinite values
 */
export async function gramEigen(source: Loaded, n: number, side: 'rows' | 'columns'): Promise<GramEigen> {
  countGarbage(8 * n * n);
  const pool = n >= POOLED.from && isPooled(n) ? current.getStore() : undefined;
  const own = pool === undefined ? new SymmetricMatrix(n) : undefined;
  const place =
    own === undefined
      ? { data: new Float64Array(n * n), stride: n }
      : { data: own.lower, stride: own.stride };
  await fill(place, source, side);
  source.letGo?.();
  const diagonal = Float64Array.from({ length: n }, (_, i) => place.data[i * place.stride + i] as number);
  const squaredNorm = diagonal.reduce((sum, square) => sum + square, 0);
  if (!Number.isFinite(squaredNorm)) throw new NotFiniteError();
  if (own !== undefined) countGarbage(8 * n * n);
  const { values, vectors } = await (own?.eigen({ gemm }) ??
    (pool as KernelPool).eigenvectors(place.data, n, { transfer: true }));
  return { values: values.reverse(), vectors: reverseRows(vectors, n), diagonal, squaredNorm };
}

/** A function of its own, so that nothing holds the matrix any more when it returns. */
async function fill(target: Square, source: Loaded, side: 'rows' | 'columns'): Promise<void> {
  await gramInto(target, source.load(), side);
}

/** Large products of the eigensolver go to onnxruntime: 4096 x 4096 takes 13 s, inside WebAssembly 24 s. */
const gemm: Gemm = ({ a, b, c, m, k, n, into }) =>
  gemmInto(into, { rows: m, columns: k, data: a }, { rows: k, columns: n, data: b }, c);

function reverseRows(data: Float64Array, n: number): Float64Array {
  const row = new Float64Array(n);
  for (let top = 0, bottom = n - 1; top < bottom; top += 1, bottom -= 1) {
    row.set(data.subarray(top * n, (top + 1) * n));
    data.copyWithin(top * n, bottom * n, (bottom + 1) * n);
    data.set(row, bottom * n);
  }
  return data;
}
