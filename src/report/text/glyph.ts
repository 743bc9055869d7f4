import { ASCII_LEVELS, BAR_LEVELS } from './levels.js';

/** Characters of a glyph; each stands for an eighth of the singular values. */
const CELLS = 8;
/** Of each step, in decades: the eight span two. */
const STEP = 2 / BAR_LEVELS.length;
/** What is less, relative to the largest, is not known to be there at all. */
const NOTHING = 1e-7;

/** What the glyph means, for the legend. */
export function glyphDefinition(options: { readonly ascii?: boolean } = {}): string {
  const levels = options.ascii === true ? ASCII_LEVELS : BAR_LEVELS;
  return `eight quantiles of the singular values, the largest first, relative to s1: ${levels.at(-1)} within a factor of 1.8 of it, each step of ${[...levels].reverse().join('')} another 1.8, ${levels[0]} all that is less; blank below 1e-7`;
}

/**
 * A spectrum in eight characters: the sorted singular values at eight quantiles, on a logarithmic scale from s1 (█) down
 * two decades (▁, which stands for all that is less too). Values below 1e-7 of the largest are blank. The scale is the
 * same for all, so that glyphs can be compared: flat spectra are dark to the end, collapsed ones end early.
 *
 * @param values singular values, descending
 * @example
 * spectrumGlyph([4, 3, 2, 1, 0.1, 0.01]); // '███▇▆▂▂▁'
 */
export function spectrumGlyph(values: readonly number[], options: { readonly ascii?: boolean } = {}): string {
  const largest = values[0] ?? 0;
  if (!(largest > 0)) return '';
  const levels = options.ascii === true ? ASCII_LEVELS : BAR_LEVELS;
  let glyph = '';
  for (let cell = 0; cell < CELLS; cell += 1) {
    const share = (values[Math.floor(((cell + 0.5) / CELLS) * values.length)] ?? 0) / largest;
    const level = levels.length - 1 + Math.ceil(Math.log10(share) / STEP - 1e-9);
    glyph += share < NOTHING ? ' ' : levels[Math.max(0, Math.min(levels.length - 1, level))];
  }
  return glyph;
}
