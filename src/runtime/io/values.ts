import {
  asArray,
  byteLengthOf,
  type DataType,
  isFloatType,
  ModelError,
  narrow,
  widen,
} from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';

/** An element as JSON or another file gives it. */
export type TensorValue = number | bigint | boolean | string;

const INTEGERS = {
  int8: [-(2n ** 7n), 2n ** 7n - 1n],
  uint8: [0n, 2n ** 8n - 1n],
  int16: [-(2n ** 15n), 2n ** 15n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
} as const satisfies Partial<Record<DataType, readonly [bigint, bigint]>>;
type IntegerType = keyof typeof INTEGERS;

function isIntegerType(type: DataType): type is IntegerType {
  return Object.hasOwn(INTEGERS, type);
}

/**
 * A tensor of given elements, each in the type's range.
 *
 * @throws ModelError for an element that the type does not hold, and for a number of elements that the shape has not
 */
export function fromValues(
  type: DataType,
  shape: readonly number[],
  values: readonly TensorValue[],
): RuntimeTensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  if (values.length !== size) {
    throw new ModelError(
      `the shape [${shape.join(', ')}] has ${size} elements, but ${values.length} are given`,
    );
  }
  if (type === 'string') return { type, shape, data: values.map(String) };
  if (isFloatType(type)) {
    const numbers = Float64Array.from(values, (value) => number(value, type));
    return { type, shape, data: narrow(type, numbers) };
  }
  if (type === 'bool') return { type, shape, data: Uint8Array.from(values, truth) };
  if (!isIntegerType(type)) throw new ModelError(`tensors of type ${type} cannot be made from values`);
  const array = asArray(type, new Uint8Array(byteLengthOf(type, size)));
  const isWide = array instanceof BigInt64Array || array instanceof BigUint64Array;
  for (const [index, value] of values.entries()) {
    const whole = integer(value, type);
    array[index] = (isWide ? whole : Number(whole)) as never;
  }
  return { type, shape, data: array };
}

function number(value: TensorValue, type: DataType): number {
  const result = Number(value);
  const isText = typeof value === 'string';
  if (isText && (value.trim() === '' || (Number.isNaN(result) && value !== 'NaN'))) {
    throw new ModelError(`'${value}' is no ${type}`);
  }
  return result;
}

function truth(value: TensorValue): number {
  if (value === true || value === 1 || value === 1n) return 1;
  if (value === false || value === 0 || value === 0n) return 0;
  throw new ModelError(`${JSON.stringify(String(value))} is no bool`);
}

function integer(value: TensorValue, type: IntegerType): bigint {
  let result: bigint | undefined;
  try {
    result = BigInt(value);
  } catch {
    // A fraction, NaN, or a text that is no number.
  }
  const [least, most] = INTEGERS[type];
  if (result === undefined || result < least || result > most || value === '') {
    throw new ModelError(`${String(value)} is no ${type}`);
  }
  return result;
}

/**
 * The tensor in another type, as an input wants it: NumPy makes float64 and int64 where a model has float32 and int32.
 *
 * Floats become floats of another width (rounded once) and integers become integers, bool or floats; no fraction is
 * ever dropped.
 *
 * @throws ModelError where an element does not fit, and from floats or texts to anything else
 */
export function convert(tensor: RuntimeTensor, type: DataType): RuntimeTensor {
  const { shape, data } = tensor;
  if (tensor.type === type) return tensor;
  if (isFloatType(tensor.type) && isFloatType(type)) {
    return { type, shape, data: narrow(type, widen(tensor.type, data as never)) };
  }
  const isWhole = isIntegerType(tensor.type) || tensor.type === 'bool';
  const canHold = isFloatType(type) || isIntegerType(type) || type === 'bool';
  if (!isWhole || !canHold) throw new ModelError(`${tensor.type} cannot become ${type}`);
  return fromValues(type, shape, Array.from(data as Iterable<number | bigint>));
}
