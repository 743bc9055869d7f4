import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** The losses that gradient and train know. docs/training.md has the formula of each. */
export const LOSS_KINDS = ['cross-entropy', 'mse', 'l1', 'huber', 'bce', 'dot', 'sum'] as const;

/** How a node that differs between training and inference runs. */
export const MODES = ['training', 'inference'] as const;

/** How a training step computes a chain of factors that `expand` declared. */
export const CHAIN_STEPS = ['auto', 'product', 'factors'] as const;
/** An element of CHAIN_STEPS. */
export type ChainSteps = (typeof CHAIN_STEPS)[number];

/** Fields of a loss. */
export const LOSS_FIELDS = {
  smoothing: {
    kind: 'number',
    min: 0,
    below: 1,
    default: 0,
    alias: 'label-smoothing',
    group: 'Loss',
    help: 'label smoothing of cross-entropy',
  },
  temperature: {
    kind: 'number',
    above: 0,
    default: 1,
    group: 'Loss',
    help: 'divisor of the logits of cross-entropy, for distillation',
  },
  axis: { kind: 'integer', default: 1, group: 'Loss', help: 'axis of the classes in cross-entropy' },
  ignoreIndex: {
    kind: 'integer',
    group: 'Loss',
    help: 'label that cross-entropy and accuracy ignore, such as 255',
  },
  delta: {
    kind: 'number',
    above: 0,
    default: 1,
    group: 'Loss',
    help: 'where huber changes from squares to absolute values',
  },
} as const satisfies OptionDescriptors;

/** A loss, and what it reads. */
export const LOSS_OPTIONS = {
  loss: {
    kind: 'choice',
    choices: LOSS_KINDS,
    default: 'cross-entropy',
    group: 'Loss',
    help: 'the loss; dot is a vector-Jacobian product, sum the sum of the output',
  },
  softTargets: {
    kind: 'flag',
    group: 'Loss',
    help: 'the target of cross-entropy is one probability per class, not a label',
  },
  ...LOSS_FIELDS,
  prediction: {
    kind: 'text',
    defaultHelp: 'the first',
    group: 'Loss',
    help: 'output that the loss reads',
  },
} as const satisfies OptionDescriptors;

/** Less memory for more time. */
export const CHECKPOINTING_OPTION = {
  checkpointing: {
    kind: 'flag',
    group: 'Graph',
    help: 'compute the forward part a second time rather than keep it for the backward part: less memory, more time',
  },
} as const satisfies OptionDescriptors;

/** The options of `gradient` that one value describes. */
export const GRADIENT_OPTIONS = {
  wrt: {
    kind: 'patterns',
    defaultHelp: 'trainable weights',
    group: 'Graph',
    help: 'differentiate with respect to initializers and inputs whose name matches',
  },
  freeze: { kind: 'patterns', group: 'Graph', help: 'except those whose name matches' },
  weights: {
    kind: 'choice',
    choices: ['inputs', 'constants'],
    default: 'inputs',
    group: 'Graph',
    help: 'how the graph takes the weights',
  },
  batch: {
    kind: 'integer',
    min: 1,
    group: 'Graph',
    help: 'size of the first dimension of the inputs, if it is open or 1',
  },
  dims: {
    kind: 'dims',
    flag: 'dim',
    group: 'Graph',
    help: 'size of an open dimension: name=4 or x[1]=4',
  },
  batchNorm: {
    kind: 'choice',
    choices: MODES,
    default: 'training',
    group: 'Graph',
    help: 'normalize by the batch, or by the stored statistics',
  },
  dropout: {
    kind: 'choice',
    choices: MODES,
    default: 'training',
    group: 'Graph',
    help: 'drop elements, or none',
  },
  ...CHECKPOINTING_OPTION,
} as const satisfies OptionDescriptors;
