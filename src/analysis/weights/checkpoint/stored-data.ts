import { DATA_TYPES, type FloatType, isFloatType, ModelError } from '../../../graph/index.js';
import { decodedElements } from '../../../graph/tensor/small-floats.js';
import type { StoredTensor } from '../../../runtime/checkpoint/index.js';
import type { WeightData } from '../weight-data.js';

/** Bytes that are decoded at a time: of a large tensor only this much is in memory beside its elements. */
const PART = 8 << 20;

/** The elements of a tensor of a checkpoint, decoded from whatever type it has. */
export async function storedElements(
  tensor: StoredTensor,
  start = 0,
  count = sizeOf(tensor) - start,
): Promise<Float32Array | Float64Array> {
  const { dataType, name } = tensor;
  const { bits } = DATA_TYPES[dataType];
  if (bits === 0) throw new ModelError(`is ${dataType}, which holds no numbers`, { tensor: name });
  // Below 8 bits a range may begin within a byte.
  const skipped = bits < 8 ? start % (8 / bits) : 0;
  const first = ((start - skipped) * bits) / 8;
  const length = Math.ceil(((count + skipped) * bits) / 8);
  const decode = async (from: number, size: number, elements: number) => {
    const part = decodedElements(dataType, await tensor.bytes(from, size), elements);
    if (part === undefined) throw new ModelError(`is ${dataType}, not real numbers`, { tensor: name });
    return part;
  };
  if (dataType === 'float32' || dataType === 'float64' || length <= PART) {
    const all = await decode(first, length, count + skipped);
    return skipped === 0 ? all : all.subarray(skipped);
  }
  let result: Float32Array | Float64Array | undefined;
  for (let done = 0; done < length; done += PART) {
    const at = (done * 8) / bits;
    const size = Math.min(PART, length - done);
    const part = await decode(first + done, size, Math.min((size * 8) / bits, count + skipped - at));
    result ??= part instanceof Float32Array ? new Float32Array(count) : new Float64Array(count);
    result.set(at === 0 ? part.subarray(skipped) : part, Math.max(0, at - skipped));
  }
  return result ?? new Float32Array(0);
}

/** A tensor of a checkpoint as the elements of a weight. */
export function storedData(tensor: StoredTensor, name = tensor.name): WeightData {
  const { shape, dataType, owner, key } = tensor;
  const bytes = DATA_TYPES[dataType].bits / 8;
  return {
    name,
    shape,
    dataType,
    owner,
    key,
    isTransposed: false,
    read: async (start, count) => {
      const data = await storedElements(tensor, start, count);
      return { data, isOwn: data.byteLength === data.buffer.byteLength && tensor.inFile !== undefined };
    },
    inFile: (start = 0, count = sizeOf(tensor)) => {
      const file = isFloatType(dataType) ? tensor.inFile?.(start * bytes, count * bytes) : undefined;
      return file && { file, type: dataType as FloatType };
    },
  };
}

export function sizeOf({ shape }: Pick<StoredTensor, 'shape'>): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
