import { DATA_TYPES, type DataType } from './data-type.js';
import { bfloat16ToFloat32, float16ToFloat32 } from './float16.js';
import { asArray } from './tensor.js';

/** How the bits of a float of 8 or 4 bits are read: sign, exponent, fraction, and what has no finite value. */
interface SmallFloat {
  readonly exponent: number;
  readonly fraction: number;
  readonly bias: number;
  /** 'ieee': the largest exponent is infinity and NaN; 'fn': all ones is NaN; 'uz': the negative zero is NaN; 'finite': none is. */
  readonly special: 'ieee' | 'fn' | 'uz' | 'finite';
}

/** ONNX, "Float stored in 8 bits"; OCP Microscaling Formats 1.0 for float4e2m1. */
const SMALL_FLOATS = {
  float8e4m3fn: { exponent: 4, fraction: 3, bias: 7, special: 'fn' },
  float8e4m3fnuz: { exponent: 4, fraction: 3, bias: 8, special: 'uz' },
  float8e5m2: { exponent: 5, fraction: 2, bias: 15, special: 'ieee' },
  float8e5m2fnuz: { exponent: 5, fraction: 2, bias: 16, special: 'uz' },
  float4e2m1: { exponent: 2, fraction: 1, bias: 1, special: 'finite' },
} as const satisfies Partial<Record<DataType, SmallFloat>>;

const tables = new Map<string, Float32Array>();

/** The value of every bit pattern of a float of 8 or 4 bits. */
function tableOf(type: keyof typeof SMALL_FLOATS): Float32Array {
  const known = tables.get(type);
  if (known !== undefined) return known;
  const { exponent: e, fraction: f, bias, special } = SMALL_FLOATS[type];
  const table = Float32Array.from({ length: 2 ** (1 + e + f) }, (_, bits) => {
    const sign = bits >> (e + f) === 1 ? -1 : 1;
    const exponent = (bits >> f) & (2 ** e - 1);
    const fraction = bits & (2 ** f - 1);
    const isLast = exponent === 2 ** e - 1;
    if (special === 'uz' && sign < 0 && exponent + fraction === 0) return Number.NaN;
    if (special === 'fn' && isLast && fraction === 2 ** f - 1) return Number.NaN;
    if (special === 'ieee' && isLast) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return exponent === 0
      ? sign * fraction * 2 ** (1 - bias - f)
      : sign * (1 + fraction / 2 ** f) * 2 ** (exponent - bias);
  });
  tables.set(type, table);
  return table;
}

/**
 * The elements of any real type from their bytes in raw_data form: float64 and integers of 32 bits and more as float64, all else
 * as float32, which holds them exactly (but integers beyond 2^53, which are rounded). Types below 8 bits are packed, the first
 * element in the lowest bits, as ONNX has them.
 *
 * @returns undefined for text, booleans' like and complex numbers
 */
export function decodedElements(
  type: DataType,
  bytes: Uint8Array,
  count: number,
): Float32Array | Float64Array | undefined {
  switch (type) {
    case 'float32':
    case 'float64':
      return asArray(type, bytes);
    case 'float16':
      return float16ToFloat32(asArray(type, bytes));
    case 'bfloat16':
      return bfloat16ToFloat32(asArray(type, bytes));
    case 'float8e4m3fn':
    case 'float8e4m3fnuz':
    case 'float8e5m2':
    case 'float8e5m2fnuz':
    case 'float4e2m1':
      return looked(tableOf(type), bytes, count, DATA_TYPES[type].bits);
    case 'float8e8m0':
      // Of 255, NaN.
      return Float32Array.from(bytes, (bits) => (bits === 255 ? Number.NaN : 2 ** (bits - 127)));
    case 'int4':
    case 'int2':
    case 'uint4':
    case 'uint2': {
      const { bits } = DATA_TYPES[type];
      const half = type.startsWith('u') ? 2 ** bits : 2 ** (bits - 1);
      const table = Float32Array.from({ length: 2 ** bits }, (_, value) =>
        value < half ? value : value - 2 ** bits,
      );
      return looked(table, bytes, count, bits);
    }
    case 'int8':
    case 'uint8':
    case 'int16':
    case 'uint16':
    case 'bool':
      return Float32Array.from(asArray(type, bytes));
    case 'int32':
    case 'uint32':
      return Float64Array.from(asArray(type, bytes));
    case 'int64':
    case 'uint64':
      return Float64Array.from(asArray(type, bytes), Number);
    default:
      return undefined;
  }
}

/** The entry of a table for each element of `bits` bits. */
function looked(table: Float32Array, bytes: Uint8Array, count: number, bits: number): Float32Array {
  const result = new Float32Array(count);
  if (bits === 8) {
    for (let i = 0; i < count; i += 1) result[i] = table[bytes[i] as number] as number;
    return result;
  }
  const [each, mask] = [8 / bits, 2 ** bits - 1];
  for (let i = 0; i < count; i += 1) {
    const byte = bytes[Math.floor(i / each)] as number;
    result[i] = table[(byte >> ((i % each) * bits)) & mask] as number;
  }
  return result;
}
