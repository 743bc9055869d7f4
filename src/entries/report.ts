/**
 * Results as tables, JSON, CSV, Markdown and HTML.
 *
 * @example
 * import { rankReport, readModel } from 'onnx-overparam';
 * import { rankDocument, render } from 'onnx-overparam/report';
 *
 * const report = await rankReport(await readModel('model.onnx'));
 * console.log(render(rankDocument(report), { format: 'md' }));
 *
 * @module onnx-overparam/report
 */

export type { GradientDocumentOptions } from '../report/gradient.js';
export { type DiffPageOptions, renderDiffPage } from '../report/graph/diff-page.js';
export {
  type Conversion,
  checkDocument,
  convertDocument,
  diffDocument,
  extractDocument,
  printDocument,
} from '../report/graph/documents.js';
export { inferDocument } from '../report/graph/infer.js';
export type { PageMade } from '../report/html/page-head.js';
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
} from '../report/index.js';
export type { RunDocumentOptions } from '../report/inference.js';
export type { PassDocumentOptions } from '../report/passes.js';
export { type QualityDocumentOptions, qualityDocument } from '../report/quality/document.js';
export { type QualityPageOptions, renderQualityPage } from '../report/quality/page.js';
export { modelsDocument } from '../report/rank/rank-models.js';
export type { SortKey } from '../report/rank/rank-order.js';
export { runsDocument, type StudyResultView, studyDocument } from '../report/study/document.js';
export { renderStudyPage, type StudyPageOptions } from '../report/study/page.js';
export { plotSvg } from '../report/study/plot-svg.js';
export type { Cell, CellValue, Grid, Heading, Note } from '../report/text/document.js';
export type { LogContext, LogEnd } from '../report/training/log.js';
export type { TrainDocumentOptions } from '../report/training/summary.js';
