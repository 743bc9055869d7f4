import type { Matrix } from '../../linalg/matmul.js';
import { mapSingularValues } from './singular-map.js';

/** A matrix whose singular values were lowered by a threshold. */
export interface Thresholded {
  /** U max(diag(s) - t, 0) Vᵀ. */
  readonly matrix: Matrix;
  /** sigmoid(v) s₁, t. */
  readonly threshold: number;
  /** Before it, descending. */
  readonly values: Float64Array;
  /** Singular values that are left. */
  readonly rank: number;
  /**
   * The derivative of a loss by v, from its gradient G by the matrix: -Σ_kept ⟨G, u_i v_iᵀ⟩ s₁ sigmoid'(v).
   *
   * @param gradient of the shape of the matrix, row-major
   */
  slope(gradient: Float32Array | Float64Array): number;
}

/**
 * Singular-value thresholding with a threshold that is learned (Ke et al., "Learned Low-Rank Priors in Dynamic MR Imaging", SLR-Net,
 * arXiv 2006.12090): every singular value of A falls by sigmoid(v) times the largest, and those below it vanish.
 *
 * @throws RangeError when A has NaN or infinite values
 * @example
 * const { matrix, slope } = await thresholded({ rows: 2, columns: 2, data: Float64Array.of(3, 0, 0, 1) }, -2);
 * const step = 0.1 * slope(matrix.data); // of ‖matrix‖² / 2
 */
export async function thresholded(a: Matrix, v: number): Promise<Thresholded> {
  const share = 1 / (1 + Math.exp(-v));
  let [values, threshold, rank] = [new Float64Array(0), 0, 0];
  const [matrix, kept] = await mapSingularValues(a, (found) => {
    values = found.slice();
    const limit = share * (found[0] ?? 0);
    threshold = limit;
    const lowered = found.map((value) => Math.max(0, value - limit));
    rank = lowered.filter((value) => value > 0).length;
    return [lowered, lowered.map((value) => (value > 0 ? 1 : 0))];
  });
  const directions = (kept as Matrix).data;
  return {
    matrix: matrix as Matrix,
    threshold,
    values,
    rank,
    slope: (gradient) => {
      let sum = 0;
      for (let i = 0; i < directions.length; i += 1)
        sum += (gradient[i] as number) * (directions[i] as number);
      return -sum * (values[0] ?? 0) * share * (1 - share);
    },
  };
}
