import {
  asArray,
  assertFits,
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  isFloatType,
  type Model,
  ModelError,
  narrow,
  type ValueInfo,
} from '../../graph/index.js';
import { emptyRecord } from '../../graph/record.js';
import { Random } from '../random.js';
import type { RuntimeTensor } from '../types.js';
import { inputSizes } from './input-sizes.js';
import { inputValues, KnownSizes } from './input-values.js';
import type { OpenDims } from './open-dims.js';

/** Options of randomInputs. */
export interface RandomInputOptions {
  /** The same seed gives the same bytes; default 0. */
  readonly seed?: number | undefined;
  /** Sizes of open dimensions, by name or place; default 1 each. */
  readonly dims?: OpenDims | undefined;
  /** Size of the first dimension of every input that leaves it open and of which `dims` says nothing. */
  readonly batch?: number | undefined;
}

/**
 * Random tensors for the inputs that a model must be fed. An initializer that is listed as an input too (IR < 4, or
 * a default that callers may override) is none of them.
 *
 * | element type | values |
 * | --- | --- |
 * | float32, float64, float16, bfloat16 | normal, mean 0, variance 1 |
 * | what stands for an index, a length, an axis, a size (see below) | what the operator can take |
 * | int*, uint* named like a mask, or like token types or segments | 0 or 1 |
 * | uint8 of rank 3 or more (an image) | 0 to 255 |
 * | other integers | 0 to 9 |
 * | bool | false or true |
 * | string | 's0' to 's9' |
 *
 * What reads an input tells what it may hold: indices (of Gather, GatherND, ScatterElements, ArrayFeatureExtractor,
 * EmbedLayerNormalization …) stay within the axis that they index, lengths of sequences and `k` of TopK within theirs, axes, shapes and
 * sizes are such that the model runs, and no integer is divided by 0. Operators that move values about (Cast, Reshape, Slice, Concat …)
 * are looked through. In front of an attention with a cache, masks are all ones and as long as the past and the new tokens together,
 * and lengths say so. The smallest size counts; of one that is not known, 0 is the only index. Functions of the model are not looked
 * into.
 *
 * Each tensor has a random stream of its own, so that one input more changes none of the others.
 *
 * @throws ModelError for a name or place in dims that no open dimension has, an input that is no tensor or of a type that cannot be
 *   fed, and one of which not even the rank is known
 * @example
 * const inputs = randomInputs(model, { seed: 1, dims: { batch: 4 } });
 * await session.run(inputs);
 */
export function randomInputs(model: Model, options: RandomInputOptions = {}): Record<string, RuntimeTensor> {
  const { seed = 0 } = options;
  const { sizes, dims, values: single } = inputSizes(model, { dims: options.dims, batch: options.batch });
  const tensors = [...sizes].map(([input, shape]) => ({
    name: input.name,
    ...tensorOf(input, shape, model.path),
  }));
  const shapes = new Map(tensors.map(({ name, shape }) => [name, shape]));
  const known = new KnownSizes(model.graph, shapes, dims);
  const feeds = emptyRecord<RuntimeTensor>();
  for (const { name, type, shape } of tensors) {
    const isData = type === 'string' || type === 'bool';
    const values = isData ? undefined : inputValues(model.graph, name, known, isFloatType(type));
    const random = new Random(seed, name);
    const only = single.get(name);
    if (only !== undefined && !isData) feeds[name] = fixed(type, shape, () => only);
    else if (values !== undefined && 'each' in values) feeds[name] = fixed(type, shape, values.each);
    else if (values !== undefined && isFloatType(type)) {
      // Whole numbers, which a Cast leaves as they are.
      feeds[name] = fixed(type, shape, () => values.from + random.integer(values.to - values.from + 1));
    } else {
      feeds[name] = fill(random, type, shape, values ?? { from: 0, to: usualBound(name, type, shape) - 1 });
    }
  }
  return feeds;
}

