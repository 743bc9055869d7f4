import type { Node } from '../../graph/index.js';
import { glob } from '../../graph/names/glob.js';
import { checkOptions, defaultsOf, described, OptionError } from '../../graph/option-descriptors.js';
import type { Reason } from '../../graph/skipped.js';
import {
  CHAIN_OPTIONS,
  type ChainSettings,
  EXPAND_OPTIONS,
  type ExpandOptions,
  isFresh,
  NOT_SELECTED,
  type RecipeRule,
  SKIPPED_BY_RECIPE,
} from './options.js';
import { parseRecipe } from './recipe.js';

/** The defaults of ExpandOptions. */
export const EXPAND_DEFAULTS: Required<ExpandOptions> = {
  ...defaultsOf(EXPAND_OPTIONS),
  recipe: [],
  dryRun: false,
  onProgress: undefined,
  signal: undefined,
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
    signal: options.signal,
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

interface Pattern {
  readonly text: string;
  readonly matches: (name: string) => boolean;
  isUsed: boolean;
}

/** Which sites a run is for, and what holds for each. */
export class Selection {
  readonly #settings: Settings;
  readonly #only: readonly Pattern[];
  readonly #exclude: readonly Pattern[];
  readonly #rules: readonly (Pattern & { readonly rule: RecipeRule })[];

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#only = settings.only.map(patternOf);
    this.#exclude = settings.exclude.map(patternOf);
    this.#rules = settings.recipe.map((rule) => ({ ...patternOf(rule.match), rule }));
  }

  /** Whether a node's name and operator are among those selected. */
  isSelected(node: Node): boolean {
    const { ops } = this.#settings;
    // Each pattern is tried, so that those that match nothing are known at the end.
    const isOnly = use(this.#only, node.label) !== undefined || this.#only.length === 0;
    const isExcluded = use(this.#exclude, node.label) !== undefined;
    return isOnly && !isExcluded && (ops.length === 0 || ops.some((op) => op === node.opType));
  }

  /**
   * What holds for a site that is selected.
   *
   * @param size elements of its weight
   */
  settingsFor(node: Node, size: number): ChainSettings | Reason {
    const { minSize, seed } = this.#settings;
    const chain: ChainSettings = { ...described(CHAIN_OPTIONS, this.#settings), seed };
    const matching = this.#rules.filter(({ rule }) => rule.op === undefined || rule.op === node.opType);
    const found = use(matching, node.label);
    if (!this.isSelected(node) || size < minSize) return { reason: NOT_SELECTED };
    if (found?.rule.skip === true) return { reason: SKIPPED_BY_RECIPE };
    const { match: _match, op: _op, skip: _skip, ...own } = found?.rule ?? { match: '' };
    return { ...chain, ...own };
  }

  /** The patterns that matched no node. */
  get unmatched(): string[] {
    return [...this.#only, ...this.#exclude, ...this.#rules].flatMap(({ isUsed, text }) =>
      isUsed ? [] : text,
    );
  }
}

function patternOf(text: string): Pattern {
  return { text, matches: glob(text), isUsed: false };
}

/** The first pattern that matches; each that does is marked. */
function use<P extends Pattern>(patterns: readonly P[], name: string): P | undefined {
  const matching = patterns.filter(({ matches }) => matches(name));
  for (const pattern of matching) pattern.isUsed = true;
  return matching[0];
}
