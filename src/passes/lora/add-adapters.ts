import type { Pass } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { type AddAdaptersOptions, addAdaptersSettings, type LoraInit } from './options.js';

export type { AddAdaptersOptions, LoraInit, LoraSettings } from './options.js';
export { ADD_ADAPTERS_DEFAULTS } from './options.js';

const NAME = 'add-adapters';

/** One layer that has an adapter beside it. */
export interface AdaptedLayer {
  readonly node: string;
  readonly op: string;
  readonly weight: string;
  /** As PEFT calls it. */
  readonly module: string;
  readonly outputs: number;
  readonly inputs: number;
  readonly rank: number;
  /** What the product of the factors is multiplied by. */
  readonly scale: number;
  /** How the factors began; 'given' where the adapter was there already. */
  readonly init: LoraInit | 'given';
  /** Elements of the weight; 0 where a layer before shares it. */
  readonly parameters: number;
  /** Elements of the factors; 0 where a layer before shares them. */
  readonly trained: number;
  /** Names of the nodes of the adapter. */
  readonly nodes: readonly string[];
}

/** What addAdapters returns: which layers have adapters now, and which were skipped and why. */
export interface AddAdaptersAccount {
  readonly rewritten: readonly AdaptedLayer[];
  readonly skipped: readonly Skipped[];
  /** Modules of given adapters that were not applied, and why. */
  readonly unapplied: readonly { readonly module: string; readonly reason: string }[];
  /** Patterns that matched no layer: most likely misspelt. */
  readonly unmatched: readonly string[];
  /** Calls of the model's own functions that were replaced by their nodes, since a weight is passed to them. */
  readonly inlined: readonly string[];
}

/**
 * Puts a low-rank adapter beside each linear layer: y = W x + scale * B A x. `train` then trains A and B alone, and `collapse` folds them
 * into W, in float64, rounded once. With `adapters`, which readAdapter reads from a PEFT folder, those are put beside the layers of their
 * names. (Hu et al., "LoRA", arXiv 2106.09685.)
 *
 * @throws OptionError for options out of range; `model.apply` then ModelError where a weight cannot be read
 * @example
 * const model = await readModel('model.onnx');
 * const [account] = await model.apply(addAdapters({ rank: 8, only: ['*q_proj*', '*v_proj*'] }));
 * await saveModel(model, 'adapted.onnx');
 */
export function addAdapters(options: AddAdaptersOptions = {}): Pass<AddAdaptersAccount> {
  const settings = addAdaptersSettings(options);
  return {
    name: NAME,
    inPlace: !settings.dryRun,
    // What adds them is loaded where something is added: programs that import the verb start without.
    run: async (model) => new (await import('./adding.js')).Adding(model, settings).run(),
  };
}
