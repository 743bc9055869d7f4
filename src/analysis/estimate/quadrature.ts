import { symmetricEigen } from '../../linalg/kernels/index.js';

/** Coefficients of one start vector: the bidiagonal matrix with `alpha` on the diagonal and `beta` behind it, one more than between them. */
export interface Bidiagonal {
  readonly alpha: readonly number[];
  readonly beta: readonly number[];
}

/** A Gauss quadrature of a start vector: vᵀ f(√(WᵀW)) v is about the sum of weights times f(nodes). */
export interface Quadrature {
  readonly nodes: Float64Array;
  readonly weights: Float64Array;
  /** The largest singular value that it found is off by no more than to the square root of its square and this. */
  readonly residual: number;
}

/**
 * Nodes are singular values of the bidiagonal matrix, weights squares of the first elements of its right singular vectors (Golub &
 * Meurant, Matrices, Moments and Quadrature, chapter 6).
 */
export function quadratureOf({ alpha, beta }: Bidiagonal): Quadrature {
  const k = alpha.length;
  const square = new Float64Array(k * k);
  for (let i = 0; i < k; i += 1) {
    const a = alpha[i] as number;
    const before = i === 0 ? 0 : (beta[i - 1] as number);
    square[i * k + i] = a * a + before * before;
    if (i === 0) continue;
    const side = (alpha[i - 1] as number) * before;
    square[i * k + i - 1] = side;
    square[(i - 1) * k + i] = side;
  }
  const { values, vectors } = symmetricEigen(square, k);
  const nodes = values.map((value) => Math.sqrt(Math.max(0, value)));
  const weights = Float64Array.from({ length: k }, (_, i) => (vectors[i * k] as number) ** 2);
  const end = (alpha[k - 1] as number) * (beta[k - 1] as number);
  return { nodes, weights, residual: Math.abs(end * (vectors[k * k - 1] as number)) };
}

/** The value of a function under a quadrature. */
export function integral({ nodes, weights }: Quadrature, of: (value: number) => number): number {
  let sum = 0;
  for (let i = 0; i < nodes.length; i += 1) {
    const weight = weights[i] as number;
    if (weight > 0) sum += weight * of(nodes[i] as number);
  }
  return sum;
}
