import { type Model, ModelError } from '../graph/index.js';
import { reading } from '../graph/occupied.js';
import { OptionError } from '../graph/option-descriptors.js';
import { predictionOf } from '../passes/gradient/request.js';
import type { RuntimeTensor } from '../runtime/index.js';
import { feedsOf } from '../training/feed.js';
import { openPredictor, type Predictor } from '../training/predict.js';
import { dataError, fitted, type Prediction, predictionFor, type TargetFit } from '../training/targets.js';
import type { Batch, Dataset } from '../training/types.js';
import { checkEvaluateOptions, EVALUATE_OPTIONS, type EvaluateOptions } from './options.js';
import { reportOf, type Tallied } from './quality-report.js';
import { areProbabilities, type Rows, rowsOf } from './rows.js';
import { agreementScores, classScores, decisionsOf, valueScores } from './scores.js';
import { ComparisonTally, ModelTally } from './tally.js';
import { nextTokens, type RowTargets, rowTargets } from './targets.js';
import { fitFor, type Task, taskFor } from './task.js';
import type { QualityReport } from './types.js';

/** A model, and what a report calls it. */
export interface EvaluatedModel {
  readonly name: string;
  readonly model: Model;
}

const MOST_BATCH = 256;
/** Elements of inputs or outputs that a run is to have at most, unless one sample has more. */
const RUN_ELEMENTS = 2 ** 22;
const MEAN_BATCH = 4096;

/**
 * Runs models over the samples of a data set and says how good they are, and how the others differ from the first on the
 * same samples: accuracy, top-k accuracy and loss of classes (of samples, pixels or tokens), mean IoU, perplexity; MSE,
 * MAE and R² of numbers; cosine, KL and equal decisions between models, which need no labels. Intervals are the 2.5 and
 * 97.5 percentiles of a seeded bootstrap over the samples; those of differences are of paired resamples.
 *
 * Data without targets whose samples are texts of whole numbers, in front of an output [batch, tokens, classes], are
 * measured by the token that follows each.
 *
 * @param models at least one; all take the inputs of the data set
 * @throws OptionError for options out of range; ModelError where data and models do not fit, naming the file, and for one
 *   model on data without targets; ProviderError for a provider that does not load
 * @example
 * import { inputSpecs } from 'onnx-overparam/training';
 *
 * const [a, b] = [await readModel('a.onnx'), await readModel('b.onnx')];
 * await using data = await openDataset('mnist', { split: 'test', inputs: inputSpecs(a) });
 * const quality = await evaluateModels([{ name: 'a', model: a }, { name: 'b', model: b }], data);
 * console.log(quality.models[0]?.figures.accuracy, quality.comparisons[0]?.differences.accuracy);
 */
export async function evaluateModels(
  models: readonly EvaluatedModel[],
  dataset: Dataset,
  options: EvaluateOptions = {},
): Promise<QualityReport> {
  const all = models.map(({ model }) => model);
  return reading(all, 'the evaluation', () => evaluation(models, dataset, options));
}

async function evaluation(
  models: readonly EvaluatedModel[],
  dataset: Dataset,
  options: EvaluateOptions,
): Promise<QualityReport> {
  await using run = await openEvaluation(models, dataset, options);
  const { classes, batches } = run;
  const tallies = models.map(() => new ModelTally(dataset.size, classes));
  const comparisons = models.slice(1).map(() => new ComparisonTally(dataset.size, classes));
  for (let batch = 0; batch < batches; batch += 1) {
    const { from, count } = run.rangeOf(batch);
    await run.measure(batch, { at: from, tallies, comparisons });
    options.onProgress?.({ done: from + count, total: dataset.size });
  }
  return reportOf({ ...(await run.summary()), dataset, tallies, comparisons });
}

/** Where a batch is added up: its first sample becomes number `at` of the tallies. */
export interface Tallies {
  readonly at: number;
  readonly tallies: readonly ModelTally[];
  readonly comparisons: readonly ComparisonTally[];
}

