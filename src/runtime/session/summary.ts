import { type FloatType, isFloatType, ModelError, widen } from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';

/** What is in a tensor, in a few figures. */
export interface TensorSummary {
  readonly elements: number;
  /** Over the finite elements; undefined where there is none, and of strings. Of bool, false is 0 and true 1; integers that a number cannot hold are bigints. */
  readonly min: number | bigint | undefined;
  readonly max: number | bigint | undefined;
  readonly mean: number | undefined;
  /** Elements that are NaN or infinite. */
  readonly nonFinite: number;
}

/**
 * The range and mean of a tensor.
 *
 * @example
 * summarize({ type: 'float32', shape: [3], data: Float32Array.of(1, 2, 6) }); // { min: 1, max: 6, mean: 3, … }
 */
export function summarize(tensor: RuntimeTensor): TensorSummary {
  const elements = tensor.data.length;
  if (tensor.type === 'string') {
    return { elements, min: undefined, max: undefined, mean: undefined, nonFinite: 0 };
  }
  if (tensor.data instanceof BigInt64Array || tensor.data instanceof BigUint64Array) {
    return summarizeIntegers(tensor.data);
  }
  let [min, max, sum, count] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, 0];
  for (const element of valuesOf(tensor)) {
    const value = Number(element);
    if (!Number.isFinite(value)) continue;
    count += 1;
    sum += value;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  if (count === 0) return { elements, min: undefined, max: undefined, mean: undefined, nonFinite: elements };
  return { elements, min, max, mean: sum / count, nonFinite: elements - count };
}

function summarizeIntegers(data: BigInt64Array | BigUint64Array): TensorSummary {
  const elements = data.length;
  const [first] = data;
  if (first === undefined) {
    return { elements, min: undefined, max: undefined, mean: undefined, nonFinite: 0 };
  }
  let [min, max, sum] = [first, first, 0];
  for (const value of data) {
    sum += Number(value);
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { elements, min: exact(min), max: exact(max), mean: sum / elements, nonFinite: 0 };
}

function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/** The numbers of a tensor that is not of strings. */
export function valuesOf({ type, data }: RuntimeTensor): Iterable<number | bigint> {
  return isFloatType(type) ? widen(type as FloatType, data as never) : (data as Iterable<number | bigint>);
}

/** One of the largest elements along the last axis. */
export interface TopEntry {
  /** Which row: the index over all axes but the last, counted through. */
  readonly row: number;
  readonly index: number;
  readonly value: number;
  /** exp(value) / Σ exp over the row; undefined where the row holds probabilities as it is. */
  readonly softmax: number | undefined;
}

/**
 * The k largest elements along the last axis of a tensor, of each of its rows, the largest first. NaN comes last.
 *
 * @throws ModelError for a tensor of strings or without an axis
 * @example
 * topK({ type: 'float32', shape: [1, 3], data: Float32Array.of(0.1, 0.7, 0.2) }, 2); // the elements 1 and 2
 */
export function topK(tensor: RuntimeTensor, k: number): TopEntry[] {
  const size = tensor.shape.at(-1);
  if (tensor.type === 'string' || size === undefined) {
    throw new ModelError(`a ${tensor.type} of shape [${tensor.shape.join(', ')}] has no largest elements`);
  }
  const values = Float64Array.from(valuesOf(tensor) as Iterable<number>, Number);
  const entries: TopEntry[] = [];
  for (let row = 0; row * size < values.length; row += 1) {
    const own = values.subarray(row * size, (row + 1) * size);
    const isFloat = isFloatType(tensor.type);
    const shares = isFloat && !isDistribution(own) ? softmax(own) : undefined;
    const order = Array.from(own.keys()).sort(
      (a, b) => rank(own[b] as number) - rank(own[a] as number) || a - b,
    );
    for (const index of order.slice(0, k)) {
      entries.push({ row, index, value: own[index] as number, softmax: shares?.[index] });
    }
  }
  return entries;
}

function rank(value: number): number {
  return Number.isNaN(value) ? -Number.MAX_VALUE : Math.max(-1e308, Math.min(1e308, value));
}

function isDistribution(values: Float64Array): boolean {
  const sum = values.reduce((total, value) => total + value, 0);
  return Math.abs(sum - 1) < 1e-2 && values.every((value) => value >= 0);
}

function softmax(values: Float64Array): Float64Array {
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}
