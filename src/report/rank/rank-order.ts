import type { RankChange } from '../../analysis/report/compare-reports.js';
import type { RankRow } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import type { MetricDescriptor, MetricKey } from '../../analysis/spectra/metrics.js';
import type { Note } from '../text/document.js';
import { counted } from '../text/text.js';

/** Which rows to show, and in which order. */
export interface RankOrder {
  /** By this metric, or by the size of the weight; in the order of the model unless given. */
  readonly sort?: { readonly by: SortKey; readonly ascending?: boolean } | undefined;
  /** So many of them. */
  readonly top?: number | undefined;
}

/** What rows can be sorted by, besides the metrics. */
export const SORT_SIZES = ['parameters', 'rows', 'columns'] as const;
/** What the rows of a rank report can be sorted by: a metric or a size. */
export type SortKey = MetricKey | (typeof SORT_SIZES)[number];

/** The rows to show. Rows that lack the figure come last; equal ones stay in their order. */
export function orderRows(rows: readonly RankRow[], order: RankOrder): readonly RankRow[] {
  return ordered(rows, order, (row, by) => sortValue(row, by));
}

/** As orderRows, by how much the figure changes, whichever way. */
export function orderChanges(rows: readonly RankChange[], order: RankOrder): readonly RankChange[] {
  return ordered(rows, order, (row, by) => {
    const size = SORT_SIZES.find((key) => key === by);
    if (size !== undefined) return row.a[size];
    const change = row.change?.[by as MetricKey];
    return change === undefined ? undefined : Math.abs(change);
  });
}

function sortValue(row: RankRow, by: SortKey): number | undefined {
  const size = SORT_SIZES.find((key) => key === by);
  return size === undefined ? figureOf(row, by as MetricKey) : row[size];
}

function ordered<Row>(
  rows: readonly Row[],
  { sort, top }: RankOrder,
  valueFor: (row: Row, by: SortKey) => number | undefined,
): readonly Row[] {
  let result = rows;
  if (sort !== undefined) {
    const sign = sort.ascending === true ? 1 : -1;
    const keyed = rows.map((row) => ({ row, value: valueFor(row, sort.by) }));
    keyed.sort((a, b) => {
      if (a.value === b.value) return 0;
      if (a.value === undefined) return 1;
      if (b.value === undefined) return -1;
      return sign * (a.value < b.value ? -1 : 1);
    });
    result = keyed.map(({ row }) => row);
  }
  return top === undefined ? result : result.slice(0, top);
}

/** What was left out by `top`. */
export function orderNotes(
  total: number,
  { sort, top }: RankOrder,
  metrics: readonly MetricDescriptor[],
): Note[] {
  if (top === undefined || top >= total) return [];
  const header = metrics.find((metric) => metric.key === sort?.by)?.header ?? sort?.by;
  const by = sort === undefined ? '' : ` by ${header}, ${sort.ascending === true ? 'least' : 'most'} first`;
  return [{ text: `${top} of ${counted(total, 'weight')}${by}; the total is of all.`, tone: 'aside' }];
}
