import type { DensityScale, RankPageData, RowData } from '../types.js';
import { pageData } from './dom.js';
import type { SpectrumScale } from './spectrum.js';

export const data = pageData<RankPageData>();

export const state = {
  /** Index of the weight that is shown; -1 where there is none. */
  layer: -1,
  /** Models that the reader switched off. */
  hidden: new Set<number>(),
  spectrum: 'linear' as SpectrumScale,
  density: data.density as DensityScale,
  /** Index of the metric of the overview. */
  metric: Math.max(0, metricIndex('effectiveRankRatio')),
  /** Singular values over the largest. */
  relative: false,
};

export function metricIndex(key: string): number {
  return data.metrics.findIndex((metric) => metric.key === key);
}

export function isShown(model: number): boolean {
  return !state.hidden.has(model);
}

export function shownModels(): number[] {
  return data.models.map((_, model) => model).filter(isShown);
}

/** The value of a metric, where it is a finite one. */
export function finite(row: RowData | null | undefined, metric: number): number | undefined {
  const value = row?.v[metric];
  return typeof value === 'number' ? value : undefined;
}
