import type { Model } from '../../src/graph/index.js';
import type { RuntimeTensor } from '../../src/runtime/index.js';
import { buildModel, floats } from '../support/build.js';

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** As `wave` of test/reference/quality.py. */
export function wave(
  phase: number,
  shape: readonly number[],
  size = 3,
): RuntimeTensor & { data: Float32Array } {
  const data = Float32Array.from({ length: sizeOf(shape) }, (_, at) => size * Math.sin(1.7 * at + phase));
  return { type: 'float32', shape, data };
}

/** As `labels` there. */
export function labels(shape: readonly number[], classes: number, step: number): RuntimeTensor {
  const data = BigInt64Array.from({ length: sizeOf(shape) }, (_, at) => BigInt((step * at) % classes));
  return { type: 'int64', shape, data };
}

/** The model whose output is its input, of any batch unless told otherwise. */
export function identity(shape: readonly number[], batch: string | number = 'n'): Model {
  return buildModel({
    inputs: [['x', 'float32', [batch, ...shape]]],
    outputs: [['y', 'float32', [batch, ...shape]]],
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
  });
}

/** As `other` there: 1.5 x and a wave. */
export function other(shape: readonly number[], end: readonly string[] = []): Model {
  const names = ['y0', ...end.map((_, index) => `y${index + 1}`)];
  return buildModel({
    inputs: [['x', 'float32', ['n', ...shape]]],
    outputs: [[names.at(-1)!, 'float32', ['n', ...shape]]],
    nodes: [
      { opType: 'Mul', inputs: ['x', 'scale'], outputs: ['scaled'] },
      { opType: 'Add', inputs: ['scaled', 'bias'], outputs: ['y0'] },
      ...end.map((opType, index) => ({ opType, inputs: [names[index]!], outputs: [names[index + 1]!] })),
    ],
    initializers: [floats('scale', [], () => 1.5), floats('bias', shape, (at) => Math.sin(1.7 * at + 5))],
  });
}
