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
 * @module onnx-overparam/gradient
 */

export type { Unsupported } from '../passes/gradient/activity.js';
export type { Attributes, Builder, BuilderOptions } from '../passes/gradient/builder.js';
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
export type { Loss, LossKind } from '../passes/gradient/losses.js';
export type { Sizes } from '../passes/gradient/prepare/infer-shapes.js';
export { ownWeights } from '../passes/gradient/prepare/own-weights.js';
export { selectWrt, type WrtPatterns } from '../passes/gradient/select.js';
export type { MatrixProduct, Mode } from '../passes/gradient/types.js';
export type { Mask, Value } from '../passes/gradient/value.js';
