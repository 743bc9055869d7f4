import type { Argv } from 'yargs';
import type { Loss } from '../passes/gradient/index.js';
import type { OptimizerName, OptimizerOptions } from '../training/optimizers/index.js';
import { UsageError } from './shell/errors.js';
import { dimensions, number, once } from './shell/options.js';

// As LOSS_KINDS and OPTIMIZER_NAMES, without loading what makes them for a line of help; a test holds them together.
export const GRADIENT_LOSSES = ['cross-entropy', 'mse', 'l1', 'huber', 'bce', 'dot', 'sum'] as const;
export const GRADIENT_OPTIMIZERS = ['sgd', 'adam', 'adamw', 'rmsprop', 'adagrad'] as const;
const MODES = ['training', 'inference'] as const;

type Texts = string | readonly string[] | undefined;

export interface GradientArguments {
  readonly loss: (typeof GRADIENT_LOSSES)[number] | undefined;
  readonly softTargets: boolean | undefined;
  readonly smoothing: number | undefined;
  readonly temperature: number | undefined;
  readonly axis: number | undefined;
  readonly delta: number | undefined;
  readonly prediction: string | undefined;
  readonly wrt: Texts;
  readonly freeze: Texts;
  readonly weights: 'inputs' | 'constants' | undefined;
  readonly batch: number | undefined;
  readonly dim: Texts;
  readonly batchNorm: (typeof MODES)[number] | undefined;
  readonly dropout: (typeof MODES)[number] | undefined;
  readonly trainingInfo: boolean | undefined;
  readonly optimizer: OptimizerName | undefined;
  readonly lr: number | undefined;
  readonly momentum: number | undefined;
  readonly nesterov: boolean | undefined;
  readonly weightDecay: number | undefined;
  readonly clip: number | undefined;
}

const LOSS = 'Loss:';
const GRAPH = 'Graph:';
const INFO = 'Training algorithm:';

export function gradientOptions<T>(parser: Argv<T>): Argv<T & GradientArguments> {
  return parser
    .option('loss', {
      choices: GRADIENT_LOSSES,
      requiresArg: true,
      group: LOSS,
      describe: 'default: cross-entropy; dot is a vector-Jacobian product, sum the sum of the output',
    })
    .option('soft-targets', {
      type: 'boolean',
      group: LOSS,
      describe: 'the target of cross-entropy is one probability a class, not a label',
    })
    .option('smoothing', {
      alias: 'label-smoothing',
      type: 'number',
      requiresArg: true,
      group: LOSS,
      describe: 'label smoothing of cross-entropy, from 0 to below 1',
    })
    .option('temperature', {
      type: 'number',
      requiresArg: true,
      group: LOSS,
      describe: 'divides the logits of cross-entropy, for distillation (default: 1)',
    })
    .option('axis', {
      type: 'number',
      requiresArg: true,
      group: LOSS,
      describe: 'axis of the classes in cross-entropy (default: 1)',
    })
    .option('delta', {
      type: 'number',
      requiresArg: true,
      group: LOSS,
      describe: 'where huber goes from squares to absolute values (default: 1)',
    })
    .option('prediction', {
      type: 'string',
      requiresArg: true,
      group: LOSS,
      describe: 'the output that the loss looks at (default: the first)',
    })
    .option('wrt', {
      type: 'string',
      requiresArg: true,
      group: GRAPH,
      describe:
        'what to differentiate by: initializers and inputs whose name matches (default: trainable weights); may repeat',
    })
    .option('freeze', {
      type: 'string',
      requiresArg: true,
      group: GRAPH,
      describe: 'not those; may repeat',
    })
    .option('weights', {
      choices: ['inputs', 'constants'] as const,
      requiresArg: true,
      group: GRAPH,
      describe: 'how the graph takes the weights (default: inputs)',
    })
    .option('batch', {
      type: 'number',
      requiresArg: true,
      group: GRAPH,
      describe: 'size of the first dimension of the inputs, where it is open or 1',
    })
    .option('dim', {
      type: 'string',
      requiresArg: true,
      group: GRAPH,
      describe: 'size of an open dimension, name=4 or x[1]=4; may repeat',
    })
    .option('batch-norm', {
      choices: MODES,
      requiresArg: true,
      group: GRAPH,
      describe: 'normalize by the batch, or by the stored statistics (default: training)',
    })
    .option('dropout', {
      choices: MODES,
      requiresArg: true,
      group: GRAPH,
      describe: 'drop elements, or none (default: training)',
    })
    .option('training-info', {
      type: 'boolean',
      group: INFO,
      describe:
        "write the model with the ONNX standard's TrainingInfoProto in it instead: loss, gradients, update",
    })
    .option('optimizer', {
      choices: GRADIENT_OPTIMIZERS,
      requiresArg: true,
      group: INFO,
      describe: 'default: sgd',
    })
    .option('lr', {
      type: 'number',
      requiresArg: true,
      group: INFO,
      describe: "learning rate (default: PyTorch's)",
    })
    .option('momentum', {
      type: 'number',
      requiresArg: true,
      group: INFO,
      describe: 'of sgd and rmsprop (default: 0)',
    })
    .option('nesterov', { type: 'boolean', group: INFO, describe: 'of sgd with momentum' })
    .option('weight-decay', {
      type: 'number',
      requiresArg: true,
      group: INFO,
      describe: "not on biases and normalizations (default: PyTorch's)",
    })
    .option('clip', {
      type: 'number',
      requiresArg: true,
      group: INFO,
      describe: 'scale gradients down to this norm',
    }) as unknown as Argv<T & GradientArguments>;
}

