import {
  DATA_TYPES,
  type DataType,
  EPSILON,
  type FloatType,
  type Graph,
  isFloatType,
  type Model,
  tensorProtos,
} from '../../graph/index.js';
import { convert } from '../../runtime/io/values.js';
import type { RuntimeTensor } from '../../runtime/types.js';

const HALF = ['float16', 'bfloat16'] as const satisfies readonly FloatType[];

/** The coarsest of the floating-point types that a model has weights, inputs, outputs or casts of. */
export function coarsestFloat(model: Model): FloatType {
  const codes = new Set<number>();
  for (const { data_type } of tensorProtos(model.proto)) codes.add(data_type ?? 0);
  const look = (graph: Graph): void => {
    for (const { dataType } of [...graph.inputs, ...graph.outputs])
      if (dataType !== undefined) codes.add(DATA_TYPES[dataType].code);
    for (const node of graph.nodes) {
      for (const { name, i } of node.proto.attribute ?? [])
        if (name === 'to' || name === 'dtype') codes.add(Number(i));
      node.subgraphs.forEach(look);
    }
  };
  for (const graph of [model.graph, ...model.functions]) look(graph);
  const found = HALF.filter((type) => codes.has(DATA_TYPES[type].code));
  const all: readonly FloatType[] = found.length > 0 ? found : ['float32'];
  return all.reduce((coarsest, type) => (EPSILON[type] > EPSILON[coarsest] ? type : coarsest));
}

/** A float in the width of an input or output; everything else as it is. */
export function inWidthOf(type: DataType | undefined, tensor: RuntimeTensor): RuntimeTensor {
  return type !== undefined && isFloatType(type) && isFloatType(tensor.type) ? convert(tensor, type) : tensor;
}

/** Whether elements of two types can be compared as numbers: the same type, or two floats. */
export function areComparable(a: DataType | undefined, b: DataType | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && isFloatType(a) && isFloatType(b));
}
