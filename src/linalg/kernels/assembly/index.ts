export { bandPanel, bandRest, chaseBand, symmetricTimesPanel } from './band';
export { gemm } from './gemm';
export { gramAdd, maxAbsLower, scaleLower } from './gram';
export { probeColumns, probeRows, squareSums } from './probes';
export { tridiagonalValues, tridiagonalVectors } from './ql';
export { reflectorApply, reflectorFactor } from './reflectors';
export { secularRoots, secularVectors, secularWeights } from './secular';
export { tridiagonalPanel, tridiagonalUpdate } from './tridiagonal';

/** First address that holds nothing of the module's own. */
export function heapBase(): usize {
  return __heap_base;
}
