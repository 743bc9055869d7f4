import type { DescriptorsFor } from '../../graph/option-descriptors.js';

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
}

/** As the paper has them. */
export const RANK_PRUNING_DEFAULTS = { interval: 20, energy: 0.02, nuclear: 0.0003 } as const;

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
} as const satisfies DescriptorsFor<RankPruningOptions>;
