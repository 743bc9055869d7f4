import { type LinearSite, taps } from '../../affine/linear-site.js';
import { explicitPads } from '../../affine/operators/conv.js';
import { isFloatType, ModelError, type NodeSpec, Tensor, ValueInfo } from '../../graph/index.js';
import { matmul } from '../../linalg/matmul.js';
import { convert, type RuntimeTensor } from '../../runtime/index.js';
import type { Random } from '../../runtime/random.js';
import { kernel } from '../../runtime/session/run-graph.js';
import { buildModel } from '../../runtime/session/small-model.js';
import type { Moments } from './metric.js';

/** How the vectors that a site reads lie in its data: columns of a matrix, or patches of an image. */
export interface Reading {
  readonly value: string;
  readonly kind: 'rows' | 'columns' | 'patches' | 'channels';
  /** Length of a vector. */
  readonly size: number;
  readonly window?: Window | undefined;
}

interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** What a site reads, as its weight takes it. */
export function readingOf(site: LinearSite): Reading {
  const { node, op, kernel: extents, inputs, data: value } = site;
  if (op === 'Conv') {
    const ones = extents.map(() => 1);
    const pads = explicitPads(node.proto.attribute ?? [], extents, node);
    if ('reason' in pads) throw new ModelError(pads.reason, { node: node.label });
    const window = {
      kernel: extents,
      strides: node.attributes.ints('strides') ?? ones,
      dilations: node.attributes.ints('dilations') ?? ones,
      pads,
    };
    return { value, kind: 'patches', size: inputs * taps(extents), window };
  }
  const isTurned = op === 'Gemm' ? node.attributes.int('transA', 0) === 1 : site.weightInput === 0;
  return { value, kind: isTurned ? 'columns' : 'rows', size: inputs };
}

/** What a site makes: a vector of its outputs at each place. */
export function makingOf({ node, op, outputs, weightInput }: LinearSite): Reading {
  const value = node.outputs[0] ?? '';
  if (op === 'Conv') return { value, kind: 'channels', size: outputs };
  return { value, kind: op === 'MatMul' && weightInput === 0 ? 'columns' : 'rows', size: outputs };
}

export const readingKey = ({ value, kind, window }: Reading): string =>
  JSON.stringify([value, kind, window ?? null]);

/** Vectors of one batch that are taken, a sample each of its places. */
export interface Share {
  /** Share of the vectors that is taken, at most 1. */
  readonly share: number;
  readonly random: Random;
}

/**
 * The vectors of a batch as a matrix size x count in float64, by a small graph that onnxruntime runs: windows are cut out by Slice,
 * and of all places some are picked at random.
 */
export async function vectorsOf(
  reading: Reading,
  tensor: RuntimeTensor,
  indices: BigInt64Array | undefined,
): Promise<{ readonly data: Float64Array; readonly count: number }> {
  if (!isFloatType(tensor.type))
    throw new ModelError(`'${reading.value}' is ${tensor.type}, not floating-point`);
  const x = tensor.type === 'float64' ? tensor : convert(tensor, 'float32');
  const key = `vectors ${readingKey({ ...reading, value: String(reading.size) })} ${x.type} ${x.shape.length} ${indices !== undefined}`;
  const session = await kernel(key, () =>
    buildModel({
      ...vectorNodes(reading, x.shape.length, indices !== undefined),
      inputs: [
        ValueInfo.tensor(
          'x',
          x.type,
          x.shape.map(() => undefined),
        ),
        ...(indices === undefined ? [] : [ValueInfo.tensor('indices', 'int64', [undefined])]),
      ],
      outputs: [ValueInfo.tensor('y', 'float64', [undefined, undefined])],
      opset: 17,
    }),
  );
  const { y } = await session.run({
    x,
    ...(indices !== undefined && { indices: { type: 'int64', shape: [indices.length], data: indices } }),
  });
  return { data: y?.data as Float64Array, count: y?.shape[1] ?? 0 };
}

