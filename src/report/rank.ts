import { METRICS, type MetricDescriptor, type SpectrumMetrics } from '../analysis/metrics.js';
import type {
  NotLookedAt,
  RankChange,
  RankComparison,
  RankReport,
  RankRow,
} from '../analysis/rank-report.js';
import { type Column, type Document, grid, type Note } from './document.js';
import { leftNotes } from './skipped.js';
import { counted, formatCount, formatNumber, pad, printable, widthOf } from './text.js';

export interface RankDocumentOptions {
  /** List every node that was not looked at by itself. */
  readonly verbose?: boolean;
}

/** What identifies a weight, before its figures. */
function weightColumns(rows: readonly RankRow[]): Column<RankRow>[] {
  // Exporters that number their weights (onnx::Conv_193) leave the node's name as the one that means something.
  const anonymous = rows.filter((row) => /^(onnx::\w+|\d+)$/.test(row.weight)).length;
  const isByNode = 2 * anonymous > rows.length;
  const weight: Column<RankRow> = {
    key: 'weight',
    header: 'weight',
    shrink: 20,
    priority: isByNode ? 9 : 0,
    value: (row) => row.weight,
  };
  const nodes: Column<RankRow> = {
    key: 'nodes',
    header: 'node',
    shrink: 20,
    priority: isByNode ? 0 : 9,
    value: (row) => row.nodes.join(' '),
    text: (row) => (row.nodes.length > 1 ? `${row.nodes[0]} +${row.nodes.length - 1}` : (row.nodes[0] ?? '')),
  };
  return [
    ...(isByNode ? [nodes, weight] : [weight, nodes]),
    { key: 'op', header: 'op', priority: 6, value: (row) => row.ops.join(' ') },
    { key: 'shape', header: 'shape', only: 'data', value: (row) => row.shape.join('x') },
    { key: 'rows', header: 'rows', only: 'data', value: (row) => row.rows },
    { key: 'columns', header: 'columns', only: 'data', value: (row) => row.columns },
    { key: 'dataType', header: 'type', only: 'data', value: (row) => row.dataType },
    {
      key: 'matrix',
      header: 'matrix',
      align: 'right',
      only: 'text',
      definition:
        'rows x columns of the matrix whose spectrum this is; a Conv weight is out x (in/group * kernel)',
      value: (row) => matrixText(row),
    },
    {
      key: 'parameters',
      header: 'params',
      align: 'right',
      priority: 3,
      definition: 'elements of the weight, without its bias',
      value: (row) => row.parameters,
    },
  ];
}

function matrixText({ rows, columns }: { readonly rows: number; readonly columns: number }): string {
  return `${rows} × ${columns}`;
}

/** A metric as people read it, marked where it is only a bound. */
function metricText(metrics: SpectrumMetrics | undefined, { key, format }: MetricDescriptor): string {
  if (metrics === undefined) return '–';
  const isBound =
    (key === 'conditionNumber' && metrics.conditionNumberIsLowerBound) ||
    (key === 'numericalRank' && metrics.numericalRankIsLowerBound);
  return `${isBound ? '≥' : ''}${formatNumber(metrics[key], format)}`;
}

function metricColumn(metric: MetricDescriptor): Column<RankRow> {
  const { key, header, definition, unit, priority } = metric;
  return {
    key,
    header,
    definition,
    unit,
    priority,
    align: 'right',
    value: (row) => row.metrics?.[key],
    text: (row) => metricText(row.metrics, metric),
  };
}

const BOUND_COLUMNS: readonly Column<RankRow>[] = [
  {
    key: 'conditionNumberIsLowerBound',
    header: '',
    only: 'data',
    value: (row) => row.metrics?.conditionNumberIsLowerBound,
  },
  {
    key: 'numericalRankIsLowerBound',
    header: '',
    only: 'data',
    value: (row) => row.metrics?.numericalRankIsLowerBound,
  },
];

/** A rank report in all forms. */
export function rankDocument(report: RankReport, options: RankDocumentOptions = {}): Document {
  const columns: Column<RankRow>[] = [
    ...weightColumns(report.rows),
    ...METRICS.map(metricColumn),
    ...BOUND_COLUMNS,
    { key: 'problem', header: 'problem', only: 'data', value: (row) => row.problem },
  ];
  const { total } = report;
  const totalName = counted(total.weights, 'weight');
  return {
    kind: 'rank-report',
    title: `Rank report of ${report.model ?? 'the model'}`,
    data: { model: report.model ?? null, metrics: METRICS_JSON, ...reportJson(report) },
    grids: [
      grid(columns, report.rows, {
        total: {
          [columns[0]?.key ?? '']: totalName,
          parameters: formatCount(total.parameters),
          effectiveRank: formatNumber(total.effectiveRank, 'fixed1'),
          effectiveRankRatio: formatNumber(total.effectiveRankRatio, 'percent'),
          numericalRank: formatCount(total.numericalRank),
        },
      }),
    ],
    notes: [...emptyNotes(report), ...problemNotes(report.rows), ...notLookedAt(report, options)],
  };
}

const METRICS_JSON = METRICS.map(({ key, header, unit, definition, source }) => ({
  key,
  header,
  unit,
  definition,
  source,
}));

function reportJson(report: RankReport): Record<string, unknown> {
  return {
    weights: report.rows.map(rowJson),
    notLookedAt: report.notLookedAt,
    total: report.total,
  };
}

function rowJson(row: RankRow): Record<string, unknown> {
  return { ...row, metrics: row.metrics ?? null, problem: row.problem ?? null };
}

function emptyNotes(report: RankReport): Note[] {
  if (report.rows.length > 0) return [];
  return [{ text: 'No weight to report on: no Gemm, MatMul, Conv or ConvTranspose has a constant weight.' }];
}

