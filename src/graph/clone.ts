import { createModel } from './model.js';
import { createMessage } from './proto/codec.js';
import type { GraphProto, NodeProto } from './proto/schema.js';
import type { Tensor } from './tensor.js';
import type { Model } from './types.js';

/**
 * A model with other nodes in its main graph, and constants besides its own. The given one stays as it is; the two share their
 * parts.
 *
 * @param rest fields of the graph that are to be others, too
 */
export function withNodes(
  model: Model,
  nodes: readonly NodeProto[],
  constants: readonly Tensor[],
  rest: Partial<GraphProto> = {},
): Model {
  const graph = model.graph.proto as GraphProto;
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', {
        ...graph,
        node: [...nodes],
        initializer: [...(graph.initializer ?? []), ...constants.map((tensor) => tensor.proto)],
        ...rest,
      }),
    }),
  );
}
