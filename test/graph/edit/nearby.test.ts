import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { indexNear } from '../../../src/graph/edit/nearby.js';
import { type GraphProto, Tensor } from '../../../src/graph/index.js';
import { buildModel } from '../../support/build.js';

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

test('initializers taken out, put in and replaced in any order leave the list that copies of it would be', () => {
  const step = fc.record({
    gone: fc.uniqueArray(fc.nat(39), { maxLength: 24 }),
    set: fc.array(fc.nat(39), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const tensor = (i: number): Tensor => Tensor.of(`w${i}`, 'float32', [1], Float32Array.of(i));
      const model = buildModel({
        inputs: [['x', 'float32', [1]]],
        outputs: [['x', 'float32', [1]]],
        nodes: [],
        initializers: Array.from({ length: 40 }, (_, i) => tensor(i)),
      });
      let names = Array.from({ length: 40 }, (_, i) => `w${i}`);
      for (const { gone, set } of steps) {
        const setNames = [...new Set(set.map((i) => `w${i}`))];
        const removed = gone.map((i) => `w${i}`).filter((name) => names.includes(name));
        const taken = removed.filter((name) => !setNames.includes(name));
        model.graph.edit({ removeInitializers: taken, setInitializers: [...new Set(set)].map(tensor) });
        names = names.concat(setNames.filter((name) => !names.includes(name)));
        names = names.filter((name) => !taken.includes(name));
        expect([...model.graph.initializers.keys()].sort()).toEqual([...names].sort());
        expect((model.graph.proto as GraphProto).initializer?.map(({ name }) => name)).toEqual(names);
      }
    }),
    { numRuns: 200, seed: 20261201 },
  );
});
