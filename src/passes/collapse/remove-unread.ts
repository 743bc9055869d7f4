import type { Graph } from '../../graph/index.js';

/** Removes a constant value that nothing reads any more, and what was there for it alone. */
export function removeUnreadValue(graph: Graph, value: string): void {
  const queue = [{ graph, value }];
  for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
    const origin = item.value === '' ? undefined : item.graph.resolve(item.value);
    if (origin === undefined) continue;
    const { graph: home } = origin;
    const isRead = (name: string): boolean => home.uses(name).length > 0 || home.isOutput(name);
    if (origin.kind === 'initializer' && !isRead(item.value)) home.removeInitializer(item.value);
    if (origin.kind !== 'node' || origin.node.outputs.some((name) => name !== '' && isRead(name))) continue;
    queue.push(...origin.node.inputs.map((input) => ({ graph: home, value: input })));
    home.remove(origin.node);
  }
}
