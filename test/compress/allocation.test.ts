import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { allocate, type Choice, costsOf, errorOf, within } from '../../src/compress/allocation/allocation.js';

/** Layers whose choices cost less the more they err, the first being the layer as it is. */
const layersOf = (resources: number) =>
  fc.array(
    fc.array(
      fc.record({
        error: fc.integer({ min: 1, max: 1000 }),
        costs: fc.array(fc.integer({ min: 1, max: 50 }), { minLength: resources, maxLength: resources }),
      }),
      { minLength: 1, maxLength: 5 },
    ),
    { minLength: 1, maxLength: 4 },
  );

const withWhole = (layers: readonly (readonly Choice[])[], resources: number): Choice[][] =>
  layers.map((choices) => [{ error: 0, costs: new Array<number>(resources).fill(50) }, ...choices]);

/** The least error of all combinations within the budgets. */
function exhaustive(layers: readonly (readonly Choice[])[], budgets: readonly number[]): number | undefined {
  let least: number | undefined;
  const visit = (picks: number[]): void => {
    if (picks.length === layers.length) {
      if (within(costsOf(layers, picks), budgets))
        least = Math.min(least ?? Number.POSITIVE_INFINITY, errorOf(layers, picks));
      return;
    }
    for (const i of (layers[picks.length] as readonly Choice[]).keys()) visit([...picks, i]);
  };
  visit([]);
  return least;
}

describe.each([1, 2, 3])('an allocation over %i budgets', (resources) => {
  const property = fc.property(
    layersOf(resources),
    fc.double({ min: 0.02, max: 1, noNaN: true }),
    (drawn, share) => {
      const layers = withWhole(drawn, resources);
      const budgets = new Array<number>(resources).fill(50 * layers.length * share);
      const best = exhaustive(layers, budgets);
      const picks = allocate(layers, budgets);
      // With one budget what can be reached is found; with more a mixture of prices may miss it.
      if (resources === 1) expect(picks === undefined).toBe(best === undefined);
      if (picks === undefined || best === undefined) return;
      expect(within(costsOf(layers, picks), budgets)).toBe(true);
      expect(errorOf(layers, picks)).toBeGreaterThanOrEqual(best);
      // No single layer can be left better within what is left.
      const costs = costsOf(layers, picks);
      for (const [i, choices] of layers.entries()) {
        const now = choices[picks[i] as number] as Choice;
        for (const other of choices) {
          if (other.error >= now.error) continue;
          const moved = costs.map((cost, k) => cost - (now.costs[k] as number) + (other.costs[k] as number));
          expect(moved.some((cost, k) => cost > (budgets[k] as number))).toBe(true);
        }
      }
    },
  );
  test('holds them, and leaves no layer worse than they need', () => {
    fc.assert(property, { numRuns: 200, seed: 1 });
  });
});

test('on a convex curve the allocation is the best there is', () => {
  const curve = (scale: number): Choice[] =>
    Array.from({ length: 9 }, (_, i) => ({ error: scale * i * i, costs: [8 - i] }));
  const layers = [curve(1), curve(3), curve(10)];
  for (let budget = 0; budget <= 24; budget += 1) {
    const picks = allocate(layers, [budget + 1e-9]);
    if (picks !== undefined) expect(errorOf(layers, picks)).toBe(exhaustive(layers, [budget + 1e-9]));
  }
});
