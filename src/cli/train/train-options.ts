import { described, type OptionDescriptors } from '../../graph/option-descriptors.js';
import { LOSS_FIELDS } from '../../passes/gradient/options.js';
import { SESSION_OPTIONS } from '../../runtime/session/options.js';
import { isSearch, MOMENTUM_OPTIMIZERS, SCHEDULE_KINDS } from '../../training/choices.js';
import { AUGMENT_OPTIONS, type DatasetOptions } from '../../training/data/options.js';
import { DIVERSE_OPTIONS } from '../../training/diverse/options.js';
import { RANK_PRUNING_DEFAULTS, RANK_PRUNING_OPTIONS } from '../../training/low-rank/options.js';
import type { ScheduleShape } from '../../training/optimizers/schedule.js';
import { OPTIMIZER_OPTIONS, TRAIN_OPTIONS, type TrainOptions } from '../../training/options.js';
import { DATA, readingOf, SAMPLE_ARGUMENTS } from '../sample-data.js';
import { type Given, refuse } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import { PROVIDER_OPTIONS, preference, providersOf } from '../shell/provider-options.js';

const LOSS = { group: 'Loss' } as const;
const RANK = { group: 'Low rank' } as const;

const DATA_ARGUMENTS = {
  data: SAMPLE_ARGUMENTS.data,
  val: {
    kind: 'text',
    ...DATA,
    defaultHelp: 'the validation part of the data, or 0.1',
    help: 'share of the samples to validate on, or a folder or file of its own',
  },
  target: SAMPLE_ARGUMENTS.target,
  values: SAMPLE_ARGUMENTS.values,
  tokens: SAMPLE_ARGUMENTS.tokens,
  limit: SAMPLE_ARGUMENTS.limit,
  skipBad: SAMPLE_ARGUMENTS.skipBad,
  normalize: SAMPLE_ARGUMENTS.normalize,
  crop: { ...AUGMENT_OPTIONS.crop, ...DATA },
  flip: { ...AUGMENT_OPTIONS.flip, ...DATA },
  shift: { ...AUGMENT_OPTIONS.shift, ...DATA },
} as const satisfies OptionDescriptors;

export const TRAIN_ARGUMENTS = {
  ...DATA_ARGUMENTS,
  loss: {
    kind: 'choice',
    choices: ['cross-entropy', 'mse', 'l1', 'huber', 'bce'],
    ...LOSS,
    defaultHelp: 'cross-entropy for classes, bce after a Sigmoid or for one output, mse for other numbers',
    help: 'the loss',
  },
  smoothing: LOSS_FIELDS.smoothing,
  ignoreIndex: LOSS_FIELDS.ignoreIndex,
  prediction: { kind: 'text', defaultHelp: 'the first', ...LOSS, help: 'output that the loss reads' },
  teacher: {
    kind: 'text',
    ...LOSS,
    help: 'distillation: learn from the predictions of this ONNX model, not from labels',
  },
  temperature: { kind: 'number', above: 0, default: 1, ...LOSS, help: "softens the teacher's predictions" },
  ...OPTIMIZER_OPTIONS,
  ...TRAIN_OPTIONS,
  population: {
    kind: 'integer',
    min: 4,
    defaultHelp: '100 of random-search, 4 + 3 ln n of cma-es',
    group: 'Optimizer',
    help: 'points that random-search and cma-es draw per step',
  },
  learningRate: { ...TRAIN_OPTIONS.learningRate, min: undefined, above: 0 },
  schedule: {
    kind: 'choice',
    choices: SCHEDULE_KINDS,
    defaultHelp: 'cosine, down to 0',
    group: 'Optimizer',
    help: 'how the learning rate changes',
  },
  lrStep: {
    kind: 'number',
    above: 0,
    defaultHelp: 'a third of all',
    group: 'Optimizer',
    help: 'epochs between the drops of the schedule step, each to a tenth',
  },
  keep: {
    kind: 'choice',
    choices: ['best', 'last'],
    default: 'best',
    group: 'Optimizer',
    help: 'which weights to save: best or last epoch',
  },
  freezeNorms: {
    kind: 'flag',
    group: 'Weights',
    help: 'keep the running statistics of normalizations fixed',
  },
  trp: {
    kind: 'flag',
    ...RANK,
    help: 'trained rank pruning: cut small singular values while training (arXiv 2004.14566)',
  },
  ...RANK_PRUNING_OPTIONS,
  nuclear: {
    ...RANK_PRUNING_OPTIONS.nuclear,
    defaultHelp: `${RANK_PRUNING_DEFAULTS.nuclear} with --trp`,
  },
  ...DIVERSE_OPTIONS,
  skipRanks: { kind: 'flag', ...RANK, help: 'do not compute spectra of the weights after each epoch' },
  threads: { ...SESSION_OPTIONS.threads, group: 'Machine' },
  ...PROVIDER_OPTIONS,
  ep: { ...PROVIDER_OPTIONS.ep, help: 'execution provider to train on, the preferred one first' },
} as const satisfies OptionDescriptors;

