import type { RankChange, RankComparison } from '../../analysis/report/compare-reports.js';
import type { RankRow, RankTotal } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { embeddingGrid, embeddingNotes } from '../embeddings.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { formatNumber, pad, printable, widthOf } from '../text/text.js';
import {
  assertionNotes,
  assertionsJson,
  figuresJson,
  metricsJson,
  notLookedAtNotes,
  problemNotes,
  type RankDocumentOptions,
  reportJson,
} from './rank.js';
import { matrixText, metricText, weightColumns } from './rank-columns.js';
import { orderChanges, orderNotes } from './rank-order.js';

/** Metrics of a comparison for people, the most telling first; CSV and JSON have all. */
const COMPARED: readonly string[] = [
  'effectiveRank',
  'effectiveRankRatio',
  'stableRank',
  'rank99',
  'numericalRank',
  'spectralNorm',
];

/**
 * Two rank reports side by side, in all forms. Rows are sorted by how much the metric changes.
 *
 * @example
 * console.log(render(comparisonDocument(compareRankReports(before, after)), { format: 'md' }));
 */
export function comparisonDocument(comparison: RankComparison, options: RankDocumentOptions = {}): Document {
  const { a, b, totals, onlyInA, onlyInB } = comparison;
  const { metrics = METRICS } = options;
  const rows = orderChanges(comparison.rows, options);
  const nameA = a.model ?? 'a';
  const nameB = b.model ?? 'b';
  const rowsA = rows.map((row) => row.a);
  const shown =
    options.metrics === undefined ? COMPARED : options.metrics.map((metric) => metric.key as string);
  const columns: Column<RankChange>[] = [
    ...weightColumns(rowsA).map((column) => ofFirst(column)),
    ...metrics.flatMap((metric) => changeColumns(metric, rows, shown.indexOf(metric.key))),
  ];
  return {
    kind: 'rank-comparison',
    title: `${nameA} → ${nameB}`,
    data: {
      a: { model: a.model ?? null, ...reportJson(a, options) },
      b: { model: b.model ?? null, ...reportJson(b, options) },
      metrics: metricsJson([...a.rows, ...b.rows]),
      weights: rows.map(({ weight, a: before, b: after, change }) => ({
        weight,
        a: figuresJson(before),
        b: figuresJson(after),
        change: change ?? null,
      })),
      onlyInA: onlyInA.map((row) => row.weight),
      onlyInB: onlyInB.map((row) => row.weight),
      ...assertionsJson(options),
    },
    grids: [
      grid(columns, rows),
      grid(TOTAL_COLUMNS, [
        { name: nameA, total: totals.a },
        { name: nameB, total: totals.b },
      ]),
      ...[a, b].flatMap((report, index) => {
        const found = embeddingGrid(report);
        return found === undefined
          ? []
          : [{ ...found, title: `${index === 0 ? nameA : nameB}: ${found.title}` }];
      }),
    ],
    notes: [
      ...orderNotes(comparison.rows.length, options, metrics),
      ...unpairedNotes(comparison),
      ...reshapedNotes(rows),
      ...onlyNotes(onlyInA, nameA, rows),
      ...onlyNotes(onlyInB, nameB, rows),
      ...problemNotes([...a.rows, ...b.rows]),
      ...embeddingNotes(a, options),
      ...embeddingNotes(b, options),
      ...notLookedAtNotes(a, options),
      ...assertionNotes(options),
    ],
  };
}

function ofFirst(column: Column<RankRow>): Column<RankChange> {
  const { value, text, ...rest } = column;
  return {
    ...rest,
    value: (row) => value(row.a),
    ...(text && { text: (row: RankChange) => text(row.a) }),
  };
}

