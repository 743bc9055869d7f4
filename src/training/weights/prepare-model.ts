import { matching } from '../../graph/glob.js';
import type { Model } from '../../graph/index.js';
import {
  ownWeights,
  tiedWeights,
  trainableWeights,
  untieShared,
  untieWeights,
} from '../../passes/gradient/index.js';
import { inlined } from '../../passes/gradient/prepare/inline.js';
import { replaceHead } from '../../passes/rewrite/replace-head.js';
import type { TrainOptions } from '../options.js';

/**
 * What a training changes of a model besides numbers: weights that nodes hold become initializers, layers get copies of their
 * own of what they shared by chance or are not to share, a fresh last layer comes in place of the old. The same model
 * and options give the same result.
 *
 * @returns the names of the copies
 */
export function prepareModel(model: Model, options: TrainOptions): { readonly untied: readonly string[] } {
  const { output, head, seed } = options;
  if (head !== undefined) replaceHead(model, { outputs: head, output, seed });
  const name = output ?? model.graph.outputs[0]?.name ?? '';
  const copied = new Set(model.graph.nodes.flatMap((node) => (node.is('Identity') ? node.outputs : [])));
  const owned = ownWeights(model, name).filter((one) => copied.has(one));
  return { untied: [...owned, ...untieWeights(model, name), ...untieMatching(model, name, options.untie)] };
}

function untieMatching(model: Model, output: string, globs: TrainOptions['untie']): readonly string[] {
  if (globs === undefined || globs.length === 0) return [];
  const tied = tiedWeights(model, output, trainableWeights(inlined(model).graph, output)).map(
    ({ name }) => name,
  );
  const told = { option: 'untie', what: 'weight that layers share', file: model.path };
  const isMeant = matching(globs, tied, told);
  return untieShared(model, output, (name) => tied.includes(name) && isMeant(name));
}
