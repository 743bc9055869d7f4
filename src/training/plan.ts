import { createHash } from 'node:crypto';
import { findChainProducts } from '../analysis/weights/chain-products.js';
import { glob } from '../graph/glob.js';
import { isFloatType, type Model, ModelError, printModel } from '../graph/index.js';
import {
  isFilled,
  LOSS_KINDS,
  type Loss,
  ownWeights,
  trainableWeights,
  untieWeights,
} from '../passes/gradient/index.js';
import { inlined } from '../passes/gradient/prepare/inline.js';
import { fedInputs } from '../runtime/index.js';
import type { EngineSpec } from './engine/engine-spec.js';
import type { Monitor, TrainPlan } from './events.js';
import { feedsOf } from './feeds.js';
import { FRESH_INITS, type FreshStart } from './fresh.js';
import { RANK_PRUNING_DEFAULTS, type RankPruning, trainedRankPruning } from './low-rank/low-rank.js';
import { OPTIMIZERS, optimizer } from './optimizers/index.js';
import { type Schedule, schedule } from './optimizers/schedule.js';
import { decayedWeights } from './optimizers/weight-decay.js';
import { TRAIN_DEFAULTS, type TrainOptions } from './options.js';
import type { Dataset } from './types.js';

/** A training with all of its choices made and checked; nothing is computed yet. */
export interface Settled {
  readonly plan: TrainPlan;
  readonly spec: EngineSpec;
  readonly rate: Schedule;
  readonly monitor: Monitor;
  readonly fresh: FreshStart | undefined;
  readonly pruning: RankPruning | undefined;
  /** From the inputs of the model that are fed to those of the data set. */
  readonly feeds: ReadonlyMap<string, string>;
  /** What decides the bits of the result, for a checkpoint. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
}

/**
 * What `train` would do: the weights that are trained, the steps, the settings. Checks the options; reads no weights and
 * no samples. Weights that nodes of the model hold (Constant, ConstantOfShape) become initializers,
 * and each layer gets a copy of its own of the zeros and ones that the file has only once.
 *
 * @throws ModelError for options out of their range, globs that match nothing, and data that does not fit the model
 * @example
 * const { weights, stepsPerEpoch } = planTraining(model, dataset, { epochs: 3 });
 */
export function planTraining(model: Model, dataset: Dataset, options: TrainOptions = {}): TrainPlan {
  return settle(model, dataset, options).plan;
}

export function settle(model: Model, dataset: Dataset, options: TrainOptions): Settled {
  const {
    epochs = TRAIN_DEFAULTS.epochs,
    seed = TRAIN_DEFAULTS.seed,
    warmup = TRAIN_DEFAULTS.warmup,
  } = options;
  whole(epochs, 'the number of epochs', 1);
  whole(options.batch ?? 1, 'the batch', 1);
  whole(options.patience ?? 1, 'the patience', 1);
  if (options.patience !== undefined && options.validation === undefined) {
    throw new ModelError('patience needs samples to validate on: only they tell whether an epoch was better');
  }
  if (!(warmup >= 0 && warmup < epochs)) {
    throw new ModelError(`the warm-up must be from 0 to below the ${epochs} epochs, not ${warmup}`);
  }
  if (dataset.size === 0) throw new ModelError('the data has no samples to train on');
  const feeds = feedsOf(model, dataset);
  const batch = batchOf(model, dataset, options.batch);
  const perEpoch = Math.floor(dataset.size / batch);
  const name = options.optimizer ?? TRAIN_DEFAULTS.optimizer;
  optimizer(name, options.optimizerOptions);
  const learningRate = options.learningRate ?? OPTIMIZERS[name].learningRate;
  const decay = options.weightDecay ?? OPTIMIZERS[name].weightDecay;
  if (!(decay >= 0)) throw new ModelError(`weight decay must be at least 0, not ${decay}`);
  const shape = options.schedule ?? TRAIN_DEFAULTS.schedule;
  const steps = epochs * perEpoch;
  const rate = schedule({ shape, learningRate, steps, warmup: Math.round(warmup * perEpoch) });
  const loss = lossOf(model, dataset, options);
  const output = options.output ?? model.graph.outputs[0]?.name ?? '';
  const copied = new Set(model.graph.nodes.flatMap((node) => (node.is('Identity') ? node.outputs : [])));
  const untied = [
    ...ownWeights(model, output).filter((name) => copied.has(name)),
    ...untieWeights(model, output),
  ];
  const { weights, frozen } = chosenWeights(model, options);
  const decaying = decayedWeights(inlined(model).graph, weights);
  const fresh = options.fromScratch === true ? 'kaiming' : options.fromScratch || undefined;
  if (fresh !== undefined && !FRESH_INITS.includes(fresh)) {
    throw new ModelError(`weights can not begin '${fresh}'; there are ${FRESH_INITS.join(', ')}`);
  }
  if (options.rankPruning !== undefined && options.emaDecay !== undefined) {
    throw new ModelError(
      'an average of pruned weights has no low rank; leave out rank pruning or the moving average',
    );
  }
  const pruning = options.rankPruning && trainedRankPruning(model, weights, options.rankPruning);
  const spec: EngineSpec = {
    loss,
    output: options.output,
    batch,
    weights,
    optimizer: name,
    optimizerOptions: options.optimizerOptions ?? {},
    weightDecay: new Map([...decaying].map((weight) => [weight, decay])),
    seed,
    nuclear: pruning?.penalty,
    clipNorm: options.clipNorm,
    emaDecay: options.emaDecay,
    dims: { ...dimsOf(model, dataset, feeds), ...options.dims },
    batchNorm: options.batchNorm,
    dropout: options.dropout,
    providers: options.providers,
    device: options.device,
    threads: options.threads,
  };
  const tensors = weights
    .map((weight) => model.graph.initializers.get(weight))
    .filter((tensor) => tensor !== undefined);
  const trained = new Set(weights);
  const chains = findChainProducts(model).products.filter(({ nodes }) =>
    nodes.some((node) => node.inputs.some((input) => trained.has(input))),
  );
  const settings = {
    ...(decay > 0 && { weightDecay: decay }),
    ...(warmup > 0 && { warmup }),
    ...(options.clipNorm !== undefined && { clipNorm: options.clipNorm }),
    ...(options.emaDecay !== undefined && { emaDecay: options.emaDecay }),
    ...(options.rankPruning !== undefined && {
      rankPruning: { ...RANK_PRUNING_DEFAULTS, ...defined(options.rankPruning) },
    }),
    ...(options.patience !== undefined && { patience: options.patience }),
    ...(fresh !== undefined && { fromScratch: fresh }),
    ...(options.optimizerOptions !== undefined && defined(options.optimizerOptions)),
    ...(options.batchNorm !== undefined && { batchNorm: options.batchNorm }),
    ...(options.dropout !== undefined && { dropout: options.dropout }),
  };
  const plan: TrainPlan = {
    weights: tensors.map((tensor) => ({
      name: tensor.name,
      shape: tensor.shape,
      decays: decay > 0 && decaying.has(tensor.name),
    })),
    parameters: tensors.reduce((sum, { size }) => sum + size, 0),
    frozen,
    untied,
    filled:
      fresh === undefined
        ? tensors
            .filter((tensor) => tensor.shape.filter((dim) => dim > 1).length > 1 && isFilled(tensor))
            .map(({ name }) => name)
        : [],
    chains: chains.length,
    samples: dataset.size,
    validationSamples: options.validation?.size ?? 0,
    batch,
    stepsPerEpoch: perEpoch,
    epochs,
    loss: loss.kind,
    optimizer: name,
    learningRate,
    schedule: shape.kind,
    seed,
    providers: options.providers === 'auto' || options.providers === undefined ? ['cpu'] : options.providers,
    settings,
  };
  const fingerprint = {
    model: createHash('sha256').update(printModel(model)).digest('hex').slice(0, 16),
    samples: dataset.size,
    validation: options.validation?.size ?? 0,
    weights: createHash('sha256').update(weights.join('\n')).digest('hex').slice(0, 16),
    loss,
    output: options.output ?? null,
    optimizer: name,
    learningRate,
    schedule: shape,
    batch,
    seed,
    ...settings,
    patience: undefined,
  };
  return {
    plan,
    spec,
    rate,
    monitor: options.monitor ?? (loss.kind === 'cross-entropy' ? 'accuracy' : 'loss'),
    fresh,
    pruning,
    feeds,
    fingerprint: JSON.parse(JSON.stringify(fingerprint)) as Record<string, unknown>,
  };
}

function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function whole(value: number, name: string, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new ModelError(`${name} must be a whole number of at least ${least}, not ${value}`);
  }
}