/** @param sizes of the input's dimensions; 1 where they are not known */
function tensorOf(
  input: ValueInfo,
  sizes: readonly (number | undefined)[] | undefined,
  file: string | undefined,
): { type: FedType; shape: number[] } {
  const type = input.dataType;
  if (input.kind !== 'tensor' || type === undefined || !isFed(type)) {
    throw new ModelError(`input '${input.name}' is ${input.toString()}, which cannot be fed`, { file });
  }
  if (sizes === undefined) {
    throw new ModelError(
      `input '${input.name}' has no shape, not even a rank, so no value can be made for it`,
      { file },
    );
  }
  const shape = sizes.map((size) => size ?? 1);
  // Texts take more than a number.
  const bytes = shape.reduce(
    (product, dim) => product * dim,
    type === 'string' ? 8 : DATA_TYPES[type].bits / 8,
  );
  assertFits(bytes, `input '${input.name}' of ${type}[${shape.join(', ')}]`, { file });
  return { type, shape };
}

type Filler = (
  random: Random,
  size: number,
  values: { readonly from: number; readonly to: number },
) => RuntimeTensor['data'];

function integers<T extends DataType>(type: T): Filler {
  return (random, size, { from, to }) => {
    const array = asArray(type, new Uint8Array(byteLengthOf(type, size))) as unknown as number[];
    for (let i = 0; i < size; i += 1) array[i] = from + random.integer(to - from + 1);
    return array as unknown as Int32Array;
  };
}

function bigIntegers(type: 'int64' | 'uint64'): Filler {
  return (random, size, { from, to }) => {
    const array = asArray(type, new Uint8Array(8 * size));
    for (let i = 0; i < size; i += 1) array[i] = BigInt(from + random.integer(to - from + 1));
    return array;
  };
}

function normals(type: 'float32' | 'float64' | 'float16' | 'bfloat16'): Filler {
  return (random, size) =>
    narrow(type, random.fillNormal(type === 'float64' ? new Float64Array(size) : new Float32Array(size)));
}

/** Every type that can be fed, and how. */
const FILLERS = {
  float32: normals('float32'),
  float64: normals('float64'),
  float16: normals('float16'),
  bfloat16: normals('bfloat16'),
  int8: integers('int8'),
  int16: integers('int16'),
  int32: integers('int32'),
  int64: bigIntegers('int64'),
  uint8: integers('uint8'),
  uint16: integers('uint16'),
  uint32: integers('uint32'),
  uint64: bigIntegers('uint64'),
  bool: integers('bool'),
  string: (random, size, { to }) => Array.from({ length: size }, () => `s${random.integer(to + 1)}`),
} as const satisfies Partial<Record<DataType, Filler>>;
type FedType = keyof typeof FILLERS;

function isFed(type: DataType): type is FedType {
  return Object.hasOwn(FILLERS, type);
}

function isInteger(type: FedType): boolean {
  return /^u?int/.test(type);
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

function fill(
  random: Random,
  type: FedType,
  shape: readonly number[],
  { from, to }: { readonly from: number; readonly to: number },
): RuntimeTensor {
  const largest = type === 'int8' ? 127 : type === 'uint8' ? 255 : to;
  return { type, shape, data: FILLERS[type](random, sizeOf(shape), { from, to: Math.min(to, largest) }) };
}

/** A tensor of which each element has to be some number. */
function fixed(
  type: FedType,
  shape: readonly number[],
  each: (index: number, elements: number) => number,
): RuntimeTensor {
  const size = sizeOf(shape);
  const numbers = Float64Array.from({ length: size }, (_, index) => each(index, size));
  if (isFloatType(type)) return { type, shape, data: narrow(type, numbers) };
  const array = asArray(type, new Uint8Array(byteLengthOf(type, size)));
  for (const [index, value] of numbers.entries()) {
    if (array instanceof BigInt64Array || array instanceof BigUint64Array) array[index] = BigInt(value);
    else array[index] = value;
  }
  return { type, shape, data: array };
}

function usualBound(name: string, type: FedType, shape: readonly number[]): number {
  if (type === 'bool' || (isInteger(type) && /mask|token_?type|segment/i.test(name))) return 2;
  return type === 'uint8' && shape.length >= 3 ? 256 : 10;
}
