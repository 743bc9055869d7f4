import { type Model, ModelError } from '../../graph/index.js';
import { checkOptions, defaultsOf, OptionError } from '../../graph/option-descriptors.js';
import { trainableWeights } from '../../passes/gradient/index.js';
import { fedInputs, type RuntimeTensor } from '../../runtime/index.js';
import { shuffledOrder } from '../data/batches.js';
import { assertFinite } from '../divergence.js';
import { openEngine } from '../engine/engine.js';
import { feedsOf } from '../feed.js';
import { optimizerNamed } from '../optimizers/index.js';
import { learningRates, schedule } from '../optimizers/schedule.js';
import { decayedWeights } from '../optimizers/weight-decay.js';
import { TRAIN_DEFAULTS, TRAIN_OPTIONS, type TrainOptions } from '../options.js';
import { isSearch } from '../search/index.js';
import type { Chunk, Dataset } from '../types.js';
import { freshWeights } from '../weights/fresh-weights.js';
import { withWeights } from '../weights/put-weights.js';
import { diverseObjective, oneHot } from './objective.js';
import { DIVERSE_OPTIONS, type DiverseOptions } from './options.js';

/** Options of trainDiverse: of those of train what its loss allows. */
export interface TrainDiverseOptions
  extends DiverseOptions,
    Pick<
      TrainOptions,
      | 'epochs'
      | 'batch'
      | 'optimizer'
      | 'optimizerOptions'
      | 'learningRate'
      | 'schedule'
      | 'warmup'
      | 'weightDecay'
      | 'weightDecayKind'
      | 'clipNorm'
      | 'fromScratch'
      | 'seed'
      | 'threads'
      | 'signal'
    > {
  /** Called after each chunk of steps. */
  readonly onProgress?: ((progress: DiverseProgress) => void) | undefined;
}

/** How far trainDiverse is. */
export interface DiverseProgress {
  readonly epoch: number;
  /** Steps done, and steps in all. */
  readonly step: number;
  readonly steps: number;
  /** The joint loss of the last batch. */
  readonly loss: number;
}

/** What trainDiverse returns. */
export interface DiverseResult {
  readonly models: readonly Model[];
  /** The mean of the joint loss over the steps of each epoch that was begun. */
  readonly losses: readonly number[];
  readonly steps: number;
  readonly reason: 'epochs' | 'aborted';
}

/** Bytes of samples that are fed at a time, and steps. */
const CHUNK_BYTES = 8 << 20;
const CHUNK_STEPS = 50;

/**
 * Trains several models of one architecture together so that they rely on different features: cross-entropies and a penalty on
 * input gradients that are aligned, see `diverseObjective` (Teney et al., "Evading the Simplicity Bias", CVPR 2022, arXiv
 * 2105.05612). Each begins with random weights of its own, since equal ones would stay equal. Dropout is off.
 *
 * @param model float32 [batch, …] to logits [batch, classes]; stays as it is
 * @param dataset with class labels
 * @throws OptionError for options out of range; ModelError for a model of another form or with BatchNormalization, whose batch
 *   statistics have no place in the penalty, for data that does not fit, and where the loss does not stay finite; GradientError for operators
 *   without a second derivative
 * @example
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('mnist', { inputs: inputSpecs(model) });
 * const { models } = await trainDiverse(model, data, { diverse: 3, alignment: 1, epochs: 5 });
 * for (const [i, one] of models.entries()) await saveModel(one, `model-${i + 1}.onnx`);
 */
