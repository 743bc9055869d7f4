import { nameParts, printable, shorten } from '../text/text.js';
import { seriesClass } from './series.js';

/** HTML that needs no more escaping. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Part = string | number | Markup | undefined | false | readonly Part[];

/**
 * A template of HTML: what is filled in is text, and escaped, unless it is Markup itself.
 *
 * @example
 * html`<td title="${'"'}">${'a < b'}</td>`.text; // <td title="&quot;">a &lt; b</td>
 */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return new Markup(strings.map((string, index) => string + markupOf(parts[index])).join(''));
}

function markupOf(part: Part): string {
  if (part === undefined || part === false) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'object') return part.map(markupOf).join('');
  return escapeHtml(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text for an element or a quoted attribute, without control characters and without those that reorder it. */
export function escapeHtml(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** JSON that can stand in a script element: it can neither end it nor open a comment. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A name that breaks behind its slashes and dots where it is too long for a line. */
export function breakable(name: string): Markup {
  return html`${nameParts(name).map((part, index) => html`${index > 0 && new Markup('<wbr>')}${part}`)}`;
}

/** Models that a title names before it counts the rest, and the characters of each name. */
const TITLED = 3;
const TITLE_WIDTH = 48;

/** The names of the models as a title that stays short, each by the last part of its path. */
export function titleOf(names: readonly string[], separator: string): string {
  const titled = names.length > TITLED ? TITLED - 1 : names.length;
  const shown = names.slice(0, titled).map((name) => shorten(baseName(name), TITLE_WIDTH));
  const rest = names.length - titled;
  return shown.join(separator) + (rest > 0 ? ` and ${rest} more` : '');
}

/** The beginning of the names of files that are saved from a page. */
export function fileName(names: readonly string[]): string {
  const bare = names.map((name) => baseName(name).replace(/\.(onnx|jsonl)$/, ''));
  return printable(titleOf(bare, '-').replaceAll(' ', '-'));
}

/** The last part of a path: what a page calls a model. */
export function baseName(path: string): string {
  return path.split(/[/\\]/).at(-1) || path;
}

/** The line of a model, as its plots have it. */
export function swatch(model: number): Markup {
  return html`<svg class="swatch ${seriesClass(model)}" viewBox="0 0 22 10" aria-hidden="true"><path class="line" d="M1 5H21"/></svg>`;
}
