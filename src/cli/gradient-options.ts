import type { OptionDescriptors } from '../graph/option-descriptors.js';
import type { Loss } from '../passes/gradient/index.js';
import { GRADIENT_OPTIONS, LOSS_OPTIONS } from '../passes/gradient/options.js';
import { MOMENTUM_OPTIMIZERS, type WeightDecayKind } from '../training/choices.js';
import type { OptimizerName, OptimizerOptions } from '../training/optimizers/index.js';
import { OPTIMIZER_OPTIONS } from '../training/options.js';
import { type Given, refuse } from './shell/described.js';
import { UsageError } from './shell/errors.js';

const INFO = { group: 'Training algorithm' } as const;

export const GRADIENT_ARGUMENTS = {
  ...LOSS_OPTIONS,
  ...GRADIENT_OPTIONS,
  trainingInfo: {
    kind: 'flag',
    ...INFO,
    help: 'write the model with a TrainingInfoProto of the ONNX standard instead: loss, gradients, update',
  },
  optimizer: { ...OPTIMIZER_OPTIONS.optimizer, ...INFO, default: 'sgd' },
  learningRate: { ...OPTIMIZER_OPTIONS.learningRate, ...INFO, help: 'learning rate' },
  momentum: { ...OPTIMIZER_OPTIONS.momentum, ...INFO },
  nesterov: { ...OPTIMIZER_OPTIONS.nesterov, ...INFO },
  weightDecay: { ...OPTIMIZER_OPTIONS.weightDecay, ...INFO },
  weightDecayKind: { ...OPTIMIZER_OPTIONS.weightDecayKind, ...INFO },
  clipNorm: { ...OPTIMIZER_OPTIONS.clipNorm, ...INFO },
} as const satisfies OptionDescriptors;

export type GradientArguments = Given<typeof GRADIENT_ARGUMENTS>;

/** The loss, or UsageError for options that belong to another. */
export function lossOption(args: GradientArguments): Loss {
  const { loss: kind = 'cross-entropy', smoothing, temperature, delta, axis, ignoreIndex } = args;
  const soft = args.softTargets === true;
  if (delta !== undefined && kind !== 'huber') throw new UsageError('--delta goes with --loss huber');
  if (kind === 'huber') return { kind, ...(delta !== undefined && { delta }) };
  if (kind !== 'cross-entropy') {
    const stray = ['softTargets', 'smoothing', 'temperature', 'axis', 'ignoreIndex'] as const;
    refuse(GRADIENT_ARGUMENTS, args, stray, 'goes with --loss cross-entropy');
    return { kind };
  }
  return {
    kind,
    ...(soft && { targets: 'probabilities' }),
    ...(smoothing !== undefined && { smoothing }),
    ...(temperature !== undefined && { temperature }),
    ...(axis !== undefined && { axis }),
    ...(ignoreIndex !== undefined && { ignoreIndex }),
  };
}

export interface OptimizerChoice {
  readonly name: OptimizerName;
  readonly options: OptimizerOptions[OptimizerName];
  readonly learningRate: number | undefined;
  readonly weightDecay: number | undefined;
  readonly weightDecayKind: WeightDecayKind | undefined;
  readonly clipNorm: number | undefined;
}

/** What updates the weights in a training algorithm; undefined where none is asked for. */
export function optimizerOption(args: GradientArguments): OptimizerChoice | undefined {
  if (args.trainingInfo !== true) {
    const keys = Object.keys(OPTIMIZER_OPTIONS) as (keyof typeof OPTIMIZER_OPTIONS)[];
    refuse(GRADIENT_ARGUMENTS, args, keys, 'goes with --training-info');
    return undefined;
  }
  if (args.weights === 'constants')
    throw new UsageError('--weights goes without --training-info, which binds them');
  const { optimizer: name = 'sgd', momentum, learningRate, weightDecay, weightDecayKind, clipNorm } = args;
  if (momentum !== undefined && !MOMENTUM_OPTIMIZERS.includes(name))
    throw new UsageError(`--momentum goes with --optimizer ${MOMENTUM_OPTIMIZERS.join(', ')}`);
  if (args.nesterov && (name !== 'sgd' || !momentum))
    throw new UsageError('--nesterov goes with --optimizer sgd and --momentum');
  return {
    name,
    options: { ...(momentum !== undefined && { momentum }), ...(args.nesterov && { nesterov: true }) },
    learningRate,
    weightDecay,
    weightDecayKind,
    clipNorm,
  };
}

/** What is alike for a graph and a training algorithm. */
export function graphOptions(args: GradientArguments) {
  const { prediction: output, batch, dims = {}, batchNorm, dropout, checkpointing } = args;
  return { output, batch, dims, batchNorm, dropout, checkpointing };
}