export async function trainDiverse(
  model: Model,
  dataset: Dataset,
  options: TrainDiverseOptions,
): Promise<DiverseResult> {
  const { diverse, alignment } = {
    ...defaultsOf(DIVERSE_OPTIONS),
    ...checkOptions(DIVERSE_OPTIONS, options),
  };
  const init = typeof options.fromScratch === 'string' ? options.fromScratch : 'kaiming';
  const {
    epochs,
    seed,
    warmup,
    batch: wanted,
  } = {
    ...TRAIN_DEFAULTS,
    ...checkOptions(TRAIN_OPTIONS, { ...options, optimizer: undefined, fromScratch: init }),
  };
  if (diverse === undefined) throw new OptionError('diverse', 'is missing: how many models?');
  const name = options.optimizer ?? TRAIN_DEFAULTS.optimizer;
  if (isSearch(name)) throw new OptionError('optimizer', `'${name}' does not train several models`);
  const file = model.path;
  const norm = model.graph.nodes.find((node) => node.is('BatchNormalization'));
  if (norm !== undefined)
    throw new ModelError('BatchNormalization does not go with models that are trained together', {
      file,
      node: norm.label,
    });
  if (dataset.target?.type !== 'int64' || dataset.target.shape.length > 0)
    throw new ModelError('has no class labels, which models that are trained together need', {
      file: dataset.path,
    });
  if (dataset.size === 0) throw new ModelError('has no samples to train on', { file: dataset.path });
  const [input] = fedInputs(model.graph);
  const fixed = input?.shape?.[0];
  const batch = typeof fixed === 'number' && fixed > 1 ? fixed : Math.min(wanted, dataset.size);
  if (batch > dataset.size || (options.batch !== undefined && batch > options.batch))
    throw new ModelError(`takes ${batch} samples at a time`, { file });
  const perEpoch = Math.floor(dataset.size / batch);
  const steps = epochs * perEpoch;
  const shape = options.schedule ?? TRAIN_DEFAULTS.schedule;
  const learningRate = options.learningRate ?? optimizerNamed(name).learningRate;
  const rate = schedule({ shape, learningRate, steps, warmup: Math.round(warmup * perEpoch) });
  const trained = trainableWeights(model.graph, model.graph.outputs[0]?.name ?? '');
  const members = Array.from({ length: diverse }, (_, index) =>
    withWeights(model, freshWeights(model, trained, init, seed * MOST_MODELS + index)),
  );
  const objective = await diverseObjective(members, batch, { diverse, alignment });
  const decay = options.weightDecay ?? optimizerNamed(name).weightDecay;
  const decaying = decayedWeights(objective.model.graph, objective.weights);
  await using engine = await openEngine(objective.model, {
    loss: 'sum',
    output: objective.loss,
    batch,
    wrt: objective.weights,
    optimizer: optimizerNamed(name).make(options.optimizerOptions as never, options.weightDecayKind),
    weightDecayOf: (weight) => (decaying.has(weight) ? decay : 0),
    clipNorm: options.clipNorm,
    dropout: 'inference',
    threads: options.threads,
  });
  const feeds = feedsOf(model, dataset);
  const from = feeds.get(input?.name ?? '') ?? '';
  const losses: number[] = [];
  let [step, isStopped] = [0, options.signal?.aborted === true];
  for (let epoch = 1; epoch <= epochs && !isStopped; epoch += 1) {
    const order = shuffledOrder(dataset.size, seed, epoch);
    let sum = 0;
    for (let done = 0; done < perEpoch && !isStopped; ) {
      const now = Math.min(chunkSteps(dataset, from, batch), perEpoch - done);
      const indices = order.subarray(done * batch, (done + now) * batch);
      const chunk = await chunkOf(dataset, indices, { steps: now, batch, from, seed, epoch, objective });
      const result = await engine.run({ ...chunk, learningRates: learningRates(rate, step, now) });
      assertFinite(objective.model, result, { trained: engine.trained, first: step, epoch });
      for (const loss of result.losses) sum += loss;
      done += now;
      step += now;
      options.onProgress?.({ epoch, step, steps, loss: result.losses.at(-1) ?? Number.NaN });
      isStopped = options.signal?.aborted === true;
    }
    losses.push(sum / perEpoch);
  }
  const { weights } = await engine.state();
  return {
    models: members.map((member, index) => withWeights(member, objective.weightsOf(index, weights))),
    losses,
    steps: step,
    reason: isStopped ? 'aborted' : 'epochs',
  };
}

/** Seeds of one training's models do not meet those of the next. */
const MOST_MODELS = DIVERSE_OPTIONS.diverse.max;

function chunkSteps({ inputs }: Dataset, from: string, batch: number): number {
  const shape = inputs.find(({ name }) => name === from)?.shape ?? [];
  const bytes = 4 * batch * shape.reduce((product, dim) => product * dim, 1);
  return Math.max(1, Math.min(CHUNK_STEPS, Math.floor(CHUNK_BYTES / Math.max(1, bytes))));
}

/** Samples of steps, as the objective takes them. */
async function chunkOf(
  dataset: Dataset,
  indices: Uint32Array,
  {
    steps,
    batch,
    from,
    seed,
    epoch,
    objective: { samples, targets, classes },
  }: {
    readonly steps: number;
    readonly batch: number;
    readonly from: string;
    readonly seed: number;
    readonly epoch: number;
    readonly objective: Awaited<ReturnType<typeof diverseObjective>>;
  },
): Promise<Omit<Chunk, 'learningRates'>> {
  const { inputs, target } = await dataset.batch(indices, { augment: true, seed, epoch });
  const tensor = inputs[from] as RuntimeTensor;
  const labels = target?.data as BigInt64Array;
  const strange = labels.findIndex((label) => label < 0n || label >= BigInt(classes));
  if (strange >= 0)
    throw new ModelError(
      `sample ${dataset.numberOf?.(indices[strange] as number) ?? indices[strange]} (from 0) is of class ${labels[strange]}, and the model has ${classes}`,
      { file: dataset.path },
    );
  return {
    steps,
    inputs: {
      [samples]: { ...tensor, shape: [steps, batch, ...tensor.shape.slice(1)] },
      [targets]: { type: 'float32', shape: [steps, batch, classes], data: oneHot(labels, classes) },
    },
    target: undefined,
  };
}
