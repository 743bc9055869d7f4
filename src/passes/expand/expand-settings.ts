import { LINEAR_OPS, type LinearOp } from '../../affine/linear-sites.js';
import type { OnProgress } from '../account.js';
import { CHAIN_DEFAULTS, type ChainOptions, checkChainOptions, isFresh } from './chain-options.js';
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

export const EXPAND_DEFAULTS = {
  ...CHAIN_DEFAULTS,
  only: [],
  exclude: [],
  ops: [],
  minSize: 0,
  recipe: [],
  seed: 0,
  dryRun: false,
  onProgress: undefined,
} as const satisfies Required<ExpandOptions>;

export type Settings = Required<ExpandOptions>;

/**
 * Options with their defaults.
 *
 * @throws RangeError for those out of range
 */
export function settingsOf(options: ExpandOptions): Settings {
  const settings: Settings = { ...EXPAND_DEFAULTS, ...options };
  checkChainOptions(settings);
  const { minSize, ops, gain, noise } = settings;
  if (!Number.isInteger(minSize) || minSize < 0) {
    throw new RangeError(`minSize must be a whole number of at least 0, not ${minSize}`);
  }
  for (const key of ['only', 'exclude'] as const) {
    if (settings[key].includes('')) throw new RangeError(`${key}: a pattern must not be empty`);
  }
  for (const op of ops) checkOp(op);
  const recipe = within('recipe', () => parseRecipe(settings.recipe));
  const inits = [settings.init, ...recipe.flatMap(({ init }) => init ?? [])];
  if (gain !== undefined && !inits.some(isFresh)) {
    throw new RangeError('gain goes with a fresh init, and no site has one');
  }
  if (noise > 0 && inits.every(isFresh))
    throw new RangeError('noise goes with an init that is not fresh, and all are');
  const isResidual = settings.residual || recipe.some(({ residual }) => residual === true);
  for (const key of ['residualIntervals', 'residualMode'] as const) {
    if (options[key] !== undefined && !isResidual)
      throw new RangeError(`${key} goes with residual, and no site has it`);
  }
  return { ...settings, recipe };
}

/** @throws RangeError for an operator that no site has */
export function checkOp(op: string): void {
  if (!LINEAR_OPS.some((name) => name === op)) {
    throw new RangeError(`ops must be some of ${LINEAR_OPS.join(', ')}, not ${op}`);
  }
}

function within<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new RangeError(`${what}: ${error.message}`, { cause: error });
    throw error;
  }
}