function vectorNodes(
  { kind, size, window }: Reading,
  rank: number,
  isPicked: boolean,
): { readonly nodes: NodeSpec[]; readonly initializers: Tensor[] } {
  const nodes: NodeSpec[] = [];
  const initializers: Tensor[] = [];
  const ints = (name: string, values: readonly number[]): string => {
    initializers.push(Tensor.of(name, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  };
  const add = (
    opType: string,
    inputs: string[],
    output: string,
    attributes: NodeSpec['attributes'] = {},
  ): string => {
    nodes.push({ opType, inputs, outputs: [output], attributes });
    return output;
  };
  let flat: string;
  if (kind === 'rows') {
    const rows = add('Reshape', ['x', ints('rows', [-1, size])], 'vectors');
    flat = add('Transpose', [rows], 'flat', { perm: { ints: [1, 0] } });
  } else {
    // [batch, size, places] -> size x (batch * places)
    let value = 'x';
    if (kind === 'patches' && window !== undefined) value = patches(window, { nodes, ints, add });
    const wide =
      kind === 'columns' && rank === 2
        ? add('Unsqueeze', [value, ints('front', [0])], 'three')
        : add(
            'Reshape',
            [value, ints('three_shape', kind === 'columns' ? [-1, size, 0] : [0, size, -1])],
            'three',
          );
    const turned = add('Transpose', [wide], 'turned', { perm: { ints: [1, 0, 2] } });
    flat = add('Reshape', [turned, ints('flat_shape', [size, -1])], 'flat');
  }
  const picked = isPicked ? add('Gather', [flat, 'indices'], 'picked', { axis: { int: 1 } }) : flat;
  add('Cast', [picked], 'y', { to: { int: 11 } });
  return { nodes, initializers };
}

/** [batch, channels, taps, places] of an image, as [batch, channels * taps, places]. */
function patches(
  { kernel: extents, strides, dilations, pads }: Window,
  build: {
    readonly nodes: NodeSpec[];
    readonly ints: (name: string, values: readonly number[]) => string;
    readonly add: (
      opType: string,
      inputs: string[],
      output: string,
      attributes?: NodeSpec['attributes'],
    ) => string;
  },
): string {
  const { ints, add } = build;
  const dims = extents.length;
  const isPadded = pads.some((pad) => pad !== 0);
  const padded = isPadded
    ? add('Pad', ['x', ints('pads', [0, 0, ...pads.slice(0, dims), 0, 0, ...pads.slice(dims)])], 'padded')
    : 'x';
  const axes = ints(
    'axes',
    extents.map((_, axis) => axis + 2),
  );
  const steps = ints('steps', strides);
  const count = taps(extents);
  // Every window begins where there is room for all of its taps.
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  const parts = Array.from({ length: count }, (_, tap) => {
    let rest = tap;
    const place: number[] = [];
    for (const extent of [...extents].reverse()) {
      place.unshift(rest % extent);
      rest = Math.floor(rest / extent);
    }
    const starts = place.map((at, axis) => at * (dilations[axis] ?? 1));
    const ends = starts.map((start, axis) => {
      const left = (span[axis] ?? 0) - start;
      return left === 0 ? Number.MAX_SAFE_INTEGER : -left;
    });
    const part = add(
      'Slice',
      [padded, ints(`starts${tap}`, starts), ints(`ends${tap}`, ends), axes, steps],
      `part${tap}`,
    );
    const flat = add('Reshape', [part, ints(`flat${tap}`, [0, 0, 1, -1])], `flat${tap}_part`);
    return flat;
  });
  const all =
    parts.length === 1 ? (parts[0] as string) : add('Concat', parts, 'windows', { axis: { int: 2 } });
  return all;
}

/** Adds up the moments of vectors that come batch by batch. */
export class MomentSum {
  readonly #size: number;
  readonly #gram: Float64Array;
  readonly #mean: Float64Array;
  #count = 0;

  constructor(size: number) {
    this.#size = size;
    this.#gram = new Float64Array(size * size);
    this.#mean = new Float64Array(size);
  }

  /** @param data size x count */
  async add(data: Float64Array, count: number, weight = 1): Promise<void> {
    if (count === 0) return;
    const matrix = { rows: this.#size, columns: count, data };
    await addProduct(this.#gram, matrix, matrix, weight);
    for (let i = 0; i < this.#size; i += 1) {
      let sum = 0;
      for (let j = i * count; j < (i + 1) * count; j += 1) sum += data[j] as number;
      this.#mean[i] = (this.#mean[i] as number) + weight * sum;
    }
    this.#count += count;
  }

  /** @throws ModelError where something was not finite */
  moments(what: string): Moments {
    const count = Math.max(1, this.#count);
    const gram = this.#gram.map((value) => value / count);
    if (!gram.every(Number.isFinite)) throw new ModelError(`${what} is NaN or infinite for some samples`);
    return { size: this.#size, gram, mean: this.#mean.map((value) => value / count), count: this.#count };
  }
}

/** sum += weight a bᵀ */
export async function addProduct(
  sum: Float64Array,
  a: { readonly rows: number; readonly columns: number; readonly data: Float64Array },
  b: { readonly rows: number; readonly columns: number; readonly data: Float64Array },
  weight = 1,
): Promise<void> {
  const product = await matmul(a, b, { transposeB: true });
  for (let i = 0; i < sum.length; i += 1) sum[i] = (sum[i] as number) + weight * (product.data[i] as number);
}

/** So many vectors at most tell the moments of vectors of a size: more cost time, and say little that is new. */
export function enoughVectors(size: number): number {
  return size > 1500 ? 4 * size : Math.max(8192, 16 * size);
}

/** A random choice of columns, in their order; undefined for all. */
export function chosenColumns(count: number, share: number, random: Random): BigInt64Array | undefined {
  const wanted = Math.ceil(count * share);
  if (wanted >= count) return undefined;
  const picked = new Set<number>();
  while (picked.size < wanted) picked.add(random.integer(count));
  return BigInt64Array.from(
    [...picked].sort((a, b) => a - b),
    BigInt,
  );
}

/** Vectors that a reading has in a tensor. */
export function vectorCount({ kind, size, window }: Reading, shape: readonly number[]): number {
  if (kind !== 'patches' || window === undefined) return taps(shape) / size;
  const { kernel, strides, dilations, pads } = window;
  const places = kernel.map((extent, axis) => {
    const room = (shape[axis + 2] ?? 0) + (pads[axis] ?? 0) + (pads[axis + kernel.length] ?? 0);
    return Math.floor((room - (extent - 1) * (dilations[axis] ?? 1) - 1) / (strides[axis] ?? 1)) + 1;
  });
  return (shape[0] ?? 1) * taps(places);
}