/** Models that are ready to be measured, batch by batch. */
export interface Evaluation extends AsyncDisposable {
  readonly classes: number | undefined;
  readonly batches: number;
  rangeOf(batch: number): { readonly from: number; readonly count: number };
  /** @returns the samples that were read */
  measure(batch: number, into: Tallies): Promise<Batch>;
  /** All that a report says beside the data and the tallies. */
  summary(): Promise<Omit<Tallied, 'dataset' | 'tallies' | 'comparisons'>>;
}

/** @throws as evaluateModels */
export async function openEvaluation(
  models: readonly EvaluatedModel[],
  dataset: Dataset,
  options: EvaluateOptions,
): Promise<Evaluation> {
  checkEvaluateOptions(options);
  const [first] = models;
  if (first === undefined) throw new RangeError('there is no model to evaluate');
  if (dataset.size === 0) throw dataError(dataset, 'the data has no samples to evaluate on');
  const opened = new Opened();
  try {
    return await openedEvaluation(models, first, dataset, options, opened);
  } catch (error) {
    await opened[Symbol.asyncDispose]();
    throw error;
  }
}

async function openedEvaluation(
  models: readonly EvaluatedModel[],
  first: EvaluatedModel,
  dataset: Dataset,
  options: EvaluateOptions,
  opened: Opened,
): Promise<Evaluation> {
  const setting = await settle(first.model, dataset, options, opened);
  const { task, shape } = setting;
  if (task.kind === 'agreement' && models.length < 2)
    throw dataError(
      dataset,
      'the data has no targets to hold one model against; give it labels, or a second model to compare with',
    );
  for (const { model } of models.slice(1)) await opened.add(model, dataset, options, task);
  const widths =
    task.form.kind === 'classes' ? shape[task.form.axis] : task.form.kind === 'binary' ? 2 : undefined;
  const classes = task.kind === 'classes' ? widths : undefined;
  const mean = task.kind === 'values' ? await targetMean(dataset, setting) : undefined;
  const top = options.top ?? EVALUATE_OPTIONS.top.default;
  const size = options.batch ?? batchOf(dataset, shape, opened.predictors[0]?.fixedBatch);
  const rangeOf = (batch: number) => ({
    from: batch * size,
    count: Math.min(size, dataset.size - batch * size),
  });
  const outputsOf = async (batch: number) => {
    const { from, count } = rangeOf(batch);
    const samples = await dataset.batch(Uint32Array.from({ length: count }, (_, index) => from + index));
    const outputs: RuntimeTensor[] = [];
    for (const [index, predictor] of opened.predictors.entries()) {
      const output = await naming(models[index], () => predictor.predict(samples));
      const sizes = [count, ...shape.slice(1)];
      if (index > 0 && !isSameForm(output.shape, sizes, task))
        throw new ModelError(
          `makes [${output.shape.join(', ')}] where ${first.name} makes [${sizes.join(', ')}]`,
          { file: models[index]?.model.path },
        );
      outputs.push(output);
    }
    return { samples, outputs };
  };
  let known: readonly boolean[] | undefined;
  /** The first batch decides for all. */
  const probabilities = async (given?: readonly RuntimeTensor[]): Promise<readonly boolean[]> => {
    if (known !== undefined) return known;
    const isEach: boolean[] = [];
    for (const output of given ?? (await outputsOf(0)).outputs)
      isEach.push(
        task.form.kind === 'classes' && (await areProbabilities(await rowsOf(output, task, false))),
      );
    known = isEach;
    return isEach;
  };
  return {
    classes,
    batches: Math.ceil(dataset.size / size),
    rangeOf,
    measure: async (batch, { at, tallies, comparisons }) => {
      options.signal?.throwIfAborted();
      const { from } = rangeOf(batch);
      const { samples, outputs } = await outputsOf(batch);
      const asProbabilities = await probabilities(batch === 0 ? outputs : undefined);
      const rows: Rows[] = [];
      for (const [index, output] of outputs.entries())
        rows.push(await naming(models[index], () => rowsOf(output, task, asProbabilities[index] ?? false)));
      const numberOf = (sample: number): number => dataset.numberOf?.(from + sample) ?? from + sample;
      const targets = await targetsOf(samples, dataset, setting, options, numberOf);
      await tally({ from: at, rows, targets, task, top, mean, tallies, comparisons, numberOf });
      return samples;
    },
    summary: async () => ({
      models: models.map(({ name }) => name),
      task,
      shape,
      options: { ...options, top },
      classes,
      asProbabilities: await probabilities(),
    }),
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}

/** What is settled by the first sample. */
interface Setting {
  readonly task: Task;
  readonly prediction: Prediction;
  readonly fit: TargetFit | undefined;
  /** Of the first model's output of one sample. */
  readonly shape: readonly number[];
  /** The data's input that holds tokens, where they are their own targets, and the one that masks them. */
  readonly tokens: string | undefined;
  readonly mask: string | undefined;
}

/** Predictors that are disposed together. */
class Opened implements AsyncDisposable {
  readonly predictors: Predictor[] = [];

  async add(
    model: Model,
    dataset: Dataset,
    options: EvaluateOptions,
    task: Pick<Task, 'form'>,
  ): Promise<Predictor> {
    const kind = task.form.kind === 'classes' ? 'cross-entropy' : task.form.kind === 'binary' ? 'bce' : 'mse';
    const predictor = await openPredictor(model, dataset, {
      value: predictionOf(model, options.output, kind),
      providers: options.providers,
      device: options.device,
      threads: options.threads,
      yielding: true,
    });
    this.predictors.push(predictor);
    return predictor;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const predictor of this.predictors.splice(0)) await predictor[Symbol.asyncDispose]();
  }
}

