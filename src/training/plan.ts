import { findChainProducts } from '../analysis/weights/chain-products.js';
import { usesType } from '../graph/edit/single-precision.js';
import { type Model, ModelError, printModel } from '../graph/index.js';
import { sha256 } from '../graph/io/digest.js';
import { checkOptions, OptionError } from '../graph/option-descriptors.js';
import { emptyRecord } from '../graph/record.js';
import { isFilled, tiedWeights } from '../passes/gradient/index.js';
import type { Loss } from '../passes/gradient/losses.js';
import { outputShape } from '../passes/gradient/output-shape.js';
import { inlined } from '../passes/gradient/prepare/inline.js';
import { dimKey, fedInputs, isOpen } from '../runtime/index.js';
import { DEVICE_OPTION, SESSION_OPTIONS } from '../runtime/session/options.js';
import type { EngineSpec } from './engine/engine-spec.js';
import type { Monitor, TrainPlan } from './events.js';
import { feedsOf } from './feed.js';
import { type RankPruning, trainedRankPruning } from './low-rank/low-rank.js';
import { RANK_PRUNING_DEFAULTS, RANK_PRUNING_OPTIONS } from './low-rank/options.js';
import { isOwnOptimizer, optimizerNamed } from './optimizers/index.js';
import { type Schedule, schedule } from './optimizers/schedule.js';
import { decayedWeights } from './optimizers/weight-decay.js';
import { TRAIN_DEFAULTS, TRAIN_OPTIONS, type TrainOptions } from './options.js';
import { checkSearchOptions, isSearch, SEARCHES } from './search/index.js';
import {
  classesOf,
  dataError,
  fitTargets,
  lossFor,
  type Prediction,
  predictionFor,
  readsLabels,
  readTargets,
} from './targets.js';
import type { Dataset } from './types.js';
import type { FreshStart } from './weights/fresh-weights.js';
import { prepareModel } from './weights/prepare-model.js';
import { chosenWeights, quantizedWeights } from './weights/select-weights.js';

const CONSTANT = { kind: 'constant' } as const;

