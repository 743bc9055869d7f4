import { type Composition, composeRegion } from '../../affine/compose.js';
import { reachedOutputs } from '../../affine/map/evaluate.js';
import type { Region } from '../../affine/match/region.js';
import type { Tensor } from '../../graph/index.js';
import { scratchTensor } from '../rewrite/placement.js';
import { Rounding } from './rounding.js';

/** What a region multiplies out to. */
export interface Product {
  readonly composition: Composition;
  /** The weight, whose bytes wait in the model's scratch file: it has no name yet. */
  readonly weight: Tensor;
  /** Why the numbers cannot be rounded to the region's type; undefined where they can. */
  readonly problem: string | undefined;
}

/** Multiplies regions out; those of one key share their weight, which is computed once. */
export class Products {
  readonly #weights = new Map<string, { readonly tensor: Tensor; readonly rounding: Rounding }>();

  async of(region: Region): Promise<Product> {
    const { graph, frame, expression } = region;
    const weightKey = region.keys.weight();
    const composition = await composeRegion(region);
    const { shape, layout, added, alpha } = composition;
    let known = this.#weights.get(weightKey);
    if (known?.tensor.shape.join() !== shape.join()) {
      const groups = frame.axis === 'channel' ? expression.geometry.groups : 1;
      const isBatched = frame.batch !== undefined;
      const rounding = new Rounding(frame.type, { shape, layout, groups, isBatched });
      const parts = rounding.watch(composition.weight());
      known = { tensor: await scratchTensor(graph.model, '', frame.type, shape, parts), rounding };
      this.#weights.set(weightKey, known);
    }
    const { tensor, rounding } = known;
    const problem =
      rounding.problem(added, alpha) ??
      whyCancelled(composition) ??
      (await whyUnderflown(region, rounding.empty(added)));
    return { composition, weight: tensor, problem };
  }
}

/** How many times the size of an output its bias may be, where the mean of a normalization takes most of it away again. */
const MOST_CANCELLED = 2 ** 10;

/** The reason where the bias of a normalization and its mean nearly cancel, so that rounding decides what is left. */
function whyCancelled({ added, normalized }: Composition): string | undefined {
  if (added === undefined || normalized === undefined) return undefined;
  const { factors, summands } = normalized;
  const lost = added.findIndex((value, i) => {
    const size = Math.abs(factors[i] as number) + Math.abs(summands[i] as number);
    return Math.abs(value) > MOST_CANCELLED * size;
  });
  return lost < 0
    ? undefined
    : `the folded bias of channel ${lost} (${(added[lost] as number).toPrecision(3)}) and the mean would cancel, and what is left would be rounding`;
}

/** The reason where outputs of which nothing is left are no zeros, but products below the smallest number of float64. */
async function whyUnderflown(
  { expression, target }: Region,
  empty: readonly number[],
): Promise<string | undefined> {
  if (empty.length === 0) return undefined;
  const reached = await reachedOutputs(expression);
  const lost = target.isUniform ? 0 : empty.find((output) => reached[output]);
  return lost === undefined || !reached[lost]
    ? undefined
    : `the folded constants of output channel ${lost} would vanish, being less than float64 can hold`;
}
