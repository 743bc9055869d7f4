import type { DescriptorsFor } from '../graph/option-descriptors.js';

/** The kinds of networks that newNetwork makes: a multilayer perceptron and a convolutional network. */
export const NETWORK_KINDS = ['mlp', 'cnn', 'resnet'] as const;
/** Name of a kind of network: an element of NETWORK_KINDS. */
export type NetworkKind = (typeof NETWORK_KINDS)[number];

/** The activations of newNetwork. */
export const ACTIVATIONS = ['linear', 'relu', 'leaky-relu', 'tanh', 'gelu', 'selu', 'sin'] as const;
/** Name of an activation: an element of ACTIVATIONS. */
export type Activation = (typeof ACTIVATIONS)[number];

/** The initializations of newNetwork, which has their formulas. */
export const INITIALIZATIONS = ['normal', 'uniform', 'kaiming', 'xavier', 'orthogonal', 'low-rank'] as const;
/** Name of an initialization: an element of INITIALIZATIONS. */
export type Initialization = (typeof INITIALIZATIONS)[number];

/** Options of newNetwork. */
export interface NetworkOptions {
  /** Shape of a sample: `[features]` of an MLP (default 32), `[channels, height, width]` of the others (default 1, 28, 28). */
  readonly inputs?: readonly number[] | undefined;
  /** Features of the output; default 10. */
  readonly outputs?: number | undefined;
  /** Linear layers of an MLP, convolutions of a CNN, blocks of a residual network; default 3. */
  readonly depth?: number | undefined;
  /** Hidden features of an MLP, channels of a CNN, of a residual network in its first blocks; default 32. */
  readonly width?: number | undefined;
  /** Extents of the kernels of a CNN and of the blocks of a residual network, odd; default 3. */
  readonly kernel?: number | undefined;
  /** Between the layers, and behind each convolution; nothing stands behind the last layer. Default 'relu'. */
  readonly activation?: Activation | undefined;
  /** How weights are drawn; see newNetwork. Default 'kaiming'. */
  readonly init?: Initialization | undefined;
  /** Rank of each weight with `init: 'low-rank'`; default 1. */
  readonly rank?: number | undefined;
  /** Layers have no bias; otherwise it begins with zeros. */
  readonly noBias?: boolean | undefined;
  /** Of the weights; default 0. */
  readonly seed?: number | undefined;
}

export const NETWORK_OPTIONS = {
  inputs: {
    kind: 'integers',
    min: 1,
    defaultHelp: '32 of an MLP, 1,28,28 of the others',
    help: 'shape of a sample: features, or channels, height and width',
  },
  outputs: { kind: 'integer', min: 1, default: 10, help: 'features of the output' },
  depth: {
    kind: 'integer',
    min: 1,
    max: 1000,
    default: 3,
    help: 'linear layers of an MLP, convolutions of a CNN, blocks of a resnet',
  },
  width: { kind: 'integer', min: 1, default: 32, help: 'hidden features of an MLP, channels of the others' },
  kernel: {
    kind: 'integer',
    min: 1,
    max: 99,
    default: 3,
    help: 'extent of the kernels, odd; of an mlp none',
  },
  activation: {
    kind: 'choice',
    choices: ACTIVATIONS,
    default: 'relu',
    help: 'activation between the layers; none after the last',
  },
  init: { kind: 'choice', choices: INITIALIZATIONS, default: 'kaiming', help: 'how weights are drawn' },
  rank: { kind: 'integer', min: 1, default: 1, help: 'rank of each weight of the initialization low-rank' },
  noBias: { kind: 'flag', default: false, help: 'layers without a bias' },
  seed: { kind: 'integer', default: 0, help: 'seed of the weights' },
} as const satisfies DescriptorsFor<NetworkOptions>;
