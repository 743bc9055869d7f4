import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { breakable, fileName, titleOf } from '../../../src/report/html/markup.js';
import { seriesClass } from '../../../src/report/html/series.js';
import { DARK_COLOURS, LIGHT_COLOURS } from '../../../src/report/html/styles.js';
import { nameParts } from '../../../src/report/text/text.js';

type Rgb = readonly [number, number, number];

/** Linear light of a colour, from 0 to 1. */
function linear(hex: string): Rgb {
  const part = (at: number): number => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return [part(1), part(3), part(5)];
}

/** Relative luminance (WCAG 2.2). */
const luminance = ([r, g, b]: Rgb): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(linear(a)), luminance(linear(b))].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

/** Oklab (Ottosson 2020), in which distances are what an eye sees. */
function oklab(hex: string): Rgb {
  const [r, g, b] = linear(hex);
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

describe('models', () => {
  it('have classes of their own, sixty of them', () => {
    const classes = Array.from({ length: 60 }, (_, model) => seriesClass(model));
    expect(new Set(classes).size).toBe(60);
  });

  it.each([
    ['light', LIGHT_COLOURS, '#ffffff'],
    ['dark', DARK_COLOURS, '#10141a'],
  ] as const)('have colours that stand out from the %s ground and from each other', (_, colours, ground) => {
    expect(colours).toHaveLength(12);
    for (const [index, colour] of colours.entries()) {
      expect(contrast(colour, ground), colour).toBeGreaterThanOrEqual(4.5);
      for (const other of colours.slice(0, index)) {
        const [a, b] = [oklab(colour), oklab(other)];
        expect(Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]), `${colour} ${other}`).toBeGreaterThan(0.06);
      }
    }
  });
});

describe('names', () => {
  it('break behind slashes, dots, colons and underscores, and keep every character', () => {
    expect(nameParts('encoder/layers.0/attn_out::w')).toEqual([
      'encoder/',
      'layers.',
      '0/',
      'attn_',
      'out::',
      'w',
    ]);
    expect(nameParts('a/b')).toEqual(['a/b']);
    fc.assert(fc.property(fc.string({ maxLength: 40 }), (name) => nameParts(name).join('') === name));
    expect(breakable('a<b>/ccccccccccc').text).toBe('a&lt;b&gt;/<wbr>ccccccccccc');
  });

  it('of many models make a short title and a short name of a file', () => {
    const names = Array.from({ length: 40 }, (_, k) => `runs/${'very-long-'.repeat(12)}${k}.onnx`);
    for (const count of [1, 2, 3, 4, 40]) {
      expect(titleOf(names.slice(0, count), ' · ').length).toBeLessThan(160);
      expect(fileName(names.slice(0, count)).length).toBeLessThan(160);
    }
    expect(titleOf(['a/x.onnx', 'y.onnx', 'z.onnx'], ' → ')).toBe('x.onnx → y.onnx → z.onnx');
    expect(titleOf(['x.onnx', 'y.onnx', 'z.onnx', 'u.onnx'], ' → ')).toBe('x.onnx → y.onnx and 2 more');
    expect(fileName(['a/x.onnx', 'y.jsonl'])).toBe('x-y');
  });
});
