import type { CellValue, Grid } from './document.js';

/** RFC 4180: CRLF line ends, quotes where they are needed. An infinite figure is `inf`, one that is not there empty. */
export function toCsv(grid: Grid): string {
  const at = grid.headings.flatMap((heading, index) => (heading.only === 'text' ? [] : [index]));
  const records = [
    at.map((index) => grid.headings[index]?.key ?? ''),
    ...grid.rows.map((row) => at.map((index) => csvText(row[index]?.value))),
  ];
  return records.map((record) => `${record.map(quoted).join(',')}\r\n`).join('');
}

function csvText(value: CellValue): string {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return Number.isNaN(value) ? '' : value > 0 ? 'inf' : '-inf';
  }
  return value === undefined ? '' : String(value);
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
