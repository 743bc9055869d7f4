import type { Grid, Heading } from './document.js';
import { style } from './style.js';
import { bestPlace, pad, shorten, widthOf } from './text.js';

export interface TableOptions {
  /** Cells of a line; Infinity for no limit. */
  readonly width: number;
  readonly colour: boolean;
}

const GAP = '  ';

/** The lines of a table, and the headers of the columns that a narrow line had no room for. */
export function tableLines(grid: Grid, options: TableOptions): { lines: string[]; dropped: string[] } {
  const { width, colour } = options;
  const headings = grid.headings;
  const natural = headings.map((heading, at) =>
    Math.max(
      widthOf(heading.header),
      widthOf(grid.total?.[at] ?? ''),
      ...maxOf(grid.rows.map((row) => widthOf(row[at]?.text ?? ''))),
    ),
  );
  const textsOf = (at: number): string[] => grid.rows.map((row) => row[at]?.text ?? '');
  const least = (): number[] =>
    headings.map(({ shrink }, at) => leastWidth(textsOf(at), natural[at] ?? 0, shrink));
  const { kept, widths } = fitColumns(headings, natural, least, width);
  const places = kept.map((at, order) => {
    const cells = widths[order] ?? 0;
    return cells < (natural[at] ?? 0) ? bestPlace(textsOf(at), cells).place : 0.5;
  });
  const line = (texts: readonly string[]): string =>
    kept
      .map((at, order) => {
        const cells = widths[order] ?? 0;
        return pad(shorten(texts[at] ?? '', cells, places[order]), cells, headings[at]?.align ?? 'left');
      })
      .join(GAP)
      .trimEnd();
  const rule = widths.map((cells) => '─'.repeat(cells)).join(GAP);
  const lines = [
    style(line(headings.map((heading) => heading.header)), 'bold', colour),
    style(rule, 'dim', colour),
  ];
  for (const row of grid.rows) lines.push(line(row.map((cell) => cell.text)));
  if (grid.total !== undefined)
    lines.push(style(rule, 'dim', colour), style(line(grid.total), 'bold', colour));
  const dropped = headings.filter((heading, at) => heading.only !== 'data' && !kept.includes(at));
  return { lines, dropped: dropped.map((heading) => heading.header) };
}

/** Names are not shortened further than to this, however alike they are. */
const ENOUGH = 36;

/** The least width at which shortened texts are as distinct as the whole ones, from `shrink` up. */
function leastWidth(texts: readonly string[], natural: number, shrink: number | undefined): number {
  if (shrink === undefined || natural <= shrink) return natural;
  const distinct = new Set(texts).size;
  let width = shrink;
  while (width < Math.min(natural, ENOUGH) && bestPlace(texts, width).distinct < distinct) width += 1;
  return width;
}

function maxOf(widths: readonly number[]): number[] {
  // Not spread into Math.max at once: a model may have more rows than a call has arguments.
  return widths.length === 0 ? [] : [widths.reduce((most, width) => Math.max(most, width), 0)];
}

/** Which columns a line has room for, and their widths. Columns that can shrink give way before others go. */
function fitColumns(
  headings: readonly Heading[],
  natural: readonly number[],
  leastWidths: () => readonly number[],
  width: number,
): { kept: number[]; widths: number[] } {
  let kept = headings.flatMap((heading, at) => (heading.only === 'data' ? [] : [at]));
  const full = (at: number): number => natural[at] ?? 0;
  const gaps = (): number => GAP.length * (kept.length - 1);
  const total = (of: (at: number) => number): number => kept.reduce((sum, at) => sum + of(at), gaps());
  if (total(full) <= width) return { kept, widths: kept.map(full) };
  const smallest = leastWidths();
  const least = (at: number): number => smallest[at] ?? 0;
  while (total(least) > width) {
    const last = kept.reduce((most, at) => Math.max(most, headings[at]?.priority ?? 0), 0);
    if (last === 0) break;
    const gone = kept.findLast((at) => headings[at]?.priority === last);
    kept = kept.filter((at) => at !== gone);
  }
  const widths = new Map(kept.map((at) => [at, full(at)]));
  for (let over = total(full) - width; over > 0; over -= 1) {
    // One cell at a time from the widest that can give one.
    const room = kept.filter((at) => (widths.get(at) ?? 0) > least(at));
    if (room.length === 0) break;
    const widest = room.reduce((a, b) => ((widths.get(b) ?? 0) > (widths.get(a) ?? 0) ? b : a));
    widths.set(widest, (widths.get(widest) ?? 0) - 1);
  }
  return { kept, widths: kept.map((at) => widths.get(at) ?? 0) };
}