function problemNotes(rows: readonly RankRow[]): Note[] {
  return rows.flatMap((row) =>
    row.problem === undefined
      ? []
      : [{ text: `${row.weight}: no spectrum, ${row.problem}`, tone: 'bad' as const }],
  );
}

function notLookedAt(
  report: { readonly notLookedAt: readonly NotLookedAt[] },
  options: RankDocumentOptions,
): Note[] {
  return leftNotes(report.notLookedAt, { verb: 'not looked at', each: options.verbose === true });
}

/** Metrics of a comparison for people, the most telling first; CSV and JSON have all. */
const COMPARED = [
  'effectiveRank',
  'effectiveRankRatio',
  'stableRank',
  'rank99',
  'numericalRank',
  'spectralNorm',
];

/** Two rank reports side by side, in all forms. */
export function comparisonDocument(comparison: RankComparison, options: RankDocumentOptions = {}): Document {
  const { a, b, rows, onlyInA, onlyInB } = comparison;
  const nameA = a.model ?? 'a';
  const nameB = b.model ?? 'b';
  const rowsA = rows.map((row) => row.a);
  const columns: Column<RankChange>[] = [
    ...weightColumns(rowsA).map((column) => ofFirst(column)),
    ...METRICS.flatMap((metric) => changeColumns(metric, rows)),
  ];
  return {
    kind: 'rank-comparison',
    title: `${nameA} → ${nameB}`,
    data: {
      a: { model: a.model ?? null, ...reportJson(a) },
      b: { model: b.model ?? null, ...reportJson(b) },
      metrics: METRICS_JSON,
      weights: rows.map(({ weight, a: before, b: after, change }) => ({
        weight,
        a: before.metrics ?? null,
        b: after.metrics ?? null,
        change: change ?? null,
      })),
      onlyInA: onlyInA.map((row) => row.weight),
      onlyInB: onlyInB.map((row) => row.weight),
    },
    grids: [
      grid(columns, rows),
      grid(TOTAL_COLUMNS, [
        { name: nameA, report: a },
        { name: nameB, report: b },
      ]),
    ],
    notes: [
      ...unpairedNotes(comparison),
      ...reshapedNotes(rows),
      ...onlyNotes(onlyInA, nameA),
      ...onlyNotes(onlyInB, nameB),
      ...problemNotes([...a.rows, ...b.rows]),
      ...notLookedAt(a, options),
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
function changeColumns(metric: MetricDescriptor, rows: readonly RankChange[]): Column<RankChange>[] {
  const { key, header, definition, unit } = metric;
  const before = (row: RankChange): string => metricText(row.a.metrics, metric);
  const after = (row: RankChange): string => metricText(row.b.metrics, metric);
  const widest = (text: (row: RankChange) => string): number =>
    rows.reduce((most, row) => Math.max(most, widthOf(text(row))), 0);
  const [left, right, last] = [widest(before), widest(after), widest((row) => changeText(row, metric))];
  const rank = COMPARED.indexOf(key);
  const data: Column<RankChange>[] = [
    { key: `${key}_a`, header, only: 'data', value: (row) => row.a.metrics?.[key] },
    { key: `${key}_b`, header, only: 'data', value: (row) => row.b.metrics?.[key] },
    { key: `${key}_change`, header, only: 'data', value: (row) => row.change?.[key] },
  ];
  if (rank < 0) return data;
  return [
    ...data,
    {
      key,
      header,
      definition,
      unit,
      only: 'text',
      priority: rank,
      value: before,
      text: (row) =>
        `${pad(before(row), left, 'right')} → ${pad(after(row), right, 'right')}  ${pad(changeText(row, metric), last, 'right')}`,
    },
  ];
}

function changeText(row: RankChange, { key, format }: MetricDescriptor): string {
  const change = row.change?.[key];
  if (change === undefined) return '';
  const text = formatNumber(change, format);
  if (/^-?[0.,]+%?$/.test(text)) return '=';
  return change > 0 ? `+${text}` : text;
}

const TOTAL_COLUMNS: readonly Column<{ readonly name: string; readonly report: RankReport }>[] = [
  { key: 'model', header: 'model', shrink: 16, value: ({ name }) => name },
  { key: 'weights', header: 'weights', align: 'right', value: ({ report }) => report.total.weights },
  { key: 'parameters', header: 'params', align: 'right', value: ({ report }) => report.total.parameters },
  {
    key: 'effectiveRank',
    header: 'sum of eff.ranks',
    align: 'right',
    value: ({ report }) => report.total.effectiveRank,
    text: ({ report }) => formatNumber(report.total.effectiveRank, 'fixed1'),
  },
  {
    key: 'effectiveRankRatio',
    header: 'mean of max',
    align: 'right',
    definition: 'effective rank / min(m, n), each weight counted by its parameters',
    value: ({ report }) => report.total.effectiveRankRatio,
    text: ({ report }) => formatNumber(report.total.effectiveRankRatio, 'percent'),
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
    .filter(({ a, b }) => a.rows !== b.rows || a.columns !== b.columns)
    .map(({ weight, a, b }) => ({
      text: `${weight}: was ${matrixText(a)}, is ${matrixText(b)}`,
      tone: 'warning' as const,
    }));
}

function onlyNotes(rows: readonly RankRow[], name: string): Note[] {
  if (rows.length === 0) return [];
  const shown = rows.slice(0, 6).map((row) => printable(row.weight));
  const more = rows.length > shown.length ? `, and ${rows.length - shown.length} more` : '';
  return [{ text: `Only in ${name}: ${shown.join(', ')}${more}`, tone: 'warning' }];
}
