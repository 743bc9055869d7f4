/**
 * What belongs to gradient(), which is in `onnx-overparam`: losses, choosing weights, and the operators that have a gradient.
 *
 * @example
 * import { gradient, readModel } from 'onnx-overparam';
 * import { selectWrt } from 'onnx-overparam/gradient';
 *
 * const model = await readModel('model.onnx');
 * const { model: gradients } = await gradient(model, { loss: 'cross-entropy' });
 *
 * @module
 */
export {
  DIFFERENTIABLE_OPS,
  type Gradient,
  GradientError,
  type GradientOptions,
  LOSS_KINDS,
  type LossModel,
  lossModel,
  trainableWeights,
} from '../passes/gradient/index.js';
export { ownWeights } from '../passes/gradient/prepare/own-weights.js';
export { selectWrt, type WrtPatterns } from '../passes/gradient/select.js';
