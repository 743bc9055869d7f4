import type { LinearOp } from '../../affine/linear-sites.js';
import { checkOptions, defaultsOf, OptionError } from '../../graph/option-descriptors.js';
import type { OnProgress } from '../account.js';
import { type ChainOptions, EXPAND_OPTIONS, isFresh } from './options.js';
import { parseRecipe, type Recipe } from './recipe.js';

export interface ExpandOptions extends ChainOptions {
  /** Patterns (`*`, `?`, `[a-z]`, `[!a-z]`, see glob): only the sites whose node's name matches one; default all. */
  readonly only?: readonly string[];
  /** Patterns: no site whose node's name matches one. */
  readonly exclude?: readonly string[];
  /** Only sites of these operators; default all. */
  readonly ops?: readonly LinearOp[];
  /** Only sites whose weight has at least so many elements. */
  readonly minSize?: number;
  /** Settings for some of the sites: the first rule whose pattern matches the node's name holds. */
  readonly recipe?: Recipe;
  /** Seed of the weights of hidden units beyond the rank, of rotations, of fresh weights and of noise. */
  readonly seed?: number;
  /** The account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export const EXPAND_DEFAULTS: Required<ExpandOptions> = {
  ...defaultsOf(EXPAND_OPTIONS),
  recipe: [],
  dryRun: false,
  onProgress: undefined,
};

export type Settings = Required<ExpandOptions>;

/**
 * Options with their defaults.
 *
 * @throws OptionError for those out of range
 */
export function settingsOf(options: ExpandOptions): Settings {
  const settings: Settings = {
    ...EXPAND_DEFAULTS,
    ...checkOptions(EXPAND_OPTIONS, options),
    recipe: parseRecipe(options.recipe ?? [], 'recipe'),
    dryRun: options.dryRun === true,
    onProgress: options.onProgress,
  };
  const { recipe, gain, noise } = settings;
  const inits = [settings.init, ...recipe.flatMap(({ init }) => init ?? [])];
  if (gain !== undefined && !inits.some(isFresh)) {
    throw new OptionError('gain', 'goes with a fresh init, and no layer has one');
  }
  if (noise > 0 && inits.every(isFresh))
    throw new OptionError('noise', 'goes with an init that is not fresh, and all are');
  const isResidual = settings.residual || recipe.some(({ residual }) => residual === true);
  for (const [key, descriptor] of Object.entries(EXPAND_OPTIONS)) {
    if (!('needs' in descriptor) || options[key as keyof ExpandOptions] === undefined || isResidual) continue;
    throw new OptionError(key, `goes with \`${descriptor.needs}\`, which no layer has`);
  }
  return settings;
}
