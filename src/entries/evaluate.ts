/**
 * How good models are on data, with intervals, and where several differ; `evaluateModels` itself is in `onnx-overparam`.
 *
 * @example
 * import { evaluateModels, openDataset, readModel } from 'onnx-overparam';
 * import { checkQuality } from 'onnx-overparam/evaluate';
 * import { inputSpecs } from 'onnx-overparam/training';
 *
 * const [a, b] = [await readModel('a.onnx'), await readModel('b.onnx')];
 * await using data = await openDataset('mnist', { split: 'test', inputs: inputSpecs(a) });
 * const quality = await evaluateModels([{ name: 'a', model: a }, { name: 'b', model: b }], data);
 * const [limit] = checkQuality(quality, { maxDrop: 0.5 });
 *
 * @module onnx-overparam/evaluate
 */

export {
  AGREEMENT_FIGURES,
  type AgreementDescriptor,
  type AgreementKey,
  type AgreementSums,
  type FigureDescriptor,
  type ModelSums,
  QUALITY_FIGURES,
  type QualityDescriptor,
  type QualityKey,
} from '../evaluate/figures.js';
export { type CheckedLimit, checkQuality, type QualityLimits } from '../evaluate/limits.js';
export { QUALITY_LOSSES, type QualityLoss } from '../evaluate/options.js';
export {
  type PredictedClass,
  type PredictOptions,
  predictSamples,
  type SamplePrediction,
} from '../evaluate/predict.js';
export type {
  ClassDifference,
  ClassQuality,
  Estimate,
  Interval,
  ModelQuality,
  QualityComparison,
  SampleDifference,
  TaskKind,
} from '../evaluate/types.js';
