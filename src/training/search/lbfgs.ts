import { checkCount } from '../optimizers/ranges.js';
import type { SearchRule, Slope } from './search-rule.js';
import { strongWolfe } from './strong-wolfe.js';
import { addTo, dot, isSame, largest, plus, scaleBy } from './vectors.js';

/** Options of L-BFGS. */
export interface LbfgsOptions {
  /** Pairs of steps and changes of the gradient that are kept; default 10. */
  readonly history?: number | undefined;
}

/** A pair is kept where the cosine between step and change is above this: less is rounding. */
const LEAST_COSINE = 1e-8;

/**
 * L-BFGS of the loss of all samples (Liu & Nocedal 1989; Nocedal & Wright, algorithm 7.4) with a strong Wolfe line search, as
 * torch.optim.LBFGS: the first step is tried at rate * min(1, 1 / ‖g‖₁), all others at the rate.
 *
 * Where rounding leaves no descent along the direction, the history is dropped, and the next step goes along the gradient.
 */
export function lbfgs({ history = 10 }: LbfgsOptions = {}): SearchRule {
  checkCount(history, 'history', 1);
  return {
    takesGradients: true,
    slots: (size) => ({ steps: [history, size], changes: [history, size], pairs: [1] }),
    step: async (objective, { x, slots }, { rate }) => {
      const { size } = objective;
      const { steps = NONE, changes = NONE } = slots;
      const pairs = slots.pairs?.[0] ?? 0;
      const here = await objective.slope(x);
      const kept = Array.from({ length: Math.min(pairs, history) }, (_, i) => (pairs - 1 - i) % history);
      const row = (of: Float64Array, i: number): Float64Array => of.subarray(i * size, (i + 1) * size);
      const direction = descent(
        here.gradient,
        kept.map((i) => [row(steps, i), row(changes, i)] as const),
      );
      const along = dot(here.gradient, direction);
      const reach = largest(direction);
      const dropped = { ...slots, pairs: Float64Array.of(0) };
      if (!(along < 0) || reach === 0) return { x, slots: dropped, slope: here };
      const norm1 = here.gradient.reduce((sum, g) => sum + Math.abs(g), 0);
      const first = pairs === 0 ? rate * Math.min(1, 1 / norm1) : rate;
      const found = await strongWolfe({ t: 0, along, ...here }, first, reach, async (t) => {
        const slope = await objective.slope(objective.rounded(plus(x, t, direction)));
        return { t, along: dot(slope.gradient, direction), ...slope };
      });
      const to = objective.rounded(plus(x, found.t, direction));
      if (found.t === 0 || isSame(to, x)) return { x, slots: dropped, slope: here };
      const step = plus(to, -1, x);
      const change = plus(found.gradient, -1, here.gradient);
      const slope: Slope = { value: found.value, gradient: found.gradient };
      const least = LEAST_COSINE * Math.sqrt(dot(step, step) * dot(change, change));
      if (!(dot(step, change) > least)) return { x: to, slots, slope };
      const next = { steps: steps.slice(), changes: changes.slice(), pairs: Float64Array.of(pairs + 1) };
      next.steps.set(step, (pairs % history) * size);
      next.changes.set(change, (pairs % history) * size);
      return { x: to, slots: next, slope };
    },
  };
}

const NONE = new Float64Array(0);

/** -H g by the two-loop recursion; pairs of step and change, the newest first. */
function descent(
  gradient: Float64Array,
  pairs: readonly (readonly [Float64Array, Float64Array])[],
): Float64Array {
  const direction = gradient.map((g) => -g);
  const shares: number[] = [];
  for (const [step, change] of pairs) {
    const share = dot(step, direction) / dot(step, change);
    shares.push(share);
    addTo(direction, -share, change);
  }
  const [newest] = pairs;
  if (newest !== undefined) scaleBy(direction, dot(newest[0], newest[1]) / dot(newest[1], newest[1]));
  for (const [i, [step, change]] of [...pairs.entries()].reverse())
    addTo(direction, (shares[i] as number) - dot(change, direction) / dot(step, change), step);
  return direction;
}
