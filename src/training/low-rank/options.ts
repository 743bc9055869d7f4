import type { DescriptorsFor } from '../../graph/option-descriptors.js';

/** The matrices that the kernel of a convolution can be cut as. */
export const PRUNED_FORMS = ['channel', 'spatial'] as const;
/** The matrix that the kernel of a convolution is cut as: an element of PRUNED_FORMS. */
export type PrunedForm = (typeof PRUNED_FORMS)[number];

/** Options of trained rank pruning. */
export interface RankPruningOptions {
  /** Steps from one pruning to the next; default 20. */
  readonly interval?: number | undefined;
  /**
   * The most that a pruning drops: the sum of the squares of the singular values dropped is no more than this share of
   * the sum of all; default 0.02. 0 drops nothing.
   */
  readonly energy?: number | undefined;
  /** Coefficient λ of the nuclear norm ‖W‖* (the sum of the singular values) in the loss; default 0.0003. */
  readonly nuclear?: number | undefined;
  /**
   * The matrix of a convolution's kernel: 'channel' (default), outputs x (inputs * kh * kw), whose low rank makes a convolution of fewer
   * channels and a 1 x 1; 'spatial', (inputs * kh) x (outputs * kw), a kh x 1 and a 1 x kw. Other layers have one matrix.
   */
  readonly form?: PrunedForm | undefined;
}

/** The interval and λ of the paper; the authors' program has an interval of 1 and an energy of 0.1. */
export const RANK_PRUNING_DEFAULTS = {
  interval: 20,
  energy: 0.02,
  nuclear: 0.0003,
  form: 'channel',
} as const;

const GROUP = { group: 'Low rank' } as const;

/** Fields of `rankPruning`. */
export const RANK_PRUNING_OPTIONS = {
  interval: {
    kind: 'integer',
    min: 1,
    default: RANK_PRUNING_DEFAULTS.interval,
    flag: 'trp-interval',
    ...GROUP,
    help: 'steps between cuts',
  },
  energy: {
    kind: 'number',
    min: 0,
    below: 1,
    default: RANK_PRUNING_DEFAULTS.energy,
    flag: 'trp-energy',
    ...GROUP,
    help: 'share of the squared singular values that a cut may drop',
  },
  nuclear: {
    kind: 'number',
    min: 0,
    default: RANK_PRUNING_DEFAULTS.nuclear,
    ...GROUP,
    help: 'coefficient of the nuclear norm in the loss',
  },
  form: {
    kind: 'choice',
    choices: PRUNED_FORMS,
    default: RANK_PRUNING_DEFAULTS.form,
    flag: 'trp-form',
    ...GROUP,
    help: 'matrix of a kernel: by output channel, or by space, for a kh x 1 and a 1 x kw convolution',
  },
} as const satisfies DescriptorsFor<RankPruningOptions>;
