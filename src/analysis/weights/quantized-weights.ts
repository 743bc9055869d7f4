import {
  type DataType,
  findConstant,
  isConstant,
  isFloatType,
  ModelError,
  type NativeArray,
  type Node,
  type Tensor,
} from '../../graph/index.js';
import { evaluated, remembered, type WeightData } from './weight-data.js';

/** Where a node keeps the scales and zero points of a quantized weight. */
export interface Quantization {
  /** The input, or the name of a value that other nodes multiply by. */
  readonly scale: number | string;
  readonly zeroPoint: number;
  /** The axes along which scales differ, where there are several; the last ones where scales are fewer. */
  readonly axes: readonly number[];
}

type Reason = { readonly reason: string };

/**
 * The elements (q - zero point) * scale of an integer weight with one scale, or one for each index of one or two axes.
 *
 * @returns the data, or the reason why it is none
 */
export function quantizedData(node: Node, input: number, at: Quantization): WeightData | Reason {
  const weight = constantInput(node, input);
  if ('reason' in weight) return weight;
  const scale = typeof at.scale === 'string' ? constantValue(node, at.scale) : constantInput(node, at.scale);
  if ('reason' in scale) return { reason: `its scale is no constant: ${scale.reason}` };
  const hasZeroPoint = Boolean(node.inputs[at.zeroPoint]);
  const zeroPoint = hasZeroPoint ? constantInput(node, at.zeroPoint) : undefined;
  if (zeroPoint !== undefined && 'reason' in zeroPoint) {
    return { reason: `its zero point is no constant: ${zeroPoint.reason}` };
  }
  const { shape, dataType, name } = weight;
  if (!/^u?int(8|16|32)$/.test(dataType)) return { reason: `its weight is ${dataType}, not integers` };
  if (!isFloatType(scale.dataType)) return { reason: `its scale is ${scale.dataType}` };
  const whole = remembered(async (): Promise<Float32Array> => {
    const read = (value: string): Promise<Tensor> => evaluated(node.graph, value, node, name);
    const scales = (await read(scale.value)).floats();
    const zeros = zeroPoint && (await read(zeroPoint.value)).array();
    return dequantized((await read(weight.value)).array(), shape, at.axes, scales, zeros, name);
  });
  return {
    name,
    shape,
    dataType,
    owner: weight.owner,
    key: `${scale.value} ${zeroPoint?.value ?? ''}`,
    isTransposed: false,
    read: async (start, count) => {
      const all = await whole();
      return start === undefined
        ? { data: all, isOwn: false }
        : { data: all.subarray(start, start + (count ?? 0)), isOwn: false };
    },
  };
}

function dequantized(
  values: NativeArray,
  shape: readonly number[],
  axes: readonly number[],
  scales: Float32Array | Float64Array,
  zeros: NativeArray | undefined,
  name: string,
): Float32Array {
  const scaleOf = placesOf(scales.length, shape, axes, name);
  const zeroOf = placesOf(zeros?.length ?? 1, shape, axes, name);
  const result = new Float32Array(values.length);
  for (let i = 0; i < result.length; i += 1) {
    const zero = zeros === undefined ? 0 : Number(zeros[zeroOf(i)]);
    result[i] = (Number(values[i]) - zero) * (scales[scaleOf(i)] as number);
  }
  return result;
}

