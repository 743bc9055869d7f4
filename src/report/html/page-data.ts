import type { RankRow } from '../../analysis/report/rank-report.js';
import { ALL_METRICS, figureOf } from '../../analysis/spectra/descriptors.js';
import type { MarchenkoPasturFit } from '../../analysis/spectra/marchenko-pastur.js';
import { METRICS, RESOLUTION } from '../../analysis/spectra/metrics.js';
import { type SpectralExtras, spectralExtras } from '../../analysis/spectra/spectral-extras.js';
import { formatNumber, printable } from '../text/text.js';
import { linearHistogram, logHistogram, marchenkoPasturCurve, powerLawCurve, rounded } from './density.js';
import { type EmbeddingsPage, embeddingsPage } from './embeddings.js';
import { blocksOf, matchLayers } from './match.js';
import type { HtmlReportModel } from './report-model.js';
import type { Block, Curve, DensityScale, Histogram, LayerName, MetricData, RowData } from './types.js';

/** A column of the table. */
export interface PageMetric extends MetricData {
  readonly unit: string;
  readonly source: string;
  /** In the short table too. */
  readonly isBrief: boolean;
  /** Infinite or missing values are null in the data of the page; this one is infinite where it has a text. */
  readonly valueOf: (figures: Figures) => number | undefined;
}

/** Everything that is known of one weight of one model. */
export interface Figures {
  readonly row: RankRow;
  readonly extras: SpectralExtras | undefined;
}

/** A cell of the table. */
export interface Figure {
  readonly value: number | undefined;
  readonly text: string;
  /** Why there is no value. */
  readonly reason: string | undefined;
}

/** A weight in all models: figures for the table, data for the script. */
export interface LayerPage extends LayerName {
  readonly figures: readonly (Figures | undefined)[];
  readonly data: readonly (RowData | null)[];
}

export interface Page {
  readonly models: readonly HtmlReportModel[];
  readonly metrics: readonly PageMetric[];
  readonly layers: readonly LayerPage[];
  readonly blocks: readonly Block[];
  /** The scale on which the densities of most weights can be read. */
  readonly density: DensityScale;
  /** What the models make of data, where that was looked at. */
  readonly embeddings: EmbeddingsPage | undefined;
  /** True where spectra were thinned to keep the page small. */
  readonly isThinned: boolean;
}

/** Brief tables have the metrics of these priorities. */
const BRIEF = 4;

/** Of all metrics: programs add to them. */
function pageMetrics(): PageMetric[] {
  return ALL_METRICS.map((metric) => ({
    ...metric,
    isBrief: metric.priority <= BRIEF,
    valueOf: ({ row, extras }) => {
      const further: Readonly<Record<string, number | undefined>> = extras?.figures ?? {};
      return figureOf(row, metric.key) ?? further[metric.key];
    },
  }));
}

/** Singular values in one page, some 8 bytes each; a page with more thins them, to a third, for each brings its index and energy. */
const MOST_VALUES = 200_000;
const FEWEST_POINTS = 96;
/** More than this no plot shows. */
const MOST_POINTS = 4096;

export function pageOf(models: readonly HtmlReportModel[]): Page {
  const layers = matchLayers(models.map(({ report }) => report));
  const known = layers.map((layer) => ({
    ...layer,
    figures: layer.rows.map((row) => row && figuresOf(row)),
  }));
  const all = known.flatMap(({ figures }) => figures).filter((figures) => figures !== undefined);
  const ranks = new Set(models.map(({ report }) => report.rank));
  // Columns that nothing was asked of (the distance from a randomized matrix) are left out.
  const metrics = pageMetrics()
    .filter(
      (metric) =>
        METRICS.some(({ key }) => key === metric.key) ||
        all.some((figures) => metric.valueOf(figures) !== undefined),
    )
    .map((metric) =>
      metric.key === 'rankDistance' && ranks.size === 1
        ? { ...metric, header: `${metric.header} ${[...ranks].join()}` }
        : metric,
    );
  const values = all.reduce((sum, { row }) => sum + (row.singularValues?.length ?? 0), 0);
  const points =
    values > MOST_VALUES
      ? Math.min(MOST_POINTS, Math.max(FEWEST_POINTS, Math.floor(MOST_VALUES / 3 / all.length)))
      : MOST_POINTS;
  const pages = known.map(({ label, subtitle, key, figures }) => ({
    label,
    subtitle,
    key,
    figures,
    data: figures.map((one) => (one === undefined ? null : rowData(one, metrics, points))),
  }));
  return {
    models,
    metrics,
    layers: pages,
    density: densityScale(pages.flatMap(({ data }) => data[0]?.lin ?? [])),
    blocks: blocksOf(layers.map(({ label }) => label)),
    embeddings: embeddingsPage(models),
    isThinned: all.some(({ row }) => (row.singularValues?.length ?? 0) > points),
  };
}

/** Where most of the values of most weights fall into one bin, a linear axis shows nothing. */
const CROWDED = 0.4;

function densityScale(histograms: readonly Histogram[]): DensityScale {
  const crowded = histograms.filter(({ density, width }) => Math.max(...density) * width > CROWDED);
  return 2 * crowded.length > histograms.length ? 'log' : 'linear';
}

