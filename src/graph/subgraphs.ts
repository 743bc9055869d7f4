import type { GraphProto, NodeProto } from './proto/schema.js';
import type { Node } from './types.js';

/** The graphs in a node's attributes. */
export function subgraphsOf(node: NodeProto): GraphProto[] {
  return (node.attribute ?? []).flatMap((attribute) => [
    ...(attribute.g ? [attribute.g] : []),
    ...(attribute.graphs ?? []),
  ]);
}

/** What a node reads: its inputs, and what its subgraphs capture. */
export function* valuesRead(node: NodeProto): Generator<string> {
  for (const input of node.input ?? []) if (input !== '') yield input;
  for (const graph of subgraphsOf(node)) {
    const made = new Set(valuesMade(graph));
    for (const inner of graph.node ?? [])
      for (const value of valuesRead(inner)) if (!made.has(value)) yield value;
    for (const { name = '' } of graph.output ?? []) if (!made.has(name)) yield name;
  }
}

/** The values that a graph itself has: inputs, initializers, outputs of its nodes. */
function* valuesMade(graph: GraphProto): Generator<string> {
  for (const { name = '' } of graph.input ?? []) yield name;
  for (const { name = '' } of graph.initializer ?? []) yield name;
  for (const { values } of graph.sparse_initializer ?? []) yield values?.name ?? '';
  for (const node of graph.node ?? [])
    for (const output of node.output ?? []) if (output !== '') yield output;
}

/** The values of a graph and of the graphs below it. */
export function* valuesMadeBelow(graph: GraphProto): Generator<string> {
  yield* valuesMade(graph);
  for (const node of graph.node ?? []) for (const inner of subgraphsOf(node)) yield* valuesMadeBelow(inner);
}

/** The nodes that values are made by, in the order given; what their subgraphs read counts as read by them. */
export function ancestors(nodes: readonly Node[], values: readonly string[]): Node[] {
  const wanted = new Set(values);
  const kept = nodes.toReversed().filter((node) => {
    const isNeeded = node.outputs.some((output) => output !== '' && wanted.has(output));
    if (isNeeded) for (const value of valuesRead(node.proto)) wanted.add(value);
    return isNeeded;
  });
  return kept.reverse();
}
