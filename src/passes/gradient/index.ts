export { GradientError, stoppingNodes, type Unsupported, ZeroGradientError } from './activity.js';
export { gradient } from './gradient.js';
export { type LossModel, lossModel } from './loss-model.js';
export { LOSS_KINDS, type Loss, type LossKind } from './losses.js';
export { ownWeights } from './prepare/own-weights.js';
export { isFilled, tiedWeights, untieShared, untieWeights } from './prepare/untie.js';
export type { Gradient, GradientOptions, Mask } from './request.js';
export { DIFFERENTIABLE_OPS, type DifferentiableOp } from './rules/index.js';
export { trainableWeights } from './weights.js';
