import { createModel, isFloatType, type Model, ModelError } from '../graph/index.js';
import { createMessage } from '../graph/proto/codec.js';
import type { GraphProto } from '../graph/proto/schema.js';
import { emptyRecord } from '../graph/record.js';
import {
  convert,
  openSession,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
} from '../runtime/index.js';
import { feedsOf } from './feed.js';
import type { Batch, Dataset } from './types.js';

/** A model that is ready to run on batches of a data set. */
export interface Predictor extends AsyncDisposable {
  /** Samples that the model takes at a time; undefined where it takes any number. */
  readonly fixedBatch: number | undefined;
  /** The value of all samples of a batch, the first dimension counts them. One of a fixed batch size is run in parts. */
  predict(batch: Pick<Batch, 'inputs'>): Promise<RuntimeTensor>;
}

/**
 * Opens a model for one of its values.
 *
 * @param options.value an output, or any other value of the main graph
 * @param options.role what the model is called where the data has too few inputs
 * @throws ModelError for inputs that the data does not have, and for what onnxruntime refuses
 */
export async function openPredictor(
  model: Model,
  dataset: Dataset,
  options: SessionOptions & { readonly value: string; readonly role?: 'model' | 'teacher' },
): Promise<Predictor> {
  const { value, role, ...session } = options;
  const feeds = feedsOf(model, dataset, role);
  const opened = await openSession(endingAt(model, value), session);
  const fixed = opened.inputs.map(({ shape }) => shape[0]).find((size) => typeof size === 'number');
  return {
    fixedBatch: typeof fixed === 'number' ? fixed : undefined,
    predict: async ({ inputs }) => await inParts(opened, feedsFrom(inputs, feeds, opened), value),
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
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

/** Floats come in the width that the model takes. */
function feedsFrom(
  inputs: Batch['inputs'],
  feeds: ReadonlyMap<string, string>,
  session: Session,
): Readonly<Record<string, RuntimeTensor>> {
  const types = new Map(session.inputs.map(({ name, type }) => [name, type]));
  const found = emptyRecord<RuntimeTensor>();
  for (const [input, field] of feeds) {
    const tensor = inputs[field];
    if (tensor === undefined) continue;
    const type = types.get(input);
    const converts = type !== undefined && isFloatType(type) && isFloatType(tensor.type);
    found[input] = converts ? convert(tensor, type) : tensor;
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
