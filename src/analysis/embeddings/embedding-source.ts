import { type DataType, type Model, ModelError, type ValueInfo } from '../../graph/index.js';
import { emptyRecord } from '../../graph/record.js';
import type { RuntimeTensor } from '../../runtime/index.js';

/** Samples by index, as `Dataset` of the training has them. */
export interface SampleSource {
  /** What a model is fed: matched to its inputs by name or, where the names do not match, by position. Shapes without the batch. */
  readonly inputs: readonly {
    readonly name: string;
    readonly type: DataType;
    readonly shape: readonly number[];
  }[];
  readonly size: number;
  /** Names of the classes, where they are known. */
  readonly classes?: readonly string[] | undefined;
  /** Tensors have the batch as their first dimension; labels are integers of shape [batch]. */
  batch(indices: ArrayLike<number>): Promise<{
    readonly inputs: Readonly<Record<string, RuntimeTensor>>;
    readonly target: RuntimeTensor | undefined;
  }>;
}

/** Samples ready to be fed to one model. */
export interface Feeder {
  /** How many there are to choose from; undefined where there is no end. */
  readonly size: number | undefined;
  /** Samples that the model takes at a time; undefined where any number. */
  readonly batch: number | undefined;
  readonly classes: readonly string[] | undefined;
  feeds(indices: readonly number[]): Promise<Fed>;
}

export interface Fed {
  readonly feeds: Readonly<Record<string, RuntimeTensor>>;
  /** Labels of the samples; undefined where they have none. */
  readonly labels: readonly number[] | undefined;
}

/** Of random inputs: the same for a seed, a sample's own whatever the batch. */
export interface RandomSource {
  readonly seed?: number | undefined;
  /** Sizes of open dimensions other than the batch, by name or place; default 1 each. */
  readonly dims?: Readonly<Record<string, number>> | undefined;
}

/** Feeds random inputs, as `randomInputs` makes them. */
export async function randomFeeder(
  model: Model,
  { seed = 0, dims = {} }: RandomSource = {},
): Promise<Feeder> {
  const { fedInputs, randomInputs } = await import('../../runtime/index.js');
  const inputs = fedInputs(model.graph);
  const batch = fixedBatch(inputs);
  return {
    size: undefined,
    batch,
    classes: undefined,
    feeds: async (indices) => {
      const made = indices
        .filter((_, order) => order % (batch ?? 1) === 0)
        .map((index) => randomInputs(model, { seed: seed + index, dims, batch: batch ?? 1 }));
      const [first = {}] = made;
      if (batch !== undefined || made.length === 1) return { feeds: first, labels: undefined };
      const feeds = Object.fromEntries(
        inputs.map(({ name, shape }) => {
          const parts = made.map((one) => one[name] as RuntimeTensor);
          return [name, isOpen(shape?.[0]) ? stacked(parts) : (parts[0] as RuntimeTensor)];
        }),
      );
      return { feeds, labels: undefined };
    },
  };
}

/**
 * Feeds samples of a source, in the shapes and types that a model wants.
 *
 * @throws ModelError where the source lacks an input, or has one of another size
 */
export async function sampleFeeder(model: Model, source: SampleSource): Promise<Feeder> {
  const { fedInputs } = await import('../../runtime/index.js');
  const { convert } = await import('../../runtime/io/values.js');
  const inputs = fedInputs(model.graph);
  const pairs = paired(inputs, source, model.path);
  // Said before the model is loaded.
  for (const { input, field } of pairs) {
    const known = source.inputs.find(({ name }) => name === field);
    if (known !== undefined) sampleShape(known.shape, input, model.path);
  }
  return {
    size: source.size,
    batch: fixedBatch(inputs),
    classes: source.classes,
    feeds: async (indices) => {
      const { inputs: tensors, target } = await source.batch(indices);
      const feeds = emptyRecord<RuntimeTensor>();
      for (const { input, field } of pairs) {
        const tensor = tensors[field];
        if (tensor === undefined) throw new ModelError(`the data has no '${field}'`, { file: model.path });
        const shape = [tensor.shape[0] ?? 0, ...sampleShape(tensor.shape.slice(1), input, model.path)];
        feeds[input.name] = { ...convert(tensor, input.dataType ?? tensor.type), shape };
      }
      return { feeds, labels: labelsOf(target, indices.length) };
    },
  };
}

