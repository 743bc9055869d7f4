import { defaultsOf, type OptionDescriptors } from '../../graph/option-descriptors.js';
import type { ProductPlace } from '../../linalg/matrix.js';
import type { SessionOptions } from '../../runtime/types.js';
import type { OnProgress } from '../account.js';

/** Options of collapse. */
export interface CollapseOptions {
  /**
   * Fold chains of linear nodes alone: the exact inverse of expand. Otherwise every affine region is folded:
   * BatchNormalization, residual and parallel linear branches, scales and shifts too.
   */
  readonly chainsOnly?: boolean;
  /** Fold affine regions also where that takes more parameters or multiply-adds than before. */
  readonly force?: boolean;
  /** Run each chain and region before it is folded, beside what it becomes, on a random input. */
  readonly explain?: boolean;
  /** Where large products of factors run, in float64; default the CPU. */
  readonly products?: ProductPlace | undefined;
  /** Where `explain` runs regions; default the CPU. */
  readonly probes?: Pick<SessionOptions, 'providers' | 'device'> | undefined;
  /** Match only: the account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  /**
   * Between two regions, it ends the pass with its reason. What was rewritten until then stays: the model is valid, and computes what it
   * did. Work on a clone to have all or nothing.
   */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

/** The options of `collapse` that one value describes. */
export const COLLAPSE_OPTIONS = {
  chainsOnly: {
    kind: 'flag',
    help: 'fold only chains, as expand makes them; leave normalizations and branches',
  },
  force: { kind: 'flag', help: 'fold regions even where that costs parameters or multiply-adds' },
  explain: {
    kind: 'flag',
    help: 'compare each region with what it becomes, on a random input in onnxruntime',
  },
} as const satisfies OptionDescriptors;

/** The defaults of CollapseOptions. */
export const COLLAPSE_DEFAULTS: Required<CollapseOptions> = {
  ...defaultsOf(COLLAPSE_OPTIONS),
  products: undefined,
  probes: undefined,
  dryRun: false,
  onProgress: undefined,
  signal: undefined,
};
