/**
 * Symmetric eigenvalues, eigenvectors and singular values in WebAssembly SIMD (src/linalg/kernels/assembly, float64 throughout)
 * and a pool of worker threads for many matrices.
 */
export { type SymmetricEigen, type SymmetricEigenOptions, SymmetricMatrix, symmetricEigen } from './eigen.js';
export type { Gemm, Product } from './external.js';
export { type ColumnRange, GramAccumulator } from './gram.js';
export { type SmallSvd, smallSingularValues, smallSvd } from './jacobi.js';
export { fileSource, type MatrixFile } from './matrix-source.js';
export { KernelPool, type KernelPoolOptions, type PoolJobOptions } from './pool.js';
export { type Blocks, PROBES, probe } from './probes.js';
export { singularValues, symmetricEigenvalues } from './singular.js';
