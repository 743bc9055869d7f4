import { modelProto } from '../../src/graph/build.js';
import { createModel, type Model, type ModelSpec, Tensor } from '../../src/graph/index.js';

export { buildGraph, type GraphSpec, type ModelSpec, type ValueSpec } from '../../src/graph/index.js';

/** A model as the library's buildModel makes it, but not checked, so that tests can have faulty ones. */
export function buildModel(spec: ModelSpec): Model {
  return createModel(modelProto(spec));
}

/** A float32 tensor of the numbers `f(0), f(1), …`. */
export function floats(
  name: string,
  shape: readonly number[],
  f: (index: number) => number = (i) => i,
): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.of(
    name,
    'float32',
    shape,
    Float32Array.from({ length: size }, (_, index) => f(index)),
  );
}

export function ints(name: string, values: readonly (number | bigint)[]): Tensor {
  return Tensor.of(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));
}
