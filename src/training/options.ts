import type { OptionDescriptors } from '../graph/option-descriptors.js';
import type { Loss, LossKind } from '../passes/gradient/index.js';
import { CHAIN_STEPS, CHECKPOINTING_OPTION, type ChainSteps } from '../passes/gradient/options.js';
import type { ExecutionProvider } from '../runtime/index.js';
import {
  FRESH_INITS,
  OPTIMIZER_NAMES,
  TRAINER_NAMES,
  WEIGHT_DECAY_KINDS,
  type WeightDecayKind,
} from './choices.js';
import type { Monitor } from './events.js';
import type { RankPruningOptions } from './low-rank/options.js';
import type { OptimizerName, OptimizerOptions, OwnOptimizer } from './optimizers/index.js';
import type { ScheduleShape } from './optimizers/schedule.js';
import type { SearchName, SearchOptions } from './search/index.js';
import type { Dataset } from './types.js';
import type { FreshStart } from './weights/fresh-weights.js';

/** What an optimizer of `train` takes, by its name. */
export interface TrainerOptions extends OptimizerOptions, SearchOptions {}

/** Options of train. */
export interface TrainOptions<Name extends OptimizerName | SearchName = OptimizerName | SearchName> {
  /**
   * Default: for labels cross-entropy, or bce where the output is one number or a Sigmoid is its end; for other numbers bce
   * behind a Sigmoid, and mse.
   */
  readonly loss?: Loss | LossKind | undefined;
  /** The output that the loss reads; default the first. */
  readonly output?: string | undefined;
  /** Default 'adam'. 'lbfgs', 'cma-es' and 'random-search' look at all samples in each step, which is then an epoch. */
  readonly optimizer?: Name | OwnOptimizer | undefined;
  readonly optimizerOptions?: TrainerOptions[Name] | undefined;
  /** The highest rate of the schedule; default that of PyTorch's optimizer. */
  readonly learningRate?: number | undefined;
  /** Of the weights that decayedWeights names; default that of PyTorch's optimizer. */
  readonly weightDecay?: number | undefined;
  /**
   * 'l2': the gradient of weightDecay / 2 ‖W‖² enters the optimizer. 'decoupled': weights shrink beside its step. Default as
   * PyTorch's optimizer: 'decoupled' of adamw and muon, 'l2' of the others.
   */
  readonly weightDecayKind?: WeightDecayKind | undefined;
  /** Default 'cosine', down to 0 in the last step. */
  readonly schedule?: ScheduleShape | undefined;
  /** Epochs in which the rate rises from near 0, which may be a fraction. Default 0. */
  readonly warmup?: number | undefined;
  /** Default 10. */
  readonly epochs?: number | undefined;
  /** Samples a step; default 64, or all where there are fewer. The last samples of an epoch that fill no batch wait for another. */
  readonly batch?: number | undefined;
  /** Of shuffling, augmentation and fresh weights. Default 0. */
  readonly seed?: number | undefined;
  /** What tells the best epoch; it is not trained on. Default: the last epoch is the best. */
  readonly validation?: Dataset | undefined;
  /** Looked at once, with the weights that the result has. */
  readonly test?: Dataset | undefined;
  /** What of the validation is looked at; default accuracy where there are classes, otherwise the loss. */
  readonly monitor?: Monitor | undefined;
  /** Stop after this many epochs without an improvement; default never. */
  readonly patience?: number | undefined;
  /** The result has the weights of the best epoch (default), or those of the last. */
  readonly keepBest?: boolean | undefined;
  /** Globs of the initializers that are trained; default every trainable weight. */
  readonly only?: readonly string[] | undefined;
  /** Globs of those that are not. */
  readonly freeze?: readonly string[] | undefined;
  /**
   * Globs of weights that several layers share, each of which gets its own: exporters write weights that began equal only
   * once.
   */
  readonly untie?: readonly string[] | undefined;
  /** A fresh last layer with this many outputs in place of the model's; see replaceHead. */
  readonly head?: number | undefined;
  /** Begin with random weights; true is 'kaiming'. Default: with those that the model has. */
  readonly fromScratch?: boolean | FreshStart | undefined;
  /** Scale gradients down to this joint norm; default: leave them. */
  readonly clipNorm?: number | undefined;
  /** Validate, and return, moving averages of the weights with this decay (0.999, say); default: the weights. */
  readonly emaDecay?: number | undefined;
  /** Trained Rank Pruning with a nuclear-norm penalty: the result factorizes without loss. Not together with emaDecay. */
  readonly rankPruning?: RankPruningOptions | undefined;
  /** Normalizations keep their running statistics as they are ('inference'), or follow the batches ('training', default). */
  readonly batchNorm?: 'training' | 'inference' | undefined;
  /** Chains that `expand` declared: their factors multiplied out before they meet the data, or one after the other; see EngineOptions. */
  readonly chainSteps?: ChainSteps | undefined;
  /** Compute activations a second time rather than keep them: less memory, more time; see GradientOptions. Default false. */
  readonly checkpointing?: boolean | undefined;
  /** Default 'training': drop elements. */
  readonly dropout?: 'training' | 'inference' | undefined;
  /** Spectra of the trained weights and chains after each epoch; default true. */
  readonly ranks?: boolean | undefined;
  readonly providers?: readonly ExecutionProvider[] | 'auto' | undefined;
  readonly device?: number | undefined;
  readonly threads?: number | undefined;
  /** Sizes of dimensions that the model leaves open, other than the batch. */
  readonly dims?: Readonly<Record<string, number>> | undefined;
  readonly checkpoint?: CheckpointOptions | undefined;
  /** Go on from the checkpoint in `checkpoint.directory`. Model, data and what decides the result must be the same. */
  readonly resume?: boolean | undefined;
  /** Stops after the chunk of steps that is under way, and saves a checkpoint where there is a directory for it. */
  readonly signal?: AbortSignal | undefined;
}

