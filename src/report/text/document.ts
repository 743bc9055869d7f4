import { formatNumber, printable } from './text.js';

/** The value of a cell; undefined where there is none. */
export type CellValue = string | number | boolean | undefined;

/**
 * One column: everything that a table, CSV, Markdown file or document says about a figure.
 *
 * @example
 * const column: Column<{ size: number }> = { key: 'size', header: 'size', align: 'right', value: (row) => row.size };
 */
export interface Column<Row> {
  /** Its name in CSV. */
  readonly key: string;
  /** Its name in tables for people. */
  readonly header: string;
  readonly definition?: string;
  readonly unit?: string;
  readonly align?: 'left' | 'right';
  /** Narrow terminals drop the columns of the highest numbers first, and never those of 0 (the default). */
  readonly priority?: number;
  /** Cells to which a narrow terminal may shorten it, dropping the middle of its texts. */
  readonly shrink?: number;
  /** 'text': for people only; 'data': CSV only. Default both. */
  readonly only?: 'text' | 'data';
  /** The full value, for CSV. */
  readonly value: (row: Row) => CellValue;
  /** How people read it; the value as it is unless given. */
  readonly text?: (row: Row) => string;
}

/** A column without its rows. */
export interface Heading {
  readonly key: string;
  readonly header: string;
  readonly definition: string;
  readonly unit: string;
  readonly align: 'left' | 'right';
  readonly priority: number;
  readonly shrink: number | undefined;
  readonly only: 'text' | 'data' | undefined;
}

/** A cell of a table: its text for people, its value for JSON and CSV. */
export interface Cell {
  readonly text: string;
  readonly value: CellValue;
}

/** Rows ready to be printed in any format. */
export interface Grid {
  readonly title: string | undefined;
  readonly headings: readonly Heading[];
  readonly rows: readonly (readonly Cell[])[];
  /** Texts of the last line, one a heading; '' where the total of a column means nothing. */
  readonly total: readonly string[] | undefined;
}

export function grid<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: { readonly title?: string; readonly total?: Readonly<Record<string, string>> } = {},
): Grid {
  const { title, total } = options;
  return {
    title,
    headings: columns.map(
      ({ key, header, definition = '', unit = '', align = 'left', priority = 0, shrink, only }) => {
        return { key, header, definition, unit, align, priority, shrink, only };
      },
    ),
    rows: rows.map((row) =>
      columns.map((column) => {
        const value = column.value(row);
        return { value, text: printable(column.text?.(row) ?? plain(value)) };
      }),
    ),
    total: total && columns.map(({ key }) => total[key] ?? ''),
  };
}

function plain(value: CellValue): string {
  if (typeof value === 'number')
    return Number.isInteger(value) ? formatNumber(value, 'count') : String(value);
  return value === undefined ? '–' : String(value);
}

/** A result in all of its forms. */
export interface Document {
  /** What it is, for JSON: 'rank-report'. */
  readonly kind: string;
  readonly title: string;
  /** The body of the JSON. */
  readonly data: Readonly<Record<string, unknown>>;
  /** The first is the CSV. */
  readonly grids: readonly Grid[];
  /** Lines below the tables: what was left out, and the conclusion. */
  readonly notes: readonly Note[];
  /** The page, of results that have one. */
  readonly html?: (() => string) | undefined;
}

/** A line of text in a document. */
export interface Note {
  readonly text: string;
  /** 'good' and 'bad' are verdicts, 'warning' is something to look at, 'aside' is small print. */
  readonly tone?: 'good' | 'bad' | 'warning' | 'aside';
}
