import { type Model, ModelError } from '../graph/index.js';
import type { LossKind } from '../passes/gradient/index.js';
import { predictionOf } from '../passes/gradient/request.js';
import { type ProviderChoice, type RuntimeTensor, runGraph } from '../runtime/index.js';
import { checkPositive } from './optimizers/ranges.js';
import { openPredictor } from './predict.js';
import type { Batch, Dataset, Field } from './types.js';

/** Options of distilled. */
export interface DistillOptions {
  /** The teacher's output; default its first. */
  readonly output?: string | undefined;
  /**
   * The student's loss: 'cross-entropy' (default) takes the teacher's probabilities, 'bce' one for each output, the
   * others what the teacher puts out.
   */
  readonly loss?: LossKind | undefined;
  /** Logits are divided by it before they become probabilities; default 1. The loss takes the same one. */
  readonly temperature?: number | undefined;
  readonly providers?: ProviderChoice | undefined;
  readonly threads?: number | undefined;
  /** The axis of the classes of cross-entropy; default 1. */
  readonly axis?: number | undefined;
}

/**
 * Data whose targets are what another model says of the inputs (Hinton, Vinyals & Dean, "Distilling the Knowledge in a
 * Neural Network", 2015). Labels are neither needed nor looked at. Teacher and student see the same augmentations.
 *
 * The teacher runs when a batch is asked for, and any batch will do: one of a fixed batch size is run in parts. A Softmax or Sigmoid at its
 * end is taken up, so the temperature works on logits.
 *
 * @param dataset is read from, so dispose it after what is returned
 * @throws OptionError for a temperature that is not above 0; ModelError for inputs that the data does not have, and where the teacher does not run on the first sample
 * @example
 * await using data = await distilled(dataset, teacher, { temperature: 4 });
 * const loss = { kind: 'cross-entropy', targets: 'probabilities', temperature: 4 };
 */
export async function distilled(
  dataset: Dataset,
  teacher: Model,
  options: DistillOptions = {},
): Promise<Dataset> {
  const { loss = 'cross-entropy', temperature = 1, providers, threads } = options;
  checkPositive(temperature, 'temperature');
  if (dataset.size === 0) throw new ModelError('the data has no samples to distil from');
  const name = predictionOf(teacher, options.output, loss);
  const predictor = await openPredictor(teacher, dataset, {
    value: name,
    role: 'teacher',
    providers,
    threads,
  });
  try {
    const say = async (batch: Batch): Promise<RuntimeTensor> =>
      targetsOf(await predictor.predict(batch), loss, temperature, options.axis);
    const { type, shape } = await say(await dataset.batch([0]));
    const target: Field = { name: 'teacher', type, shape: shape.slice(1) };
    return {
      inputs: dataset.inputs,
      target,
      size: dataset.size,
      classes: dataset.classes,
      path: dataset.path,
      async batch(indices, batchOptions) {
        const batch = await dataset.batch(indices, batchOptions);
        return { inputs: batch.inputs, target: await say(batch) };
      },
      [Symbol.asyncDispose]: () => predictor[Symbol.asyncDispose](),
    };
  } catch (error) {
    await predictor[Symbol.asyncDispose]();
    throw error;
  }
}

/** What the student's loss compares with, in float32. */
export async function targetsOf(
  said: RuntimeTensor,
  loss: LossKind,
  temperature: number,
  axis = 1,
): Promise<RuntimeTensor> {
  // [N, C, 1, 1], what a network without a last Flatten makes, is read as [N, C], as the loss does.
  const isFlat = loss === 'cross-entropy' && axis === 1 && said.shape.slice(2).every((size) => size === 1);
  const y = isFlat ? { ...said, shape: said.shape.slice(0, 2) } : said;
  const probabilities =
    loss === 'cross-entropy'
      ? [{ opType: 'Softmax', inputs: ['scaled'], outputs: ['target'], attributes: { axis: { int: axis } } }]
      : loss === 'bce'
        ? [{ opType: 'Sigmoid', inputs: ['scaled'], outputs: ['target'] }]
        : undefined;
  if (probabilities === undefined && y.type === 'float32') return y;
  const scale: RuntimeTensor = { type: 'float32', shape: [], data: Float32Array.of(1 / temperature) };
  const { target } = await runGraph(
    [
      { opType: 'Cast', inputs: ['y'], outputs: ['single'], attributes: { to: { int: 1 } } },
      ...(probabilities === undefined
        ? [{ opType: 'Identity', inputs: ['single'], outputs: ['target'] }]
        : [{ opType: 'Mul', inputs: ['single', 'scale'], outputs: ['scaled'] }, ...probabilities]),
    ],
    { y, ...(probabilities !== undefined && { scale }) },
    ['target'],
  );
  if (target === undefined) throw new ModelError('the teacher made no targets');
  return target;
}
