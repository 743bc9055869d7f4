import type { RankReport, RankRow } from '../../../src/analysis/report/rank-report.js';
import { spectrumMetrics } from '../../../src/analysis/spectra/metrics.js';
import { Random } from '../../../src/runtime/random.js';

/** A row with a spectrum that falls off smoothly. */
export function rowOf(weight: string, rows: number, columns: number, more: Partial<RankRow> = {}): RankRow {
  const order = Math.min(rows, columns);
  const random = new Random(0, weight);
  const singularValues = Array.from(
    { length: order },
    (_, i) => Math.exp((-3 * i) / order) * (1 + 0.05 * random.uniform()),
  ).sort((a, b) => b - a);
  return {
    weight,
    nodes: [`node of ${weight}`],
    ops: ['Gemm'],
    shape: [rows, columns],
    rows,
    columns,
    dataType: 'float32',
    parameters: rows * columns,
    metrics: spectrumMetrics(singularValues, { rows, columns }),
    problem: undefined,
    singularValues,
    ...more,
  };
}

/** A weight that has no spectrum. */
export function brokenRow(weight: string, problem = '3 NaN of 6 elements'): RankRow {
  const { singularValues: _, ...row } = rowOf(weight, 2, 3);
  return { ...row, metrics: undefined, problem };
}

export function reportOf(rows: readonly RankRow[], more: Partial<RankReport> = {}): RankReport {
  const known = rows.flatMap((row) => row.metrics ?? []);
  return {
    model: 'model.onnx',
    rows,
    notLookedAt: [],
    total: {
      weights: rows.length,
      parameters: rows.reduce((sum, row) => sum + row.parameters, 0),
      effectiveRank: known.reduce((sum, metrics) => sum + metrics.effectiveRank, 0),
      numericalRank: known.reduce((sum, metrics) => sum + metrics.numericalRank, 0),
      fullRank: rows.reduce((sum, row) => sum + Math.min(row.rows, row.columns), 0),
      effectiveRankRatio: known.reduce((sum, metrics) => sum + metrics.effectiveRankRatio / known.length, 0),
      problems: rows.length - known.length,
    },
    ...more,
  };
}
