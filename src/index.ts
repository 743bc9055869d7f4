/**
 * onnx-overparam: expand the linear layers of ONNX models into chains, collapse them again, and look at the spectra
 * of their weights.
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
 * @module
 */

// Linear sites and the spectra of their weights. Kernels and threads load with the first report.
export {
  findLinearSites,
  LINEAR_OPS,
  type LinearOp,
  type LinearSite,
  linearSite,
  type NotASite,
} from './affine/linear-sites.js';
// What a model makes of data: ranks of embeddings, collapse of classes.
export {
  EMBEDDING_METRICS,
  type EmbeddingDescriptor,
  type EmbeddingKey,
  type EmbeddingMetrics,
} from './analysis/embeddings/embedding-metrics.js';
export type { RandomSource, SampleSource } from './analysis/embeddings/embedding-source.js';
export {
  type EmbeddingOptions,
  type EmbeddingReport,
  type EmbeddingRow,
  embeddingReport,
} from './analysis/embeddings/embeddings.js';
// Statements about a report: parseAssertion('effectiveRank(fc) < 0.5*min').
export {
  type Arithmetic,
  type Assertion,
  AssertionSyntaxError,
  parseAssertion,
  printAssertion,
} from './analysis/report/assertion.js';
export {
  AssertionNameError,
  type AssertionResult,
  assertedMetrics,
  checkAssertion,
  type FailedComparison,
} from './analysis/report/assertion-check.js';
export {
  compareRankReports,
  type RankChange,
  type RankComparison,
} from './analysis/report/compare-reports.js';
export {
  type RankReport,
  type RankReportOptions,
  type RankRow,
  type RankTotal,
  rankReport,
} from './analysis/report/rank-report.js';
export {
  ALL_METRICS,
  type FurtherKey,
  figureOf,
  findMetric,
  RANDOMIZED_METRICS,
  type RowExtras,
  reasonOf,
} from './analysis/spectra/descriptors.js';
export type { NumberFormat } from './analysis/spectra/metric-text.js';
export {
  type BasicMetricKey,
  METRICS,
  type MetricDescriptor,
  type MetricKey,
  RESOLUTION,
  type SpectrumContext,
  type SpectrumMetrics,
  spectrumMetrics,
} from './analysis/spectra/metrics.js';
export {
  EXTRA_METRICS,
  type ExtraDescriptor,
  type ExtraKey,
} from './analysis/spectra/spectral-descriptors.js';
export { CONV_VIEWS, type ConvView } from './analysis/spectra/weight-spectrum.js';
export type { OutputComparison } from './analysis/verify/output-comparison.js';
// Running models, and telling whether two compute the same. onnxruntime loads with the first session.
export { type Verification, type VerifyOptions, verifyModels } from './analysis/verify/verify.js';
export type { WeightUse } from './analysis/weights/types.js';
export {
  CHAIN_VIEWS,
  type ChainRole,
  type ChainView,
  findWeights,
  type Overlooked,
  type WeightMatrix,
  type WeightOptions,
} from './analysis/weights/weights.js';
// Models: read, look at, edit, check, print, compare, write. Nothing here runs a model or loads onnxruntime.
export { assertValid, check, type Problem } from './graph/check/check.js';
export { type Difference, type DiffOptions, diffModels, formatDifferences } from './graph/diff/diff.js';
export { glob } from './graph/glob.js';
export {
  type Attributes,
  type AttributeValue,
  assertWritable,
  atomicWrite,
  type ByteSource,
  type ConstantResult,
  type ConstantValue,
  createModel,
  type DataType,
  type Dimension,
  FileSource,
  type FloatType,
  findConstant,
  type Graph,
  type GraphEdit,
  isConstant,
  isFloatType,
  MemorySource,
  type Model,
  ModelError,
  modelToBytes,
  type NativeArray,
  type NativeArrays,
  type Node,
  type NodeSpec,
  narrow,
  OptionError,
  type Origin,
  type Pass,
  type ReadOptions,
  readModel,
  type SaveOptions,
  Scratch,
  saveModel,
  Tensor,
  type Use,
  ValueInfo,
  type Where,
  type WriteOptions,
  widen,
} from './graph/index.js';
export { type PrintOptions, printModel } from './graph/print.js';
export type { Skipped } from './graph/skipped.js';
export type { MatrixFile } from './linalg/kernels/matrix-source.js';
export { KernelPool, type KernelPoolOptions, type PoolJobOptions } from './linalg/kernels/pool.js';
// Passes: model.apply(expand(...)).
export type { OnProgress, Progress } from './passes/account.js';
export {
  COLLAPSE_DEFAULTS,
  type CollapseAccount,
  type CollapsedChain,
  type CollapseOptions,
  collapse,
} from './passes/collapse/collapse.js';
export { rankReportWithRegions } from './passes/collapse/region-rows.js';
export {
  type ChainOptions,
  EXPAND_DEFAULTS,
  EXPAND_INITS,
  type ExpandAccount,
  type ExpandedSite,
  type ExpandInit,
  type ExpandOptions,
  expand,
  parseRecipe,
  type Recipe,
  type RecipeRule,
} from './passes/expand/expand.js';
export { type RankRecipe, rankRecipe } from './passes/expand/rank-recipe.js';
export { parseRecipeText, type RecipeFormat, recipeFormat } from './passes/expand/recipe-text.js';
// Gradients: the graph of a loss and its gradients, as standard ONNX operators.
export {
  DIFFERENTIABLE_OPS,
  type Gradient,
  GradientError,
  type GradientOptions,
  gradient,
  LOSS_KINDS,
  type LossModel,
  lossModel,
  trainableWeights,
} from './passes/gradient/index.js';
export { ownWeights } from './passes/gradient/prepare/own-weights.js';
export { selectWrt, type WrtPatterns } from './passes/gradient/select.js';
export { type FixInputsAccount, fixInputs } from './passes/rewrite/fix-inputs.js';
export { inlinedFunctions } from './passes/rewrite/inline-functions.js';
export { type HeadAccount, type HeadOptions, replaceHead } from './passes/rewrite/replace-head.js';
// Results as tables, JSON, CSV, Markdown and HTML.
export {
  benchDocument,
  type CheckedAssertion,
  collapseDocument,
  comparisonDocument,
  type Document as ReportDocument,
  doctorDocument,
  expandDocument,
  FORMATS,
  type Format,
  gradientDocument,
  type HtmlReportModel,
  type HtmlReportOptions,
  LOG_VERSION,
  logLine,
  type NamedLog,
  PAGE_FORMATS,
  planDocument,
  type RankDocumentOptions,
  type RankOrder,
  type RenderOptions,
  rankDocument,
  readTrainLog,
  render,
  renderHtmlReport,
  renderTrainPage,
  runDocument,
  type TrainLog,
  type TrainPageOptions,
  trainDocument,
  trainingInfoDocument,
  verifyDocument,
} from './report/index.js';
export {
  type BenchOptions,
  type BenchReport,
  benchModels,
  type Diagnosis,
  diagnose,
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  evaluateConstant,
  type Image,
  type ImageFit,
  type ImageInputOptions,
  imageTensor,
  installCuda,
  type ModelRun,
  NORMALIZATIONS,
  type Normalization,
  openSession,
  type Placement,
  ProviderError,
  type RandomInputOptions,
  type ReadImageOptions,
  type RunModelOptions,
  type RunOptions,
  type RuntimeTensor,
  randomInputs,
  readImage,
  readNpy,
  readNpz,
  readTensorFile,
  runModel,
  type Session,
  type SessionOptions,
  type SessionValue,
  summarize,
  topK,
  writeNpy,
  writeNpz,
  writeTensorFile,
} from './runtime/index.js';
// Training a model: train(model, dataset, options), its events, checkpoints.
export { type Checkpoint, readCheckpoint, writeCheckpoint } from './training/checkpoint.js';
// Data to train on.
export {
  type Augmentation,
  type BatchesOptions,
  type DatasetOptions,
  datasetSplits,
  type InputSpec,
  openDataset,
  orderedBatches,
  SPLITS,
  type Split,
  shuffledBatches,
  splitDataset,
  tensorDataset,
} from './training/data/index.js';
export { describeTraining, type StepFigures } from './training/describe.js';
// Training: optimizers as pieces of a graph, learning rates, what decays.
export { type DistillOptions, distilled } from './training/distill.js';
export { DivergenceError } from './training/divergence.js';
// Training steps on the stock onnxruntime.
export { type EngineOptions, openEngine } from './training/engine/engine.js';
export type { PenaltyContext } from './training/engine/step.js';
export type {
  EpochRecord,
  Monitor,
  RankFigures,
  StopReason,
  TiedWeight,
  TrainEvent,
  TrainedWeight,
  TrainingFigures,
  TrainPlan,
  TrainSummary,
} from './training/events.js';
export { FRESH_INITS, type FreshStart } from './training/fresh.js';
export {
  type PrunedWeight,
  RANK_PRUNING_DEFAULTS,
  type RankPruning,
  type RankPruningOptions,
  trainedRankPruning,
} from './training/low-rank/low-rank.js';
export {
  OPTIMIZER_NAMES,
  OPTIMIZERS,
  type OptimizerName,
  type OptimizerOptions,
  optimizer,
} from './training/optimizers/index.js';
export type { OptimizerRule, UpdateContext } from './training/optimizers/optimizer-rule.js';
export {
  learningRates,
  SCHEDULE_KINDS,
  type Schedule,
  type ScheduleOptions,
  type ScheduleShape,
  schedule,
} from './training/optimizers/schedule.js';
export { decayedWeights } from './training/optimizers/weight-decay.js';
export { type CheckpointOptions, TRAIN_DEFAULTS, type TrainOptions } from './training/options.js';
export { shuffledOrder } from './training/order.js';
export { planTraining } from './training/plan.js';
export { type Training, type TrainResult, train } from './training/train.js';
export {
  type TrainingInfo,
  type TrainingInfoAccount,
  type TrainingInfoOptions,
  type TrainingStep,
  trainingStep,
  withTrainingInfo,
} from './training/training-info.js';
export type {
  Batch,
  BatchOptions,
  Chunk,
  ChunkResult,
  Dataset,
  DivergenceOrigin,
  Engine,
  Evaluation,
  Field,
  TrainingState,
} from './training/types.js';
