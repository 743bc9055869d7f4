import type { Model } from '../types.js';

/** Names that training_info reads or updates; a weight of such a name cannot be taken away. */
export function trainedNames(model: Model): ReadonlySet<string> {
  const names = new Set<string>();
  for (const info of model.proto.training_info ?? []) {
    for (const { key = '' } of [...(info.initialization_binding ?? []), ...(info.update_binding ?? [])])
      names.add(key);
  }
  for (const graph of model.trainingGraphs) {
    for (const node of graph.nodes)
      for (const input of node.inputs) if (!graph.resolve(input)) names.add(input);
  }
  return names;
}
