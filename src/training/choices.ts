/** Names that options take, apart from what makes them, so that a line of help loads nothing. */
export const OPTIMIZER_NAMES = ['sgd', 'adam', 'adamw', 'rmsprop', 'adagrad', 'muon'] as const;

/** Optimizers of all weights at once, by the loss of all samples. */
export const SEARCH_NAMES = ['lbfgs', 'cma-es', 'random-search'] as const;

/** Whether an optimizer is one of them. */
export function isSearch(name: string): name is (typeof SEARCH_NAMES)[number] {
  return (SEARCH_NAMES as readonly string[]).includes(name);
}

export const TRAINER_NAMES = [...OPTIMIZER_NAMES, ...SEARCH_NAMES] as const;

/** Those that take a momentum. */
export const MOMENTUM_OPTIMIZERS: readonly string[] = ['sgd', 'rmsprop', 'muon'];

/** How weight decay enters: as the gradient of a penalty, or beside the optimizer's step. */
export const WEIGHT_DECAY_KINDS = ['l2', 'decoupled'] as const;
/** How weight decay enters: an element of WEIGHT_DECAY_KINDS. */
export type WeightDecayKind = (typeof WEIGHT_DECAY_KINDS)[number];

/** The shapes that a schedule of learning rates can have. */
export const SCHEDULE_KINDS = ['constant', 'step', 'cosine', 'one-cycle'] as const;

/** Random weights to begin with. */
export const FRESH_INITS = ['kaiming', 'xavier', 'normal', 'uniform'] as const;
