import {
  type DataType,
  findConstant,
  isConstant,
  isFloatType,
  ModelError,
  type NativeArray,
  type Node,
  type Tensor,
} from '../graph/index.js';
import { evaluated, remembered, type WeightData } from './weight-data.js';

/** Where a node keeps the scales and zero points of a quantized weight. */
export interface Quantization {
  readonly scale: number;
  readonly zeroPoint: number;
  /** The axis along which scales differ, where there are several. */
  readonly axis: number;
}

type Reason = { readonly reason: string };

/**
 * The elements (q - zero point) * scale of an integer weight with one scale, or one for each index of an axis.
 *
 * @returns the data, or the reason why it is none
 */
export function quantizedData(node: Node, input: number, at: Quantization): WeightData | Reason {
  const weight = constantInput(node, input);
  if ('reason' in weight) return weight;
  const scale = constantInput(node, at.scale);
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
    return dequantized((await read(weight.value)).array(), shape, at.axis, scales, zeros, name);
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
  axis: number,
  scales: Float32Array | Float64Array,
  zeros: NativeArray | undefined,
  name: string,
): Float32Array {
  const extent = shape[axis < 0 ? axis + shape.length : axis] ?? 1;
  const inner = shape.slice((axis < 0 ? axis + shape.length : axis) + 1).reduce((a, b) => a * b, 1);
  for (const { length } of [scales, zeros ?? [0]]) {
    if (length !== 1 && length !== extent) {
      throw new ModelError(`its ${length} scales or zero points do not fit an extent of ${extent}`, {
        tensor: name,
      });
    }
  }
  const result = new Float32Array(values.length);
  for (let i = 0; i < result.length; i += 1) {
    const index = Math.floor(i / inner) % extent;
    const zero = zeros === undefined ? 0 : Number(zeros[zeros.length === 1 ? 0 : index]);
    result[i] = (Number(values[i]) - zero) * (scales[scales.length === 1 ? 0 : index] as number);
  }
  return result;
}

/**
 * The weight of com.microsoft's MatMulNBits: N x K, each row in blocks of `block_size` elements of 2, 4 or 8 bits, the
 * first in the lowest bits, with a scale and a zero point a block.
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
  if (![2, 4, 8].includes(bits)) return { reason: `its weight has ${bits} bits an element` };
  if (rows < 1 || columns < 1 || block < 1)
    return { reason: 'its attributes N, K and block_size are not all set' };
  if (node.inputs[4]) return { reason: 'it reorders its inputs (g_idx)' };
  const parts = [1, 2].map((input) => constantInput(node, input));
  const zeroPoint = node.inputs[3] ? constantInput(node, 3) : undefined;
  const bad = [...parts, zeroPoint].find((part): part is Reason => part !== undefined && 'reason' in part);
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
    const rowBytes = (blocks * block * bits) / 8;
    const factors = scales.floats();
    if (bytes.length !== rows * rowBytes || factors.length !== rows * blocks) {
      throw new ModelError(
        `${bytes.length} bytes and ${factors.length} scales are not those of ${rows} x ${columns} in blocks of ${block}`,
        { node: node.label, tensor: weight.name },
      );
    }
    const zeros = zero === undefined ? undefined : zeroPoints(await read(zero.value), rows, blocks, bits);
    const result = new Float32Array(rows * columns);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        const at = row * blocks + Math.floor(column / block);
        const value = unpacked(bytes, row * rowBytes, column, bits);
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
    dataType: bits === 4 ? 'uint4' : bits === 2 ? 'uint2' : 'uint8',
    owner: weight.owner,
    key: `${scale.value} ${zero?.value ?? ''} ${bits} ${block}`,
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
  const byte = bytes[offset + Math.floor((index * bits) / 8)] ?? 0;
  return (byte >> ((index * bits) % 8)) & (2 ** bits - 1);
}

interface ConstantInput {
  readonly name: string;
  readonly value: string;
  readonly shape: readonly number[];
  readonly dataType: DataType;
  readonly owner: unknown;
}

function constantInput(node: Node, index: number): ConstantInput | Reason {
  const value = node.inputs[index];
  if (!value) return { reason: `it has no input ${index}` };
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
