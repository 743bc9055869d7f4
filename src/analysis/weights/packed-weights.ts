import { type DataType, isFloatType, ModelError, type Node } from '../../graph/index.js';
import { constantInput } from './quantized-weights.js';
import { evaluated, remembered, type WeightData } from './weight-data.js';

type Reason = { readonly reason: string };

/** How a weight is packed into bytes: rows of elements, in the order of the tensor. */
interface Packing {
  readonly input: number;
  readonly scales: number;
  readonly zeroPoints?: number | undefined;
  /** Of the unpacked tensor. */
  readonly shape: readonly number[];
  readonly bits: number;
  /** Consecutive elements that share a scale. */
  readonly block: number;
  /** What an element stands for before it is scaled; a number less the zero point unless given. */
  readonly table?: readonly number[] | undefined;
  readonly zero: number;
  /** Whether elements and zero points are in two's complement. */
  readonly isSigned?: boolean | undefined;
  /** Whether zero points are of a type of that many bits: then no row begins with a whole byte. */
  readonly isTyped?: boolean | undefined;
  /** Whether the first of two elements is in the high bits. */
  readonly isHighFirst?: boolean | undefined;
}

/** bitsandbytes' 4-bit floats (Dettmers et al. 2023, arXiv 2305.14314, appendix E), by quant_type. */
const FP4 = [0, 0.005208333333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25];
const NF4 = [
  -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
  -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
  0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
];
const BNB_TABLES: Readonly<Record<number, readonly number[]>> = {
  0: [...FP4, ...FP4.map((x) => -x)],
  1: NF4,
};

/** The weight of com.microsoft.MatMulBnb4: N x K in blocks of all its elements, each an entry of a table times the scale of its block. */
export function bnb4Data(node: Node): WeightData | Reason {
  const { attributes } = node;
  const [n, k, block] = ['N', 'K', 'block_size'].map((name) => attributes.int(name, 0)) as [
    number,
    number,
    number,
  ];
  const table = BNB_TABLES[attributes.int('quant_type', 1)];
  if (table === undefined || n < 1 || k < 1 || block < 1)
    return { reason: 'its attributes are not those of a weight' };
  return packedData(node, {
    input: 1,
    scales: 2,
    shape: [n, k],
    bits: 4,
    block,
    table,
    zero: 0,
    isHighFirst: true,
  });
}

/** The table of com.microsoft.GatherBlockQuantized, rows in blocks. */
export function gatherBlockData(node: Node): WeightData | Reason {
  const { attributes } = node;
  const weight = constantInput(node, 0);
  if ('reason' in weight) return weight;
  const { shape, dataType } = weight;
  const [rows = 0, last = 0] = shape;
  const bits = attributes.int('bits', 4);
  if (
    shape.length !== 2 ||
    attributes.int('gather_axis', 0) !== 0 ||
    attributes.int('quantize_axis', 1) !== 1
  )
    return { reason: 'its rows are not the ones that are gathered' };
  const isBytes = dataType === 'uint8';
  if (!['uint8', 'uint4', 'int4'].includes(dataType) || (isBytes && ![4, 8].includes(bits)))
    return { reason: `its weight is ${dataType} of ${bits} bits` };
  return packedData(node, {
    input: 0,
    scales: 2,
    zeroPoints: node.inputs[3] ? 3 : undefined,
    shape: [rows, isBytes ? (last * 8) / bits : last],
    bits: isBytes ? bits : 4,
    block: attributes.int('block_size', 128),
    isSigned: dataType === 'int4',
    isTyped: !isBytes,
    zero: isBytes ? 2 ** (bits - 1) : 0,
  });
}

