import type { PayloadField } from '../proto/schema.js';

interface DataTypeInfo {
  /** The number in TensorProto.data_type. */
  readonly code: number;
  /** Bits an element takes in raw_data; 0 where an element has no fixed size (string, undefined). */
  readonly bits: number;
  /** The typed field that may hold the elements instead of raw_data. */
  readonly field: PayloadField | 'string_data' | undefined;
}

/** Every element type of ONNX (IR version 13). */
export const DATA_TYPES = {
  undefined: { code: 0, bits: 0, field: undefined },
  float32: { code: 1, bits: 32, field: 'float_data' },
  uint8: { code: 2, bits: 8, field: 'int32_data' },
  int8: { code: 3, bits: 8, field: 'int32_data' },
  uint16: { code: 4, bits: 16, field: 'int32_data' },
  int16: { code: 5, bits: 16, field: 'int32_data' },
  int32: { code: 6, bits: 32, field: 'int32_data' },
  int64: { code: 7, bits: 64, field: 'int64_data' },
  string: { code: 8, bits: 0, field: 'string_data' },
  bool: { code: 9, bits: 8, field: 'int32_data' },
  float16: { code: 10, bits: 16, field: 'int32_data' },
  float64: { code: 11, bits: 64, field: 'double_data' },
  uint32: { code: 12, bits: 32, field: 'uint64_data' },
  uint64: { code: 13, bits: 64, field: 'uint64_data' },
  complex64: { code: 14, bits: 64, field: 'float_data' },
  complex128: { code: 15, bits: 128, field: 'double_data' },
  bfloat16: { code: 16, bits: 16, field: 'int32_data' },
  float8e4m3fn: { code: 17, bits: 8, field: 'int32_data' },
  float8e4m3fnuz: { code: 18, bits: 8, field: 'int32_data' },
  float8e5m2: { code: 19, bits: 8, field: 'int32_data' },
  float8e5m2fnuz: { code: 20, bits: 8, field: 'int32_data' },
  uint4: { code: 21, bits: 4, field: 'int32_data' },
  int4: { code: 22, bits: 4, field: 'int32_data' },
  float4e2m1: { code: 23, bits: 4, field: 'int32_data' },
  float8e8m0: { code: 24, bits: 8, field: 'int32_data' },
  uint2: { code: 25, bits: 2, field: 'int32_data' },
  int2: { code: 26, bits: 2, field: 'int32_data' },
} as const satisfies Record<string, DataTypeInfo>;

/** Element type of a tensor, by its name in this library: 'float32', 'int64', 'bfloat16' and so on. */
export type DataType = keyof typeof DATA_TYPES;

/** Element types whose values are real numbers that a weight may have. */
export const FLOAT_TYPES = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
] as const satisfies readonly DataType[];
/** Element types that weights can have: 'float16', 'bfloat16', 'float32', 'float64'. */
export type FloatType = (typeof FLOAT_TYPES)[number];

/**
 * Whether an element type is one that weights can have: float16, bfloat16, float32 or float64.
 *
 * @example
 * isFloatType('bfloat16'); // true
 * isFloatType('int8'); // false
 */
export function isFloatType(type: DataType | string): type is FloatType {
  return (FLOAT_TYPES as readonly string[]).includes(type);
}

/** Machine epsilon: the gap between 1 and the next number of the type. */
export const EPSILON = {
  float32: 2 ** -23,
  float64: 2 ** -52,
  float16: 2 ** -10,
  bfloat16: 2 ** -7,
} as const satisfies Record<FloatType, number>;

/** The smallest number above 0 of the type: what rounding near 0 leaves of a difference. */
export const SMALLEST = {
  float32: 2 ** -149,
  float64: 2 ** -1074,
  float16: 2 ** -24,
  bfloat16: 2 ** -133,
} as const satisfies Record<FloatType, number>;

const BY_CODE = new Map<number, DataType>(
  (Object.entries(DATA_TYPES) as [DataType, DataTypeInfo][]).map(([name, { code }]) => [code, name]),
);

/** The name of an element type, or undefined for a code that this ONNX does not have. */
export function dataTypeOf(code: number): DataType | undefined {
  return BY_CODE.get(code);
}

/** Bytes that `count` elements take in raw_data (sub-byte types are packed, the last byte padded). */
export function byteLengthOf(type: DataType, count: number): number {
  return Math.ceil((DATA_TYPES[type].bits * count) / 8);
}
