import { type DataType, ModelError } from '../../../graph/index.js';
import { decodedElements } from '../../../graph/tensor/small-floats.js';
import type { Config, StoredTensor } from '../../../runtime/checkpoint/index.js';
import { remembered, type WeightData } from '../weight-data.js';
import { sizeOf, storedElements } from './stored-data.js';

/** The tensors of a module by what stands behind its name. */
export type ModuleTensors = ReadonlyMap<string, StoredTensor>;

type Reason = { readonly reason: string };

/** How a library writes the weight of a module as integers, and what it is as numbers. */
interface Packing {
  /** The tensors that it takes, the packed one first. */
  readonly parts: readonly string[];
  /** Others that may be there too. */
  readonly also?: readonly string[];
  weight(tensors: ModuleTensors, config: Config): Unpacked | Reason;
}

interface Unpacked {
  /** Rows, columns; of experts, their number before. */
  readonly shape: readonly number[];
  readonly dataType: DataType;
  read(): Promise<Float32Array>;
}

/** The nibble of each column of eight in AWQ's words. */
const AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7];

const PACKINGS: Readonly<Record<string, Packing>> = {
  // in x out, packed along the inputs; of 4 and 8 bits (AutoGPTQ, GPTQModel).
  gptq: {
    parts: ['qweight', 'qzeros', 'scales', 'g_idx'],
    weight: (tensors, config) => {
      const [packed, zeros, scales, groups] = partsOf(tensors, ['qweight', 'qzeros', 'scales', 'g_idx']);
      const [inputs = 0] = groups.shape;
      const [words = 0, outputs = 0] = packed.shape;
      const bits = (32 * words) / inputs;
      if (![2, 4, 8].includes(bits)) return { reason: `its weight has ${bits} bits an element` };
      // The first version stores zero points less one.
      const offset = config.checkpoint_format === 'gptq_v2' ? 0 : 1;
      return {
        shape: [inputs, outputs],
        dataType: integerOf(bits),
        read: async () => {
          const [q, z, g] = [await words32(packed), await words32(zeros), await words32(groups)];
          const s = await storedElements(scales);
          const [each, mask] = [32 / bits, 2 ** bits - 1];
          const result = new Float32Array(inputs * outputs);
          for (let i = 0; i < inputs; i += 1) {
            const group = g[i] as number;
            const shift = (i % each) * bits;
            for (let j = 0; j < outputs; j += 1) {
              const zero = at(z, group * Math.ceil(outputs / each) + Math.floor(j / each));
              const zeroPoint = ((zero >>> ((j % each) * bits)) & mask) + offset;
              const value = (at(q, Math.floor(i / each) * outputs + j) >>> shift) & mask;
              result[i * outputs + j] = (value - zeroPoint) * (s[group * outputs + j] as number);
            }
          }
          return result;
        },
      };
    },
  },
  // in x out, eight columns a word in an order of their own (AutoAWQ).
  awq: {
    parts: ['qweight', 'qzeros', 'scales'],
    weight: (tensors) => {
      const [packed, zeros, scales] = partsOf(tensors, ['qweight', 'qzeros', 'scales']);
      const [inputs = 0, words = 0] = packed.shape;
      const [groups = 1] = scales.shape;
      const outputs = 8 * words;
      const size = Math.ceil(inputs / groups);
      return {
        shape: [inputs, outputs],
        dataType: 'uint4',
        read: async () => {
          const [q, z, s] = [await words32(packed), await words32(zeros), await storedElements(scales)];
          const result = new Float32Array(inputs * outputs);
          for (let i = 0; i < inputs; i += 1) {
            const group = Math.floor(i / size);
            for (let j = 0; j < outputs; j += 1) {
              const shift = 4 * (AWQ_ORDER[j % 8] as number);
              const word = Math.floor(j / 8);
              const zero = (at(z, group * words + word) >>> shift) & 15;
              const value = (at(q, i * words + word) >>> shift) & 15;
              result[i * outputs + j] = (value - zero) * (s[group * outputs + j] as number);
            }
          }
          return result;
        },
      };
    },
  },
  // out x in, packed along the inputs, symmetric (compressed-tensors, pack-quantized).
  compressed: {
    parts: ['weight_packed', 'weight_scale', 'weight_shape'],
    weight: (tensors) => {
      const [packed, scales] = partsOf(tensors, ['weight_packed', 'weight_scale']);
      const [outputs = 0, words = 0] = packed.shape;
      const [, groups = 1] = scales.shape;
      if (tensors.has('weight_zero_point') || tensors.has('weight_g_idx'))
        return { reason: 'its zero points or order of inputs are not read' };
      const inputs = 8 * words;
      return {
        shape: [outputs, inputs],
        dataType: 'int4',
        read: async () => {
          const [q, s] = [await words32(packed), await storedElements(scales)];
          const result = new Float32Array(outputs * inputs);
          for (let i = 0; i < result.length; i += 1) {
            const [row, column] = [Math.floor(i / inputs), i % inputs];
            const value = (at(q, i >> 3) >>> (4 * (i % 8))) & 15;
            result[i] = (value - 8) * (s[row * groups + Math.floor((column * groups) / inputs)] as number);
          }
          return result;
        },
      };
    },
  },
  // A byte holds two elements, the first in the high bits, each an index into a table (bitsandbytes, nf4 and fp4).
  bitsandbytes: {
    parts: ['weight', 'weight.absmax', 'weight.quant_map'],
    also: [
      'weight.nested_absmax',
      'weight.nested_quant_map',
      'weight.quant_state.bitsandbytes__nf4',
      'weight.quant_state.bitsandbytes__fp4',
    ],
    weight: (tensors) => {
      const [packed, absmax, map] = partsOf(tensors, ['weight', 'weight.absmax', 'weight.quant_map']);
      const state = ['nf4', 'fp4'].map((kind) => tensors.get(`weight.quant_state.bitsandbytes__${kind}`));
      const described = state.find((one) => one !== undefined);
      if (described === undefined) return { reason: 'its quant_state is missing' };
      return {
        // Its shape is in the state, which is read with the elements; until then, a row.
        shape: [2 * sizeOf(packed)],
        dataType: 'uint4',
        read: () => bitsandbytes(packed, absmax, map, tensors, described),
      };
    },
  },
  // One scale a block of rows and columns (DeepSeek), a row, or all (compressed-tensors, FBGEMM).
  scaledInverse: { parts: ['weight', 'weight_scale_inv'], weight: scaled('weight_scale_inv') },
  scaled: { parts: ['weight', 'weight_scale'], also: ['input_scale'], weight: scaled('weight_scale') },
  // 8 bits, one scale a row (bitsandbytes, LLM.int8).
  rowwise: {
    parts: ['weight', 'SCB'],
    also: ['weight_format'],
    weight: scaled('SCB', 1 / 127),
  },
};

