import { makeNode, specOf } from '../node.js';
import { createMessage } from '../proto/codec.js';
import type { AttributeProto, GraphProto, NodeProto, ValueInfoProto } from '../proto/schema.js';
import { Tensor } from '../tensor/tensor.js';

/** From the names where nodes come from to those where they go. */
export type Names = ReadonlyMap<string, string>;

export interface Copying {
  /** What new names begin with. */
  readonly label: string;
  fresh(name: string): string;
  /** What an attribute that is no graph becomes; undefined leaves it out. Default: as it is. */
  attribute?(attribute: AttributeProto): AttributeProto | undefined;
  /** Is told of every node that was made, those of subgraphs too. */
  made?(copy: NodeProto, original: NodeProto): void;
}

/** Names for what nodes put out, where it has none yet. */
export function nameOutputs(nodes: readonly NodeProto[], names: Map<string, string>, copying: Copying): void {
  for (const output of nodes.flatMap((node) => node.output ?? []))
    if (output !== '' && !names.has(output)) names.set(output, copying.fresh(`${copying.label}/${output}`));
}

/** A node with other names, those in its subgraphs too. */
export function copyNode(node: NodeProto, names: Names, copying: Copying): NodeProto {
  const renamed = (name: string): string => names.get(name) ?? name;
  const attributes = (node.attribute ?? []).flatMap((attribute): AttributeProto[] => {
    const kept = copying.attribute === undefined ? attribute : copying.attribute(attribute);
    return kept === undefined ? [] : [withGraphs(kept, (graph) => copyGraph(graph, names, copying))];
  });
  const copy = makeNode({
    ...specOf(node),
    attributeProtos: attributes,
    name: copying.fresh(`${copying.label}/${node.name || node.op_type || ''}`),
    inputs: (node.input ?? []).map(renamed),
    outputs: (node.output ?? []).map(renamed),
  });
  copying.made?.(copy, node);
  return copy;
}

function copyGraph(graph: GraphProto, outer: Names, copying: Copying): GraphProto {
  const names = new Map(outer);
  const own = [...(graph.input ?? []), ...(graph.initializer ?? [])].map(({ name = '' }) => name);
  for (const name of own) names.set(name, copying.fresh(`${copying.label}/${name}`));
  for (const node of graph.node ?? []) for (const output of node.output ?? []) names.delete(output);
  nameOutputs(graph.node ?? [], names, copying);
  const nameOf = (name = ''): string => names.get(name) ?? name;
  const renamed = (value: ValueInfoProto): ValueInfoProto =>
    createMessage('ValueInfoProto', { ...value, name: nameOf(value.name) });
  return createMessage('GraphProto', {
    ...graph,
    node: (graph.node ?? []).map((node) => copyNode(node, names, copying)),
    input: (graph.input ?? []).map(renamed),
    output: (graph.output ?? []).map(renamed),
    initializer: (graph.initializer ?? []).map(
      (tensor) => new Tensor(tensor).renamed(nameOf(tensor.name)).proto,
    ),
    value_info: [],
  });
}

/** An attribute with its graphs changed. */
export function withGraphs(
  attribute: AttributeProto,
  change: (graph: GraphProto) => GraphProto,
): AttributeProto {
  if (!attribute.g && (attribute.graphs ?? []).length === 0) return attribute;
  return createMessage('AttributeProto', {
    ...attribute,
    ...(attribute.g && { g: change(attribute.g) }),
    ...((attribute.graphs ?? []).length > 0 && { graphs: (attribute.graphs ?? []).map(change) }),
  });
}
