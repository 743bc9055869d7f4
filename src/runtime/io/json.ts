import { type DataType, isFloatType, ModelError, messageOf, widen } from '../../graph/index.js';
import { RUNTIME_TYPES, type RuntimeTensor } from '../types.js';
import { fromValues, type TensorValue } from './values.js';

/**
 * Tensors from JSON: an object of tensors by name, each as nested lists (`[[1, 2], [3, 4]]`, a single number) or with
 * its shape and, if it matters, type (`{"type": "float32", "shape": [2, 2], "data": [1, 2, 3, 4]}`), as writeJsonTensors
 * writes it. Without a type, values become float64, int64, bool or string, whatever holds them. "NaN", "Infinity" and "-Infinity"
 * stand for what JSON lacks, and a text for an integer beyond 2^53.
 *
 * @throws ModelError for JSON that is none, lists that are ragged, and values that do not fit the type
 */
export function readJsonTensors(text: string): Record<string, RuntimeTensor> {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw new ModelError(`this is not JSON: ${messageOf(error)}`, {}, { cause: error });
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ModelError('the JSON must be an object of tensors by name: {"x": [[1, 2, 3]]}');
  }
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => {
      try {
        return [name, tensorOf(value)];
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        throw new ModelError(`'${name}': ${error.message}`, {}, { cause: error });
      }
    }),
  );
}

function tensorOf(value: unknown): RuntimeTensor {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { type, shape, data } = value as { type?: unknown; shape?: unknown; data?: unknown };
    if (type !== undefined && !RUNTIME_TYPES.some((known) => known === type)) {
      throw new ModelError(`its "type" must be one of ${RUNTIME_TYPES.join(', ')}`);
    }
    if (!Array.isArray(shape) || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
      throw new ModelError('its "shape" must be a list of whole numbers');
    }
    if (!Array.isArray(data)) throw new ModelError('its "data" must be a list');
    const values = (data as unknown[]).flat(Infinity).map(scalar);
    return fromValues((type as DataType | undefined) ?? naturalType(values), shape as number[], values);
  }
  const shape: number[] = [];
  for (let level = value; Array.isArray(level); level = level[0] as unknown) shape.push(level.length);
  const values: TensorValue[] = [];
  flatten(value, shape, 0, values);
  return fromValues(naturalType(values), shape, values);
}

function flatten(value: unknown, shape: readonly number[], axis: number, values: TensorValue[]): void {
  if (axis === shape.length) {
    values.push(scalar(value));
    return;
  }
  if (!Array.isArray(value) || value.length !== shape[axis]) {
    throw new ModelError(`its lists are ragged: [${shape.join(', ')}] was expected throughout`);
  }
  for (const item of value) flatten(item, shape, axis + 1, values);
}

function scalar(value: unknown): TensorValue {
  if (typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean') return value;
  throw new ModelError(`${JSON.stringify(value)} is no value of a tensor`);
}

const SPECIAL = ['NaN', 'Infinity', '-Infinity'];

function naturalType(values: readonly TensorValue[]): DataType {
  if (values.length > 0 && values.every((value) => typeof value === 'boolean')) return 'bool';
  const isNumber = (value: TensorValue): boolean =>
    typeof value === 'number' || SPECIAL.includes(String(value));
  if (!values.every(isNumber)) return 'string';
  return values.every((value) => Number.isSafeInteger(value)) && values.length > 0 ? 'int64' : 'float64';
}

/**
 * Tensors as JSON that readJsonTensors reads back to the same bits (the payload of a NaN aside).
 *
 * @example
 * writeJsonTensors({ y }); // {"y": {"type": "float32", "shape": [1, 3], "data": [0.5, -1.25, 3]}}
 */
export function writeJsonTensors(tensors: Readonly<Record<string, RuntimeTensor>>): string {
  const parts = Object.entries(tensors).map(([name, { type, shape, data }]) => {
    const values = (
      isFloatType(type) && !Array.isArray(data) ? widen(type, data as never) : data
    ) as Iterable<number | bigint | string>;
    const items = Array.from(values, (value) => item(type, value)).join(', ');
    return `  ${JSON.stringify(name)}: {"type": "${type}", "shape": ${JSON.stringify(shape)}, "data": [${items}]}`;
  });
  return `{\n${parts.join(',\n')}\n}\n`;
}

function item(type: DataType, value: number | bigint | string): string {
  if (type === 'bool') return value ? 'true' : 'false';
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') {
    return Number.isSafeInteger(Number(value)) ? String(value) : `"${value}"`;
  }
  if (Object.is(value, -0)) return '-0';
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}
