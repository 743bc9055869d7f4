import fc from 'fast-check';
import { expect, test } from 'vitest';
import { spectrumGlyph } from '../../src/report/text/glyph.js';

test('flat, decaying, collapsed and absent spectra', () => {
  expect(spectrumGlyph(new Array<number>(20).fill(3))).toBe('████████');
  expect(spectrumGlyph([4, 3, 2, 1, 0.1, 0.01])).toBe('███▇▆▂▂▁');
  expect(spectrumGlyph([1, 0, 0, 0])).toBe('██      ');
  expect(spectrumGlyph([5])).toBe('████████');
  expect(spectrumGlyph([])).toBe('');
  expect(spectrumGlyph([0, 0])).toBe('');
  expect(spectrumGlyph([4, 3, 2, 1, 0.1, 0.01], { ascii: true })).toBe('@@@#*::.');
});

test('never rises, has eight cells, and does not depend on scale', () => {
  const spectrum = fc
    .array(fc.double({ min: 1e-9, max: 1, noNaN: true }), { minLength: 1, maxLength: 40 })
    .map((values) => values.sort((a, b) => b - a));
  fc.assert(
    fc.property(spectrum, (values) => {
      const glyph = spectrumGlyph(values);
      const levels = [...glyph].map((character) => ' ▁▂▃▄▅▆▇█'.indexOf(character));
      expect(levels).toHaveLength(8);
      expect(levels).toEqual([...levels].sort((a, b) => b - a));
      expect(spectrumGlyph(values.map((value) => value * 2 ** 40))).toBe(glyph);
    }),
  );
});
