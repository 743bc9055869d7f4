import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { indexNear } from '../../../src/graph/edit/nearby.js';

describe('a search that begins where the last one ended', () => {
  test('finds what indexOf does, after any insertions and removals', () => {
    const step = fc.record({
      find: fc.nat(40),
      at: fc.nat(40),
      remove: fc.nat(3),
      insert: fc.uniqueArray(fc.nat(40), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(40)), fc.array(step, { maxLength: 30 }), (start, steps) => {
        const list = [...start];
        for (const { find, at, remove, insert } of steps) {
          list.splice(at, remove, ...insert.filter((value) => !list.includes(value)));
          expect(indexNear(list, (value) => value === find)).toBe(list.indexOf(find));
        }
      }),
    );
  });

  test('looks at a few items each where a pass goes through a list in its order and puts in others', () => {
    const list = Array.from({ length: 5000 }, (_, i) => ({ name: `${i}` }));
    let looks = 0;
    for (const { name } of [...list]) {
      const at = indexNear(list, (other) => {
        looks += 1;
        return other.name === name;
      });
      list.splice(at, 1, { name: `${name}/0` }, { name: `${name}/1` }, { name: `${name}/2` });
    }
    expect(list).toHaveLength(15000);
    expect(looks).toBeLessThan(10 * 5000);
  });
});
