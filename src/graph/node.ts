import { Attributes, makeAttribute } from './attribute.js';
import { copyUnknownFields, createMessage } from './proto/codec.js';
import type { GraphProto, NodeProto } from './proto/schema.js';
import type { Graph, Node, NodeSpec } from './types.js';

export function makeNode(spec: NodeSpec): NodeProto {
  const node = createMessage('NodeProto', {
    ...spec.template,
    input: [...spec.inputs],
    output: [...spec.outputs],
    ...(spec.name !== undefined && { name: spec.name }),
    op_type: spec.opType,
    ...(spec.domain ? { domain: spec.domain } : {}),
    attribute: [
      ...(spec.attributeProtos ?? []),
      ...Object.entries(spec.attributes ?? {}).map(([name, value]) => makeAttribute(name, value)),
    ],
    ...(spec.docString !== undefined && { doc_string: spec.docString }),
    metadata_props: Object.entries(spec.metadata ?? {}).map(([key, value]) =>
      createMessage('StringStringEntryProto', { key, value }),
    ),
  });
  if (spec.template) copyUnknownFields(spec.template, node);
  return node;
}

/** The spec that makes a node like another. */
export function specOf(proto: NodeProto): NodeSpec {
  return {
    template: proto,
    opType: proto.op_type ?? '',
    inputs: proto.input ?? [],
    outputs: proto.output ?? [],
    attributeProtos: proto.attribute ?? [],
    metadata: Object.fromEntries(
      (proto.metadata_props ?? []).map(({ key, value }) => [key ?? '', value ?? '']),
    ),
  };
}

/** See Node in types. */
export class ProtoNode implements Node {
  readonly proto: NodeProto;
  readonly graph: Graph;

  constructor(proto: NodeProto, graph: Graph) {
    this.proto = proto;
    this.graph = graph;
  }

  get name(): string {
    return this.proto.name ?? '';
  }

  get label(): string {
    return this.name || this.outputs.find(Boolean) || `(unnamed ${this.opType})`;
  }

  get opType(): string {
    return this.proto.op_type ?? '';
  }

  get domain(): string {
    const domain = this.proto.domain ?? '';
    return domain === 'ai.onnx' ? '' : domain;
  }

  get inputs(): readonly string[] {
    return this.proto.input ?? [];
  }

  get outputs(): readonly string[] {
    return this.proto.output ?? [];
  }

  get attributes(): Attributes {
    return new Attributes(this.proto.attribute ?? [], this.label);
  }

  get metadata(): ReadonlyMap<string, string> {
    return new Map((this.proto.metadata_props ?? []).map(({ key, value }) => [key ?? '', value ?? '']));
  }

  is(...opTypes: readonly string[]): boolean {
    return this.domain === '' && opTypes.includes(this.opType);
  }

  get subgraphs(): Graph[] {
    return this.subgraphProtos.map((proto) => this.graph.subgraphOf(proto, this));
  }

  get subgraphProtos(): GraphProto[] {
    const attributes = this.proto.attribute;
    if (attributes === undefined) return [];
    return attributes.flatMap((attribute) => [
      ...(attribute.g ? [attribute.g] : []),
      ...(attribute.graphs ?? []),
    ]);
  }
}

/** A node over a proto that no graph holds: something to ask, in the setting of `graph`. */
export const createNode = (proto: NodeProto, graph: Graph): Node => new ProtoNode(proto, graph);
