/**
 * Networks to study, MLPs and small CNNs of a given depth, width, activation and initialization; and studies: sweeps over their
 * settings with many seeds, whose figures come with intervals.
 *
 * @example
 * import { saveModel } from 'onnx-overparam';
 * import { newNetwork, runStudy } from 'onnx-overparam/study';
 *
 * const model = await newNetwork('cnn', { inputs: [3, 32, 32], depth: 4, width: 16 });
 * await saveModel(model, 'net.onnx');
 *
 * const { report } = await runStudy('init', { runs: 'runs.jsonl' });
 * console.log(report.verdict, report.checks);
 *
 * @module onnx-overparam/study
 */

export {
  checkStudyPlan,
  type PlanClaim,
  type PlanSetting,
  readStudyPlan,
  type StudyPlan,
} from '../study/custom/plan.js';
export type { StudyReport } from '../study/evidence.js';
export type { Samples } from '../study/fit.js';
export { newNetwork } from '../study/networks.js';
export {
  ACTIVATIONS,
  type Activation,
  INITIALIZATIONS,
  type Initialization,
  NETWORK_KINDS,
  type NetworkKind,
  type NetworkOptions,
} from '../study/options.js';
export { type CollageOptions, collageSamples } from '../study/simplicity/collage.js';
export { areaUnderCurve, type BlockSamples } from '../study/simplicity/randomized.js';
export {
  SLAB_DATA,
  type SlabData,
  type SlabOptions,
  type SlabSamples,
  slabSamples,
} from '../study/simplicity/slabs.js';
export {
  type Estimate,
  estimate,
  holm,
  type PairedDifference,
  pairedDifference,
  spearman,
  type Trend,
} from '../study/statistics.js';
export { STUDIES } from '../study/studies/index.js';
export type {
  Check,
  Evidence,
  Findings,
  LinePlot,
  Outcome,
  Picture,
  PicturePlot,
  PlanOptions,
  Plot,
  PlotAxis,
  PlotSeries,
  RunContext,
  RunPictures,
  RunRecord,
  Settings,
  SettingValue,
  Study,
  StudyRow,
  StudyTest,
  Verdict,
} from '../study/study.js';
export type { StudyRunOptions } from '../study/study-options.js';
export {
  type RunStudyOptions,
  reportRuns,
  runStudy,
  type StudyProgress,
  type StudyResult,
} from '../study/sweep/run-study.js';
export { parseRuns, type RunsFile, type RunsHeader } from '../study/sweep/runs-file.js';
