/**
 * Factorization of layers to a budget: which become low-rank chains, of which form and rank, decided for all together by what
 * calibration data shows to matter.
 *
 * @example
 * import { openDataset, readModel, saveModel } from 'onnx-overparam';
 * import { compress } from 'onnx-overparam/compress';
 * import { inputSpecs } from 'onnx-overparam/training';
 *
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('images', { inputs: inputSpecs(model) });
 * const [{ total, predicted, measured }] = await model.apply(compress({ data, params: 0.5 }));
 * console.log(total.parametersAfter, predicted, measured);
 * await saveModel(model, 'small.onnx');
 *
 * @module onnx-overparam/compress
 */

export {
  type CompressAccount,
  type CompressedLayer,
  type CompressOptions,
  type Conditioned,
  type CurvePoint,
  compress,
  type DivergenceKind,
  FORMS,
  type Form,
  type PlannedLayer,
  type Totals,
} from '../compress/compress.js';
export { parsePlan } from '../compress/plan.js';
export {
  type CompressDocumentOptions,
  compressDocument,
} from '../report/compress.js';
export { type CompressPageOptions, compressPage } from '../report/compress-page.js';