/** How many samples all inputs take, where they say a number; 1, say, as some exporters write. */
function fixedBatch(inputs: readonly ValueInfo[]): number | undefined {
  const first = inputs.flatMap(({ shape }) => (shape === undefined || shape.length === 0 ? [] : [shape[0]]));
  if (first.some(isOpen)) return undefined;
  const sizes = new Set(first as number[]);
  const [size] = sizes;
  return sizes.size === 1 ? size : undefined;
}

function isOpen(dim: unknown): boolean {
  return typeof dim !== 'number' || dim < 1;
}

function stacked(parts: readonly RuntimeTensor[]): RuntimeTensor {
  const [first] = parts;
  if (first === undefined) throw new RangeError('nothing to stack');
  const shape = [parts.reduce((sum, part) => sum + (part.shape[0] ?? 1), 0), ...first.shape.slice(1)];
  if (Array.isArray(first.data))
    return { ...first, shape, data: parts.flatMap((part) => part.data as string[]) };
  const length = parts.reduce((sum, part) => sum + part.data.length, 0);
  // All of one type, whichever it is.
  const data = new (first.data.constructor as new (length: number) => Float32Array)(length);
  let at = 0;
  for (const part of parts) {
    data.set(part.data as Float32Array, at);
    at += part.data.length;
  }
  return { ...first, shape, data };
}

function paired(
  inputs: readonly ValueInfo[],
  { inputs: fields }: SampleSource,
  file: string | undefined,
): { readonly input: ValueInfo; readonly field: string }[] {
  const isByName = inputs.every(({ name }) => fields.some((field) => field.name === name));
  if (!isByName && fields.length < inputs.length) {
    const wanted = inputs.map((input) => `${input.name}: ${input.toString()}`).join('; ');
    const given = fields.map(({ name, shape }) => `${name} [${shape.join(', ')}]`).join('; ');
    throw new ModelError(`takes ${wanted}, but the data has ${given}`, { file });
  }
  return inputs.map((input, index) => ({
    input,
    field: isByName ? input.name : (fields[index]?.name ?? ''),
  }));
}

/**
 * The shape of a sample in the rank of the input: a sample of 28 x 28 fits [N, 1, 28, 28] and [N, 784].
 *
 * @throws ModelError where it does not fit
 */
function sampleShape(
  sample: readonly number[],
  input: ValueInfo,
  file: string | undefined,
): readonly number[] {
  const wanted = input.shape?.slice(1);
  if (wanted === undefined) return sample;
  const isSame =
    wanted.length === sample.length && wanted.every((dim, axis) => isOpen(dim) || dim === sample[axis]);
  if (isSame) return sample;
  const size = (dims: readonly unknown[]): number => dims.reduce<number>((all, dim) => all * Number(dim), 1);
  const bare = (dims: readonly unknown[]): string => dims.filter((dim) => dim !== 1).join();
  // Nothing else keeps the elements in their order: height x width x channels is no channels x height x width.
  const isReshape = bare(wanted) === bare(sample) || (wanted.length === 1 && size(wanted) === size(sample));
  if (!wanted.some(isOpen) && isReshape) return wanted as number[];
  throw new ModelError(
    `input '${input.name}' is ${input.toString()}, but the samples are [${sample.join(', ')}]`,
    { file },
  );
}

/** Class labels are whole numbers, one a sample. */
function labelsOf(target: RuntimeTensor | undefined, count: number): number[] | undefined {
  if (target === undefined || !/^u?int/.test(target.type) || target.data.length !== count) return undefined;
  return Array.from(target.data as ArrayLike<number | bigint>, Number);
}
