/**
 * onnx-overparam: expand the linear layers of ONNX models into chains, collapse them again, and look at the spectra
 * of their weights. Here are the verbs and their types; the rest is in `onnx-overparam/graph`, `/analysis`, `/passes`, `/gradient`,
 * `/training`, `/evaluate`, `/study`, `/report` and `/runtime`.
 *
 * @example
 * import { collapse, expand, rankReport, readModel, saveModel, verifyModels } from 'onnx-overparam';
 *
 * const model = await readModel('model.onnx');
 * const [account] = await model.apply(expand({ depth: 3 }));
 * await saveModel(model, 'expanded.onnx');
 * const { passed } = await verifyModels(await readModel('model.onnx'), model);
 * const { total } = await rankReport(model);
 *
 * @module onnx-overparam
 */

export { type Inspection, inspectModel } from './analysis/check/inspect.js';
export { type CompareOptions, compareModels, type ModelComparison } from './analysis/diff/compare-models.js';
export {
  type EmbeddingOptions,
  type EmbeddingReport,
  embeddingReport,
} from './analysis/embeddings/embeddings.js';
export { compareRankReports, type RankComparison } from './analysis/report/compare-reports.js';
export { type DeltaReport, type DeltaRow, deltaReport } from './analysis/report/delta-report.js';
export {
  type RankReport,
  type RankReportOptions,
  type RankRow,
  rankReport,
} from './analysis/report/rank-report.js';
export { type Feeds, type Verification, type VerifyOptions, verifyModels } from './analysis/verify/verify.js';
export { type EvaluatedModel, evaluateModels } from './evaluate/evaluate.js';
export type { EvaluateOptions } from './evaluate/options.js';
export type { QualityReport } from './evaluate/types.js';
export { check, type Problem } from './graph/check/check.js';
export { type Difference, type DiffOptions, diffModels } from './graph/diff/diff.js';
export {
  buildModel,
  type Graph,
  type Model,
  ModelError,
  type ModelSpec,
  modelToBytes,
  type Node,
  OptionError,
  type Pass,
  type ReadOptions,
  readModel,
  type SaveOptions,
  saveModel,
  setMemoryLimit,
  type Where,
} from './graph/index.js';
export { type PrintOptions, printModel } from './graph/print.js';
export type { Skipped } from './graph/skipped.js';
export { type CollapseAccount, type CollapseOptions, collapse } from './passes/collapse/collapse.js';
export { convertFloats } from './passes/convert/convert.js';
export type { ConvertOptions } from './passes/convert/options.js';
export { type ExpandAccount, type ExpandOptions, expand } from './passes/expand/expand.js';
export { gradient } from './passes/gradient/gradient.js';
export type { Gradient, GradientOptions } from './passes/gradient/request.js';
export {
  type AddAdaptersAccount,
  type AddAdaptersOptions,
  addAdapters,
} from './passes/lora/add-adapters.js';
export {
  type ExtractedLora,
  type ExtractLoraOptions,
  extractLora,
  type LoraExtraction,
} from './passes/lora/extract-lora.js';
export { type Extraction, type ExtractOptions, extract } from './passes/rewrite/extract.js';
export { type FixInputsAccount, fixInputs } from './passes/rewrite/fix-inputs.js';
export { type InferAccount, infer } from './passes/rewrite/infer.js';
export { type HeadAccount, type HeadOptions, replaceHead } from './passes/rewrite/replace-head.js';
export { type Checkpoint, openCheckpoint } from './runtime/checkpoint/index.js';
export {
  type BenchOptions,
  type BenchReport,
  benchModels,
  type Diagnosis,
  diagnose,
  type ModelRun,
  openSession,
  type RunModelOptions,
  runModel,
  type Session,
  type SessionOptions,
} from './runtime/index.js';
export { type DatasetOptions, openDataset, splitDataset, tensorDataset } from './training/data/index.js';
export type { TrainEvent, TrainPlan } from './training/events.js';
export type { TrainOptions } from './training/options.js';
export { type Training, type TrainResult, train } from './training/train.js';
export type { Dataset } from './training/types.js';
