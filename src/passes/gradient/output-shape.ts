import type { Model } from '../../graph/index.js';
import { probe, type Sizes, settledInputs } from './prepare/infer-shapes.js';
import { inlinedFor } from './prepare/inline.js';
import { rebatched } from './prepare/rebatch.js';

/**
 * The shape that an output is computed with, whatever the file says of it. The model is run once on random inputs.
 *
 * @throws ModelError as `gradient` for sizes that are open, and where the model does not run
 */
export async function outputShape(
  model: Model,
  { output, ...sizes }: Sizes & { readonly output?: string | undefined },
): Promise<readonly number[]> {
  const inputs = settledInputs(model, sizes);
  const base = await rebatched(await inlinedFor(model, inputs), inputs);
  const name = output ?? base.graph.outputs[0]?.name ?? '';
  const { shapes } = await probe(base, inputs, [name]);
  return shapes.get(name) ?? [];
}
