import type { NumberFormat } from '../../analysis/spectra/metric-text.js';

/** A figure for people; `undefined` and NaN, where there is none, are '–'. */
export function formatNumber(value: number | undefined, format: NumberFormat): string {
  if (value === undefined || Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  switch (format) {
    case 'count':
      return formatCount(value);
    case 'fixed1':
      return grouped(value.toFixed(1));
    case 'fixed2':
      return grouped(value.toFixed(2));
    case 'percent':
      return `${(100 * value).toFixed(1)}%`;
    case 'significant3':
      return formatSignificant(value);
  }
}

/** 1234567 as '1,234,567'. */
export function formatCount(value: number): string {
  return grouped(String(value));
}

/** Three significant digits: 0.00123, 12.3, 1.23e+5 as '1.23e5'. */
export function formatSignificant(value: number): string {
  if (value === 0) return '0';
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 0.001 && size < 9999.5) return size >= 999.5 ? value.toFixed(0) : value.toPrecision(3);
  const [mantissa = '', exponent = ''] = value.toExponential(2).split('e');
  return `${mantissa.replace(/\.?0+$/, '')}e${exponent.replace('+', '')}`;
}

function grouped(digits: string): string {
  const [whole = '', fraction] = digits.split('.');
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

/** 'node' or 'nodes', with its count. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;
const ASCII = /^[ -~]*$/;
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}]/u;

/** A name from a file, without anything that moves the cursor of a terminal or breaks a line. */
export function printable(text: string): string {
  return text.replace(CONTROL, '\ufffd');
}

/** Names up to this length have room everywhere. */
const SHORT_NAME = 12;

/** Parts of a name between which a line may break: each ends with its slash, dot, colon or underscore. */
export function nameParts(name: string): readonly string[] {
  return name.length <= SHORT_NAME ? [name] : name.split(/(?<=[/.:_])(?=[^/.:_])/);
}

/** Terminal cells that a text takes. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += WIDE.test(character) ? 2 : 1;
  return width;
}

/** At most `width` cells; of what does not fit, the part at `place` goes: 0 the beginning, 1 the end. */
export function shorten(text: string, width: number, place = 0.5): string {
  if (widthOf(text) <= width) return text;
  if (width <= 1) return '…';
  const characters = [...text];
  const head = takeCells(characters, Math.round((width - 1) * place));
  const tail = takeCells([...characters].reverse(), width - 1 - widthOf(head.join(''))).reverse();
  return `${head.join('')}…${tail.join('')}`;
}

const PLACES = [0.5, 0.25, 0.75, 0, 1];

/** Where to shorten texts so that the most of them stay distinct, and how many do. */
export function bestPlace(texts: readonly string[], width: number): { place: number; distinct: number } {
  let best = { place: 0.5, distinct: 0 };
  for (const place of PLACES) {
    const distinct = new Set(texts.map((text) => shorten(text, width, place))).size;
    if (distinct > best.distinct) best = { place, distinct };
  }
  return best;
}

function takeCells(characters: readonly string[], width: number): string[] {
  const taken: string[] = [];
  let used = 0;
  for (const character of characters) {
    used += widthOf(character);
    if (used > width) break;
    taken.push(character);
  }
  return taken;
}

export function pad(text: string, width: number, align: 'left' | 'right'): string {
  const gap = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'left' ? text + gap : gap + text;
}
