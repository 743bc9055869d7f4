import { checkOptions, type OptionDescriptors, OptionError } from '../../graph/option-descriptors.js';

/** Which rows chains that `expand` wrote have: what they multiply out to, their factors, or both. */
export const CHAIN_VIEWS = ['product', 'factors', 'both'] as const;
/** Which weights of a chain are looked at: an element of CHAIN_VIEWS. */
export type ChainView = (typeof CHAIN_VIEWS)[number];

/** As which matrix a convolution is looked at; see SpectrumOptions. */
export const CONV_VIEWS = ['matricized', 'slices', 'operator'] as const;
/** How a convolution is seen as matrices: an element of CONV_VIEWS. */
export type ConvView = (typeof CONV_VIEWS)[number];

/** The options of `rankReport` that one value describes. */
export const RANK_OPTIONS = {
  rank: { kind: 'integer', min: 0, help: 'add a column: distance to the nearest matrix of this rank' },
  randomized: { kind: 'flag', help: 'compare with the weights in random order (takes twice as long)' },
  seed: { kind: 'integer', min: 0, default: 0, help: 'seed of the random order and of the samples' },
  chains: {
    kind: 'choice',
    choices: CHAIN_VIEWS,
    default: 'both',
    help: 'chains that expand wrote: their product, the factors, or both',
  },
  convView: {
    kind: 'choice',
    choices: CONV_VIEWS,
    default: 'matricized',
    help: 'convolutions as out x (in*kernel), as the slices of the kernel, or as operators on inputs of a given size',
  },
  inputSize: {
    kind: 'integer',
    min: 1,
    help: 'height and width of the inputs of every convolution, for the operators',
  },
} as const satisfies OptionDescriptors;

/** @throws OptionError for options of `rankReport` that are out of range, or do not go together */
export function checkRankOptions(options: object): void {
  const { convView = 'matricized', inputSize } = checkOptions(RANK_OPTIONS, options);
  if (convView === 'operator' && inputSize === undefined)
    throw new OptionError('convView', 'operator needs the size of its inputs: `inputSize: 32`');
  if (convView !== 'operator' && inputSize !== undefined)
    throw new OptionError('inputSize', "goes with `convView: 'operator'`");
}
