import type { DataType, Dimension, Model, NodeSpec, Tensor } from '../../src/graph/index.js';
import { ValueInfo } from '../../src/graph/index.js';
import { buildModel } from '../../src/runtime/session/small-model.js';

export type Typed = readonly [name: string, type: DataType, shape?: readonly Dimension[]];

/** A model from its parts, in few words. */
export function modelOf(
  nodes: readonly NodeSpec[],
  inputs: readonly Typed[],
  outputs: readonly Typed[],
  initializers: readonly Tensor[] = [],
  opset = 17,
): Model {
  const values = (list: readonly Typed[]) =>
    list.map(([name, type, shape]) => ValueInfo.tensor(name, type, shape));
  return buildModel({ nodes, inputs: values(inputs), outputs: values(outputs), initializers, opset });
}

export function numbers(length: number, seed = 1): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin((i + 1) * 12.9898 * seed) * 3);
}