function lossOf(model: Model, dataset: Dataset, options: TrainOptions): Loss {
  if (options.loss !== undefined) {
    const loss: Loss = typeof options.loss === 'string' ? { kind: options.loss } : options.loss;
    if (!LOSS_KINDS.includes(loss.kind)) {
      throw new ModelError(`the loss '${String(loss.kind)}' is unknown; there are ${LOSS_KINDS.join(', ')}`);
    }
    if (dataset.target === undefined && loss.kind !== 'sum') {
      throw new ModelError(`the data has no targets, and the loss ${loss.kind} needs them`);
    }
    return loss.kind === 'cross-entropy' ? withTargets(model, dataset, loss, options) : loss;
  }
  const { target } = dataset;
  if (target === undefined)
    throw new ModelError('the data has no targets to train on; give it labels, or a loss of its own');
  if (!isFloatType(target.type)) return withTargets(model, dataset, { kind: 'cross-entropy' }, options);
  const output = options.output ?? model.graph.outputs[0]?.name ?? '';
  return { kind: model.graph.producer(output)?.is('Sigmoid') ? 'bce' : 'mse' };
}

/** Cross-entropy with the targets that the data has: whole numbers are labels, others one probability a class. */
function withTargets(
  model: Model,
  { target }: Dataset,
  loss: Extract<Loss, { kind: 'cross-entropy' }>,
  options: TrainOptions,
): Loss {
  if (target === undefined || loss.targets !== undefined) return loss;
  if (isFloatType(target.type)) return { ...loss, targets: 'probabilities' };
  const output = options.output ?? model.graph.outputs[0]?.name;
  const shape = model.graph.outputs.find(({ name }) => name === output)?.shape;
  if (target.shape.length > 0 && target.shape.length === (shape?.length ?? 0) - 1) {
    throw new ModelError(
      `the target '${target.name}' is ${target.type}[${target.shape.join(', ')}] a sample, but labels are one number; numbers for each class must be read as quantities (targetType 'value', --values)`,
    );
  }
  return loss;
}