/** The loss, or UsageError for options that belong to another. */
export function lossOption(args: GradientArguments): Loss {
  const kind = once(args.loss, '--loss') ?? 'cross-entropy';
  const smoothing = number(args.smoothing, '--smoothing', { min: 0 });
  const temperature = number(args.temperature, '--temperature', { min: 0, above: true });
  const delta = number(args.delta, '--delta', { min: 0, above: true });
  const axis = once(args.axis, '--axis');
  const soft = args.softTargets === true;
  if (smoothing !== undefined && smoothing >= 1) throw new UsageError('--smoothing must be below 1');
  if (axis !== undefined && !Number.isSafeInteger(axis))
    throw new UsageError('--axis must be a whole number');
  if (delta !== undefined && kind !== 'huber') throw new UsageError('--delta goes with --loss huber');
  if (kind === 'huber') return { kind, ...(delta !== undefined && { delta }) };
  const given = Object.entries({ 'soft-targets': soft || undefined, smoothing, temperature, axis });
  const [stray] = given.filter(([, value]) => value !== undefined);
  if (kind !== 'cross-entropy') {
    if (stray !== undefined) throw new UsageError(`--${stray[0]} goes with --loss cross-entropy`);
    return { kind };
  }
  return {
    kind,
    ...(soft && { targets: 'probabilities' }),
    ...(smoothing !== undefined && { smoothing }),
    ...(temperature !== undefined && { temperature }),
    ...(axis !== undefined && { axis }),
  };
}

export interface OptimizerChoice {
  readonly name: OptimizerName;
  readonly options: OptimizerOptions[OptimizerName];
  readonly learningRate: number | undefined;
  readonly weightDecay: number | undefined;
  readonly clipNorm: number | undefined;
}

/** What updates the weights in a training algorithm; undefined where none is asked for. */
export function optimizerOption(args: GradientArguments): OptimizerChoice | undefined {
  const names = ['optimizer', 'lr', 'momentum', 'nesterov', 'weightDecay', 'clip'] as const;
  if (args.trainingInfo !== true) {
    const stray = names.find((name) => args[name] !== undefined && args[name] !== false);
    if (stray !== undefined) {
      throw new UsageError(
        `--${stray.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} goes with --training-info`,
      );
    }
    return undefined;
  }
  if (args.weights === 'constants')
    throw new UsageError('--weights goes without --training-info, which binds them');
  const name = once(args.optimizer, '--optimizer') ?? 'sgd';
  const momentum = number(args.momentum, '--momentum', { min: 0 });
  if (momentum !== undefined && momentum >= 1) throw new UsageError('--momentum must be below 1');
  if (momentum !== undefined && name !== 'sgd' && name !== 'rmsprop')
    throw new UsageError('--momentum goes with --optimizer sgd or rmsprop');
  if (args.nesterov && (name !== 'sgd' || !momentum))
    throw new UsageError('--nesterov goes with --optimizer sgd and --momentum');
  return {
    name,
    options: { ...(momentum !== undefined && { momentum }), ...(args.nesterov && { nesterov: true }) },
    learningRate: number(args.lr, '--lr', { min: 0 }),
    weightDecay: number(args.weightDecay, '--weight-decay', { min: 0 }),
    clipNorm: number(args.clip, '--clip', { min: 0, above: true }),
  };
}

/** What is alike for a graph and a training algorithm. */
export function graphOptions(args: GradientArguments) {
  return {
    output: once(args.prediction, '--prediction'),
    batch: number(args.batch, '--batch', { min: 1, whole: true }),
    dims: dimensions(args.dim),
    batchNorm: once(args.batchNorm, '--batch-norm'),
    dropout: once(args.dropout, '--dropout'),
  };
}

/** Patterns of names, or UsageError. */
export function patterns(given: Texts, name: string): readonly string[] | undefined {
  if (given === undefined) return undefined;
  const list = [given].flat();
  if (list.includes('')) throw new UsageError(`${name} needs a pattern of names, such as 'layer1.*'`);
  return list;
}
