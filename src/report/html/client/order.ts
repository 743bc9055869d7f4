import type { LayerData, RowData } from '../types.js';

export interface Order {
  /** 'depth', 'label', 'op', 'matrix', 'params' or the index of a metric. */
  readonly column: string;
  readonly descending: boolean;
}

/** What is sorted by: 'change' is the last model less the first, else the index of a model. */
export type SortBy = string;

type SortValue = number | string | undefined;

/** The order after a click on a heading: figures the largest first, names from A; the third click is the network's again. */
export function nextOrder(order: Order | undefined, column: string, isNumber: boolean): Order | undefined {
  if (order?.column !== column) return { column, descending: isNumber };
  return order.descending === isNumber ? { column, descending: !isNumber } : undefined;
}

function valueIn(row: RowData | null | undefined, column: string): SortValue {
  if (!row) return undefined;
  if (column === 'op') return row.op;
  if (column === 'matrix') return row.dims[0] * row.dims[1];
  if (column === 'params') return row.params;
  const value = row.v[Number(column)];
  return value === 'inf' ? Infinity : (value ?? undefined);
}

/** What a weight is sorted by; undefined where it has no such value. */
function sortValue(layer: LayerData | undefined, index: number, column: string, by: SortBy): SortValue {
  if (layer === undefined || column === 'depth') return index;
  if (column === 'label') return layer.label;
  if (by !== 'change') return valueIn(layer.rows[Number(by)], column);
  const [first, last] = [valueIn(layer.rows[0], column), valueIn(layer.rows.at(-1), column)];
  if (typeof first !== 'number' || typeof last !== 'number') return undefined;
  const change = last - first;
  return Number.isNaN(change) ? undefined : change;
}

/** Indices of the weights in an order. What has no value comes last, whatever the direction; ties keep the network's. */
export function ordered(layers: readonly LayerData[], order: Order | undefined, by: SortBy): number[] {
  const { column, descending } = order ?? { column: 'depth', descending: false };
  const sign = descending ? -1 : 1;
  const keyed = layers.map((layer, index) => ({ index, value: sortValue(layer, index, column, by) }));
  keyed.sort((a, b) => {
    const inNetwork = a.index - b.index;
    if (a.value === undefined || b.value === undefined) {
      return Number(a.value === undefined) - Number(b.value === undefined) || inNetwork;
    }
    if (typeof a.value === 'string' && typeof b.value === 'string') {
      return sign * a.value.localeCompare(b.value, 'en', { numeric: true }) || inNetwork;
    }
    return a.value === b.value ? inNetwork : sign * (a.value < b.value ? -1 : 1);
  });
  return keyed.map(({ index }) => index);
}

/** Whether a weight has all words of a search in its names, operators, shapes or problems. */
export function matches({ label, subtitle, rows }: LayerData, search: string): boolean {
  const ofRows = rows.map((row) => row && `${row.op} ${row.dims.join('x')} ${row.problem ?? ''}`);
  const text = [label, subtitle, ...ofRows].join(' ').toLowerCase();
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => text.includes(word));
}
