import { isFloatType, type Model, ModelError } from '../graph/index.js';
import { reading } from '../graph/occupied.js';
import { checkOptions } from '../graph/option-descriptors.js';
import type { RuntimeTensor, SessionOptions } from '../runtime/index.js';
import { DEVICE_OPTION, SESSION_OPTIONS } from '../runtime/session/options.js';
import { topK, valuesOf } from '../runtime/session/summary.js';
import { openPredictor } from '../training/predict.js';
import { dataError } from '../training/targets.js';
import type { Dataset } from '../training/types.js';
import { PREDICT_OPTIONS } from './predict-options.js';

/** Options of predictSamples. */
export interface PredictOptions extends Pick<SessionOptions, 'providers' | 'device' | 'threads'> {
  /** The output to read; default the first. Its first dimension counts the samples, and one other holds their values. */
  readonly output?: string | undefined;
  /** The largest so many elements of each sample, as classes. Default: all elements in their order. */
  readonly top?: number | undefined;
  /** Samples a run, where the model takes any number; default 64. */
  readonly batch?: number | undefined;
  /** Ends the work between two batches, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** One of the classes that a model finds the likeliest. */
export interface PredictedClass {
  readonly class: number;
  /** As the model gives it. */
  readonly value: number;
  /** Between 0 and 1: the softmax of the values, or the value where they are probabilities; undefined of integers. */
  readonly probability: number | undefined;
}

/** What a model makes of one sample. */
export interface SamplePrediction {
  /** Its number in its file or folder, from 0. */
  readonly sample: number;
  /** The path of an image in its folder; undefined of data whose samples have no names. */
  readonly name: string | undefined;
  /** The label or number that the data has for it; undefined where it has none, or several. */
  readonly target: number | undefined;
  /** The likeliest first; empty without `top`. */
  readonly classes: readonly PredictedClass[];
  /** All elements; empty with `top`. */
  readonly values: readonly number[];
}

/**
 * What a model makes of each sample of a data set, in the order of the samples. The model must not be edited before the end.
 *
 * @throws OptionError for options out of range; ModelError where data and model do not fit, and for an output that holds more
 *   than one row a sample
 * @example
 * import { inputSpecs } from 'onnx-overparam/training';
 *
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('photos', { inputs: inputSpecs(model), skipBad: true });
 * for await (const { name, classes } of predictSamples(model, data, { top: 1 })) console.log(name, classes[0]?.class);
 */
export async function* predictSamples(
  model: Model,
  dataset: Dataset,
  options: PredictOptions = {},
): AsyncGenerator<SamplePrediction, void, void> {
  const { top, batch: size = PREDICT_OPTIONS.batch.default, signal, ...session } = options;
  checkOptions({ ...PREDICT_OPTIONS, ...SESSION_OPTIONS, ...DEVICE_OPTION }, options);
  if (dataset.size === 0) throw dataError(dataset, 'the data has no samples');
  const { output, ...rest } = session;
  const value = output ?? model.graph.outputs[0]?.name ?? '';
  await using predictor = await openPredictor(model, dataset, { ...rest, value, yielding: true });
  for (let from = 0; from < dataset.size; from += size) {
    signal?.throwIfAborted();
    const indices = Array.from({ length: Math.min(size, dataset.size - from) }, (_, at) => from + at);
    const samples = await dataset.batch(indices);
    const rows = rowsOf(
      await reading([model], 'the prediction', () => predictor.predict(samples)),
      indices.length,
      model,
    );
    const targets = samples.target?.data.length === indices.length ? samples.target.data : undefined;
    const best = top === undefined ? [] : topK(rows, top);
    const width = rows.shape[1] ?? 0;
    const each = Math.min(top ?? 0, width);
    const numbers = top === undefined ? Array.from(valuesOf(rows), Number) : [];
    for (const [at, index] of indices.entries()) {
      const target = targets?.[at];
      yield {
        sample: dataset.numberOf?.(index) ?? index,
        name: dataset.nameOf?.(index),
        target: target === undefined ? undefined : Number(target),
        classes: best.slice(at * each, (at + 1) * each).map((entry) => ({
          class: entry.index,
          value: entry.value,
          probability: isFloatType(rows.type) ? (entry.softmax ?? entry.value) : undefined,
        })),
        values: numbers.slice(at * width, (at + 1) * width),
      };
    }
  }
}

/** An output as [samples, elements]. */
function rowsOf(output: RuntimeTensor, samples: number, model: Model): RuntimeTensor {
  const { shape, type } = output;
  const [count, ...rest] = shape;
  const wide = rest.filter((dim) => dim !== 1);
  if (type === 'string' || count !== samples || wide.length > 1)
    throw new ModelError(
      `makes ${type}[${shape.join(', ')}] of ${samples} samples; predictions are one row of numbers a sample, [samples, values]`,
      { file: model.path },
    );
  return { ...output, shape: [samples, wide[0] ?? 1] };
}
