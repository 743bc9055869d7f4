import type { CellValue, Grid } from './document.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const FORMULA = /^[=+\-@\u0000-\u001f\u007f-\u009f]/;

/** What moves the cursor of a terminal that a file is shown on; line ends and tabs are fields' own. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const ESCAPE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g;

/**
 * RFC 4180: CRLF line ends, quotes where they are needed. A text that a spreadsheet would take for a formula, or that
 * begins with a control character, stands behind an apostrophe; escape characters become U+FFFD; numbers are numbers.
 * An infinite figure is `inf`, one that is not there empty.
 */
export function toCsv(grid: Grid): string {
  const at = grid.headings.flatMap((heading, index) => (heading.only === 'text' ? [] : [index]));
  const records = [
    at.map((index) => grid.headings[index]?.key ?? ''),
    ...grid.rows.map((row) => at.map((index) => row[index]?.value)),
  ];
  return records.map(csvRecord).join('');
}

/** One line of what toCsv makes. */
export function csvRecord(values: readonly CellValue[]): string {
  return `${values.map((value) => quoted(csvText(value))).join(',')}\r\n`;
}

function csvText(value: CellValue): string {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return Number.isNaN(value) ? '' : value > 0 ? 'inf' : '-inf';
  }
  if (typeof value !== 'string') return value === undefined ? '' : String(value);
  const text = value.replace(ESCAPE, '\ufffd');
  return FORMULA.test(value) ? `'${text}` : text;
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
