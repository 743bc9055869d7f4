import type { RankRow } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import type { MetricText } from '../../analysis/spectra/metric-text.js';
import type { MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { isNumbered } from '../../analysis/weights/weight-data.js';
import type { Column } from '../text/document.js';
import { glyphDefinition, spectrumGlyph } from '../text/glyph.js';
import { formatNumber } from '../text/text.js';

/** What identifies a weight, before its figures. */
export function weightColumns(rows: readonly RankRow[]): Column<RankRow>[] {
  const anonymous = rows.filter((row) => isNumbered(row.weight)).length;
  const isByNode = 2 * anonymous > rows.length;
  const weight: Column<RankRow> = {
    key: 'weight',
    header: 'weight',
    shrink: 20,
    priority: isByNode ? 9 : 0,
    value: (row) => row.weight,
    text: (row) => (row.chain?.role === 'product' && !isByNode ? `${row.weight} (product)` : row.weight),
  };
  const copies: Column<RankRow> = {
    key: 'copies',
    header: 'copies',
    only: 'data',
    value: (row) => row.copies ?? 1,
  };
  const isChained = rows.some((row) => row.chain !== undefined);
  const chain: Column<RankRow>[] = [
    { key: 'chain', header: 'chain', only: 'data', value: (row) => row.chain?.role },
    { key: 'chainWeight', header: 'of', only: 'data', value: (row) => row.chain?.weight },
  ];
  const nodes: Column<RankRow> = {
    key: 'nodes',
    header: 'node',
    shrink: 20,
    priority: isByNode ? 0 : 9,
    value: (row) => row.nodes.join(' '),
    text: (row) => {
      const [first = '', ...others] = row.nodes;
      const product = row.chain?.role === 'product' && isByNode ? ' (product)' : '';
      return `${first}${others.length > 0 ? ` +${others.length}` : product}`;
    },
  };
  return [
    ...(isByNode ? [nodes, weight] : [weight, nodes]),
    ...(isChained ? chain : []),
    { key: 'op', header: 'op', priority: 6, value: (row) => row.ops.join(' ') },
    { key: 'shape', header: 'shape', only: 'data', value: (row) => row.shape.join('x') },
    { key: 'rows', header: 'rows', only: 'data', value: (row) => row.rows },
    { key: 'columns', header: 'columns', only: 'data', value: (row) => row.columns },
    ...(rows.some((row) => row.copies !== undefined) ? [copies] : []),
    { key: 'dataType', header: 'type', only: 'data', value: (row) => row.dataType },
    {
      key: 'matrix',
      header: 'matrix',
      align: 'right',
      only: 'text',
      definition:
        'rows x columns of the matrix whose spectrum this is; a Conv weight is out x (in/group * kernel), or, with `convView`, its slices or its operator',
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

export function matrixText({
  rows,
  columns,
  copies = 1,
}: Pick<RankRow, 'rows' | 'columns' | 'copies'>): string {
  return `${copies > 1 ? `${copies} of ` : ''}${rows} × ${columns}`;
}

/** A metric as people read it, marked where it is only a bound. */
export function metricText(row: RankRow, { key, format }: MetricDescriptor): string {
  const { metrics } = row;
  if (metrics === undefined) return '–';
  const isBound =
    (key === 'conditionNumber' && metrics.conditionNumberIsLowerBound) ||
    (key === 'numericalRank' && metrics.numericalRankIsLowerBound);
  return `${isBound ? '≥' : ''}${formatNumber(figureOf(row, key), format)}`;
}

/** What the column of a figure says of itself. */
export function headingOf({
  key,
  header,
  definition,
  unit,
  priority,
}: MetricText & { readonly key: string }) {
  return { key, header, definition, unit, priority, align: 'right' } as const;
}

/** The columns of metrics, and beside them in CSV whether a figure is only a bound. */
export function metricColumns(metrics: readonly MetricDescriptor[]): Column<RankRow>[] {
  const columns = metrics.map(
    (metric): Column<RankRow> => ({
      ...headingOf(metric),
      value: (row) => figureOf(row, metric.key),
      text: (row) => metricText(row, metric),
    }),
  );
  const bounds: Column<RankRow>[] = [];
  for (const key of ['conditionNumber', 'numericalRank'] as const) {
    if (!metrics.some((metric) => metric.key === key)) continue;
    const bound = `${key}IsLowerBound` as const;
    bounds.push({ key: bound, header: '', only: 'data', value: (row) => row.metrics?.[bound] });
  }
  return [...columns, ...bounds];
}

/** The spectrum at a glance, of rows that have one. */
export function glyphColumn(style: 'unicode' | 'ascii'): Column<RankRow> {
  return {
    key: 'spectrum',
    header: 'spectrum',
    definition: glyphDefinition({ ascii: style === 'ascii' }),
    only: 'text',
    priority: 2,
    value: () => undefined,
    text: (row) => spectrumGlyph(row.singularValues ?? [], { ascii: style === 'ascii' }),
  };
}
