import { isOutOfMemory, ModelError } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import type { RankRowBase, RankSpectra } from '../report/rank-row.js';
import { computeSpectra, type RankReportOptions, rankPlan } from '../report/rank-spectra.js';
import { ALL_METRICS } from '../spectra/descriptors.js';
import { type MetricKey, spectrumMetrics } from '../spectra/metrics.js';
import type { StoredUse } from '../weights/types.js';
import type { WeightStore } from '../weights/weight-store.js';
import { elementsOf, type WeightMatrix } from '../weights/weights.js';
import {
  DENSITY_AT,
  ESTIMATED,
  type EstimatedKey,
  estimateSpectrum,
  type Interval,
  type SpectrumEstimate,
  smoothedShare,
} from './estimate.js';

/** Below this order the exact spectrum takes no longer than the estimate. */
const EXACT_ORDER = 2048;
/** Leading values that are told. */
const LEADING = 5;

/** One weight: its figures with intervals, or why there are none. */
export type EstimateRow = RankRowBase & {
  /** Undefined where the weight has no spectrum; `problem` then says why. */
  readonly estimate: SpectrumEstimate | undefined;
  /** Whether all singular values were computed: intervals then have no width. */
  readonly isExact: boolean;
  readonly problem: string | undefined;
};

/** What estimateReport returns. */
export interface EstimateReport {
  readonly model: string | undefined;
  readonly tolerance: number;
  readonly seed: number;
  readonly rows: readonly EstimateRow[];
  readonly notLookedAt: readonly Skipped[];
  /** Metrics of a rank report that have no estimate. */
  readonly without: readonly MetricKey[];
}

/** Options of estimateReport. */
export interface EstimateReportOptions
  extends Pick<
    RankReportOptions,
    'only' | 'chains' | 'convView' | 'inputSize' | 'products' | 'pool' | 'concurrency' | 'seed' | 'onProgress'
  > {
  /** Half the width of the intervals, relative to the figure; default 0.01. */
  readonly tolerance?: number | undefined;
  /** Weights of a lower min(rows, columns) are computed exactly; default 2048. */
  readonly exactBelow?: number | undefined;
}

/**
 * Effective rank, entropy and norms of every weight, with intervals of 95 %, without computing all singular values of large ones; see
 * estimateSpectrum. Small weights, products of thin factors, and convolutions seen as slices or operators are computed exactly.
 *
 * @throws ModelError where a weight cannot be read; OptionError for options out of range
 * @example
 * const report = await estimateReport(await readModel('model.onnx'), { tolerance: 0.01 });
 * for (const { weight, estimate } of report.rows) console.log(weight, estimate?.figures.effectiveRank);
 */
export async function estimateReport(
  source: WeightStore,
  options: EstimateReportOptions = {},
): Promise<EstimateReport> {
  const { tolerance = 0.01, seed = 0, exactBelow = EXACT_ORDER, products, onProgress } = options;
  const plan = await rankPlan(source, options);
  const rows = new Array<EstimateRow | undefined>(plan.weights.length);
  const isEstimated = (weight: WeightMatrix<StoredUse>): boolean => {
    const { conv, data } = weight.uses[0];
    const isMatrix = conv === undefined || (options.convView ?? 'matricized') === 'matricized';
    return isMatrix && data.factors === undefined && Math.min(weight.rows, weight.columns) >= exactBelow;
  };
  const [large, small]: [number[], number[]] = [[], []];
  for (const [index, weight] of plan.weights.entries()) (isEstimated(weight) ? large : small).push(index);
  await computeSpectra(
    plan,
    options,
    {
      found: (index, spectra) => {
        rows[index] = exactRow(plan.input.weights[index] as RankRowBase, spectra);
      },
    },
    small,
  );
  for (const [done, index] of large.entries()) {
    const weight = plan.weights[index] as WeightMatrix<StoredUse>;
    onProgress?.({ done, total: large.length, what: weight.name, share: done / large.length });
    const base = plan.input.weights[index] as RankRowBase;
    rows[index] = await estimatedRow(base, weight, { tolerance, seed, key: weight.name, place: products });
  }
  return {
    model: plan.input.model,
    tolerance,
    seed,
    rows: rows.filter((row) => row !== undefined),
    notLookedAt: plan.input.notLookedAt,
    without: ALL_METRICS.map(({ key }) => key).filter(
      (key) => !(ESTIMATED as readonly string[]).includes(key),
    ),
  };
}

async function estimatedRow(
  base: RankRowBase,
  weight: WeightMatrix<StoredUse>,
  options: Parameters<typeof estimateSpectrum>[1],
): Promise<EstimateRow> {
  const { m, n, read } = elementsOf(weight);
  try {
    const { data } = await read();
    const estimate = await estimateSpectrum({ rows: m, columns: n, data }, options);
    return { ...base, estimate, isExact: false, problem: undefined };
  } catch (error) {
    if (isOutOfMemory(error))
      throw new ModelError(
        'there is not enough memory for its estimate; leave it out with `only`, or run where there is more',
        { tensor: weight.name },
        { cause: error },
      );
    if (!(error instanceof RangeError)) throw error;
    return { ...base, estimate: undefined, isExact: false, problem: error.message };
  }
}

function exactRow(base: RankRowBase, found: RankSpectra): EstimateRow {
  if ('problem' in found) return { ...base, estimate: undefined, isExact: true, problem: found.problem };
  const { values, rows, columns, copies, resolution } = found.spectrum;
  const metrics = spectrumMetrics(values, { rows, columns, copies, resolution });
  const point = (value: number): Interval => ({ value, low: value, high: value });
  const figures = Object.fromEntries(ESTIMATED.map((key) => [key, point(metrics[key])])) as Record<
    EstimatedKey,
    Interval
  >;
  const largest = values[0] ?? 0;
  const density = DENSITY_AT.map((at) => ({
    at,
    ...point(
      largest === 0
        ? 1
        : values.reduce((sum, value) => sum + smoothedShare(at, value / largest), 0) / values.length,
    ),
  }));
  const leading = [...values.subarray(0, LEADING)].map(point);
  const estimate = { figures, density, leading, probes: 0, steps: 0, reached: true };
  return { ...base, rows, columns, estimate, isExact: true, problem: undefined };
}
