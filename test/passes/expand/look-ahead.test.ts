import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LookAhead } from '../../../src/passes/expand/look-ahead.js';

describe('LookAhead', () => {
  it('gives results in order, holds no more than its budget, and begins an item no later than its turn', async () => {
    const costs = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(costs, fc.integer({ min: 1, max: 20 }), async (items, budget) => {
        const begun: number[] = [];
        const work = {
          cost: (index: number) => items[index] as number,
          begin: async (index: number) => {
            begun.push(index);
            await new Promise((resolve) => setTimeout(resolve, 1));
            return index;
          },
        };
        await using ahead = new LookAhead([...items.keys()], work, budget);
        for (const index of items.keys()) {
          expect(await ahead.next()).toBe(index);
          const held = begun.slice(index).reduce((sum, i) => sum + (items[i] as number), 0);
          expect(held).toBeLessThanOrEqual(Math.max(budget, items[index] as number));
          expect(begun).toEqual([...begun.keys()]);
        }
        await expect(ahead.next()).rejects.toThrow(RangeError);
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  it('tells an error when it is the turn of its item', async () => {
    const begin = async (item: number): Promise<number> => {
      if (item === 2) throw new Error('two');
      return item;
    };
    await using ahead = new LookAhead([1, 2, 3], { cost: () => 1, begin }, 10);
    expect(await ahead.next()).toBe(1);
    await expect(ahead.next()).rejects.toThrow('two');
    expect(await ahead.next()).toBe(3);
  });
});
