import { Attributes, type AttributeValue, makeAttribute } from './attribute.js';
import type { Graph } from './graph.js';
import { copyUnknownFields, createMessage } from './proto/codec.js';
import type { AttributeProto, GraphProto, NodeProto } from './proto/schema.js';

/** What a new node is made of. */
export interface NodeSpec {
  readonly opType: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  /** Attributes taken over from another node as they are. */
  readonly attributeProtos?: readonly AttributeProto[];
  /** A node whose other fields (overload, device configuration, unknown ones …) are taken over. */
  readonly template?: NodeProto;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly docString?: string;
}

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

/** A node of a graph or function. Read it here; change it through its graph's edit methods. */
export class Node {
  readonly proto: NodeProto;
  readonly graph: Graph;

  constructor(proto: NodeProto, graph: Graph) {
    this.proto = proto;
    this.graph = graph;
  }

  /** The node's name; '' where the file gives none (names are optional in ONNX). */
  get name(): string {
    return this.proto.name ?? '';
  }

  /** A name for messages and reports: the node's own or, where it has none, that of its first output. */
  get label(): string {
    return this.name || this.outputs.find(Boolean) || `(unnamed ${this.opType})`;
  }

  get opType(): string {
    return this.proto.op_type ?? '';
  }

  /** The operator's domain; 'ai.onnx' is spelled ''. */
  get domain(): string {
    const domain = this.proto.domain ?? '';
    return domain === 'ai.onnx' ? '' : domain;
  }

  /** Names of the input values; '' stands for an optional input that is left out. */
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

  /** True for an operator of the standard ONNX domain. */
  is(...opTypes: readonly string[]): boolean {
    return this.domain === '' && opTypes.includes(this.opType);
  }

  /** The graphs in the node's attributes: the branches of If, the bodies of Loop and Scan. */
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
