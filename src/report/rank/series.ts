import type { RankReport, RankRow } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { type Column, type Document, grid } from '../text/document.js';
import { ASCII_LEVELS, BAR_LEVELS, levelsOf } from '../text/levels.js';
import { formatNumber } from '../text/text.js';
import { figuresJson, metricsJson, problemNotes, type RankDocumentOptions } from './rank.js';
import { matrixText, metricColumns, weightColumns } from './rank-columns.js';

/** The report of one step of a training. */
export interface SeriesStep {
  /** The last number in the file's name; its place in the series where it has none. */
  readonly step: number;
  readonly file: string;
  readonly report: RankReport;
}

/** Metrics of the summary for people. */
const SHOWN = ['effectiveRank', 'stableRank', 'spectralNorm'];

/**
 * The reports of a training in the order of its steps. For people a line a weight: how a metric went, from its least to its most, and
 * where it began and ended. As CSV (`tidy`) and JSON a row for each step and weight, with all metrics.
 */
export function seriesDocument(
  steps: readonly SeriesStep[],
  options: RankDocumentOptions & { readonly tidy?: boolean } = {},
): Document {
  const { metrics = METRICS, glyph, tidy = false } = options;
  const rows = steps.flatMap(({ step, file, report }) => report.rows.map((row) => ({ ...row, step, file })));
  const names = [...new Set(rows.map(({ weight }) => weight))];
  const byName = groupedByName(rows);
  const lines = names.map((name) => ({ name, rows: byName.get(name) ?? [] }));
  return {
    kind: 'rank-series',
    title: `${steps.length} steps from ${steps[0]?.file ?? '?'} to ${steps.at(-1)?.file ?? '?'}`,
    data: {
      steps: steps.map(({ step, file }) => ({ step, file })),
      metrics: metricsJson(rows),
      rows: rows.map((row) => ({
        step: row.step,
        file: row.file,
        weight: row.weight,
        nodes: row.nodes,
        rows: row.rows,
        columns: row.columns,
        metrics: figuresJson(row),
        problem: row.problem ?? null,
      })),
    },
    grids: [
      tidy
        ? grid(
            [
              { key: 'step', header: 'step', value: (row: StepRow) => row.step },
              { key: 'file', header: 'file', value: (row: StepRow) => row.file },
              ...(weightColumns(rows) as Column<StepRow>[]),
              ...(metricColumns(metrics) as Column<StepRow>[]),
            ],
            rows,
          )
        : grid(lineColumns(options.metrics ?? shownOf(metrics), glyph), lines),
    ],
    notes: steps.flatMap(({ report }) => problemNotes(report.rows)),
  };
}

type StepRow = RankRow & Pick<SeriesStep, 'step' | 'file'>;

interface Line {
  readonly name: string;
  readonly rows: readonly StepRow[];
}

function groupedByName(rows: readonly StepRow[]): Map<string, StepRow[]> {
  const groups = new Map<string, StepRow[]>();
  for (const row of rows) groups.set(row.weight, [...(groups.get(row.weight) ?? []), row]);
  return groups;
}

function shownOf(metrics: readonly MetricDescriptor[]): MetricDescriptor[] {
  return metrics.filter(({ key }) => SHOWN.includes(key));
}

function lineColumns(
  metrics: readonly MetricDescriptor[],
  glyph: 'unicode' | 'ascii' | undefined,
): Column<Line>[] {
  return [
    { key: 'weight', header: 'weight', shrink: 20, value: ({ name }) => name },
    {
      key: 'matrix',
      header: 'matrix',
      align: 'right',
      value: ({ rows: [row] }) => (row === undefined ? undefined : matrixText(row)),
    },
    ...metrics.flatMap(({ key, header, definition, format }): Column<Line>[] => {
      const values = ({ rows }: Line): (number | undefined)[] => rows.map((row) => figureOf(row, key));
      return [
        {
          key: `${key}_line`,
          header,
          definition: `${definition}; over the steps, from its least (${BAR_LEVELS[0]}) to its most (${BAR_LEVELS.at(-1)}) of this weight`,
          value: () => undefined,
          text: (line) => lineText(values(line), glyph === 'ascii' ? ASCII_LEVELS : BAR_LEVELS),
        },
        {
          key,
          header: 'from → to',
          align: 'right',
          value: () => undefined,
          text: (line) => {
            const all = values(line);
            return `${formatNumber(all[0], format)} → ${formatNumber(all.at(-1), format)}`;
          },
        },
      ];
    }),
  ];
}

/** Characters of a line at most. */
const WIDEST = 24;

function lineText(values: readonly (number | undefined)[], levels: readonly string[]): string {
  const known = values.filter((value) => value !== undefined && Number.isFinite(value)) as number[];
  const width = Math.min(WIDEST, values.length);
  const shown = Array.from(
    { length: width },
    (_, place) => values[width === 1 ? 0 : Math.round((place * (values.length - 1)) / (width - 1))],
  );
  return levelsOf(shown, { levels, least: Math.min(...known), most: Math.max(...known) });
}
