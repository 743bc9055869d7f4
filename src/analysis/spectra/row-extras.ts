import { type FurtherKey, ownFigures, RANDOMIZED_METRICS, type RowExtras } from './descriptors.js';
import type { OwnMetricKey } from './metrics.js';
import { EXTRA_METRICS } from './spectral-descriptors.js';
import { rankDistance, spectralExtras } from './spectral-extras.js';

export interface RowExtrasOptions {
  readonly extras?: boolean | undefined;
  readonly rank?: number | undefined;
  /** Of each matrix whose values these are. */
  readonly rows: number;
  readonly columns: number;
  readonly resolution: number;
  /** Singular values of the matrix with its elements permuted. */
  readonly randomized?: ArrayLike<number> | undefined;
}

/** The figures beyond the basic ones that were asked for; undefined where none were. */
export function extrasOf(values: ArrayLike<number>, options: RowExtrasOptions): RowExtras | undefined {
  const { rank, randomized } = options;
  if (options.extras !== true && rank === undefined && randomized === undefined) return undefined;
  const figures: Partial<Record<FurtherKey, number | undefined>> = {};
  const reasons: Partial<Record<FurtherKey, string>> = {};
  if (options.extras === true || randomized !== undefined) {
    const found = spectralExtras(values, options);
    const isRandomized = (key: FurtherKey): boolean =>
      (RANDOMIZED_METRICS as readonly FurtherKey[]).includes(key);
    for (const { key } of EXTRA_METRICS) {
      figures[key] = found.figures[key];
      const reason = found.reasons[key];
      if (reason === undefined) continue;
      reasons[key] = randomized === undefined && isRandomized(key) ? 'asked for by `randomized`' : reason;
    }
  } else for (const { key } of EXTRA_METRICS) figures[key] = undefined;
  if (options.extras === true) {
    for (const [key, figure] of Object.entries(ownFigures(values, options))) {
      figures[key as OwnMetricKey] = figure;
      if (figure === undefined) reasons[key as OwnMetricKey] = 'its formula gave no finite number';
    }
  }
  figures.rankDistance = rank === undefined ? undefined : rankDistance(values, rank);
  if (rank === undefined) reasons.rankDistance = 'asked for by `rank`';
  return { figures: figures as RowExtras['figures'], reasons };
}
