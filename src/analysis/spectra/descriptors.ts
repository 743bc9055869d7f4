import { type Definition, Registry } from '../../graph/registry.js';
import type { MetricText } from './metric-text.js';
import {
  type BasicMetricKey,
  METRICS,
  type MetricDescriptor,
  type MetricKey,
  type OwnMetricKey,
  type SpectrumMetrics,
} from './metrics.js';
import { EXTRA_METRICS, type ExtraKey } from './spectral-descriptors.js';

/** The metrics that need the spectrum of the matrix with its elements permuted, which doubles the work. */
export const RANDOMIZED_METRICS = [
  'randDistance',
  'randDensityDistance',
  'randSoftRank',
] as const satisfies readonly ExtraKey[];

const RANK_DISTANCE: MetricDescriptor<'rankDistance'> = {
  key: 'rankDistance',
  header: 'rank dist.',
  unit: '',
  format: 'percent',
  definition:
    '||W - W_r||_F / ||W||_F = sqrt(sum_(i>r) s_i^2 / sum s_i^2), W_r the nearest matrix of the given rank r',
  source: 'Eckart & Young 1936; Zangrando et al., Neural Rank Collapse, arXiv 2402.03991',
  priority: 2,
};

/** Every metric, in the order of the columns of a report that has all. */
export const ALL_METRICS: readonly MetricDescriptor[] = [...METRICS, ...EXTRA_METRICS, RANK_DISTANCE];

/** A metric that a program brings: what reports say about it, and its formula. */
export interface MetricDefinition extends MetricText {
  /**
   * The figure of one weight from its singular values, the largest first (of a weight of several matrices, those of all); undefined where
   * it has none. `size` is that of each matrix.
   */
  readonly of: (
    values: Float64Array,
    size: { readonly rows: number; readonly columns: number },
  ) => number | undefined;
}

const OWN = new Registry<MetricDefinition>('a metric', (key) => ALL_METRICS.some((one) => one.key === key));

/**
 * Adds a metric to the reports of spectra: `rankReport` with `extras: true` computes it, and tables, CSV, JSON, Markdown, the page,
 * comparisons and assertions have it. Singular values come from threads, the formula runs in this one.
 *
 * @returns its `name` is the key in `extras.figures`, for figureOf; disposing of it takes the metric away again
 * @throws OptionError for a key that is taken
 * @example
 * using gap = defineMetric('spectralGap', {
 *   header: 's1/s2', unit: '', format: 'fixed2', definition: 's1 / s2', source: 'this project', priority: 5,
 *   of: ([first, second]) => (first && second ? first / second : undefined),
 * });
 * const { rows } = await rankReport(model, { extras: true });
 * console.log(rows.map((row) => figureOf(row, gap.name)));
 */
export function defineMetric(
  key: string,
  definition: MetricDefinition,
): Definition & { readonly name: OwnMetricKey } {
  const defined = OWN.define(key, definition);
  const { of: _formula, ...text } = definition;
  const descriptor: MetricDescriptor = { key: key as OwnMetricKey, ...text };
  const all = ALL_METRICS as MetricDescriptor[];
  all.push(descriptor);
  return {
    name: key as OwnMetricKey,
    [Symbol.dispose]: () => {
      defined[Symbol.dispose]();
      if (all.includes(descriptor)) all.splice(all.indexOf(descriptor), 1);
    },
  };
}

/** The figures of the metrics that programs defined. A figure that is no finite number is none. */
export function ownFigures(
  values: ArrayLike<number>,
  size: { readonly rows: number; readonly columns: number },
): Record<OwnMetricKey, number | undefined> {
  const figures: Record<OwnMetricKey, number | undefined> = {};
  for (const [key, { of }] of OWN.entries()) {
    const figure = of(Float64Array.from(values).sort().reverse(), size);
    figures[key as OwnMetricKey] = Number.isFinite(figure) ? figure : undefined;
  }
  return figures;
}

/** The metrics beyond those of spectrumMetrics. */
export type FurtherKey = ExtraKey | 'rankDistance' | OwnMetricKey;

/** Figures beyond those of spectrumMetrics, of one weight. */
export interface RowExtras {
  /** Undefined where a figure does not exist, or was not asked for; `reasons` then says why. Never NaN. */
  readonly figures: Readonly<Record<FurtherKey, number | undefined>>;
  readonly reasons: Readonly<Partial<Record<FurtherKey, string>>>;
}

/** What figureOf reads: a row of a report. */
export interface Figured {
  readonly metrics: SpectrumMetrics | undefined;
  readonly problem: string | undefined;
  readonly extras?: RowExtras | undefined;
}

/**
 * A figure of a row, whichever it is; undefined where there is none, for which reasonOf has the reason.
 *
 * @example
 * figureOf(row, 'alpha') ?? reasonOf(row, 'alpha');
 */
export function figureOf({ metrics, extras }: Figured, key: MetricKey): number | undefined {
  if (metrics === undefined) return undefined;
  return key in metrics ? metrics[key as BasicMetricKey] : extras?.figures[key as FurtherKey];
}

/**
 * Why a row has no such figure; undefined where it has.
 *
 * @example
 * reasonOf(row, 'alpha'); // 'not asked for' where the report was made without `extras`
 */
export function reasonOf(row: Figured, key: MetricKey): string | undefined {
  if (figureOf(row, key) !== undefined) return undefined;
  if (row.metrics === undefined) return row.problem ?? 'it has no spectrum';
  return row.extras?.reasons[key as FurtherKey] ?? 'not asked for';
}

/** The descriptor of a metric. */
export function descriptorOf(key: MetricKey): MetricDescriptor {
  const found = ALL_METRICS.find((metric) => metric.key === key);
  if (found === undefined) throw new RangeError(`no metric '${key}'`);
  return found;
}

/**
 * The metric that a person means by its key or its column's header, whatever the case.
 *
 * @example
 * findMetric('STABLERANK')?.key; // 'stableRank'
 */
export function findMetric(name: string): MetricDescriptor | undefined {
  const wanted = name.toLowerCase();
  return (
    ALL_METRICS.find((metric) => metric.key === name) ??
    ALL_METRICS.find(
      (metric) => metric.key.toLowerCase() === wanted || metric.header.toLowerCase() === wanted,
    )
  );
}

export function isRandomized(key: MetricKey): boolean {
  return (RANDOMIZED_METRICS as readonly MetricKey[]).includes(key);
}
