/**
 * What reports are made of: weights and linear layers of a model, metrics of spectra and of embeddings, statements about a
 * report, singular values on threads. rankReport, compareRankReports, embeddingReport and verifyModels are in `onnx-overparam`.
 *
 * @example
 * import { rankReport, readModel } from 'onnx-overparam';
 * import { checkAssertion, parseAssertion } from 'onnx-overparam/analysis';
 *
 * const report = await rankReport(await readModel('model.onnx'));
 * const { passed } = checkAssertion(parseAssertion('effectiveRank(fc) < 0.5*min'), report);
 *
 * @module onnx-overparam/analysis
 */
export {
  findLinearSites,
  LINEAR_OPS,
  type LinearOp,
  type LinearSite,
  linearSite,
  type NotASite,
} from '../affine/linear-sites.js';
export type { ModelDifference } from '../analysis/diff/compare-models.js';
export {
  EMBEDDING_METRICS,
  type EmbeddingDescriptor,
  type EmbeddingKey,
  type EmbeddingMetrics,
} from '../analysis/embeddings/embedding-metrics.js';
export type { RandomSource, SampleSource } from '../analysis/embeddings/embedding-source.js';
export type { TapOptions } from '../analysis/embeddings/embedding-taps.js';
export type { EmbeddingOptions, EmbeddingReport, EmbeddingRow } from '../analysis/embeddings/embeddings.js';
export {
  type DensityPoint,
  type EstimatedKey,
  type EstimateOptions,
  estimateSpectrum,
  type Interval,
  type SpectrumEstimate,
} from '../analysis/estimate/estimate.js';
export {
  type EstimateReport,
  type EstimateReportOptions,
  type EstimateRow,
  estimateReport,
} from '../analysis/estimate/estimate-report.js';
export type { Comparison, SizeName } from '../analysis/report/assertion.js';
export {
  type Arithmetic,
  type Assertion,
  AssertionSyntaxError,
  parseAssertion,
  printAssertion,
} from '../analysis/report/assertion.js';
export {
  AssertionNameError,
  type AssertionResult,
  assertedMetrics,
  checkAssertion,
  type FailedComparison,
} from '../analysis/report/assertion-check.js';
export type { RankChange, RankComparison } from '../analysis/report/compare-reports.js';
export type {
  RankProgress,
  RankReport,
  RankReportOptions,
  RankRow,
  RankRowBase,
  RankTotal,
} from '../analysis/report/rank-report.js';
export type { ConvSlice } from '../analysis/spectra/conv-spectrum.js';
export type { Figured } from '../analysis/spectra/descriptors.js';
export {
  ALL_METRICS,
  type FurtherKey,
  figureOf,
  findMetric,
  RANDOMIZED_METRICS,
  type RowExtras,
  reasonOf,
} from '../analysis/spectra/descriptors.js';
export type { MetricText, NumberFormat } from '../analysis/spectra/metric-text.js';
export {
  type BasicMetricKey,
  METRICS,
  type MetricDescriptor,
  type MetricKey,
  RESOLUTION,
  type SpectrumContext,
  type SpectrumMetrics,
  spectrumMetrics,
} from '../analysis/spectra/metrics.js';
export type { ExtraText } from '../analysis/spectra/spectral-descriptors.js';
export {
  EXTRA_METRICS,
  type ExtraDescriptor,
  type ExtraKey,
} from '../analysis/spectra/spectral-descriptors.js';
export type { SpectrumOptions } from '../analysis/spectra/weight-spectrum.js';
export { CONV_VIEWS, type ConvView } from '../analysis/spectra/weight-spectrum.js';
export type { Decisions } from '../analysis/verify/decisions.js';
export type { Divergence, DivergingNode } from '../analysis/verify/divergence.js';
export type { OutputComparison } from '../analysis/verify/output-comparison.js';
export type { Verification, VerifyOptions, VerifyPlacement } from '../analysis/verify/verify.js';
export {
  CHAIN_VIEWS,
  type ChainView,
  findWeights,
  type WeightOptions,
} from '../analysis/weights/find-weights.js';
export { headProducts } from '../analysis/weights/heads/head-products.js';
export type { ConvGeometry, Part, StoredUse, WeightUse, WeightUser } from '../analysis/weights/types.js';
export type { ReadElements, StoredElements, WeightData } from '../analysis/weights/weight-data.js';
export type { StoreWeights, WeightList, WeightStore } from '../analysis/weights/weight-store.js';
export { weightsOfStore } from '../analysis/weights/weight-store.js';
export type { ChainRole, FoundWeights, Overlooked, WeightMatrix } from '../analysis/weights/weights.js';
export type {
  SymmetricEigen,
  SymmetricEigenOptions,
  SymmetricMatrix,
} from '../linalg/kernels/eigen/eigen.js';
export type { SharedMemory } from '../linalg/kernels/exports.js';
export type { Gemm, Product } from '../linalg/kernels/external.js';
export type { MatrixFile } from '../linalg/kernels/matrix-source.js';
export { KernelPool, type KernelPoolOptions, type PoolJobOptions } from '../linalg/kernels/threads/pool.js';
export type { Matrix, ProductPlace } from '../linalg/matrix.js';
export type { ThinFactor } from '../linalg/thin-product.js';
