import type { Argv } from 'yargs';
import type { DatasetOptions } from '../training/data/options.js';
import type { ScheduleShape } from '../training/optimizers/schedule.js';
import type { TrainOptions } from '../training/options.js';
import { UsageError } from './shell/errors.js';
import { number, once } from './shell/options.js';
import { type ProviderArguments, preference, providersOf } from './shell/provider-options.js';

// As LOSS_KINDS, OPTIMIZER_NAMES, SCHEDULE_KINDS, FRESH_INITS and NORMALIZATIONS, without loading what makes them for a
// line of help; a test holds them together.
export const LOSS_CHOICES = ['cross-entropy', 'mse', 'l1', 'huber', 'bce'] as const;
export const OPTIMIZER_CHOICES = ['sgd', 'adam', 'adamw', 'rmsprop', 'adagrad'] as const;
export const SCHEDULE_CHOICES = ['constant', 'step', 'cosine', 'one-cycle'] as const;
export const INIT_CHOICES = ['kaiming', 'xavier', 'normal', 'uniform'] as const;
export const NORMALIZE_CHOICES = ['imagenet', 'cifar10', 'cifar100', 'mnist', 'none'] as const;

type Texts = string | readonly string[] | undefined;

export interface DataArguments {
  readonly data: string | undefined;
  readonly val: string | undefined;
  readonly target: string | undefined;
  readonly values: boolean | undefined;
  readonly limit: number | undefined;
  readonly normalize: (typeof NORMALIZE_CHOICES)[number] | undefined;
  readonly crop: number | undefined;
  readonly flip: boolean | undefined;
  readonly shift: number | undefined;
}

export interface TrainArguments extends DataArguments, ProviderArguments {
  readonly loss: (typeof LOSS_CHOICES)[number] | undefined;
  readonly smoothing: number | undefined;
  readonly prediction: string | undefined;
  readonly teacher: string | undefined;
  readonly temperature: number | undefined;
  readonly optimizer: (typeof OPTIMIZER_CHOICES)[number] | undefined;
  readonly lr: number | undefined;
  readonly momentum: number | undefined;
  readonly nesterov: boolean | undefined;
  readonly weightDecay: number | undefined;
  readonly schedule: (typeof SCHEDULE_CHOICES)[number] | undefined;
  readonly lrStep: number | undefined;
  readonly warmup: number | undefined;
  readonly epochs: number | undefined;
  readonly batch: number | undefined;
  readonly monitor: 'accuracy' | 'loss' | undefined;
  readonly patience: number | undefined;
  readonly keep: 'best' | 'last' | undefined;
  readonly train: Texts;
  readonly freeze: Texts;
  readonly freezeNorms: boolean | undefined;
  readonly untie: Texts;
  readonly head: number | undefined;
  readonly fromScratch: string | undefined;
  readonly clip: number | undefined;
  readonly ema: number | undefined;
  readonly trp: boolean | undefined;
  readonly trpInterval: number | undefined;
  readonly trpEnergy: number | undefined;
  readonly nuclear: number | undefined;
  readonly skipRanks: boolean | undefined;
  readonly threads: number | undefined;
  readonly seed: number | undefined;
}

const DATA = 'Data:';
const LOSS = 'Loss:';
const OPTIMIZER = 'Optimizer:';
const WEIGHTS = 'Weights:';
const RANK = 'Low rank:';

