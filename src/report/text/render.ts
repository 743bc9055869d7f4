import { toCsv } from './csv.js';
import type { Document, Note } from './document.js';
import { toJson } from './json.js';
import { toMarkdown } from './markdown.js';
import { type Style, style } from './style.js';
import { tableLines } from './table.js';
import { printable, widthOf } from './text.js';

/** The forms that every document has. */
export const FORMATS = ['table', 'json', 'csv', 'md'] as const;
/** Those of a document with a page. */
export const PAGE_FORMATS = [...FORMATS, 'html'] as const;
/** An output format of documents: an element of PAGE_FORMATS. */
export type Format = (typeof PAGE_FORMATS)[number];

/** Options of render. */
export interface RenderOptions {
  readonly format?: Format;
  /** Cells of a line of a table; default without limit. */
  readonly width?: number;
  readonly colour?: boolean;
  /** Say what the columns of a table mean. */
  readonly legend?: boolean;
  /** What is made of texts, which name options of the library as code: `depth: 2`. */
  readonly words?: ((text: string) => string) | undefined;
}

/**
 * A document as text that ends with a line break.
 *
 * @throws RangeError for the HTML of a document that has none
 * @example
 * const report = await rankReport(model);
 * console.log(render(rankDocument(report), { format: 'md' }));
 */
export function render(given: Document, options: RenderOptions = {}): string {
  const { format = 'table', words } = options;
  const document = words === undefined ? given : inWords(given, words);
  switch (format) {
    case 'table':
      return toText(document, options);
    case 'json':
      // Nothing that stands for an option is escaped in JSON.
      return words === undefined ? toJson(document) : words(toJson(document));
    case 'csv': {
      const [first] = document.grids;
      return first === undefined ? '' : toCsv(first);
    }
    case 'md':
      return toMarkdown(document);
    case 'html':
      if (document.html === undefined) throw new RangeError(`a document of ${document.kind} has no HTML`);
      return document.html();
  }
}

/** A document with other words in its tables and notes. */
function inWords(document: Document, words: (text: string) => string): Document {
  return {
    ...document,
    notes: document.notes.map((note) => ({ ...note, text: words(note.text) })),
    grids: document.grids.map((grid) => ({
      ...grid,
      headings: grid.headings.map((heading) => ({ ...heading, definition: words(heading.definition) })),
      rows: grid.rows.map((row) =>
        row.map(({ text, value }) => ({
          text: words(text),
          value: typeof value === 'string' ? words(value) : value,
        })),
      ),
    })),
  };
}

const STYLES = {
  good: 'green',
  bad: 'red',
  warning: 'yellow',
  aside: 'dim',
} as const satisfies Record<NonNullable<Note['tone']>, Style>;

function toText(document: Document, options: RenderOptions): string {
  const {
    width = Number.POSITIVE_INFINITY,
    colour = false,
    legend = false,
    words = (text) => text,
  } = options;
  const blocks: string[][] = [];
  const dropped: string[] = [];
  for (const grid of document.grids) {
    if (grid.rows.length === 0) continue;
    const table = tableLines(grid, { width, colour });
    blocks.push([...(grid.title === undefined ? [] : [grid.title]), ...table.lines]);
    dropped.push(...table.dropped);
  }
  const notes = document.notes.flatMap((note) =>
    wrapped(printable(note.text), width).map((line) =>
      note.tone ? style(line, STYLES[note.tone], colour) : line,
    ),
  );
  if (dropped.length > 0) {
    const text = `More in a wider terminal or with \`format: 'csv'\`: ${[...new Set(dropped)].join(', ')}`;
    notes.push(...wrapped(words(text), width).map((line) => style(line, 'dim', colour)));
  }
  if (notes.length > 0) blocks.push(notes);
  if (legend) {
    const meanings = document.grids
      .flatMap((grid) => grid.headings)
      .filter((heading) => heading.only !== 'data' && heading.definition !== '')
      .flatMap((heading) => wrapped(`${heading.header}: ${heading.definition}`, width));
    if (meanings.length > 0) blocks.push([...new Set(meanings)]);
  }
  return blocks.map((lines) => `${lines.join('\n')}\n`).join('\n');
}

/** Lines of at most `width` cells, broken between words, the later ones indented. */
function wrapped(text: string, width: number): string[] {
  if (widthOf(text) <= width) return [text];
  const indent = /^ */.exec(text)?.[0] ?? '';
  const lines: string[] = [];
  let line = indent;
  for (const word of text.trim().split(' ')) {
    const longer = line.trim() === '' ? line + word : `${line} ${word}`;
    if (line.trim() !== '' && widthOf(longer) > width) {
      lines.push(line);
      line = `${indent}  ${word}`;
    } else line = longer;
  }
  return [...lines, line];
}
