import type { Document, Grid } from './document.js';

/** GitHub's Markdown: title, tables, notes, and what the columns mean. */
export function toMarkdown(document: Document): string {
  const parts = [`# ${escaped(document.title)}`, ...document.grids.map(gridMarkdown)];
  if (document.notes.length > 0)
    parts.push(document.notes.map((note) => `- ${escaped(note.text)}`).join('\n'));
  const meanings = new Map(
    document.grids
      .flatMap((grid) => grid.headings)
      .filter((heading) => heading.only !== 'data' && heading.definition !== '')
      .map((heading) => [heading.header, `- **${escaped(heading.header)}**: ${escaped(heading.definition)}`]),
  );
  if (meanings.size > 0) parts.push([...meanings.values()].join('\n'));
  return `${parts.join('\n\n')}\n`;
}

function gridMarkdown(grid: Grid): string {
  const at = grid.headings.flatMap((heading, index) => (heading.only === 'data' ? [] : [index]));
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const lines = [
    line(at.map((index) => escaped(grid.headings[index]?.header ?? ''))),
    line(at.map((index) => (grid.headings[index]?.align === 'right' ? '---:' : '---'))),
    ...grid.rows.map((row) => line(at.map((index) => escaped(row[index]?.text.trim() ?? '')))),
  ];
  if (grid.total !== undefined) {
    lines.push(
      line(at.map((index) => (grid.total?.[index] ? `**${escaped(grid.total[index] ?? '')}**` : ''))),
    );
  }
  return `${grid.title === undefined ? '' : `## ${escaped(grid.title)}\n\n`}${lines.join('\n')}`;
}

function escaped(text: string): string {
  return text.replace(/[\\`*_|<>#[\]]/g, '\\$&');
}
