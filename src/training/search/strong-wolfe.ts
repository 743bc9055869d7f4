import type { Slope } from './search-rule.js';

/** A point on the line: how far, the value and slope there, and the derivative along the line. */
export interface LinePoint extends Slope {
  readonly t: number;
  readonly along: number;
}

/** Sufficient decrease and curvature. */
const [DECREASE, CURVATURE] = [1e-4, 0.9];
const MOST_EVALUATIONS = 25;
/** A bracket in which no weight moves by more than this is one point. */
const NARROW = 1e-9;

/**
 * A step length that satisfies the strong Wolfe conditions with 1e-4 and 0.9: a bracket is searched from the first length on,
 * then narrowed by cubic interpolation (Nocedal & Wright, "Numerical Optimization", 2nd ed., algorithms 3.5 and 3.6;
 * safeguards as in torch.optim.LBFGS, whose source is minFunc).
 *
 * @param start the point at 0, whose derivative is below 0
 * @param first the length that is tried first
 * @param reach the largest element of the direction
 * @param at computes the point at a length
 * @returns the best point that was found: where no condition could be met, perhaps `start`
 */
export async function strongWolfe(
  start: LinePoint,
  first: number,
  reach: number,
  at: (t: number) => Promise<LinePoint>,
): Promise<LinePoint> {
  const isTooHigh = ({ t, value }: LinePoint): boolean =>
    !(value <= start.value + DECREASE * t * start.along);
  const isFlat = ({ along }: LinePoint): boolean => Math.abs(along) <= -CURVATURE * start.along;
  let before = start;
  let point = await at(first);
  let evaluations = 1;
  let bracket: [LinePoint, LinePoint] | undefined;
  while (evaluations <= MOST_EVALUATIONS) {
    if (isTooHigh(point) || (evaluations > 2 && point.value >= before.value)) {
      bracket = [before, point];
      break;
    }
    if (isFlat(point)) return point;
    if (point.along >= 0) {
      bracket = [before, point];
      break;
    }
    const next = cubic(before, point, point.t + 0.01 * (point.t - before.t), point.t * 10);
    before = point;
    point = await at(next);
    evaluations += 1;
  }
  let [low, high] = ordered(bracket ?? [start, point]);
  let isSlow = false;
  while (evaluations <= MOST_EVALUATIONS && Math.abs(high.t - low.t) * reach >= NARROW) {
    const [least, most] = [Math.min(low.t, high.t), Math.max(low.t, high.t)];
    let t = cubic(low, high, least, most);
    const margin = 0.1 * (most - least);
    if (Math.min(most - t, t - least) < margin) {
      // Close to an end for the second time: away from it.
      if (isSlow || t >= most || t <= least) {
        t = Math.abs(t - most) < Math.abs(t - least) ? most - margin : least + margin;
        isSlow = false;
      } else isSlow = true;
    } else isSlow = false;
    point = await at(t);
    evaluations += 1;
    if (isTooHigh(point) || point.value >= low.value) {
      [low, high] = ordered([low, point]);
      continue;
    }
    if (isFlat(point)) return point;
    if (point.along * (high.t - low.t) >= 0) high = low;
    low = point;
  }
  return low;
}

function ordered([a, b]: readonly [LinePoint, LinePoint]): [LinePoint, LinePoint] {
  return a.value <= b.value ? [a, b] : [b, a];
}

/** The minimum, between `least` and `most`, of the cubic with these values and derivatives. */
function cubic(a: LinePoint, b: LinePoint, least: number, most: number): number {
  const [left, right] = a.t <= b.t ? [a, b] : [b, a];
  const d1 = left.along + right.along - (3 * (left.value - right.value)) / (left.t - right.t);
  const square = d1 * d1 - left.along * right.along;
  if (!(square >= 0) || !Number.isFinite(square)) return (least + most) / 2;
  const d2 = Math.sqrt(square);
  const t = right.t - (right.t - left.t) * ((right.along + d2 - d1) / (right.along - left.along + 2 * d2));
  return Number.isNaN(t) ? (least + most) / 2 : Math.min(Math.max(t, least), most);
}
