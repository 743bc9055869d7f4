import { ESTIMATED, type EstimatedKey } from '../../analysis/estimate/estimate.js';
import type { EstimateReport, EstimateRow } from '../../analysis/estimate/estimate-report.js';
import { descriptorOf } from '../../analysis/spectra/descriptors.js';
import type { MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted, formatNumber } from '../text/text.js';
import { notLookedAtNotes } from './rank.js';
import { headingOf, weightColumns } from './rank-columns.js';

/** Columns of the table; CSV and JSON have all. */
const SHOWN: readonly EstimatedKey[] = ['effectiveRank', 'effectiveRankRatio', 'stableRank', 'nuclearNorm'];

/** Options of estimateDocument. */
export interface EstimateDocumentOptions {
  readonly verbose?: boolean | undefined;
  /** Metrics that were asked for: those without an estimate are named. Default all. */
  readonly metrics?: readonly MetricDescriptor[] | undefined;
}

/** An estimate report in all forms but a page. */
export function estimateDocument(report: EstimateReport, options: EstimateDocumentOptions = {}): Document {
  const { rows, tolerance, seed, without } = report;
  const shown = ESTIMATED.filter((key) =>
    options.metrics === undefined
      ? SHOWN.includes(key)
      : options.metrics.some((metric) => metric.key === key),
  );
  const metricColumns = ESTIMATED.flatMap((key): Column<EstimateRow>[] => {
    const { unit, format, ...text } = descriptorOf(key);
    const heading = { ...headingOf({ ...text, unit, format }), unit };
    const of = ({ estimate }: EstimateRow) => estimate?.figures[key];
    return [
      {
        ...heading,
        ...(!shown.includes(key) && { only: 'data' as const }),
        value: (row) => of(row)?.value,
        text: (row) => {
          const interval = of(row);
          if (interval === undefined) return '–';
          const { value, low, high } = interval;
          const half = (high - low) / 2;
          return half === 0
            ? formatNumber(value, format)
            : `${formatNumber(value, format)} ±${formatNumber(half / Math.abs(value), 'percent')}`;
        },
      },
      { key: `${key}Low`, header: '', only: 'data', value: (row) => of(row)?.low },
      { key: `${key}High`, header: '', only: 'data', value: (row) => of(row)?.high },
    ];
  });
  const how: Column<EstimateRow> = {
    key: 'how',
    header: 'vectors × steps',
    align: 'right',
    definition: 'random vectors and steps of the quadrature; exact: all singular values were computed',
    value: (row) => (row.isExact ? 'exact' : 'estimate'),
    text: ({ isExact, estimate }) =>
      isExact ? 'exact' : estimate === undefined ? '–' : `${estimate.probes} × ${estimate.steps}`,
  };
  const columns = [
    ...(weightColumns(
      rows as unknown as Parameters<typeof weightColumns>[0],
    ) as unknown as Column<EstimateRow>[]),
    ...metricColumns,
    how,
    { key: 'problem', header: 'problem', only: 'data' as const, value: (row: EstimateRow) => row.problem },
  ];
  const asked = options.metrics?.map(({ key }) => key);
  const lacking = without.filter((key) => asked === undefined || asked.includes(key));
  return {
    kind: 'rank-estimate',
    title: `Estimated ranks of ${report.model ?? 'the model'}`,
    data: {
      model: report.model ?? null,
      tolerance,
      seed,
      without,
      weights: rows.map(({ estimate, ...row }) => ({
        ...row,
        problem: row.problem ?? null,
        estimate: estimate ?? null,
      })),
      notLookedAt: report.notLookedAt,
    },
    grids: [grid(columns, rows, {})],
    notes: [
      ...notesOf(rows),
      ...(lacking.length > 0
        ? [{ text: `No estimate of ${lacking.join(', ')}.`, tone: 'aside' as const }]
        : []),
      ...notLookedAtNotes(report, options),
    ],
  };
}

function notesOf(rows: readonly EstimateRow[]): Note[] {
  const wide = rows.filter(({ estimate }) => estimate?.reached === false);
  return [
    ...rows.flatMap((row): Note[] =>
      row.problem === undefined ? [] : [{ text: `${row.weight}: no spectrum, ${row.problem}`, tone: 'bad' }],
    ),
    ...(wide.length > 0
      ? [
          {
            text: `${counted(wide.length, 'interval')} wider than asked for: ${wide.map(({ weight }) => weight).join(', ')}`,
            tone: 'bad' as const,
          },
        ]
      : []),
    { text: '± is half the interval of 95 %, of the figure.', tone: 'aside' },
  ];
}
