import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FreshNames } from '../../src/graph/names/fresh-names.js';

const name: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'a_2', 'a_3', 'b_2', 'a_2_2');

test('a fresh name is the base with the lowest count that is not taken, whatever was asked for before', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(name),
      fc.array(fc.record({ base: name, claims: fc.boolean() })),
      (taken, steps) => {
        const names = new FreshNames(new Set(taken));
        const known = new Set(taken);
        for (const { base, claims } of steps) {
          if (claims) {
            names.claim(base);
            known.add(base);
            continue;
          }
          let expected = base;
          for (let count = 2; known.has(expected); count += 1) expected = `${base}_${count}`;
          expect(names.take(base)).toBe(expected);
          known.add(expected);
        }
      },
    ),
  );
});

test('names from one base are looked up a few times each', () => {
  let lookups = 0;
  class Counting extends Set<string> {
    override has(value: string): boolean {
      lookups += 1;
      return super.has(value);
    }
  }
  const names = new FreshNames(new Counting(['conv']));
  for (let i = 0; i < 5000; i += 1) names.take('conv');
  expect(lookups).toBeLessThan(4 * 5000);
});
