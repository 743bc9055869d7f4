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
} from './analysis/linear-sites.js';
export {
  METRICS,
  type MetricDescriptor,
  type MetricKey,
  type NumberFormat,
  RESOLUTION,
  type SpectrumContext,
  type SpectrumMetrics,
  spectrumMetrics,
} from './analysis/metrics.js';
export {
  compareRankReports,
  type NotLookedAt,
  type RankChange,
  type RankComparison,
  type RankReport,
  type RankReportOptions,
  type RankRow,
  type RankTotal,
  rankReport,
} from './analysis/rank-report.js';
// Running models, and telling whether two compute the same. onnxruntime loads with the first session.
export {
  type OutputComparison,
  type Verification,
  type VerifyOptions,
  verifyModels,
} from './analysis/verify.js';
// Models: read, look at, edit, check, print, compare, write. Nothing here runs a model or loads onnxruntime.
export { assertValid, check, type Problem } from './graph/check.js';
export { type Difference, type DiffOptions, diffModels, formatDifferences } from './graph/diff.js';
export {
  type Attributes,
  type AttributeValue,
  assertWritable,
  atomicWrite,
  type ByteSource,
  type ConstantResult,
  type ConstantValue,
  type DataType,
  type Dimension,
  FileSource,
  type FloatType,
  findConstant,
  Graph,
  type GraphEdit,
  isConstant,
  isFloatType,
  MemorySource,
  Model,
  ModelError,
  modelToBytes,
  type NativeArray,
  type NativeArrays,
  Node,
  type NodeSpec,
  narrow,
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
export { KernelPool, type KernelPoolOptions, type PoolJobOptions } from './kernels/pool.js';
// Passes: model.apply(expand(...)).
export type { OnProgress, Progress, Skipped } from './passes/account.js';
export {
  COLLAPSE_DEFAULTS,
  type CollapseAccount,
  type CollapsedChain,
  type CollapseOptions,
  collapse,
} from './passes/collapse.js';
export {
  EXPAND_DEFAULTS,
  EXPAND_INITS,
  type ExpandAccount,
  type ExpandedSite,
  type ExpandInit,
  type ExpandOptions,
  expand,
} from './passes/expand.js';
// Results as tables, JSON, CSV and Markdown.
export {
  collapseDocument,
  comparisonDocument,
  type Document as ReportDocument,
  expandDocument,
  FORMATS,
  type Format,
  type RenderOptions,
  rankDocument,
  render,
  verifyDocument,
} from './report/index.js';
export {
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  evaluateConstant,
  openSession,
  type RandomInputOptions,
  type RunOptions,
  type RuntimeTensor,
  randomInputs,
  type Session,
  type SessionOptions,
  type SessionValue,
} from './runtime/index.js';