export function trainOptions<T>(parser: Argv<T>): Argv<T & TrainArguments> {
  const num = (group: string, describe: string) =>
    ({ type: 'number', requiresArg: true, group, describe }) as const;
  const text = (group: string, describe: string) =>
    ({ type: 'string', requiresArg: true, group, describe }) as const;
  const flag = (group: string, describe: string) => ({ type: 'boolean', group, describe }) as const;
  return parser
    .option(
      'data',
      text(DATA, 'folder or file: IDX (MNIST), CIFAR binary, .npy, .npz, CSV, a folder of images a class'),
    )
    .option(
      'val',
      text(
        DATA,
        'share of the samples to validate on, or a folder or file of its own (default: the validation part of the data, or 0.1)',
      ),
    )
    .option('target', text(DATA, 'what to predict: a column of a CSV file, an array of an .npz file'))
    .option('values', flag(DATA, 'whole numbers in the target are quantities, not classes'))
    .option('limit', num(DATA, 'use so many samples'))
    .option('normalize', {
      choices: NORMALIZE_CHOICES,
      requiresArg: true,
      group: DATA,
      describe: 'mean and deviation of the pixels (default: none, values from 0 to 1)',
    })
    .option('crop', num(DATA, 'augment: cut at random out of so many pixels more on each side'))
    .option('flip', flag(DATA, 'augment: mirror every second image'))
    .option('shift', num(DATA, 'augment: move by up to so many pixels'))
    .option('loss', {
      choices: LOSS_CHOICES,
      requiresArg: true,
      group: LOSS,
      describe:
        'default: cross-entropy for classes, bce behind a Sigmoid or for one output, mse for other numbers',
    })
    .option('smoothing', num(LOSS, 'label smoothing, from 0 to below 1'))
    .option('prediction', text(LOSS, 'the output that the loss looks at (default: the first)'))
    .option('teacher', text(LOSS, 'learn from what this ONNX model says of the samples, not from labels'))
    .option('temperature', num(LOSS, 'softens what the teacher says (default: 1)'))
    .option('optimizer', {
      choices: OPTIMIZER_CHOICES,
      requiresArg: true,
      group: OPTIMIZER,
      describe: 'default: adam',
    })
    .option('lr', num(OPTIMIZER, "learning rate, the highest of the schedule (default: PyTorch's)"))
    .option('momentum', num(OPTIMIZER, 'of sgd and rmsprop (default: 0)'))
    .option('nesterov', flag(OPTIMIZER, 'of sgd with momentum'))
    .option('weight-decay', num(OPTIMIZER, "not on biases and normalizations (default: PyTorch's)"))
    .option('schedule', {
      choices: SCHEDULE_CHOICES,
      requiresArg: true,
      group: OPTIMIZER,
      describe: 'default: cosine, down to 0',
    })
    .option(
      'lr-step',
      num(
        OPTIMIZER,
        'epochs from one step of the schedule step to the next, a tenth each (default: a third of all)',
      ),
    )
    .option('warmup', num(OPTIMIZER, 'epochs in which the rate rises (default: 0)'))
    .option('clip', num(OPTIMIZER, 'scale gradients down to this norm'))
    .option('ema', num(OPTIMIZER, 'keep moving averages of the weights, with this decay (0.999, say)'))
    .option('epochs', num(OPTIMIZER, 'default: 10'))
    .option('batch', num(OPTIMIZER, 'samples a step (default: 64)'))
    .option('patience', num(OPTIMIZER, 'stop after so many epochs that were no better'))
    .option('monitor', {
      choices: ['accuracy', 'loss'] as const,
      requiresArg: true,
      group: OPTIMIZER,
      describe: 'what tells the best epoch (default: accuracy where there are classes)',
    })
    .option('keep', {
      choices: ['best', 'last'] as const,
      requiresArg: true,
      group: OPTIMIZER,
      describe: 'whose weights the result has (default: best)',
    })
    .option('train', text(WEIGHTS, "only weights whose name matches: 'fc*'; may repeat"))
    .option('freeze', text(WEIGHTS, 'not those; may repeat'))
    .option('untie', text(WEIGHTS, "layers that share weights of these names get their own: '*'; may repeat"))
    .option('head', num(WEIGHTS, 'put a fresh last layer of so many outputs in the place of the last'))
    .option('freeze-norms', flag(WEIGHTS, 'normalizations keep their running statistics'))
    .option('from-scratch', {
      type: 'string',
      group: WEIGHTS,
      describe: `begin with random weights: ${INIT_CHOICES.join(', ')} (default of these: kaiming)`,
    })
    .option(
      'trp',
      flag(RANK, 'trained rank pruning: cut small singular values while training (arXiv 2004.14566)'),
    )
    .option('trp-interval', num(RANK, 'steps from one cut to the next (default: 20)'))
    .option(
      'trp-energy',
      num(RANK, 'share of the squared singular values that a cut may drop (default: 0.02)'),
    )
    .option('nuclear', num(RANK, 'coefficient of the nuclear norm in the loss (default with --trp: 0.0003)'))
    .option('skip-ranks', flag(RANK, 'no spectra of the weights after each epoch'))
    .option('threads', num('Machine:', 'threads of one operator (default: one a core)'))
    .option(
      'seed',
      num(OPTIMIZER, 'of shuffling, splitting and random weights (default: 0)'),
    ) as unknown as Argv<T & TrainArguments>;
}

