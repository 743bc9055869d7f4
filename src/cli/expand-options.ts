import { ModelError } from '../graph/errors.js';
import { readText } from '../graph/io/pipe.js';
import { described, type OptionDescriptors } from '../graph/option-descriptors.js';
import { EXPAND_OPTIONS, type ExpandOptions, type Recipe } from '../passes/expand/options.js';
import { parseRecipeText, recipeFormat } from '../passes/expand/recipe.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';

/** What decides which layers become chains, and of what kind. */
export const EXPAND_ARGUMENTS = {
  ...EXPAND_OPTIONS,
  byRank: {
    kind: 'flag',
    help: 'factorize each layer into two, as wide in between as the rank of its weight, if that saves parameters',
  },
  recipe: {
    kind: 'text',
    help: 'JSON or YAML file with settings by layer name; --dry-run --format json prints one to edit',
  },
} as const satisfies OptionDescriptors;

/** The options of the pass, or UsageError; ModelError for a recipe file that is none. */
export async function expandOptionsOf(args: Given<typeof EXPAND_ARGUMENTS>): Promise<ExpandOptions> {
  const { byRank, recipe: file } = args;
  const options = described(EXPAND_OPTIONS, args);
  if (byRank) {
    const other = (['width', 'depth'] as const).find((name) => options[name] !== undefined);
    if (file !== undefined || other !== undefined)
      throw new UsageError(`--by-rank settles what --${file === undefined ? other : 'recipe'} would`);
  }
  if (file !== undefined) return { ...options, recipe: await readRecipe(file) };
  // A recipe says itself which layers have residual connections.
  const impliesResidual = options.residualIntervals !== undefined || options.residualMode !== undefined;
  return { ...options, residual: options.residual ?? impliesResidual };
}

async function readRecipe(file: string): Promise<Recipe> {
  const text = await readText(file);
  try {
    return await parseRecipeText(text, recipeFormat(file));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}