/** For people one column, 'before → after  change' with its parts aligned; for CSV three. */
function changeColumns(
  metric: MetricDescriptor,
  rows: readonly RankChange[],
  priority: number,
): Column<RankChange>[] {
  const { key, header, definition, unit } = metric;
  const before = (row: RankChange): string => metricText(row.a, metric);
  const after = (row: RankChange): string => metricText(row.b, metric);
  const widest = (text: (row: RankChange) => string): number =>
    rows.reduce((most, row) => Math.max(most, widthOf(text(row))), 0);
  const [left, right, last] = [widest(before), widest(after), widest((row) => changeText(row, metric))];
  const data: Column<RankChange>[] = [
    { key: `${key}_a`, header, only: 'data', value: (row) => figureOf(row.a, key) },
    { key: `${key}_b`, header, only: 'data', value: (row) => figureOf(row.b, key) },
    { key: `${key}_change`, header, only: 'data', value: (row) => row.change?.[key] },
  ];
  if (priority < 0) return data;
  return [
    ...data,
    {
      key,
      header,
      definition,
      unit,
      only: 'text',
      priority,
      value: before,
      text: (row) =>
        `${pad(before(row), left, 'right')} → ${pad(after(row), right, 'right')}  ${pad(changeText(row, metric), last, 'right')}`,
    },
  ];
}
const ROUNDING = 1e-6;

function changeText(row: RankChange, { key, format }: MetricDescriptor): string {
  const change = row.change?.[key];
  if (change === undefined) return '';
  // What multiplying a chain out rounds differently is no change.
  const size = Math.abs(figureOf(row.a, key) ?? 0);
  if (Math.abs(change) <= ROUNDING * size) return '=';
  const text = formatNumber(change, format);
  if (/^-?[0.,]+%?$/.test(text)) return '=';
  return change > 0 ? `+${text}` : text;
}

const TOTAL_COLUMNS: readonly Column<{ readonly name: string; readonly total: RankTotal }>[] = [
  { key: 'model', header: 'model', shrink: 16, value: ({ name }) => name },
  { key: 'weights', header: 'weights', align: 'right', value: ({ total }) => total.weights },
  { key: 'parameters', header: 'params', align: 'right', value: ({ total }) => total.parameters },
  {
    key: 'effectiveRank',
    header: 'sum of eff.ranks',
    align: 'right',
    value: ({ total }) => total.effectiveRank,
    text: ({ total }) => formatNumber(total.effectiveRank, 'fixed1'),
  },
  {
    key: 'effectiveRankRatio',
    header: 'mean of max',
    align: 'right',
    definition: 'effective rank / min(m, n), each weight counted by its parameters',
    value: ({ total }) => total.effectiveRankRatio,
    text: ({ total }) => formatNumber(total.effectiveRankRatio, 'percent'),
  },
];

function unpairedNotes({ a, b, rows }: RankComparison): Note[] {
  if (rows.length > 0 || a.rows.length === 0 || b.rows.length === 0) return [];
  const text =
    'No weight of one has a namesake in the other, so there is nothing to compare. Collapse an expanded model first.';
  return [{ text, tone: 'warning' }];
}

function reshapedNotes(rows: readonly RankChange[]): Note[] {
  return rows
    .filter(({ a, b }) => matrixText(a) !== matrixText(b))
    .map(({ weight, a, b }) => ({
      text: `${weight}: was ${matrixText(a)}, is ${matrixText(b)}`,
      tone: 'warning' as const,
    }));
}

/** Factors are not missing from a model that has what they multiply out to. */
function onlyNotes(all: readonly RankRow[], name: string, paired: readonly RankChange[]): Note[] {
  const weights = new Set(paired.map(({ weight }) => weight));
  const rows = all.filter(({ chain }) => chain?.role !== 'factor' || !weights.has(chain.weight));
  if (rows.length === 0) return [];
  // What a pass no longer shares has a second row of the name.
  const shown = rows.slice(0, 6).map(({ weight, nodes }) => {
    const isSecond = weights.has(weight) && nodes.length > 0;
    return printable(isSecond ? `another ${weight} (of ${nodes.join(', ')})` : weight);
  });
  const more = rows.length > shown.length ? `, and ${rows.length - shown.length} more` : '';
  return [{ text: `Only in ${name}: ${shown.join(', ')}${more}`, tone: 'warning' }];
}
