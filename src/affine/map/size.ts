import type { Dimension } from '../../graph/index.js';

/** A size as a number times symbols, in order: sizes that are not known are symbols too. */
export interface Size {
  readonly factor: number;
  readonly symbols: readonly string[];
}

export const ONE: Size = { factor: 1, symbols: [] };

export function sizeOf(dim: Dimension, fallback: string): Size {
  if (typeof dim === 'number' && dim >= 0) return { factor: dim, symbols: [] };
  return { factor: 1, symbols: [dim === undefined || dim === '' ? fallback : String(dim)] };
}

export const isOne = ({ factor, symbols }: Size): boolean => factor === 1 && symbols.length === 0;
export const keyOf = ({ factor, symbols }: Size): string => [factor, ...symbols].join('·');
/** For messages: sizes that are not known and have no name are question marks. */
export function textOf({ factor, symbols }: Size): string {
  if (symbols.length === 0) return String(factor);
  const names = symbols.map((symbol) => (/^\w[\w.]*$/.test(symbol) ? symbol : '?'));
  return [...(factor === 1 ? [] : [factor]), ...names].join('·');
}

export const isSame = (a: Size, b: Size): boolean =>
  a === b ||
  (a.factor === b.factor &&
    a.symbols.length === b.symbols.length &&
    a.symbols.every((symbol, i) => symbol === b.symbols[i]));

export function times(a: Size, b: Size): Size {
  return { factor: a.factor * b.factor, symbols: [...a.symbols, ...b.symbols].sort() };
}

/** undefined where b does not divide a for certain. */
export function over(a: Size, b: Size): Size | undefined {
  if (b.factor === 0 || a.factor % b.factor !== 0) return undefined;
  const symbols = [...a.symbols];
  for (const symbol of b.symbols) {
    const at = symbols.indexOf(symbol);
    if (at < 0) return undefined;
    symbols.splice(at, 1);
  }
  return { factor: a.factor / b.factor, symbols };
}
