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
export type ExpandInit = (typeof EXPAND_INITS)[number];
export type FreshInit = Extract<ExpandInit, `fresh:${string}`>;

/** What a residual connection does where its two ends have different shapes: it is left out, or has a learned projection. */
export const RESIDUAL_MODES = ['none', 'learn'] as const;
export type ResidualMode = (typeof RESIDUAL_MODES)[number];

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

export const CHAIN_DEFAULTS = {
  depth: 2,
  width: 1,
  init: 'balanced',
  gain: undefined,
  noise: 0,
  allowLossy: false,
  kernelSizes: [],
  residual: false,
  residualIntervals: [2],
  residualMode: 'none',
  batchNorm: false,
} as const satisfies Required<ChainOptions>;

/** What a chain is made by. */
export type ChainSettings = Required<ChainOptions> & { readonly seed: number };

/** All orders of splitting a kernel are compared; their number grows as 4^n. */
const MOST_KERNELS = 8;

/** @throws RangeError for those out of range */
export function checkChainOptions(options: ChainOptions): void {
  const { depth, width, init, gain, noise, kernelSizes, residualIntervals, residualMode } = options;
  if (depth !== undefined && (!Number.isInteger(depth) || depth < 1)) {
    throw new RangeError(`depth must be a whole number of at least 1, not ${depth}`);
  }
  if (width !== undefined && !isPositive(width)) {
    throw new RangeError(`width must be a positive number, not ${width}`);
  }
  if (init !== undefined && !EXPAND_INITS.includes(init)) {
    throw new RangeError(`init must be one of ${EXPAND_INITS.join(', ')}, not ${init}`);
  }
  if (gain !== undefined && !isPositive(gain)) {
    throw new RangeError(`gain must be a positive number, not ${gain}`);
  }
  if (noise !== undefined && !(noise >= 0 && Number.isFinite(noise))) {
    throw new RangeError(`noise must be a number of at least 0, not ${noise}`);
  }
  if (residualMode !== undefined && !RESIDUAL_MODES.includes(residualMode)) {
    throw new RangeError(`residualMode must be one of ${RESIDUAL_MODES.join(', ')}, not ${residualMode}`);
  }
  if (residualIntervals?.length === 0) throw new RangeError('residualIntervals must not be empty');
  for (const interval of residualIntervals ?? []) {
    if (!isInterval(interval)) {
      throw new RangeError(
        `residualIntervals must be whole numbers of at least 1, or -1 for the whole chain, not ${interval}`,
      );
    }
  }
  const sizes = new Set<number>();
  for (const list of kernelSizes ?? []) {
    if (
      !Array.isArray(list) ||
      list.length === 0 ||
      !list.every((size) => Number.isInteger(size) && size >= 1)
    ) {
      throw new RangeError(
        `kernelSizes must be lists of whole numbers of at least 1, not ${JSON.stringify(list)}`,
      );
    }
    if (list.length > MOST_KERNELS)
      throw new RangeError(`kernelSizes may have ${MOST_KERNELS} kernels in a list`);
    const size = effectiveSize(list);
    if (sizes.has(size))
      throw new RangeError(`kernelSizes has two lists that compose to a kernel of ${size}`);
    sizes.add(size);
  }
}

/** Layers that a residual connection goes around: a whole number, or -1 for all. */
export function isInterval(value: number): boolean {
  return Number.isInteger(value) && (value >= 1 || value === -1);
}

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

function isPositive(value: number): boolean {
  return value > 0 && Number.isFinite(value);
}