function scaled(name: string, unit = 1): Packing['weight'] {
  return (tensors, config) => {
    const [weight, scales] = partsOf(tensors, ['weight', name]);
    const { shape, dataType } = weight;
    const [rows = 0, columns = 1] = shape;
    if (shape.length !== 2) return { reason: `its weight has the shape [${shape.join(', ')}]` };
    const [given] = [config.weight_block_size].filter(Array.isArray);
    const [down = rows, across = 1] = scales.shape;
    const isOne = sizeOf(scales) === 1;
    const isByRow = !isOne && sizeOf(scales) === rows;
    const [high, wide] = isOne
      ? [rows, columns]
      : isByRow
        ? [1, columns]
        : ((given ?? [128, 128]) as number[]);
    if (high === undefined || wide === undefined) return { reason: 'the size of its blocks is unknown' };
    if (!isOne && !isByRow && (Math.ceil(rows / high) !== down || Math.ceil(columns / wide) !== across)) {
      return { reason: `its scales [${scales.shape.join(', ')}] do not fit blocks of ${high} x ${wide}` };
    }
    return {
      shape,
      dataType,
      read: async () => {
        const [q, s] = [await storedElements(weight), await storedElements(scales)];
        const steps = Math.ceil(columns / wide);
        const result = new Float32Array(rows * columns);
        for (let i = 0; i < rows; i += 1) {
          const first = Math.floor(i / high) * steps;
          for (let j = 0; j < columns; j += 1) {
            const scale = (s[first + Math.floor(j / wide)] as number) * unit;
            result[i * columns + j] = (q[i * columns + j] as number) * scale;
          }
        }
        return result;
      },
    };
  };
}

async function bitsandbytes(
  packed: StoredTensor,
  absmax: StoredTensor,
  map: StoredTensor,
  tensors: ModuleTensors,
  described: StoredTensor,
): Promise<Float32Array> {
  const state = JSON.parse(Buffer.from(await described.bytes()).toString('utf8')) as Record<string, unknown>;
  const number = (key: string): number => {
    const value = Number(state[key]);
    if (Number.isFinite(value)) return value;
    throw new ModelError(`its quant_state has no ${key}`, { tensor: packed.name });
  };
  const block = number('blocksize');
  const table = await storedElements(map);
  let scales = await storedElements(absmax);
  const [nestedAbsmax, nestedMap] = [
    tensors.get('weight.nested_absmax'),
    tensors.get('weight.nested_quant_map'),
  ];
  if (nestedAbsmax !== undefined && nestedMap !== undefined) {
    const [outer, outerMap] = [await storedElements(nestedAbsmax), await storedElements(nestedMap)];
    const [nestedBlock, offset] = [number('nested_blocksize'), number('nested_offset')];
    scales = scales.map(
      (index, i) => (outerMap[index] as number) * (outer[Math.floor(i / nestedBlock)] as number) + offset,
    );
  }
  const bytes = await packed.bytes();
  const result = new Float32Array(2 * bytes.length);
  for (let i = 0; i < result.length; i += 1) {
    const byte = bytes[i >> 1] as number;
    const index = i % 2 === 0 ? byte >> 4 : byte & 15;
    result[i] = (table[index] as number) * (scales[Math.floor(i / block)] as number);
  }
  return result;
}