function figuresOf(row: RankRow): Figures {
  const { rows, columns, singularValues, metrics } = row;
  const order = Math.min(rows, columns);
  // Fits are of one matrix or of several of one shape; other spectra have none.
  if (metrics === undefined || singularValues === undefined || order === 0) return { row, extras: undefined };
  if (singularValues.length === 0 || singularValues.length % order !== 0) return { row, extras: undefined };
  return { row, extras: spectralExtras(singularValues, { rows, columns }) };
}

/** A figure as the table shows it. */
export function cellOf(metric: PageMetric, figures: Figures): Figure {
  const { row, extras } = figures;
  const value = metric.valueOf(figures);
  if (value !== undefined) {
    const isBound =
      (metric.key === 'conditionNumber' && row.metrics?.conditionNumberIsLowerBound === true) ||
      (metric.key === 'numericalRank' && row.metrics?.numericalRankIsLowerBound === true);
    return {
      value,
      text: `${isBound ? '≥\u2009' : ''}${formatNumber(value, metric.format)}`,
      reason: undefined,
    };
  }
  const reasons: Readonly<Record<string, string | undefined>> = {
    ...extras?.reasons,
    ...row.extras?.reasons,
  };
  const reason =
    row.metrics === undefined
      ? `no spectrum: ${row.problem ?? 'unknown reason'}`
      : (reasons[metric.key] ?? 'the report was made without it');
  return { value, text: '–', reason: printable(reason) };
}

function rowData(figures: Figures, metrics: readonly PageMetric[], points: number): RowData {
  const { row, extras } = figures;
  const cells = metrics.map((metric) => cellOf(metric, figures));
  const base = {
    op: printable(row.ops.join(', ')),
    dims: [row.rows, row.columns] as const,
    params: row.parameters,
    ...(row.problem !== undefined && { problem: printable(row.problem) }),
    v: cells.map(({ value }) =>
      value === undefined ? null : Number.isFinite(value) ? rounded(value, 6) : ('inf' as const),
    ),
    t: cells.map(({ text }) => text),
  };
  const values = row.singularValues;
  if (row.metrics === undefined || values === undefined) return base;
  const eigenvalues = values.map((value) => value * value);
  const mp = extras?.marchenkoPastur ?? { reason: 'no fit of a spectrum of this kind' };
  const pl = extras?.powerLaw ?? { reason: 'no fit of a spectrum of this kind' };
  const lin = linearHistogram(eigenvalues, 'reason' in mp ? undefined : mp.bulkMax);
  const log = logHistogram(eigenvalues, (eigenvalues[0] ?? 0) * RESOLUTION ** 2);
  return {
    ...base,
    n: values.length,
    ...thinned(values, points),
    ...(lin && { lin }),
    ...(log && { log }),
    ...('reason' in mp
      ? { mpNone: printable(mp.reason) }
      : {
          mp: {
            curve: marchenkoPasturCurve(mp),
            text: marchenkoPasturText(mp),
          },
        }),
    ...('reason' in pl
      ? { plNone: printable(pl.reason) }
      : {
          pl: {
            // Of all values, as the histogram is; the fit counts those that are resolved.
            curve: scaled(powerLawCurve(pl), pl.count / values.length),
            text: [
              `α = ${pl.alpha.toFixed(2)} ± ${pl.standardError.toFixed(2)}`,
              `D = ${pl.distance.toFixed(3)}`,
              `tail of ${pl.tail}`,
            ].join(', '),
          },
        }),
  };
}

/** A bulk further than this from its law is not one, whatever the best sigma is. */
const POOR_FIT = 0.15;

function marchenkoPasturText({ sigma, spikes, softRank, distance }: MarchenkoPasturFit): string {
  const parts = [
    `σ = ${formatNumber(sigma, 'significant3')}`,
    `spikes: ${spikes}`,
    `soft rank ${formatNumber(softRank, 'fixed2')}`,
    `D = ${distance.toFixed(3)}`,
  ];
  return parts.join(', ') + (distance > POOR_FIT ? ': no good fit' : '');
}

function scaled({ xs, ys }: Curve, factor: number): Curve {
  return { xs, ys: ys.map((y) => rounded(y * factor, 4)) };
}

/** At most `points` values: the first ones all, the rest at equal distances, with the last. */
function thinned(values: readonly number[], points: number): Pick<RowData, 's' | 'i' | 'e'> {
  if (values.length <= points) return { s: values.map((value) => rounded(value)) };
  const head = Math.floor(points / 2);
  const step = (values.length - 1 - head) / (points - 1 - head);
  const at = Array.from({ length: points }, (_, k) => (k < head ? k : Math.round(head + (k - head) * step)));
  const largest = values[0] || 1;
  let sum = 0;
  const energy = values.map((value) => {
    sum += (value / largest) ** 2;
    return sum;
  });
  return {
    s: at.map((index) => rounded(values[index] ?? 0)),
    i: at,
    e: at.map((index) => rounded(sum === 0 ? 0 : (energy[index] ?? 0) / sum)),
  };
}
