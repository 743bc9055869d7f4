import { checkOption, OptionError } from '../../graph/option-descriptors.js';
import { isSearch, SEARCH_NAMES } from '../choices.js';
import { type CmaEsOptions, cmaEs } from './cma-es.js';
import { type LbfgsOptions, lbfgs } from './lbfgs.js';
import { type RandomSearchOptions, randomSearch } from './random-search.js';
import type { SearchRule } from './search-rule.js';

export type { CmaEsOptions, LbfgsOptions, RandomSearchOptions };
export { isSearch, SEARCH_NAMES };

/** The options of each search, by its name. */
export interface SearchOptions {
  readonly lbfgs: LbfgsOptions;
  readonly 'cma-es': CmaEsOptions;
  readonly 'random-search': RandomSearchOptions;
}

/** Name of a search: an optimizer that looks at all samples in each step. */
export type SearchName = keyof SearchOptions;

/** A search with its defaults. */
export interface Search<Options> {
  make(options?: Options): SearchRule;
  readonly learningRate: number;
  readonly weightDecay: number;
}

/** Optimizers of all weights at once, by the loss of all samples. */
export const SEARCHES: { readonly [Name in SearchName]: Search<SearchOptions[Name]> } = {
  lbfgs: { make: lbfgs, learningRate: 1, weightDecay: 0 },
  'cma-es': { make: cmaEs, learningRate: 0.1, weightDecay: 0 },
  'random-search': { make: randomSearch, learningRate: 1, weightDecay: 0 },
};

/**
 * A search by its name.
 *
 * @throws OptionError for a name that is unknown and options out of range
 * @example
 * const rule = search('lbfgs', { history: 20 });
 */
export function search<Name extends SearchName>(name: Name, options?: SearchOptions[Name]): SearchRule {
  checkOption({ kind: 'choice', choices: SEARCH_NAMES, help: '' }, name, 'optimizer');
  return SEARCHES[name].make(options);
}

/** Options of a training, as far as a search looks at them. */
interface GivenOptions {
  readonly optimizerOptions?: object | undefined;
  readonly batch?: number | undefined;
  readonly schedule?: { readonly kind: string } | undefined;
  readonly weightDecayKind?: string | undefined;
  readonly warmup?: number | undefined;
  readonly clipNorm?: number | undefined;
  readonly emaDecay?: number | undefined;
  readonly rankPruning?: object | undefined;
}

/**
 * Checks a search and the options that go with it.
 *
 * @param samples so many each step takes
 * @throws OptionError for those that a search has no use for
 */
export function checkSearchOptions(name: SearchName, options: GivenOptions, samples: number): void {
  search(name, options.optimizerOptions as SearchOptions[typeof name]);
  const { batch, schedule, weightDecayKind } = options;
  if (batch !== undefined && batch !== samples)
    throw new OptionError('batch', `must be left out: ${name} takes all ${samples} samples in each step`);
  if (schedule !== undefined && schedule.kind !== 'constant')
    throw new OptionError('schedule', `must be 'constant': ${name} finds its step lengths itself`);
  if (weightDecayKind === 'decoupled')
    throw new OptionError('weightDecayKind', `must be 'l2': ${name} takes it as a part of the loss`);
  for (const key of ['warmup', 'clipNorm', 'emaDecay', 'rankPruning'] as const)
    if (options[key] !== undefined) throw new OptionError(key, `cannot be used with ${name}`);
}