/** Runs the first model on the first sample: its output tells what is measured. */
async function settle(
  model: Model,
  dataset: Dataset,
  options: EvaluateOptions,
  opened: Opened,
): Promise<Setting> {
  const predictor = await opened.add(model, dataset, options, { form: { kind: 'classes', axis: 1 } });
  const { shape } = await predictor.predict(await dataset.batch([0]));
  if (shape[0] !== 1)
    throw new ModelError(
      `makes [${shape.join(', ')}] of one sample: the first dimension of an output must count the samples`,
      { file: model.path },
    );
  const prediction = { ...predictionFor(model, options.output, 1, shape), shape };
  const feeds = [...new Set(feedsOf(model, dataset).values())].flatMap(
    (name) => dataset.inputs.find((field) => field.name === name) ?? [],
  );
  const texts = feeds.filter(
    ({ type, shape, name }) =>
      shape.length === 1 &&
      (type === 'int64' || type === 'int32') &&
      !/mask|position|segment|token_type/i.test(name),
  );
  const [text] = texts;
  const length = texts.length === 1 ? text?.shape[0] : undefined;
  const task = taskFor(dataset, prediction, options, length === undefined ? undefined : { length });
  if (options.ignoreIndex !== undefined && (task.loss?.kind !== 'cross-entropy' || task.isSoft))
    throw new OptionError('ignoreIndex', 'goes with labels and the loss cross-entropy');
  const kept = { classes: 'cross-entropy', binary: 'bce', whole: 'mse' } as const;
  const value = predictionOf(model, options.output, kept[task.form.kind]);
  if (value !== predictionOf(model, options.output, 'cross-entropy')) {
    await opened[Symbol.asyncDispose]();
    await opened.add(model, dataset, options, task);
  }
  return {
    task,
    prediction,
    fit: fitFor(dataset, prediction, task),
    shape,
    tokens: task.isNextToken ? text?.name : undefined,
    mask: task.isNextToken ? dataset.inputs.find(({ name }) => name === 'attention_mask')?.name : undefined,
  };
}

/** The classes lie in the same place; of a class a sample, axes of 1 do not matter. */
function isSameForm(a: readonly number[], b: readonly number[], { form }: Task): boolean {
  const plain = (shape: readonly number[]): string =>
    shape
      .filter((dim, axis) => axis === 0 || (form.kind === 'classes' && axis === form.axis) || dim !== 1)
      .join();
  return plain(a) === plain(b);
}

