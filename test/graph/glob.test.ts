import fc from 'fast-check';
import { expect, test } from 'vitest';
import { glob } from '../../src/graph/names/glob.js';

test.each([
  ['conv1.weight', 'conv1.weight', true],
  ['conv1.weight', 'conv11weight', false],
  ['conv*', 'conv1.weight', true],
  ['*weight', 'conv1.weight', true],
  ['*', '', true],
  ['layer?.*.weight', 'layer1.0.conv1.weight', true],
  ['layer?.weight', 'layer10.weight', false],
  ['/encoder/*/MatMul', '/encoder/layer_0/attention/MatMul', true],
  ['layer[12].w', 'layer2.w', true],
  ['layer[1-3].w', 'layer4.w', false],
  ['layer[!1-3].w', 'layer4.w', true],
  ['lstm.W[forward,i]', 'lstm.W[forward,i]', true],
  ['lstm.W[*,i]', 'lstm.W[reverse,i]', true],
  ['a[', 'a[', true],
  ['a\\*', 'a*', true],
  ['a\\*', 'ab', false],
  ['a.b', 'axb', false],
  ['[ab]', '[ab]', true],
])('%s and %s: %s', (pattern, name, expected) => {
  expect(glob(pattern)(name)).toBe(expected);
});

test('a name matches itself, itself with a part replaced by *, and each character by ?', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(20), fc.nat(20), (name, a, b) => {
      expect(glob(name)(name)).toBe(true);
      const characters = [...name];
      const plain = (part: readonly string[]) => part.join('').replace(/[*?[\]\\]/g, '\\$&');
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      expect(glob(`${plain(characters.slice(0, from))}*${plain(characters.slice(to))}`)(name)).toBe(true);
      expect(glob('?'.repeat(characters.length))(name)).toBe(true);
      expect(glob('?'.repeat(characters.length + 1))(name)).toBe(false);
    }),
  );
});

test('many stars take no exponential time', () => {
  const begin = performance.now();
  expect(glob(`${'*a'.repeat(50)}b`)('a'.repeat(5000))).toBe(false);
  expect(performance.now() - begin).toBeLessThan(2000);
});
