import {
  asArray,
  byteLengthOf,
  type DataType,
  type Dimension,
  type Graph,
  type Model,
  ModelError,
  type Node,
  narrow,
  type ValueInfo,
} from '../../graph/index.js';
import { emptyRecord } from '../../graph/record.js';
import { Random } from '../random.js';
import type { RuntimeTensor } from '../types.js';
import { constantTensor } from './constant.js';
import { checkDims, isOpen, type OpenDims, sizeIn } from './open-dims.js';

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
 * | integers that index something (see below) | whole, within what they index |
 * | int*, uint* named like a mask, or like token types or segments | 0 or 1 |
 * | uint8 of rank 3 or more (an image) | 0 to 255 |
 * | other integers | 0 to 9 |
 * | bool | false or true |
 * | string | 's0' to 's9' |
 *
 * An integer indexes something where it reaches the indices of Gather, GatherElements, GatherND, ScatterElements,
 * ScatterND, OneHot, ArrayFeatureExtractor or EmbedLayerNormalization, directly or by way of operators that move values
 * about (Cast, Reshape, Slice, Concat …), and the size of what it indexes is known. The smallest such size counts.
 * Functions of the model are not looked into.
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
  const { seed = 0, batch } = options;
  const inputs = fedInputs(model.graph);
  checkDims(model, inputs, options.dims ?? {});
  const dims = { ...batchDims(inputs, batch), ...options.dims };
  const feeds = emptyRecord<RuntimeTensor>();
  for (const input of inputs) {
    const { type, shape } = tensorOf(input, { dims, batch }, model.path);
    const bound = isInteger(type) ? indexBound(model.graph, input.name, shape) : undefined;
    feeds[input.name] = fill(
      new Random(seed, input.name),
      type,
      shape,
      bound ?? usualBound(input.name, type, shape),
    );
  }
  return feeds;
}

/** The inputs that must be fed: those without an initializer of their name. */
export function fedInputs(graph: Graph): ValueInfo[] {
  return graph.inputs.filter(
    ({ name }) => !graph.initializers.has(name) && !graph.sparseInitializers.has(name),
  );
}

/** The names of open first dimensions, which may stand elsewhere too. */
function batchDims(inputs: readonly ValueInfo[], batch: number | undefined): Record<string, number> {
  if (batch === undefined) return {};
  const names = inputs.map(({ shape }) => shape?.[0]).filter((dim) => typeof dim === 'string');
  return Object.fromEntries(names.map((name) => [name, batch]));
}

function tensorOf(
  input: ValueInfo,
  { dims, batch }: { dims: OpenDims; batch: number | undefined },
  file: string | undefined,
): { type: FedType; shape: number[] } {
  const type = input.dataType;
  if (input.kind !== 'tensor' || type === undefined || !isFed(type)) {
    throw new ModelError(`input '${input.name}' is ${input.toString()}, which cannot be fed`, { file });
  }
  if (input.shape === undefined) {
    throw new ModelError(
      `input '${input.name}' has no shape, not even a rank, so no value can be made for it`,
      { file },
    );
  }
  const size = (dim: Dimension, axis: number): number => {
    if (typeof dim === 'number' && !isOpen(dim)) return dim;
    return sizeIn(dims, input, axis) ?? (axis === 0 && typeof dim !== 'string' ? (batch ?? 1) : 1);
  };
  return { type, shape: input.shape.map(size) };
}

type Filler = (random: Random, size: number, bound: number) => RuntimeTensor['data'];

function integers<T extends DataType>(type: T): Filler {
  return (random, size, bound) => {
    const array = asArray(type, new Uint8Array(byteLengthOf(type, size))) as unknown as number[];
    for (let i = 0; i < size; i += 1) array[i] = random.integer(bound);
    return array as unknown as Int32Array;
  };
}

function bigIntegers(type: 'int64' | 'uint64'): Filler {
  return (random, size, bound) => {
    const array = asArray(type, new Uint8Array(8 * size));
    for (let i = 0; i < size; i += 1) array[i] = BigInt(random.integer(bound));
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
  string: (random, size, bound) => Array.from({ length: size }, () => `s${random.integer(bound)}`),
} as const satisfies Partial<Record<DataType, Filler>>;
type FedType = keyof typeof FILLERS;

function isFed(type: DataType): type is FedType {
  return Object.hasOwn(FILLERS, type);
}

function isInteger(type: FedType): boolean {
  return /^u?int/.test(type);
}

function fill(random: Random, type: FedType, shape: readonly number[], bound: number): RuntimeTensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const limit = type === 'int8' ? Math.min(bound, 128) : type === 'uint8' ? Math.min(bound, 256) : bound;
  return { type, shape, data: FILLERS[type](random, size, limit) };
}

