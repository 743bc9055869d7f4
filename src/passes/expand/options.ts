import { LINEAR_OPS, type LinearOp } from '../../affine/linear-site.js';
import { type DescriptorsFor, defaultsOf, type OptionDescriptors } from '../../graph/option-descriptors.js';
import type { OnProgress } from '../account.js';

/** How the factors of a chain begin. Those of `fresh:` forget the weight: they are for training from scratch. */
export const EXPAND_INITS = [
  'balanced',
  'identity',
  'orthogonal',
  'fresh:kaiming',
  'fresh:xavier',
  'fresh:orthogonal',
  'fresh:normal',
  'fresh:uniform',
] as const;
/** How the factors of a chain begin: an element of EXPAND_INITS. */
export type ExpandInit = (typeof EXPAND_INITS)[number];
export type FreshInit = Extract<ExpandInit, `fresh:${string}`>;

/** What a residual connection does where its two ends have different shapes: it is left out, or has a learned projection. */
const RESIDUAL_MODES = ['none', 'learn'] as const;
/** Which factors of a chain stand beside an identity: an element of RESIDUAL_MODES. */
export type ResidualMode = (typeof RESIDUAL_MODES)[number];

/** Why a site is left out that the options leave out. */
export const NOT_SELECTED = 'not selected';
export const SKIPPED_BY_RECIPE = `${NOT_SELECTED}: a rule of the recipe skips it`;

/** What is settled for each site by itself. */
export interface ChainOptions {
  /** Linear layers per chain, >= 1; 1 changes nothing. */
  readonly depth?: number;
  /** Hidden width of a chain relative to the outputs of its site (of each group), > 0. */
  readonly width?: number;
  /**
   * 'balanced': the factors satisfy W_{i+1}^T W_{i+1} = W_i W_i^T (Arora, Cohen & Hazan 2018).
   * 'identity': the weight as one factor, identities for the rest.
   * 'orthogonal': balanced, and the hidden units of each layer turned by a random rotation, so that factors are dense.
   * 'fresh:…': random weights, see freshFactor; the model no longer computes what it did.
   */
  readonly init?: ExpandInit;
  /**
   * Gain of the last factor of a fresh chain, > 0; the others have 1. By default that of the activation that reads the
   * site: sqrt 2 for Relu, sqrt(2 / (1 + alpha^2)) for LeakyRelu, 5/3 for Tanh, 3/4 for Selu, 1 for others.
   */
  readonly gain?: number | undefined;
  /**
   * Normal noise that is added to each factor, relative to the root mean square of its elements, >= 0. It is added at
   * the end: the factors are then neither balanced nor exact, but within some `noise`.
   */
  readonly noise?: number;
  /**
   * A width below the rank gives the product of that rank with the smallest ‖W - product‖F (Eckart & Young 1936), instead
   * of a refusal. Not with 'identity', nor where a chain has several kernels.
   */
  readonly allowLossy?: boolean;
  /**
   * Kernels of the factors of a convolution, in the order of application, each list for the sites whose kernel has the
   * size sum(k_i) - (n - 1) that the list composes to; the list is the depth there. Others keep their kernel in one factor.
   */
  readonly kernelSizes?: readonly (readonly number[])[];
  /** Add residual connections within chains. The factors are chosen so that chain and connections together compute the same. */
  readonly residual?: boolean;
  /**
   * With an interval of n, the input of every n-th layer is added to the output of the layer n - 1 behind it; -1 is the whole
   * chain. Several intervals add their connections together, as in minyoungg/overparam.
   */
  readonly residualIntervals?: readonly number[];
  /**
   * 'none': only where both ends have the same shape. 'learn': elsewhere a linear layer (of a convolution 1x1, with its stride)
   * stands in the connection; it begins with zeros, with a fresh init at random.
   */
  readonly residualMode?: ResidualMode;
  /** A BatchNormalization behind each factor; in inference it begins as the identity. */
  readonly batchNorm?: boolean;
}

/** All orders of splitting a kernel are compared; their number grows as 4^n. */
const MOST_KERNELS = 8;

