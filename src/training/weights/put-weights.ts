import { createModel, type Model, type NativeArray, type Tensor } from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { GraphProto } from '../../graph/proto/schema.js';
import { convert, type RuntimeTensor } from '../../runtime/index.js';

/** A model with other weights, to look at: it shares everything else with the given one, which stays as it is. */
export function withWeights(model: Model, weights: ReadonlyMap<string, RuntimeTensor>): Model {
  const graph = model.graph.proto as GraphProto;
  const initializer = [...model.graph.initializers.values()].map(
    (tensor) => replaced(tensor, weights.get(tensor.name)).proto,
  );
  // Sparse initializers are not among them and are never trained.
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', { ...graph, initializer }),
    }),
  );
}

/** Writes weights into a model; nothing else of it changes. */
export function putWeights(model: Model, weights: ReadonlyMap<string, RuntimeTensor>): void {
  for (const [name, tensor] of weights) {
    const old = model.graph.initializers.get(name);
    if (old !== undefined) model.graph.setInitializer(replaced(old, tensor));
  }
}

function replaced(old: Tensor, weight: RuntimeTensor | undefined): Tensor {
  return weight === undefined ? old : old.withData(convert(weight, old.dataType).data as NativeArray);
}
