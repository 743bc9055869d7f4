/**
 * Symmetric eigenvalues, eigenvectors and singular values in WebAssembly SIMD (src/linalg/kernels/assembly, float64 throughout)
 * and a pool of worker threads for many matrices.
 */
export {
  type SymmetricEigen,
  type SymmetricEigenOptions,
  SymmetricMatrix,
  symmetricEigen,
} from './eigen/eigen.js';
export { type SmallSvd, smallSingularValues, smallSvd } from './eigen/jacobi.js';
export { singularValues, symmetricEigenvalues } from './eigen/singular.js';
export type { Gemm, Product } from './external.js';
export { type ColumnRange, GramAccumulator } from './gram.js';
export { fileSource, type MatrixFile } from './matrix-source.js';
export { type Blocks, PROBES, probe } from './probes.js';
export { KernelPool, type KernelPoolOptions, type PoolJobOptions } from './threads/pool.js';