/** The 4-bit floats of experts, each 32 with a scale that is a power of two (gpt-oss, MXFP4). */
export function microscaled(blocks: StoredTensor, scales: StoredTensor, name: string): WeightData | Reason {
  const [experts = 0, rows = 0, groups = 0, half = 0] = blocks.shape;
  if (blocks.shape.length !== 4 || half !== 16 || sizeOf(scales) !== experts * rows * groups)
    return { reason: 'its blocks and scales do not belong together' };
  return unpackedData(blocks, name, '', {
    shape: [experts, rows, 32 * groups],
    dataType: 'float4e2m1',
    read: async () => {
      const count = 2 * sizeOf(blocks);
      const values = decodedElements('float4e2m1', await blocks.bytes(), count) as Float32Array;
      const exponents = await scales.bytes();
      for (let i = 0; i < count; i += 1)
        values[i] = (values[i] as number) * 2 ** ((exponents[i >> 5] as number) - 127);
      return values;
    },
  });
}

/** The weight of a module that is stored as integers or floats of 8 bits with scales; undefined where it is none. */
export async function quantizedModule(
  tensors: ModuleTensors,
  name: string,
  config: Config | undefined,
): Promise<{ readonly data: WeightData; readonly taken: readonly string[] } | Reason | undefined> {
  const quantization = (config?.quantization_config ?? {}) as Config;
  for (const [kind, { parts, also = [], weight }] of Object.entries(PACKINGS)) {
    if (!parts.every((part) => tensors.has(part))) continue;
    const unpacked = weight(tensors, quantization);
    if ('reason' in unpacked) return unpacked;
    const [first] = partsOf(tensors, [parts[0] ?? '']);
    const shape = kind === 'bitsandbytes' ? await shapeInState(tensors) : unpacked.shape;
    if (shape === undefined) return { reason: 'its quant_state has no shape' };
    return { data: unpackedData(first, name, kind, { ...unpacked, shape }), taken: [...parts, ...also] };
  }
  return undefined;
}

async function shapeInState(tensors: ModuleTensors): Promise<readonly number[] | undefined> {
  const [name, state] = [...tensors].find(([suffix]) => suffix.startsWith('weight.quant_state.')) ?? [];
  const weight = tensors.get('weight');
  if (state === undefined || weight === undefined) return undefined;
  try {
    const { shape } = JSON.parse(Buffer.from(await state.bytes()).toString('utf8')) as { shape?: unknown };
    const isShape = Array.isArray(shape) && shape.every((dim) => Number.isSafeInteger(dim) && dim > 0);
    return isShape && sizeOf({ shape }) === 2 * sizeOf(weight) ? shape : undefined;
  } catch (error) {
    throw new ModelError('its quant_state is not JSON', { tensor: name }, { cause: error });
  }
}

function unpackedData(first: StoredTensor, name: string, key: string, unpacked: Unpacked): WeightData {
  const whole = remembered(unpacked.read);
  return {
    name,
    shape: unpacked.shape,
    dataType: unpacked.dataType,
    owner: first.owner,
    key: `${first.key} ${key}`,
    isTransposed: false,
    read: async (start, count) => {
      const all = await whole();
      return {
        data: start === undefined ? all : all.subarray(start, start + (count ?? 0)),
        isOwn: false,
      };
    },
  };
}

type Parts<Names extends readonly string[]> = { readonly [Index in keyof Names]: StoredTensor };

/** Those of a module that are known to be there. */
function partsOf<const Names extends readonly string[]>(tensors: ModuleTensors, names: Names): Parts<Names> {
  return names.map((name) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new ModelError(`its ${name} is missing`);
    return tensor;
  }) as Parts<Names>;
}

async function words32(tensor: StoredTensor): Promise<Uint32Array> {
  if (tensor.dataType !== 'int32' && tensor.dataType !== 'uint32')
    throw new ModelError(`is ${tensor.dataType}, not packed in int32`, { tensor: tensor.name });
  const bytes = Uint8Array.from(await tensor.bytes());
  return new Uint32Array(bytes.buffer);
}

function at(words: Uint32Array, index: number): number {
  return words[index] as number;
}

function integerOf(bits: number): DataType {
  return bits === 4 ? 'uint4' : bits === 2 ? 'uint2' : 'uint8';
}
