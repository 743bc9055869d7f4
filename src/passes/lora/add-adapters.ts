import type { Pass } from '../../graph/index.js';
import type { AddAdaptersAccount } from './account.js';
import { type AddAdaptersOptions, addAdaptersSettings } from './options.js';

export type { AdaptedLayer, AddAdaptersAccount } from './account.js';
export type { AddAdaptersOptions, LoraInit, LoraSettings } from './options.js';
export { ADD_ADAPTERS_DEFAULTS } from './options.js';

const NAME = 'add-adapters';

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