/** Which of `count` scales or zero points belongs to an element: the only one, or that of its index on the first axes. */
function placesOf(
  count: number,
  shape: readonly number[],
  axes: readonly number[],
  name: string,
): (element: number) => number {
  if (count === 1) return () => 0;
  const positive = axes.map((axis) => (axis < 0 ? axis + shape.length : axis));
  const extents = positive.map((axis) => shape[axis] ?? 1);
  const inners = positive.map((axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const [first = 1, second = 1] = extents;
  const [inner = 1, innermost = 1] = inners;
  if (count === first) return (element) => Math.floor(element / inner) % first;
  if (count === first * second) {
    return (element) =>
      (Math.floor(element / inner) % first) * second + (Math.floor(element / innermost) % second);
  }
  throw new ModelError(
    `its ${count} scales or zero points do not fit ${extents.map((extent) => `an extent of ${extent}`).join(' and ')}`,
    { tensor: name },
  );
}

/**
 * What other nodes make of an integer product, as dynamic quantization writes them: the node's output goes through Cast
 * (and Add, of a bias) to a Mul by the scale of the weight, or by its product with that of the data.
 *
 * @returns the constant scale and the value that is scaled by it; undefined where there is no such constant, or two of
 *   which none is known to be the weight's
 */
export function scaledBehind({ graph, outputs }: Node): { scale: string; value: string } | undefined {
  let value = outputs[0] ?? '';
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const [use, ...others] = graph.uses(value);
    if (use === undefined || others.length > 0) return undefined;
    const next = use.node;
    if (next.is('Mul')) {
      const factor = next.inputs.find((input) => input !== value) ?? '';
      const product = graph.producer(factor);
      const factors = product?.is('Mul') ? product.inputs : [factor];
      const constants = factors.filter((input) => isConstant(findConstant(graph, input)));
      const [scale] = constants;
      return scale === undefined || constants.length > 1
        ? undefined
        : { scale, value: next.outputs[0] ?? '' };
    }
    if (!next.is('Cast', 'Add')) return undefined;
    value = next.outputs[0] ?? '';
  }
  return undefined;
}

/** Nodes between an integer product and its scale. */
const MOST_STEPS = 4;

/**
 * The weight of com.microsoft's MatMulNBits: N x K, each row in blocks of `block_size` elements of 2 to 8 bits, the
 * first in the lowest bits, each block from a whole byte on, with a scale and a zero point a block. Bits that do not divide a byte go on into
 * the next (onnxruntime has kernels for 2, 4 and 8 alone). With g_idx each column names the block whose scale and zero point
 * are its (onnxruntime 1.30 takes 2^(bits - 1) for the zero points then).
 */
export function blockQuantizedData(
  node: Node,
): (WeightData & { readonly rows: number; readonly columns: number }) | Reason {
  const { attributes } = node;
  const bits = attributes.int('bits', 4);
  const [rows, columns, block] = ['N', 'K', 'block_size'].map((name) => attributes.int(name, 0)) as [
    number,
    number,
    number,
  ];
  if (bits < 2 || bits > 8) return { reason: `its weight has ${bits} bits an element` };
  if (rows < 1 || columns < 1 || block < 1)
    return { reason: 'its attributes N, K and block_size are not all set' };
  const parts = [1, 2].map((input) => constantInput(node, input));
  const zeroPoint = node.inputs[3] ? constantInput(node, 3) : undefined;
  const groups = node.inputs[4] ? constantInput(node, 4) : undefined;
  const bad = [...parts, zeroPoint, groups].find(
    (part): part is Reason => part !== undefined && 'reason' in part,
  );
  if (bad !== undefined) return bad;
  const [weight, scale] = parts as [ConstantInput, ConstantInput];
  const zero = zeroPoint as ConstantInput | undefined;
  if (weight.dataType !== 'uint8') return { reason: `its weight is ${weight.dataType}, not packed in uint8` };
  if (!isFloatType(scale.dataType)) return { reason: `its scale is ${scale.dataType}` };
  const blocks = Math.ceil(columns / block);
  const read = (value: string): Promise<Tensor> => evaluated(node.graph, value, node, weight.name);
  const whole = remembered(async (): Promise<Float32Array> => {
    const [packed, scales] = [await read(weight.value), await read(scale.value)];
    const bytes = packed.bytes();
    const blockBytes = Math.ceil((block * bits) / 8);
    const rowBytes = blocks * blockBytes;
    const factors = scales.floats();
    if (bytes.length !== rows * rowBytes || factors.length !== rows * blocks) {
      throw new ModelError(
        `${bytes.length} bytes and ${factors.length} scales are not those of ${rows} x ${columns} in blocks of ${block}`,
        { node: node.label, tensor: weight.name },
      );
    }
    const zeros = zero === undefined ? undefined : zeroPoints(await read(zero.value), rows, blocks, bits);
    const order = groups === undefined || 'reason' in groups ? undefined : (await read(groups.value)).array();
    const blockOf = Int32Array.from({ length: columns }, (_, column) =>
      order === undefined ? Math.floor(column / block) : Number(order[column] ?? -1),
    );
    const wrong = blockOf.findIndex((one) => one < 0 || one >= blocks);
    if (wrong >= 0) {
      throw new ModelError(
        `its g_idx names block ${blockOf[wrong]} for column ${wrong}, and there are ${blocks}`,
        {
          node: node.label,
          tensor: weight.name,
        },
      );
    }
    const result = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const at = row * blocks + (blockOf[column] as number);
        const from = row * rowBytes + Math.floor(column / block) * blockBytes;
        const value = unpacked(bytes, from, column % block, bits);
        result[row * columns + column] = (value - (zeros?.[at] ?? 2 ** (bits - 1))) * (factors[at] as number);
      }
    }
    return result;
  });
  return {
    name: weight.name,
    shape: [rows, columns],
    rows,
    columns,
    dataType: bits > 4 ? 'uint8' : bits > 2 ? 'uint4' : 'uint2',
    owner: weight.owner,
    key: `${scale.value} ${zero?.value ?? ''} ${bits} ${block} ${groups === undefined ? '' : node.inputs[4]}`,
    isTransposed: false,
    read: async (start, count) => {
      const all = await whole();
      return start === undefined
        ? { data: all, isOwn: false }
        : { data: all.subarray(start, start + (count ?? 0)), isOwn: false };
    },
  };
}

/** One a block: packed as the weight is, each row to whole bytes, or in the type of the scales. */
function zeroPoints(tensor: Tensor, rows: number, blocks: number, bits: number): Float64Array {
  if (isFloatType(tensor.dataType)) return Float64Array.from(tensor.floats());
  const bytes = tensor.bytes();
  const rowBytes = Math.ceil((blocks * bits) / 8);
  return Float64Array.from({ length: rows * blocks }, (_, index) =>
    unpacked(bytes, Math.floor(index / blocks) * rowBytes, index % blocks, bits),
  );
}

function unpacked(bytes: Uint8Array, offset: number, index: number, bits: number): number {
  const first = offset + Math.floor((index * bits) / 8);
  const two = (bytes[first] ?? 0) | ((bytes[first + 1] ?? 0) << 8);
  return (two >> ((index * bits) % 8)) & (2 ** bits - 1);
}

interface ConstantInput {
  readonly name: string;
  readonly value: string;
  readonly shape: readonly number[];
  readonly dataType: DataType;
  readonly owner: unknown;
}

export function constantInput(node: Node, index: number): ConstantInput | Reason {
  const value = node.inputs[index];
  return value ? constantValue(node, value) : { reason: `it has no input ${index}` };
}

function constantValue(node: Node, value: string): ConstantInput | Reason {
  const found = findConstant(node.graph, value);
  if (!isConstant(found)) return found;
  const { root, shape, dataType, graph, path } = found;
  const isStored = path.every((step) => step.is('Constant', 'Identity'));
  return {
    name: root?.name || value,
    value,
    shape,
    dataType,
    owner: (isStored && root?.proto) || graph.proto,
  };
}