/** The experts of com.microsoft.QMoE: experts x outputs x inputs, symmetric, one scale a row or a block of it. */
export function expertsData(node: Node, input: number): WeightData | Reason {
  const weight = constantInput(node, input);
  if ('reason' in weight) return weight;
  const bits = node.attributes.int('expert_weight_bits', 4);
  const [experts = 0, rows = 0, bytes = 0] = weight.shape;
  if (weight.shape.length !== 3 || weight.dataType !== 'uint8' || ![4, 8].includes(bits))
    return { reason: `its weight is ${weight.dataType} of ${bits} bits in ${weight.shape.length} axes` };
  const columns = (bytes * 8) / bits;
  const block = node.attributes.int('block_size', 0);
  return packedData(node, {
    input,
    scales: input + 1,
    shape: [experts, rows, columns],
    bits,
    block: block > 0 ? block : columns,
    zero: 2 ** (bits - 1),
  });
}

function packedData(node: Node, packing: Packing): WeightData | Reason {
  const { input, scales, zeroPoints, shape, bits, block, table, zero } = packing;
  const { isHighFirst = false, isSigned = false, isTyped = false } = packing;
  const weight = constantInput(node, input);
  const scale = constantInput(node, scales);
  const zeros = zeroPoints === undefined ? undefined : constantInput(node, zeroPoints);
  const bad = [weight, scale, zeros].find((one): one is Reason => one !== undefined && 'reason' in one);
  if (bad !== undefined || 'reason' in weight || 'reason' in scale)
    return bad ?? { reason: 'it is no constant' };
  if (!isFloatType(scale.dataType)) return { reason: `its scale is ${scale.dataType}` };
  const size = shape.reduce((product, dim) => product * dim, 1);
  const last = shape.at(-1) ?? 1;
  // Blocks of MatMulBnb4 go on from row to row, all others end with the row.
  const perRow = table === undefined ? Math.ceil(last / block) : undefined;
  const half = 2 ** (bits - 1);
  const signed = (value: number): number => (isSigned && value >= half ? value - 2 * half : value);
  const whole = remembered(async (): Promise<Float32Array> => {
    const read = (value: string) => evaluated(node.graph, value, node, weight.name);
    const [bytes, factors] = [(await read(weight.value)).bytes(), (await read(scale.value)).floats()];
    const offsets = zeros && !('reason' in zeros) ? (await read(zeros.value)).bytes() : undefined;
    const needed = perRow === undefined ? Math.ceil(size / block) : (size / last) * perRow;
    if (bytes.length * (8 / bits) < size || factors.length !== needed) {
      throw new ModelError(
        `${bytes.length} bytes and ${factors.length} scales are not those of [${shape.join(', ')}] in blocks of ${block}`,
        { node: node.label, tensor: weight.name },
      );
    }
    const result = new Float32Array(size);
    for (let i = 0; i < size; i += 1) {
      const at =
        perRow === undefined
          ? Math.floor(i / block)
          : Math.floor(i / last) * perRow + Math.floor((i % last) / block);
      const value = signed(element(bytes, i, bits, isHighFirst));
      const offset =
        offsets === undefined
          ? zero
          : signed(element(offsets, isTyped ? at : zeroAt(at, perRow, bits), bits, false));
      result[i] = (table === undefined ? value - offset : (table[value] as number)) * (factors[at] as number);
    }
    return result;
  });
  return {
    name: weight.name,
    shape,
    dataType: (bits === 8 ? 'uint8' : isSigned ? 'int4' : 'uint4') satisfies DataType,
    owner: weight.owner,
    key: `${scale.value} ${bits} ${block}`,
    isTransposed: false,
    read: async (start, count) => {
      const all = await whole();
      return { data: start === undefined ? all : all.subarray(start, start + (count ?? 0)), isOwn: false };
    },
  };
}

/** Zero points are packed as the weight is, each row to whole bytes. */
function zeroAt(block: number, perRow = 1, bits: number): number {
  const padded = Math.ceil((perRow * bits) / 8) * (8 / bits);
  return Math.floor(block / perRow) * padded + (block % perRow);
}

function element(bytes: Uint8Array, index: number, bits: number, isHighFirst: boolean): number {
  if (bits === 8) return bytes[index] as number;
  const byte = bytes[index >> 1] as number;
  return index % 2 === (isHighFirst ? 1 : 0) ? byte & 15 : byte >> 4;
}