/** A training with all of its choices made and checked; nothing is computed yet. */
export interface Settled {
  /** A copy of the model, with what `prepareModel` makes of it. */
  readonly model: Model;
  readonly prediction: Prediction;
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
 * What `train` would do: the weights that are trained, the steps, the settings. Checks the options; reads no samples. The model
 * stays as it is. Where the file leaves the shape of the output open, `describeTraining` computes it: what depends on it (the
 * default loss, whether targets fit) is then known there alone.
 *
 * @throws OptionError for options out of range; PatternError for patterns that match nothing; ModelError for data that does not fit the
 *   model; GradientError where operators with a derivative of zero keep the loss from all weights
 * @example
 * const { weights, stepsPerEpoch } = planTraining(model, dataset, { epochs: 3 });
 */
export function planTraining(model: Model, dataset: Dataset, options: TrainOptions = {}): TrainPlan {
  return settle(model, dataset, options).plan;
}

/**
 * The same with the shape of the output as the model computes it.
 *
 * @throws ModelError as `planTraining`; also for targets of the data that no class has or that are no probabilities, where
 *   they can be read without the inputs
 */
export async function settleComputed(
  given: Model,
  dataset: Dataset,
  options: TrainOptions,
): Promise<Settled> {
  // What is wrong with the options is said before the model is run.
  const { model, spec } = settle(given, dataset, options);
  const shape = await outputShape(model, spec);
  const settled = settle(given, dataset, options, shape);
  const { prediction } = settled;
  const found = await readTargets(dataset, prediction, settled.spec.loss);
  for (const other of [options.validation, options.test])
    if (other !== undefined) await readTargets(other, prediction, settled.spec.loss);
  return { ...settled, plan: { ...settled.plan, labels: found } };
}

/** @param computed the shape of the output, with the batch */
export function settle(
  given: Model,
  dataset: Dataset,
  options: TrainOptions,
  computed?: readonly number[],
): Settled {
  const from = options.fromScratch;
  const fresh = from === true ? 'kaiming' : from === false ? undefined : from;
  const { epochs, seed, warmup } = {
    ...TRAIN_DEFAULTS,
    ...checkOptions(TRAIN_OPTIONS, {
      ...options,
      fromScratch: fresh,
      ...(isOwnOptimizer(options.optimizer ?? '') && { optimizer: undefined }),
    }),
  };
  checkOptions({ ...SESSION_OPTIONS, ...DEVICE_OPTION }, options);
  const cuts = options.rankPruning && {
    ...RANK_PRUNING_DEFAULTS,
    ...checkOptions(RANK_PRUNING_OPTIONS, options.rankPruning),
  };
  if (options.patience !== undefined && options.validation === undefined) {
    throw new OptionError(
      'patience',
      'needs samples to validate on: only they tell whether an epoch was better',
    );
  }
  if (options.monitor !== undefined && options.validation === undefined)
    throw new OptionError('monitor', 'needs samples to validate on: without them the last epoch is kept');
  if (warmup >= epochs) throw new OptionError('warmup', `must be below the ${epochs} epochs, is ${warmup}`);
  if (cuts !== undefined && options.emaDecay !== undefined) {
    throw new OptionError('emaDecay', 'and `rankPruning` exclude each other: an average has no low rank');
  }
  if (dataset.size === 0) throw dataError(dataset, 'the data has no samples to train on');
  const model = given.clone();
  const { untied, calls } = prepareModel(model, options);
  const feeds = feedsOf(model, dataset);
  const name = options.optimizer ?? TRAIN_DEFAULTS.optimizer;
  if (isSearch(name)) checkSearchOptions(name, options, dataset.size);
  else optimizerNamed(name).make(options.optimizerOptions as never);
  const usual = isSearch(name) ? SEARCHES[name] : optimizerNamed(name);
  const batch = batchOf(model, dataset, options);
  const perEpoch = Math.floor(dataset.size / batch);
  const learningRate = options.learningRate ?? usual.learningRate;
  const decay = options.weightDecay ?? usual.weightDecay;
  const shape = options.schedule ?? (isSearch(name) ? CONSTANT : TRAIN_DEFAULTS.schedule);
  const steps = epochs * perEpoch;
  const rate = schedule({ shape, learningRate, steps, warmup: Math.round(warmup * perEpoch) });
  const prediction = predictionFor(model, options.output, batch, computed);
  const loss = lossFor(dataset, prediction, options.loss);
  const hasClasses = loss.kind === 'cross-entropy' || readsLabels(loss);
  if (options.monitor === 'accuracy' && !hasClasses)
    throw new OptionError('monitor', `must be loss: with the loss ${loss.kind} nothing is right or wrong`);
  for (const one of [dataset, options.validation, options.test])
    if (one?.target !== undefined || one === dataset) fitTargets(one, prediction, loss);
  const { weights, frozen, unreached, isAdapters } = chosenWeights(model, options);
  const quantized = quantizedWeights(model, weights, options);
  const decaying = decayedWeights(inlined(model).graph, weights);
  const pruning = cuts && trainedRankPruning(model, weights, cuts);
  const spec: EngineSpec = {
    loss,
    output: options.output,
    batch,
    weights,
    optimizer: name,
    optimizerOptions: options.optimizerOptions ?? {},
    weightDecay: new Map([...decaying].map((weight) => [weight, decay])),
    weightDecayKind: options.weightDecayKind,
    seed,
    nuclear: pruning?.penalty,
    clipNorm: options.clipNorm,
    emaDecay: options.emaDecay,
    dims: { ...dimsOf(model, dataset, feeds), ...options.dims },
    batchNorm: options.batchNorm,
    chainSteps: options.chainSteps,
    checkpointing: options.checkpointing,
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
    ...(decay > 0 && options.weightDecayKind !== undefined && { weightDecayKind: options.weightDecayKind }),
    ...(warmup > 0 && { warmup }),
    ...(options.clipNorm !== undefined && { clipNorm: options.clipNorm }),
    ...(options.emaDecay !== undefined && { emaDecay: options.emaDecay }),
    ...(cuts !== undefined && { rankPruning: cuts }),
    ...(options.patience !== undefined && { patience: options.patience }),
    ...(fresh !== undefined && { fromScratch: fresh }),
    ...(options.head !== undefined && { head: options.head }),
    ...(options.untie !== undefined && { untie: options.untie }),
    ...(options.optimizerOptions !== undefined && defined(options.optimizerOptions)),
    ...(options.batchNorm !== undefined && { batchNorm: options.batchNorm }),
    ...(options.chainSteps !== undefined && { chainSteps: options.chainSteps }),
    ...(options.checkpointing === true && { checkpointing: true }),
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
    ...(calls.length > 0 && { calls }),
    tied: tiedWeights(model, prediction.name, weights),
    unreached,
    quantized,
    outputs: prediction.shape === undefined ? undefined : classesOf(prediction, loss),
    labels: undefined,
    ...(dataset.classAxis !== undefined && isPlainCrossEntropy(loss) && { perplexity: true }),
    ...(isAdapters && { adapters: true }),
    ...(usesType(model, 'bfloat16') && { widened: true }),
    // The last factor of an adapter begins at zero.
    filled:
      fresh === undefined && !isAdapters
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
    model: sha256().update(printModel(model)).digest('hex').slice(0, 16),
    samples: dataset.size,
    validation: options.validation?.size ?? 0,
    weights: sha256().update(weights.join('\n')).digest('hex').slice(0, 16),
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
    model,
    prediction,
    plan,
    spec,
    rate,
    monitor: options.monitor ?? (hasClasses ? 'accuracy' : 'loss'),
    fresh,
    pruning,
    feeds,
    fingerprint: JSON.parse(JSON.stringify(fingerprint)) as Record<string, unknown>,
  };
}

/** Whether a loss is the cross-entropy itself, whose exponential is a perplexity. */
function isPlainCrossEntropy(loss: Loss): boolean {
  return loss.kind === 'cross-entropy' && !loss.smoothing && (loss.temperature ?? 1) === 1;
}

function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Steps of an epoch, without a look at anything but sizes. */
export function stepsPerEpoch(
  model: Model,
  dataset: Dataset,
  options: Pick<TrainOptions, 'batch' | 'optimizer'>,
): number {
  return Math.floor(dataset.size / batchOf(model, dataset, options));
}

/** Samples a step: those that the model is for, where it is for a certain number. */
function batchOf(
  model: Model,
  dataset: Dataset,
  { batch, optimizer: name }: Pick<TrainOptions, 'batch' | 'optimizer'>,
): number {
  const wanted = name !== undefined && isSearch(name) ? dataset.size : batch;
  const sizes = fedInputs(model.graph).map(({ shape }) => shape?.[0]);
  const fixed = sizes.find((size): size is number => typeof size === 'number' && size > 1);
  if (fixed !== undefined && wanted !== undefined && wanted !== fixed) {
    throw new ModelError(`takes ${fixed} samples at a time, so the batch cannot be ${wanted}`, {
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

/** Sizes that the model leaves open and the samples have; the first of an input is the batch. */
function dimsOf(model: Model, dataset: Dataset, feeds: ReadonlyMap<string, string>): Record<string, number> {
  const dims: Record<string, number> = emptyRecord();
  const fed = fedInputs(model.graph);
  const batches = new Set(fed.map(({ shape }) => shape?.[0]));
  for (const input of fed) {
    const field = dataset.inputs.find((one) => one.name === feeds.get(input.name));
    for (const [axis, dim] of (input.shape ?? []).entries()) {
      const size = field?.shape[axis - 1];
      if (axis > 0 && isOpen(dim) && size !== undefined && !(typeof dim === 'string' && batches.has(dim)))
        dims[dimKey(input, axis)] = size;
    }
  }
  return dims;
}
