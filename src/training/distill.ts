import { createModel, type Model, ModelError } from '../graph/index.js';
import { createMessage } from '../graph/proto/codec.js';
import type { GraphProto } from '../graph/proto/schema.js';
import { emptyRecord } from '../graph/record.js';
import type { LossKind } from '../passes/gradient/index.js';
import { predictionOf } from '../passes/gradient/request.js';
import {
  openSession,
  type ProviderChoice,
  type RuntimeTensor,
  runGraph,
  type Session,
} from '../runtime/index.js';
import { feedsOf } from './feed.js';
import { checkPositive } from './optimizers/ranges.js';
import type { Batch, Dataset, Field } from './types.js';

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
  const feeds = feedsOf(teacher, dataset, 'teacher');
  const session = await openSession(endingAt(teacher, name), { providers, threads });
  try {
    const say = async (batch: Batch): Promise<RuntimeTensor> =>
      targetsOf(await inParts(session, feedsFrom(batch, feeds), name), loss, temperature);
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
      [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
    };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** The model with a value of its graph as the only output. */
function endingAt(model: Model, name: string): Model {
  if (model.graph.outputs.length === 1 && model.graph.isOutput(name)) return model;
  const graph = model.graph.proto as GraphProto;
  const output = model.graph.outputs.find((value) => value.name === name)?.proto;
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', {
        ...graph,
        output: [output ?? createMessage('ValueInfoProto', { name })],
      }),
    }),
  );
}

function feedsFrom(
  { inputs }: Batch,
  feeds: ReadonlyMap<string, string>,
): Readonly<Record<string, RuntimeTensor>> {
  const found = emptyRecord<RuntimeTensor>();
  for (const [input, field] of feeds) {
    const tensor = inputs[field];
    if (tensor !== undefined) found[input] = tensor;
  }
  return found;
}

/** Runs a model on any number of samples; one whose batch is fixed on so many at a time, the last filled up with zeros. */
async function inParts(
  session: Session,
  feeds: Readonly<Record<string, RuntimeTensor>>,
  output: string,
): Promise<RuntimeTensor> {
  const fixed = session.inputs.map(({ shape }) => shape[0]).find((size) => typeof size === 'number');
  const count = Object.values(feeds)[0]?.shape[0] ?? 0;
  const only = async (part: Readonly<Record<string, RuntimeTensor>>): Promise<RuntimeTensor> => {
    const { [output]: result } = await session.run(part, { outputs: [output] });
    if (result === undefined) throw new ModelError(`has no output '${output}'`);
    return result;
  };
  if (typeof fixed !== 'number' || fixed === count) return only(feeds);
  const parts: RuntimeTensor[] = [];
  for (let start = 0; start < count; start += fixed) {
    const part = Object.fromEntries(
      Object.entries(feeds).map(([name, tensor]) => [name, samples(tensor, start, fixed)]),
    );
    parts.push(samples(await only(part), 0, Math.min(fixed, count - start)));
  }
  return joined(parts);
}

type Numbers = Exclude<RuntimeTensor['data'], string[]>;

/** Samples from `start` on; zeros where there are no more. */
function samples(tensor: RuntimeTensor, start: number, count: number): RuntimeTensor {
  const { shape } = tensor;
  const data = tensor.data as Numbers;
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  const result = new (data.constructor as new (length: number) => Numbers)(count * size);
  result.set(data.subarray(start * size, (start + count) * size) as never);
  return { ...tensor, shape: [count, ...shape.slice(1)], data: result };
}

function joined(parts: readonly RuntimeTensor[]): RuntimeTensor {
  const [first] = parts;
  if (first === undefined) throw new ModelError('a batch needs at least one sample');
  const count = parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0);
  const whole = samples(first, 0, count);
  let offset = 0;
  for (const { data } of parts) {
    (whole.data as Numbers).set(data as never, offset);
    offset += data.length;
  }
  return whole;
}

/** What the student's loss compares with, in float32. */
async function targetsOf(said: RuntimeTensor, loss: LossKind, temperature: number): Promise<RuntimeTensor> {
  // [N, C, 1, 1], what a network without a last Flatten makes, is read as [N, C], as the loss does.
  const isFlat = loss === 'cross-entropy' && said.shape.slice(2).every((size) => size === 1);
  const y = isFlat ? { ...said, shape: said.shape.slice(0, 2) } : said;
  const probabilities =
    loss === 'cross-entropy'
      ? [{ opType: 'Softmax', inputs: ['scaled'], outputs: ['target'], attributes: { axis: { int: 1 } } }]
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
