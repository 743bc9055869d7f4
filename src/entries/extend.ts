/**
 * What programs add to the library without changing it: gradients and affine rules of operators, metrics, optimizers, formats of
 * data, and matchers for passes of their own. Definitions are those of this process's thread; each says what does not know them.
 *
 * @example
 * import { gradient, readModel } from 'onnx-overparam';
 * import { defineGradient } from 'onnx-overparam/extend';
 *
 * // A straight-through estimator (Bengio, Léonard & Courville 2013, arXiv 1308.3432).
 * using rule = defineGradient('Round', { backward: ({ gradients }) => gradients });
 * const { model } = await gradient(await readModel('quantized.onnx'), { loss: 'mse', batch: 16 });
 *
 * @module onnx-overparam/extend
 */

export { defineAffine, type OwnAffineRule, type StandIn } from '../affine/operators/index.js';
export { defineMetric, type MetricDefinition } from '../analysis/spectra/descriptors.js';
export type { OwnMetricKey } from '../analysis/spectra/metrics.js';
export { findMatches, type Match, matchNode, type Pattern } from '../graph/match.js';
export type { Definition } from '../graph/registry.js';
export { defineGradient } from '../passes/gradient/rules/index.js';
export type { ForwardContext, OwnRule, Rewritten, Rule, RuleContext } from '../passes/gradient/types.js';
export type { PixelGeometry } from '../runtime/io/pixels.js';
export { defineFormat, type FormatDefinition } from '../training/data/own-formats.js';
export type { Column, Source } from '../training/data/source.js';
export {
  defineOptimizer,
  type OptimizerDefinition,
  type OwnOptimizer,
} from '../training/optimizers/index.js';
export type { BareRule } from '../training/optimizers/optimizer-rule.js';
