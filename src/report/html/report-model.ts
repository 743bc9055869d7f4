import type { RankReport } from '../../analysis/report/rank-report.js';

/** A model of the report. */
export interface HtmlReportModel {
  readonly name: string;
  /** With spectra (`rankReport(model, { spectra: true })`); without them there are no plots of single weights. */
  readonly report: RankReport;
  /** How many nodes its graph has. */
  readonly nodes?: number | undefined;
}
