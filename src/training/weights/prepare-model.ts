import type { Model } from '../../graph/index.js';
import { matching } from '../../graph/names/glob.js';
import {
  ownWeights,
  showWeights,
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
 * @returns the names of the copies, and of calls of functions that gave way to their nodes
 */
export function prepareModel(
  model: Model,
  options: TrainOptions,
): { readonly untied: readonly string[]; readonly calls: readonly string[] } {
  const { output, head, seed } = options;
  const name = output ?? model.graph.outputs[0]?.name ?? '';
  const calls = showWeights(model, name);
  const copied = new Set(model.graph.nodes.flatMap((node) => (node.is('Identity') ? node.outputs : [])));
  const owned = ownWeights(model, name).filter((one) => copied.has(one));
  const filled = untieWeights(model, name);
  const isShared = sharedAmong(model, name, options.untie);
  if (isShared !== undefined) calls.push(...showWeights(model, name, isShared));
  const shared = isShared === undefined ? [] : untieShared(model, name, isShared);
  if (head !== undefined) calls.push(...replaceHead(model, { outputs: head, output, seed }).calls);
  return { calls, untied: [...owned, ...filled, ...shared] };
}

/** Which of the weights that layers share are to be untied; undefined where none is. */
function sharedAmong(
  model: Model,
  output: string,
  globs: TrainOptions['untie'],
): ((name: string) => boolean) | undefined {
  if (globs === undefined || globs.length === 0) return undefined;
  const tied = tiedWeights(model, output, trainableWeights(inlined(model).graph, output)).map(
    ({ name }) => name,
  );
  const told = { option: 'untie', what: 'weight that layers share', file: model.path };
  const isMeant = matching(globs, tied, told);
  return (name) => tied.includes(name) && isMeant(name);
}