async function naming<T>(named: EvaluatedModel | undefined, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ModelError) || error.where.file !== undefined || named === undefined) throw error;
    throw new ModelError(
      error.message,
      { ...error.where, file: named.model.path ?? named.name },
      { cause: error },
    );
  }
}

function batchOf(dataset: Dataset, shape: readonly number[], fixed: number | undefined): number {
  const size = (sizes: readonly number[]): number => sizes.reduce((product, dim) => product * dim, 1);
  const largest = Math.max(1, size(shape), ...dataset.inputs.map((field) => size(field.shape)));
  const most = Math.max(1, Math.min(MOST_BATCH, Math.floor(RUN_ELEMENTS / largest)));
  return fixed === undefined ? most : fixed * Math.max(1, Math.floor(most / fixed));
}

/** Of each number that is predicted, over all samples: R² is held against it. */
async function targetMean(dataset: Dataset, { fit }: Setting): Promise<Float64Array> {
  let mean = new Float64Array(0);
  let done = 0;
  for (let from = 0; from < dataset.size; from += MEAN_BATCH) {
    const indices = Array.from({ length: Math.min(MEAN_BATCH, dataset.size - from) }, (_, at) => from + at);
    const read =
      dataset.targets === undefined ? (await dataset.batch(indices)).target : await dataset.targets(indices);
    if (read === undefined || fit === undefined) continue;
    const target = fitted(read, fit, dataset, (at) => dataset.numberOf?.(from + at) ?? from + at);
    const width = target.data.length / indices.length;
    if (mean.length === 0) mean = new Float64Array(width);
    const values = target.data as Float32Array;
    for (let sample = 0; sample < indices.length; sample += 1) {
      done += 1;
      for (let at = 0; at < width; at += 1) {
        const old = mean[at] as number;
        mean[at] = old + ((values[sample * width + at] as number) - old) / done;
      }
    }
  }
  return mean;
}

async function targetsOf(
  samples: Batch,
  dataset: Dataset,
  { task, fit, tokens, mask, shape }: Setting,
  { ignoreIndex }: EvaluateOptions,
  numberOf: (at: number) => number,
): Promise<RowTargets | undefined> {
  const text = tokens === undefined ? undefined : samples.inputs[tokens];
  if (text === undefined) return await rowTargets(samples, { dataset, task, fit, ignoreIndex, numberOf });
  const shown = mask === undefined ? undefined : samples.inputs[mask];
  return { labels: nextTokens(text, shown, shape[2] ?? 0, dataset, numberOf), rows: undefined };
}

interface Run {
  readonly from: number;
  readonly rows: readonly Rows[];
  readonly targets: RowTargets | undefined;
  readonly task: Task;
  readonly top: number;
  readonly mean: Float64Array | undefined;
  readonly tallies: readonly ModelTally[];
  readonly comparisons: readonly ComparisonTally[];
  readonly numberOf: (at: number) => number;
}

async function tally(batch: Run): Promise<void> {
  const { from, rows, targets, task, top, mean, tallies, comparisons, numberOf } = batch;
  const { labels, rows: wanted } = targets ?? {};
  const decisions: Int32Array[] = [];
  for (const [index, own] of rows.entries()) {
    const result = tallies[index];
    if (labels !== undefined) {
      const scores = await classScores(
        own,
        labels.map((label) => Math.max(0, label)),
        wanted,
      );
      result?.addClasses(from, own.perSample, labels, scores, top);
      decisions.push(scores.decision);
    } else if (task.kind === 'values' && wanted !== undefined && mean !== undefined) {
      result?.addValues(from, own.width, await valueScores(own, wanted, mean));
    } else if (task.form.kind !== 'whole' && own.width > 1) decisions.push(await decisionsOf(own));
  }
  const [first] = rows;
  for (const [index, comparison] of comparisons.entries()) {
    const other = rows[index + 1];
    if (first === undefined || other === undefined) continue;
    const [one, another] = [decisions[0], decisions[index + 1]];
    comparison.add(from, first.perSample, {
      scores: await agreementScores(first, other),
      labels,
      decisions: one && another && [one, another],
      numberOf,
    });
  }
}
