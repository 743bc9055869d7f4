/** Names that options take, apart from what makes them, so that a line of help loads nothing. */
export const OPTIMIZER_NAMES = ['sgd', 'adam', 'adamw', 'rmsprop', 'adagrad'] as const;

export const SCHEDULE_KINDS = ['constant', 'step', 'cosine', 'one-cycle'] as const;

/** Random weights to begin with. */
export const FRESH_INITS = ['kaiming', 'xavier', 'normal', 'uniform'] as const;