export type DataArguments = Given<typeof DATA_ARGUMENTS>;
export type TrainArguments = Given<typeof TRAIN_ARGUMENTS>;

/** The options of train that the command line alone decides, or UsageError. */
export function trainOptionsOf(args: TrainArguments): TrainOptions {
  const { momentum, nesterov } = args;
  const given = described(TRAIN_OPTIONS, args);
  const { list, device } = providersOf(args);
  const providers = preference(list);
  if (nesterov && (given.optimizer !== 'sgd' || !momentum)) {
    throw new UsageError('--nesterov goes with --optimizer sgd and --momentum');
  }
  if (momentum !== undefined && !MOMENTUM_OPTIMIZERS.includes(given.optimizer ?? '')) {
    throw new UsageError(`--momentum goes with --optimizer ${MOMENTUM_OPTIMIZERS.join(', ')}`);
  }
  const isSearched = given.optimizer !== undefined && isSearch(given.optimizer);
  if (args.population !== undefined && (!isSearched || given.optimizer === 'lbfgs'))
    throw new UsageError('--population goes with --optimizer cma-es or random-search');
  if (isSearched)
    refuse(
      TRAIN_ARGUMENTS,
      args,
      ['crop', 'flip', 'shift'],
      `goes without --optimizer ${given.optimizer}, which needs the same samples in each step`,
    );
  return {
    ...given,
    output: args.prediction,
    ...(args.population !== undefined && { optimizerOptions: { population: args.population } }),
    ...(momentum !== undefined && { optimizerOptions: { momentum, ...(nesterov && { nesterov: true }) } }),
    keepBest: args.keep !== 'last',
    batchNorm: args.freezeNorms ? 'inference' : undefined,
    rankPruning: pruningOf(args),
    ranks: args.skipRanks !== true,
    providers: typeof providers === 'string' ? (providers === 'auto' ? 'auto' : [providers]) : providers,
    device,
    threads: args.threads,
  };
}

/** The schedule, whose steps are those of a data set. */
export function scheduleOf(
  args: TrainArguments,
  stepsPerEpoch: number,
  epochs: number,
): ScheduleShape | undefined {
  const { schedule: kind, lrStep: every } = args;
  if (every !== undefined && kind !== 'step') throw new UsageError('--lr-step goes with --schedule step');
  if (kind === undefined) return undefined;
  if (kind !== 'step') return { kind };
  return { kind, every: Math.max(1, Math.round((every ?? epochs / 3) * stepsPerEpoch)) };
}

function pruningOf(args: TrainArguments): TrainOptions['rankPruning'] {
  const { interval, energy, nuclear, form } = args;
  if (args.trp) return { interval, energy, nuclear, form };
  if (form !== undefined && nuclear === undefined)
    throw new UsageError('--trp-form goes with --trp or --nuclear');
  if (energy !== undefined) throw new UsageError('--trp-energy goes with --trp');
  if (nuclear !== undefined) return { interval, energy: 0, nuclear, form };
  if (interval !== undefined) throw new UsageError('--trp-interval goes with --trp or --nuclear');
  return undefined;
}

/** How the samples are read. */
export function dataOptionsOf({ crop, shift, flip, ...args }: DataArguments): DatasetOptions {
  const augments = crop !== undefined || shift !== undefined || flip === true;
  return { ...readingOf(args), ...(augments && { augment: { crop, shift, flip } }) };
}

/** What `--val` asks for: a share, a path, or nothing. */
export function validationOf(
  given: string | undefined,
): { readonly share: number } | { readonly path: string } | undefined {
  const text = given;
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) return { path: text };
  if (value >= 0 && value < 1) return { share: value };
  throw new UsageError(`--val must be a share of at least 0 and below 1, or a path, not '${text}'`);
}