function usualBound(name: string, type: FedType, shape: readonly number[]): number {
  if (type === 'bool' || (isInteger(type) && /mask|token_?type|segment/i.test(name))) return 2;
  return type === 'uint8' && shape.length >= 3 ? 256 : 10;
}

// ---- what an integer indexes --------------------------------------------------------------------------------

/** Operators whose output holds nothing but values of their inputs: input index -> does the value go on? */
const MOVES: Readonly<Record<string, (index: number) => boolean>> = {
  Cast: () => true,
  Identity: () => true,
  Reshape: (index) => index === 0,
  Flatten: () => true,
  Squeeze: (index) => index === 0,
  Unsqueeze: (index) => index === 0,
  Transpose: () => true,
  Expand: (index) => index === 0,
  Tile: (index) => index === 0,
  Slice: (index) => index === 0,
  Split: (index) => index === 0,
  Concat: () => true,
  Gather: (index) => index === 0,
  GatherElements: (index) => index === 0,
  GatherND: (index) => index === 0,
  Clip: (index) => index === 0,
};

/** The smallest size that the values of an input index, or undefined where they index nothing known. */
function indexBound(graph: Graph, input: string, shape: readonly number[]): number | undefined {
  const bounds: number[] = [];
  const seen = new Set<string>();
  const queue: { graph: Graph; value: string }[] = [{ graph, value: input }];
  for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
    if (seen.has(item.value)) continue;
    seen.add(item.value);
    for (const { node, index } of item.graph.uses(item.value)) {
      if (index < 0) continue;
      const bound = boundAt(node, index, item.value === input ? shape : undefined);
      if (bound !== undefined && bound >= 1) bounds.push(bound);
      if (node.domain === '' && MOVES[node.opType]?.(index)) {
        for (const value of node.outputs) if (value !== '') queue.push({ graph: node.graph, value });
      }
    }
  }
  return bounds.length > 0 ? Math.min(...bounds) : undefined;
}

/** How large the thing is that input `index` of a node indexes. */
function boundAt(node: Node, index: number, shape: readonly number[] | undefined): number | undefined {
  if (node.domain === 'com.microsoft' && node.opType === 'EmbedLayerNormalization') {
    // input_ids, segment_ids, …, and the tables that they index.
    const table = index === 0 ? 2 : index === 1 ? 4 : undefined;
    return table === undefined ? undefined : sizeAt(node, table, 0);
  }
  if (node.domain === 'ai.onnx.ml' && node.opType === 'ArrayFeatureExtractor' && index === 1)
    return sizeAt(node, 0, -1);
  if (node.is('OneHot') && index === 0) {
    const depth = constantTensor(node.graph, node.inputs[1] ?? '');
    return depth === undefined || depth.size !== 1 ? undefined : Number(depth.array()[0]);
  }
  if (index !== 1) return undefined;
  if (node.is('Gather')) return sizeAt(node, 0, node.attributes.int('axis', 0));
  if (node.is('GatherElements', 'ScatterElements', 'Scatter'))
    return sizeAt(node, 0, node.attributes.int('axis', 0));
  if (node.is('GatherND', 'ScatterND')) {
    const data = shapeOf(node.graph, node.inputs[0] ?? '');
    const indices = shape ?? shapeOf(node.graph, node.inputs[1] ?? '');
    const batch = node.is('GatherND') ? node.attributes.int('batch_dims', 0) : 0;
    const depth = indices?.at(-1);
    if (data === undefined || typeof depth !== 'number') return undefined;
    const sizes = data.slice(batch, batch + depth).filter((dim) => typeof dim === 'number');
    return sizes.length > 0 ? Math.min(...sizes) : undefined;
  }
  return undefined;
}

function sizeAt(node: Node, input: number, axis: number): number | undefined {
  const size = shapeOf(node.graph, node.inputs[input] ?? '')?.at(axis);
  return typeof size === 'number' ? size : undefined;
}

/** The shape of a value as far as the model says it: of a constant, or of an annotated value. */
function shapeOf(graph: Graph, value: string): readonly Dimension[] | undefined {
  const constant = constantTensor(graph, value);
  if (constant !== undefined) return constant.shape;
  const origin = graph.resolve(value);
  if (origin === undefined) return undefined;
  const known = [...origin.graph.valueInfo, ...origin.graph.inputs, ...origin.graph.outputs].find(
    (info) => info.name === value,
  );
  if (known?.shape !== undefined) return known.shape;
  // A table that is stored in another type is as large as what it is made from.
  if (origin.kind === 'node' && origin.node.is('Identity', 'Cast', 'DequantizeLinear')) {
    return shapeOf(origin.graph, origin.node.inputs[0] ?? '');
  }
  return undefined;
}
