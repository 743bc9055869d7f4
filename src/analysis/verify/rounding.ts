import { EPSILON, isFloatType, type NativeArrays, narrow, widen } from '../../graph/index.js';
import { Random } from '../../runtime/random.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import type { Comparison } from './output-comparison.js';

/** Units in the last place that inputs are moved by: what the rounding in all layers of a network amounts to, about. */
const ROUNDING_ULPS = 16;
/** How often, for a quantized network jumps where it moves at all. */
const ROUNDING_DRAWS = 4;

/**
 * Runs a model on inputs that differ in their last bits from those given, and hands what moves to the comparisons of what
 * the session puts out.
 *
 * @param fixed inputs that stay as they are
 */
export async function addRounding(
  session: Session,
  feeds: Readonly<Record<string, RuntimeTensor>>,
  comparisons: ReadonlyMap<string, Comparison>,
  seed: number,
  fixed: Readonly<Record<string, RuntimeTensor>> = {},
): Promise<void> {
  const random = new Random(seed, 'rounding');
  const moved = ({ type, shape, data }: RuntimeTensor): RuntimeTensor => {
    if (!isFloatType(type)) return { type, shape, data };
    const step = ROUNDING_ULPS * EPSILON[type];
    const values = widen(type, data as NativeArrays[typeof type]).map(
      (value) => value * (1 + (random.integer(2) === 0 ? -step : step)),
    );
    return { type, shape, data: narrow(type, values) };
  };
  const wanted = { outputs: [...comparisons.keys()] };
  const before = await session.run({ ...feeds, ...fixed }, wanted);
  for (let draw = 0; draw < ROUNDING_DRAWS; draw += 1) {
    const others = Object.entries(feeds).map(([name, tensor]) => [name, moved(tensor)] as const);
    const after = await session.run({ ...Object.fromEntries(others), ...fixed }, wanted);
    for (const [name, comparison] of comparisons) {
      const [left, right] = [before[name], after[name]];
      if (left !== undefined && right?.shape.join() === left.shape.join())
        comparison.addRounding(left, right);
    }
  }
}
