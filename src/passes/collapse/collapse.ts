import type { Pass } from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import type { CollapseAccount } from './account.js';
import { COLLAPSE_DEFAULTS, COLLAPSE_OPTIONS, type CollapseOptions } from './options.js';

export type { CollapseAccount, CollapsedChain } from './account.js';
export { COLLAPSE_DEFAULTS, type CollapseOptions } from './options.js';

const NAME = 'collapse';

/**
 * Folds chains of linear nodes, and with `chainsOnly: false` (the default) every other affine region, into single
 * nodes, in float64, rounding once. Chains that `expand` made get their node and weight names back; what says nothing
 * of itself is folded where that costs no parameters and no multiply-adds. Exact up to rounding: what would not be is
 * skipped, with the reason.
 *
 * @throws OptionError for options out of range; `model.apply` then ModelError where a weight cannot be read, and for functions that
 *   stand for more nodes than fit the memory limit
 * @example
 * const model = await readModel('trained.onnx');
 * const [account] = await model.apply(collapse());
 * await saveModel(model, 'deploy.onnx');
 */
export function collapse(options: CollapseOptions = {}): Pass<CollapseAccount> {
  checkOptions(COLLAPSE_OPTIONS, options);
  const settings = { ...COLLAPSE_DEFAULTS, ...options };
  return {
    name: NAME,
    inPlace: !settings.dryRun,
    // What folds is loaded where something is: programs that import the verb start without.
    run: async (model) => (await import('./folding.js')).folded(model, settings),
  };
}
