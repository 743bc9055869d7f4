import type { Pass } from '../../graph/index.js';
import type { ExpandAccount } from './account.js';
import type { ExpandOptions } from './options.js';
import { settingsOf } from './selection.js';

export type { ExpandAccount, ExpandedSite } from './account.js';
export {
  type ChainOptions,
  EXPAND_INITS,
  type ExpandInit,
  type ExpandOptions,
  type Recipe,
  type RecipeRule,
} from './options.js';
export { parseRecipe } from './recipe.js';
export { EXPAND_DEFAULTS } from './selection.js';

const NAME = 'expand';

/**
 * Replaces every Gemm, MatMul, Conv and ConvTranspose with a constant weight by a chain of `depth` linear nodes that computes
 * the same function. Bias, alpha and beta stay on the last factor; a convolution's kernel, padding, stride and dilation
 * on the first (unless `kernelSizes` says otherwise), the others are 1x1 of the same groups. An Add that stands behind a
 * MatMul as its bias stays as it is. Biases and normalizations keep their values with `fresh:` inits as well. (Huh et al., "The Low-Rank Simplicity Bias in Deep
 * Networks", TMLR 2023, arXiv 2103.10427.)
 *
 * @throws OptionError for options out of range; `model.apply` then ModelError where a weight cannot be read, and for functions that stand
 *   for more nodes than fit the memory limit
 * @example
 * const model = await readModel('model.onnx');
 * const [account] = await model.apply(expand({ depth: 3 }));
 * await saveModel(model, 'expanded.onnx');
 */
export function expand(options: ExpandOptions = {}): Pass<ExpandAccount> {
  const settings = settingsOf(options);
  return {
    name: NAME,
    inPlace: !settings.dryRun,
    // What expands is loaded where something is: programs that import the verb start without.
    run: async (model) => new (await import('./expansion.js')).Expansion(model, settings).run(),
  };
}