/** Where and when train writes checkpoints. */
export interface CheckpointOptions {
  readonly directory: string;
  /** 'epoch': after each (default). 'stop': only when `signal` stops the training. */
  readonly when?: 'epoch' | 'stop' | undefined;
}

/** What TrainOptions stand for where they say nothing. */
export const TRAIN_DEFAULTS = {
  optimizer: 'adam',
  schedule: { kind: 'cosine' },
  epochs: 10,
  batch: 64,
  seed: 0,
  warmup: 0,
} as const satisfies TrainOptions;

const WEIGHTS = { group: 'Weights' } as const;

/** What updates the weights: options of `train`, and of its optimizers. */
export const OPTIMIZER_OPTIONS = {
  optimizer: {
    kind: 'choice',
    choices: OPTIMIZER_NAMES,
    default: TRAIN_DEFAULTS.optimizer,
    group: 'Optimizer',
    help: 'the optimizer',
  },
  learningRate: {
    kind: 'number',
    min: 0,
    flag: 'lr',
    defaultHelp: "PyTorch's",
    group: 'Optimizer',
    help: 'learning rate, the highest of the schedule',
  },
  momentum: {
    kind: 'number',
    min: 0,
    below: 1,
    default: 0,
    group: 'Optimizer',
    help: 'momentum of sgd, rmsprop and muon',
  },
  nesterov: { kind: 'flag', group: 'Optimizer', help: "Nesterov's form of sgd with momentum" },
  weightDecay: {
    kind: 'number',
    min: 0,
    defaultHelp: "PyTorch's",
    group: 'Optimizer',
    help: 'weight decay, not on biases and normalizations',
  },
  weightDecayKind: {
    kind: 'choice',
    choices: WEIGHT_DECAY_KINDS,
    defaultHelp: 'decoupled of adamw and muon, l2 of the others',
    group: 'Optimizer',
    help: 'weight decay in the gradient (l2), or beside the step (decoupled)',
  },
  clipNorm: {
    kind: 'number',
    above: 0,
    flag: 'clip',
    group: 'Optimizer',
    help: 'scale gradients down to this norm',
  },
} as const satisfies OptionDescriptors;

/** The options of `train` that one value describes. */
export const TRAIN_OPTIONS = {
  optimizer: { ...OPTIMIZER_OPTIONS.optimizer, choices: TRAINER_NAMES },
  learningRate: OPTIMIZER_OPTIONS.learningRate,
  weightDecay: OPTIMIZER_OPTIONS.weightDecay,
  weightDecayKind: OPTIMIZER_OPTIONS.weightDecayKind,
  clipNorm: OPTIMIZER_OPTIONS.clipNorm,
  warmup: {
    kind: 'number',
    min: 0,
    default: TRAIN_DEFAULTS.warmup,
    group: 'Optimizer',
    help: 'epochs in which the learning rate rises',
  },
  emaDecay: {
    kind: 'number',
    min: 0,
    below: 1,
    flag: 'ema',
    group: 'Optimizer',
    help: 'keep moving averages of the weights, with this decay, such as 0.999',
  },
  epochs: {
    kind: 'integer',
    min: 1,
    max: 1_000_000,
    default: TRAIN_DEFAULTS.epochs,
    group: 'Optimizer',
    help: 'passes over the data',
  },
  batch: {
    kind: 'integer',
    min: 1,
    default: TRAIN_DEFAULTS.batch,
    group: 'Optimizer',
    help: 'samples per step',
  },
  patience: {
    kind: 'integer',
    min: 1,
    group: 'Optimizer',
    help: 'stop after this many epochs without an improvement',
  },
  monitor: {
    kind: 'choice',
    choices: ['accuracy', 'loss'],
    defaultHelp: 'accuracy where there are classes',
    group: 'Optimizer',
    help: 'what decides which epoch is the best',
  },
  seed: {
    kind: 'integer',
    min: 0,
    default: TRAIN_DEFAULTS.seed,
    group: 'Optimizer',
    help: 'seed of shuffling, splitting and random weights',
  },
  chainSteps: {
    kind: 'choice',
    choices: CHAIN_STEPS,
    default: 'auto',
    ...WEIGHTS,
    help: 'factors of a chain that expand wrote: multiplied out first (product), one after the other, or whichever takes fewer operations',
  },
  checkpointing: { ...CHECKPOINTING_OPTION.checkpointing, group: 'Machine' },
  only: { kind: 'patterns', flag: 'train', ...WEIGHTS, help: "train only weights whose name matches: 'fc*'" },
  freeze: { kind: 'patterns', ...WEIGHTS, help: 'except those whose name matches' },
  untie: {
    kind: 'patterns',
    ...WEIGHTS,
    help: "layers that share weights of these names get their own: '*'",
  },
  head: {
    kind: 'integer',
    min: 1,
    ...WEIGHTS,
    help: 'replace the last layer by a fresh one with this many outputs',
  },
  fromScratch: {
    kind: 'choice',
    choices: FRESH_INITS,
    bare: 'kaiming',
    ...WEIGHTS,
    help: `begin with random weights: ${FRESH_INITS.join(', ')}; kaiming unless named`,
  },
} as const satisfies OptionDescriptors;
