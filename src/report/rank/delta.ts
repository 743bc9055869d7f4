import type { DeltaReport, DeltaRow } from '../../analysis/report/delta-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { type Column, type Document, grid } from '../text/document.js';
import { formatNumber } from '../text/text.js';
import type { RankDocumentOptions } from './rank.js';
import { figuresJson, metricsJson, notLookedAtNotes, problemNotes } from './rank.js';
import { glyphColumn, headingOf, weightColumns } from './rank-columns.js';
import { orderNotes, orderRows } from './rank-order.js';

type Measure = {
  readonly key: 'relativeChange' | 'spikes' | 'overlap' | 'newDirections';
  readonly header: string;
  readonly definition: string;
  readonly format: Parameters<typeof formatNumber>[1];
};

/** What is said of a change besides its spectrum. */
export const DELTA_MEASURES: readonly Measure[] = [
  {
    key: 'relativeChange',
    header: '‖Δ‖/‖W0‖',
    definition: 'Frobenius norm of W1 - W0 over that of W0',
    format: 'percent',
  },
  {
    key: 'spikes',
    header: 'MP rank',
    definition:
      'singular values of W1 - W0 beyond the bulk that random elements would have (Marchenko-Pastur): directions that are no noise',
    format: 'count',
  },
  {
    key: 'overlap',
    header: 'overlap',
    definition:
      'share of the r leading directions of W1 - W0 that lies in those of W0, r = MP rank, at least 1 (Hu et al. 2021, section 7.3); random: r / min(m, n)',
    format: 'percent',
  },
  {
    key: 'newDirections',
    header: 'new dirs',
    definition:
      'of the ten leading directions of W1, those with |cos| < 0.5 to every direction of W0 (intruder dimensions, Shuttleworth et al. 2024)',
    format: 'count',
  },
];

const SHOWN = ['effectiveRank', 'rank99'];

/** A delta report in all forms. */
export function deltaDocument(report: DeltaReport, options: RankDocumentOptions = {}): Document {
  const rows = orderRows(report.rows, options) as readonly DeltaRow[];
  const { glyph, metrics = METRICS } = options;
  const measures = DELTA_MEASURES.map(
    ({ format, ...rest }): Column<DeltaRow> => ({
      ...rest,
      align: 'right',
      value: (row) => row[rest.key],
      text: (row) => formatNumber(row[rest.key], format),
    }),
  );
  const column = (metric: MetricDescriptor): Column<DeltaRow> => ({
    ...headingOf(metric),
    ...(options.metrics === undefined && !SHOWN.includes(metric.key) && { only: 'data' as const }),
    value: (row) => figureOf(row, metric.key),
    text: (row) => formatNumber(figureOf(row, metric.key), metric.format),
  });
  const [size, ...rest] = measures;
  return {
    kind: 'rank-delta',
    title: `What changed from ${report.base ?? 'a'} to ${report.model ?? 'b'}`,
    data: {
      base: report.base ?? null,
      model: report.model ?? null,
      measures: DELTA_MEASURES,
      metrics: metricsJson(rows),
      weights: rows.map((row) => {
        const { extras, singularValues, relativeChange, spikes, overlap, newDirections, ...plain } = row;
        return {
          ...plain,
          metrics: figuresJson(row),
          problem: row.problem ?? null,
          relativeChange: relativeChange ?? null,
          spikes: spikes ?? null,
          overlap: overlap ?? null,
          newDirections: newDirections ?? null,
          ...(singularValues && { singularValues }),
        };
      }),
      notLookedAt: report.notLookedAt,
    },
    grids: [
      grid(
        [
          ...weightColumns(rows),
          ...(glyph === undefined ? [] : [glyphColumn(glyph)]),
          ...(size === undefined ? [] : [size]),
          ...metrics.map(column),
          ...rest,
        ],
        rows,
      ),
    ],
    notes: [
      ...(rows.length === 0
        ? [
            {
              text: 'No weight of one has a namesake in the other, so there is nothing to compare.',
              tone: 'warning' as const,
            },
          ]
        : []),
      ...orderNotes(report.rows.length, options, metrics),
      ...problemNotes(rows),
      ...notLookedAtNotes(report, options),
    ],
  };
}