/** Steps of an epoch, without a look at anything but sizes. */
export function stepsPerEpoch(
  model: Model,
  dataset: Dataset,
  { batch }: Pick<TrainOptions, 'batch'>,
): number {
  return Math.floor(dataset.size / batchOf(model, dataset, batch));
}

/** The initializers that are trained, by --train and --freeze, and those that could be and are not. */
function chosenWeights(
  model: Model,
  options: TrainOptions,
): { readonly weights: readonly string[]; readonly frozen: readonly string[] } {
  const { graph, path } = model;
  const output = options.output ?? graph.outputs[0]?.name ?? '';
  const all = trainableWeights(inlined(model).graph, output);
  if (all.length === 0) {
    throw new ModelError('has no trainable weights: no float initializer stands where a weight does', {
      file: path,
    });
  }
  const matching = (globs: readonly string[] | undefined, option: string): ((name: string) => boolean) => {
    const tests = (globs ?? []).map((pattern) => {
      const test = glob(pattern);
      if (!all.some(test)) {
        throw new ModelError(
          `${option}: no trainable weight matches '${pattern}'; the first of ${all.length} is '${all[0]}'`,
          {
            file: path,
          },
        );
      }
      return test;
    });
    return (name) => tests.some((test) => test(name));
  };
  const isChosen = options.only === undefined ? () => true : matching(options.only, 'only');
  const isFrozen = matching(options.freeze, 'freeze');
  const weights = all.filter((name) => isChosen(name) && !isFrozen(name));
  if (weights.length === 0)
    throw new ModelError('nothing is left to train: all weights are frozen', { file: path });
  const trained = new Set(weights);
  return { weights, frozen: all.filter((name) => !trained.has(name)) };
}

/** Samples a step: those that the model is for, where it is for a certain number. */
function batchOf(model: Model, dataset: Dataset, wanted: number | undefined): number {
  const sizes = fedInputs(model.graph).map(({ shape }) => shape?.[0]);
  const fixed = sizes.find((size): size is number => typeof size === 'number' && size > 1);
  if (fixed !== undefined && wanted !== undefined && wanted !== fixed) {
    throw new ModelError(`takes ${fixed} samples at a time, so the batch can not be ${wanted}`, {
      file: model.path,
    });
  }
  if (fixed !== undefined && dataset.size < fixed) {
    throw new ModelError(`takes ${fixed} samples at a time, but the data has ${dataset.size}`, {
      file: model.path,
    });
  }
  return Math.min(fixed ?? wanted ?? TRAIN_DEFAULTS.batch, dataset.size);
}

/** Sizes that the model leaves open under a name and the samples have. */
function dimsOf(model: Model, dataset: Dataset, feeds: ReadonlyMap<string, string>): Record<string, number> {
  const dims: Record<string, number> = {};
  for (const { name, shape = [] } of fedInputs(model.graph)) {
    const field = dataset.inputs.find((one) => one.name === feeds.get(name));
    for (const [axis, dim] of shape.slice(1).entries()) {
      const size = field?.shape[axis];
      if (typeof dim === 'string' && size !== undefined) dims[dim] = size;
    }
  }
  return dims;
}
