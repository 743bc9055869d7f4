import type { Matrix } from '../../linalg/matmul.js';
import type { StepOptions } from '../engine/step.js';
import { mapSingularValues } from './singular-map.js';

const KEY = 'nuclear';

/** The slot of a training state that holds the sub-gradient of a weight's nuclear norm. */
export function nuclearSlot(weight: string): string {
  return `${KEY}/${weight}`;
}

/**
 * The penalty λ ‖W‖* on some weights: λ times the sub-gradient that the state holds is added to the gradient of the loss,
 * before it is clipped and the optimizer sees it.
 */
export function nuclearPenalty(
  coefficient: number,
  weights: readonly string[],
): NonNullable<StepOptions['penalty']> {
  const penalized = new Set(weights);
  return ({ build, name, gradient, held }) =>
    penalized.has(name) ? build.add(gradient, build.scale(held(KEY), coefficient)) : gradient;
}

/**
 * The sub-gradient U_r V_r^T of the nuclear norm of a matrix with the rank r (Watson 1992): its gradient where all
 * singular values are above zero.
 *
 * @example
 * const { data } = await nuclearSubgradient({ rows: 64, columns: 32, data: weight });
 */
export async function nuclearSubgradient(a: Matrix): Promise<Matrix> {
  const [matrix] = await mapSingularValues(a, (values) => [values.map((value) => (value > 0 ? 1 : 0))]);
  return matrix as Matrix;
}
