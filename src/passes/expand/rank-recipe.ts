import { findExpandableSites } from '../../affine/linear-sites.js';
import { EPSILON, type Model, ModelError } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { decompose } from '../../linalg/decompose.js';
import { NotFiniteError } from '../../linalg/gram-eigen.js';
import type { OnProgress } from '../account.js';
import type { Recipe, RecipeRule } from './options.js';
import { CHAIN_DEFAULTS } from './options.js';
import { chainParameters, planOf } from './plan.js';
import { ruleOf } from './recipe.js';

/** What rankRecipe returns. */
export interface RankRecipe {
  /** For `expand`: a chain of two layers for each site that it makes smaller, the others skipped. */
  readonly recipe: Recipe;
  /** Sites that stay as they are, and why. */
  readonly skipped: readonly Skipped[];
}

/** Options of rankRecipe. */
export interface RankRecipeOptions {
  /** Between two layers, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/**
 * What factorizes a model without loss: each linear layer becomes two with as many units between them as its weight has
 * rank, where those have fewer parameters than one. Rank is told by the rounding of the weight's type, so the product of
 * the two is the weight. For models that were trained to low rank.
 *
 * @throws ModelError where a weight cannot be decomposed, for lack of memory, say
 * @example
 * const { recipe } = await rankRecipe(model);
 * await model.apply(expand({ recipe }));
 */
export async function rankRecipe(model: Model, options: RankRecipeOptions = {}): Promise<RankRecipe> {
  const recipe: RecipeRule[] = [];
  const skipped: Skipped[] = [];
  const { sites } = findExpandableSites(model);
  for (const [done, site] of sites.entries()) {
    const { node, op } = site;
    options.signal?.throwIfAborted();
    options.onProgress?.({ done, total: sites.length, what: node.label });
    const { type, matrices } = await site.matrices();
    let rank = 1;
    try {
      for (const matrix of matrices)
        rank = Math.max(rank, (await decompose(matrix, EPSILON[type])).values.length);
    } catch (error) {
      if (!(error instanceof NotFiniteError)) {
        // A weight without a rank would read as one that needs nothing done.
        const what = `cannot find the rank of its weight '${site.weight.value}': ${(error as Error).message}`;
        throw new ModelError(what, { node: node.label }, { cause: error });
      }
      skipped.push({ node: node.label, op, reason: `its weight ${error.message}` });
      recipe.push(ruleOf(node.label, undefined));
      continue;
    }
    const settings = { ...CHAIN_DEFAULTS, depth: 2, width: rank / site.outputs };
    const parameters = chainParameters(site, planOf(site, { ...settings, seed: 0 }));
    const isSmaller = parameters < site.rows * site.columns;
    recipe.push(ruleOf(node.label, isSmaller ? settings : undefined));
    if (!isSmaller)
      skipped.push({
        node: node.label,
        op,
        reason: `two layers of its rank ${rank} would have ${parameters} parameters, no fewer than its ${site.size}`,
      });
  }
  return { recipe, skipped };
}