/** The options of a chain; recipes have all of them as keys. */
export const CHAIN_OPTIONS = {
  depth: {
    kind: 'integer',
    min: 1,
    max: 1000,
    default: 2,
    help: 'linear layers per chain; 1 changes nothing',
    recipe: 'always',
  },
  width: {
    kind: 'number',
    above: 0,
    default: 1,
    help: 'hidden width relative to the outputs of the layer',
    recipe: 'always',
  },
  init: {
    kind: 'choice',
    choices: EXPAND_INITS,
    default: 'balanced',
    help: 'balanced: factors of equal spectra; identity: the weight and identities; orthogonal: balanced, with hidden units rotated; fresh: random weights, for training from scratch',
    recipe: 'always',
  },
  gain: {
    kind: 'number',
    above: 0,
    defaultHelp: 'that of the activation that follows',
    help: 'gain of the last factor of a fresh init',
    recipe: 'changed',
  },
  noise: {
    kind: 'number',
    min: 0,
    default: 0,
    help: 'normal noise added to the factors, relative to their root mean square',
    recipe: 'changed',
  },
  allowLossy: {
    kind: 'flag',
    help: 'if the width is below the rank, take the closest product and report its error',
    recipe: 'changed',
  },
  kernelSizes: {
    kind: 'lists',
    min: 1,
    longest: MOST_KERNELS,
    composed: { of: effectiveSize, name: 'kernel' },
    help: 'kernel sizes of the factors, for the size that they compose to: 5=3,3 7=3,3,3',
    recipe: 'changed',
  },
  residual: {
    kind: 'flag',
    help: 'residual connections within the chains; the function stays the same',
    recipe: 'changed',
  },
  residualIntervals: {
    kind: 'integers',
    min: 1,
    or: { value: -1, means: 'the whole chain' },
    default: [2],
    help: 'layers that a residual connection spans: 2, or several such as 1,2; -1 is the whole chain',
    needs: 'residual',
    recipe: 'changed',
  },
  residualMode: {
    kind: 'choice',
    choices: RESIDUAL_MODES,
    default: 'none',
    help: 'connections between different shapes: none, or learn, a projection that starts at zero',
    needs: 'residual',
    recipe: 'changed',
  },
  batchNorm: {
    kind: 'flag',
    help: 'a BatchNormalization after each factor, which starts as the identity',
    recipe: 'changed',
  },
} as const satisfies DescriptorsFor<ChainOptions>;

export const CHAIN_DEFAULTS: Required<ChainOptions> = defaultsOf(CHAIN_OPTIONS);

/** Settings for the sites whose node's name matches; what a rule does not set, the options of `expand` do. */
export interface RecipeRule extends ChainOptions {
  /** Glob on the node's name. */
  readonly match: string;
  /** Only nodes of this operator. */
  readonly op?: LinearOp;
  /** The sites stay as they are. */
  readonly skip?: boolean;
}

/** Rules in their order: of those that match a site, the first holds. */
export type Recipe = readonly RecipeRule[];

/** Options of expand. */
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
  /**
   * Between two layers, it ends the pass with its reason. What was rewritten until then stays: the model is valid, and computes what it
   * did. Work on a clone to have all or nothing.
   */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** The options of `expand` that one value describes; the recipe, the dry run and the progress are not among them. */
export const EXPAND_OPTIONS = {
  ...CHAIN_OPTIONS,
  only: { kind: 'patterns', help: "only nodes whose name matches: 'layer1.*', 'fc[12]'" },
  exclude: { kind: 'patterns', help: 'skip nodes whose name matches' },
  ops: {
    kind: 'choices',
    choices: LINEAR_OPS,
    anyCase: true,
    flag: 'op',
    help: `only nodes of these operators: ${LINEAR_OPS.join(', ')}`,
  },
  minSize: { kind: 'integer', min: 0, default: 0, help: 'only weights with at least this many elements' },
  seed: { kind: 'integer', min: 0, default: 0, help: 'seed of random weights, rotations and noise' },
} as const satisfies OptionDescriptors;

/** What a chain is made by. */
export type ChainSettings = Required<ChainOptions> & { readonly seed: number };

/** The kernel that a chain of kernels composes to: sum(k_i) - (n - 1). */
export function effectiveSize(kernels: readonly number[]): number {
  return kernels.reduce((sum, kernel) => sum + kernel - 1, 1);
}

export function isFresh(init: ExpandInit): init is FreshInit {
  return init.startsWith('fresh:');
}

/** Whether a chain computes what its site did, to the rounding of the weight's type. */
export function isPreserving({
  init,
  noise,
}: {
  readonly init: ExpandInit;
  readonly noise: number;
}): boolean {
  return !isFresh(init) && noise === 0;
}
