import type { Model } from '../../graph/index.js';
import type { Gradient, GradientOptions } from './request.js';

/**
 * Reverse-mode differentiation as a rewrite: a new model, of standard operators (version 18 or the model's own, if
 * newer), that computes a loss and its gradients. The given model stays as it is. Sizes are baked in.
 *
 * Its inputs are those of the model, the target, and the weights (see `weights`); its outputs are the loss, the
 * prediction, the gradients and the new running statistics. Applied to its own result it gives second derivatives.
 *
 * The rules are vector-Jacobian products, accumulated in reverse order (Griewank & Walther, "Evaluating Derivatives",
 * 2nd ed., chapter 3). Only what lies between `wrt` and the loss is differentiated.
 *
 * @throws GradientError naming every node in between whose operator has no gradient, before any work; ZeroGradientError where
 *   nodes with a derivative of zero keep it from all of `wrt`
 * @throws OptionError for options out of range; ModelError for sizes that are open and unknown names
 * @example
 * const step = await gradient(model, { loss: 'cross-entropy', batch: 64 });
 * await using session = await openSession(step.model);
 * const image = { type: 'float32', shape: [64, 1, 28, 28], data: new Float32Array(64 * 784) } as const;
 * const labels = { type: 'int64', shape: [64], data: new BigInt64Array(64) } as const;
 * const results = await session.run({ image, [step.target ?? 'target']: labels }); // and each of step.weights
 */
export async function gradient(model: Model, options: GradientOptions): Promise<Gradient> {
  const { differentiate } = await import('./differentiate.js');
  return differentiate(model, options);
}
