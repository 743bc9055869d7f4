import { Random } from '../../runtime/random.js';
import { checkCount } from '../optimizers/ranges.js';
import type { SearchRule } from './search-rule.js';

/** Options of random search. */
export interface RandomSearchOptions {
  /** Points that are drawn in a step; default 100. */
  readonly population?: number | undefined;
}

/**
 * Pure random search: each step draws points, and the best of all that were ever seen stays. The elements of a weight are
 * normal numbers whose variance is its mean square before the first step, times the squared rate: networks as random as the
 * one it began with. A weight of zeros (a bias) stays zero.
 */
export function randomSearch({ population = 100 }: RandomSearchOptions = {}): SearchRule {
  checkCount(population, 'population', 1);
  return {
    takesGradients: false,
    // The deviation of each element.
    slots: (size) => ({ scales: [size] }),
    start: (x, parts) => {
      const scales = new Float64Array(x.length);
      for (const { start, end } of parts) {
        const square = x.subarray(start, end).reduce((sum, w) => sum + w * w, 0);
        scales.fill(Math.sqrt(square / Math.max(1, end - start)), start, end);
      }
      return { scales };
    },
    step: async (objective, { x, slots }, { rate, step, seed }) => {
      const random = new Random(seed, `random-search ${step}`);
      let best = { x, value: await objective.value(x) };
      for (let i = 0; i < population; i += 1) {
        const drawn = random.fillNormal(new Float64Array(x.length), rate);
        const point = objective.rounded(drawn.map((z, k) => z * (slots.scales?.[k] ?? 0)));
        const value = await objective.value(point);
        if (value < best.value) best = { x: point, value };
      }
      return { x: best.x, slots };
    },
  };
}