/** The options of train that the command line alone decides, or UsageError. */
export function trainOptionsOf(args: TrainArguments): TrainOptions {
  const epochs = number(args.epochs, '--epochs', { min: 1, whole: true });
  const momentum = number(args.momentum, '--momentum', { min: 0 });
  const optimizer = once(args.optimizer, '--optimizer');
  const { list, device } = providersOf(args);
  const providers = preference(list);
  if (args.nesterov && (optimizer !== 'sgd' || !momentum)) {
    throw new UsageError('--nesterov goes with --optimizer sgd and --momentum');
  }
  if (momentum !== undefined && optimizer !== 'sgd' && optimizer !== 'rmsprop') {
    throw new UsageError('--momentum goes with --optimizer sgd or rmsprop');
  }
  const keep = once(args.keep, '--keep');
  return {
    output: once(args.prediction, '--prediction'),
    optimizer,
    ...(momentum !== undefined && {
      optimizerOptions: { momentum, ...(args.nesterov && { nesterov: true }) },
    }),
    learningRate: number(args.lr, '--lr', { min: 0, above: true }),
    weightDecay: number(args.weightDecay, '--weight-decay', { min: 0 }),
    warmup: number(args.warmup, '--warmup', { min: 0 }),
    epochs,
    batch: number(args.batch, '--batch', { min: 1, whole: true }),
    seed: number(args.seed, '--seed', { min: 0, whole: true }),
    monitor: once(args.monitor, '--monitor'),
    patience: number(args.patience, '--patience', { min: 1, whole: true }),
    keepBest: keep !== 'last',
    only: patterns(args.train, '--train'),
    freeze: patterns(args.freeze, '--freeze'),
    untie: patterns(args.untie, '--untie'),
    head: number(args.head, '--head', { min: 1, whole: true }),
    fromScratch: scratch(once(args.fromScratch, '--from-scratch')),
    clipNorm: number(args.clip, '--clip', { min: 0, above: true }),
    emaDecay: share(args.ema, '--ema'),
    batchNorm: args.freezeNorms ? 'inference' : undefined,
    rankPruning: pruningOf(args),
    ranks: args.skipRanks !== true,
    providers: typeof providers === 'string' ? (providers === 'auto' ? 'auto' : [providers]) : providers,
    device,
    threads: number(args.threads, '--threads', { min: 1, whole: true }),
  };
}

/** The schedule, whose steps are those of a data set. */
export function scheduleOf(
  args: TrainArguments,
  stepsPerEpoch: number,
  epochs: number,
): ScheduleShape | undefined {
  const kind = once(args.schedule, '--schedule');
  const every = number(args.lrStep, '--lr-step', { min: 0, above: true });
  if (every !== undefined && kind !== 'step') throw new UsageError('--lr-step goes with --schedule step');
  if (kind === undefined) return undefined;
  if (kind !== 'step') return { kind };
  return { kind, every: Math.max(1, Math.round((every ?? epochs / 3) * stepsPerEpoch)) };
}

function pruningOf(args: TrainArguments): TrainOptions['rankPruning'] {
  const interval = number(args.trpInterval, '--trp-interval', { min: 1, whole: true });
  const energy = share(args.trpEnergy, '--trp-energy');
  const nuclear = number(args.nuclear, '--nuclear', { min: 0 });
  if (args.trp) return { interval, energy, nuclear };
  if (energy !== undefined) throw new UsageError('--trp-energy goes with --trp');
  if (nuclear !== undefined) return { interval, energy: 0, nuclear };
  if (interval !== undefined) throw new UsageError('--trp-interval goes with --trp or --nuclear');
  return undefined;
}

function share(value: number | undefined, name: string): number | undefined {
  const given = number(value, name, { min: 0 });
  if (given !== undefined && given >= 1) throw new UsageError(`${name} must be below 1`);
  return given;
}

function scratch(given: string | undefined): TrainOptions['fromScratch'] {
  if (given === undefined) return undefined;
  if (given === '') return true;
  const known = INIT_CHOICES.find((name) => name === given);
  if (known === undefined)
    throw new UsageError(`--from-scratch must be one of ${INIT_CHOICES.join(', ')}, not '${given}'`);
  return known;
}

function patterns(given: Texts, name: string): readonly string[] | undefined {
  const list = given === undefined ? [] : [given].flat();
  if (list.includes('')) throw new UsageError(`${name} needs a pattern of names, such as 'layer1.*'`);
  return list.length === 0 ? undefined : list;
}

/** How the samples are read, or UsageError. */
export function dataOptionsOf(args: DataArguments): DatasetOptions {
  const crop = number(args.crop, '--crop', { min: 0, whole: true });
  const shift = number(args.shift, '--shift', { min: 0, whole: true });
  const augments = crop !== undefined || shift !== undefined || args.flip === true;
  return {
    target: once(args.target, '--target'),
    targetType: args.values ? 'value' : undefined,
    limit: number(args.limit, '--limit', { min: 1, whole: true }),
    ...(augments && { augment: { crop, shift, flip: args.flip } }),
  };
}

/** What `--val` asks for: a share, a path, or nothing. */
export function validationOf(
  given: string | undefined,
): { readonly share: number } | { readonly path: string } | undefined {
  const text = once(given, '--val');
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) return { path: text };
  if (value >= 0 && value < 1) return { share: value };
  throw new UsageError(`--val must be a share of at least 0 and below 1, or a path, not '${text}'`);
}
