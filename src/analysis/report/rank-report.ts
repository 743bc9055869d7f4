import { reading } from '../../graph/occupied.js';
import type { Skipped } from '../../graph/skipped.js';
import type { EmbeddingReport } from '../embeddings/embeddings.js';
import type { ConvView } from '../spectra/weight-spectrum.js';
import type { WeightStore } from '../weights/weight-store.js';
import { type RankRow, type RankRowBase, type RankTotal, rankRow, rankTotal } from './rank-row.js';
import { computeSpectra, type RankInput, type RankReportOptions, rankPlan } from './rank-spectra.js';

export { type RankRow, type RankRowBase, type RankTotal, rankTotal } from './rank-row.js';
export type { RankProgress, RankReportOptions } from './rank-spectra.js';

/** What rankReport returns: one row per weight matrix, their sums, and what was skipped. */
export interface RankReport {
  /** The model's file, where it was read from one. */
  readonly model: string | undefined;
  readonly rows: readonly RankRow[];
  readonly notLookedAt: readonly Skipped[];
  readonly total: RankTotal;
  /** The rank that rankDistance is the distance to. */
  readonly rank?: number | undefined;
  /** How convolutions were looked at. */
  readonly convView?: ConvView;
  readonly inputSize?: number;
  /** What the model makes of data (embeddingReport), where that was looked at too. */
  readonly embeddings?: EmbeddingReport;
}

/**
 * Spectrum and ranks of every weight that findWeights finds in a model, or of every matrix of a checkpoint. A weight that
 * several nodes share is one row.
 *
 * Weights are read, a few at a time, the largest first; memory grows with the largest of them and not with the
 * model.
 *
 * @throws ModelError where a weight cannot be read; OptionError for options out of range; BusyError where the model was edited
 *   meanwhile; the reason of `signal`
 * @example
 * const report = await rankReport(await readModel('model.onnx'));
 * for (const row of report.rows) console.log(row.weight, row.metrics?.effectiveRank);
 */
export async function rankReport(source: WeightStore, options: RankReportOptions = {}): Promise<RankReport> {
  const models = 'graph' in source ? [source] : [];
  return reading(models, 'the rank report', () => reportOn(source, options));
}

async function reportOn(source: WeightStore, options: RankReportOptions): Promise<RankReport> {
  const plan = await rankPlan(source, options);
  const rows = new Array<RankRow | undefined>(plan.weights.length);
  await computeSpectra(plan, options, {
    found: (index, spectra) => {
      rows[index] = rankRow(plan.input.weights[index] as RankRowBase, spectra, options);
    },
  });
  return reportOfRows(
    plan.input,
    rows.filter((row) => row !== undefined),
    options,
  );
}

/** The report of rows that were computed, here or elsewhere. */
export function reportOfRows(
  { model, notLookedAt }: RankInput,
  rows: readonly RankRow[],
  { rank, convView = 'matricized', inputSize }: Pick<RankReportOptions, 'rank' | 'convView' | 'inputSize'>,
): RankReport {
  return {
    model,
    rows,
    notLookedAt,
    total: rankTotal(rows),
    ...(rank !== undefined && { rank }),
    ...(convView !== 'matricized' && { convView }),
    ...(inputSize !== undefined && { inputSize }),
  };
}
