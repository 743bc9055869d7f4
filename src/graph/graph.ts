import { type AttributeValue, makeAttribute } from './attribute.js';
import {
  checkEdit,
  checkFree,
  checkOrder,
  checkSubgraphs,
  checkTraining,
  checkUnread,
  editError,
  mainProto,
  positionOf,
} from './edit/edit-check.js';
import {
  forgetTypes,
  putInput,
  removeInitializers,
  renameInProtos,
  replaceNodes,
  setInitializer,
} from './edit/edit-protos.js';
import { ValueIndex } from './graph-index.js';
import { makeNode, ProtoNode } from './node.js';
import { createMessage } from './proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto } from './proto/schema.js';
import type { Tensor } from './tensor/tensor.js';
import type { Graph, GraphEdit, Model, Node, NodeSpec, Origin, Use } from './types.js';
import { ValueInfo } from './value-info.js';

/** See Graph in types. */
export class ProtoGraph implements Graph {
  readonly model: Model;
  readonly proto: GraphProto | FunctionProto;
  readonly kind: 'graph' | 'function';
  readonly owner: Node | undefined;
  readonly #nodes = new WeakMap<NodeProto, Node>();
  readonly #subgraphs = new WeakMap<GraphProto, Graph>();
  #index: ValueIndex | undefined;
  #nodeList: Node[] | undefined;

  constructor(model: Model, proto: GraphProto | FunctionProto, kind: 'graph' | 'function', owner?: Node) {
    this.model = model;
    this.proto = proto;
    this.kind = kind;
    this.owner = owner;
  }

  get name(): string {
    return this.proto.name ?? '';
  }

  get parent(): Graph | undefined {
    return this.owner?.graph;
  }

  get nodes(): readonly Node[] {
    this.#nodeList ??= (this.proto.node ?? []).map((proto) => this.#wrap(proto));
    return this.#nodeList;
  }

  get inputs(): readonly ValueInfo[] {
    return this.#values('input');
  }

  get outputs(): readonly ValueInfo[] {
    return this.#values('output');
  }

  get valueInfo(): readonly ValueInfo[] {
    return (this.proto.value_info ?? []).map((proto) => new ValueInfo(proto));
  }

  get index(): ValueIndex {
    this.#index ??= new ValueIndex(this);
    return this.#index;
  }

  get initializers(): ReadonlyMap<string, Tensor> {
    return this.index.initializers;
  }

  get sparseInitializers(): ReadonlySet<string> {
    return this.index.sparse;
  }

  producer(value: string): Node | undefined {
    return this.index.producers.get(value);
  }

  uses(value: string): readonly Use[] {
    return this.index.uses.get(value) ?? [];
  }

  isInput(value: string): boolean {
    return this.index.inputs.has(value);
  }

  isOutput(value: string): boolean {
    return this.index.outputs.has(value);
  }

  resolve(value: string): Origin | undefined {
    const index = this.index;
    const node = index.producers.get(value);
    if (node !== undefined) return { kind: 'node', node, graph: this };
    const tensor = index.initializers.get(value);
    if (tensor !== undefined) return { kind: 'initializer', tensor, graph: this };
    if (index.sparse.has(value)) return { kind: 'sparse', graph: this };
    if (index.inputs.has(value)) return { kind: 'input', graph: this };
    return this.parent?.resolve(value);
  }

  *walk(): Generator<Graph> {
    yield this;
    for (const node of this.nodes) for (const graph of node.subgraphs) yield* graph.walk();
  }

  *names(): Generator<string> {
    for (const graph of this.walk()) {
      for (const node of graph.nodes) {
        yield node.name;
        yield* node.inputs;
        yield* node.outputs;
      }
      yield* graph.initializers.keys();
      yield* graph.sparseInitializers;
      for (const value of [...graph.inputs, ...graph.outputs, ...graph.valueInfo]) yield value.name;
    }
  }

  subgraphOf(proto: GraphProto, owner: Node): Graph {
    let graph = this.#subgraphs.get(proto);
    // A node that was made from another holds the same protos.
    if (graph === undefined || graph.owner !== owner) {
      graph = new ProtoGraph(this.model, proto, 'graph', owner);
      this.#subgraphs.set(proto, graph);
    }
    return graph;
  }

  // ---- edits ----------------------------------------------------------------------------------------------

  edit(change: GraphEdit): Node[] {
    const {
      removeNodes = [],
      insertNodes = [],
      removeInitializers: gone = [],
      setInitializers = [],
    } = change;
    const position = checkEdit(this, change);
    if (removeNodes.length + insertNodes.length + gone.length + setInitializers.length === 0) return [];
    const removed = new Set(removeNodes.map((node) => node.proto));
    const inserted = insertNodes.map(makeNode);
    for (const tensor of setInitializers) ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape);
    replaceNodes(this, removed, inserted, position);
    const unmade = new Set(removeNodes.flatMap((node) => node.outputs));
    for (const output of insertNodes.flatMap((spec) => spec.outputs)) unmade.delete(output);
    forgetTypes(this, unmade);
    if (setInitializers.length > 0) {
      const lost = this.#valuesLost(change);
      const tensors = new Map(setInitializers.map((tensor) => [tensor.name, tensor]));
      for (const tensor of tensors.values()) setInitializer(this, tensor, lost);
    }
    const names = new Set(setInitializers.map((tensor) => tensor.name));
    removeInitializers(this, new Set(gone.filter((name) => !names.has(name))));
    const nodes = inserted.map((proto) => this.#wrap(proto));
    const index = this.#index;
    this.touch();
    if (index?.follow(change, nodes)) this.#index = index;
    for (const tensor of setInitializers) this.model.claim(tensor.name);
    for (const node of nodes) {
      for (const name of [node.name, ...node.outputs]) this.model.claim(name);
      for (const graph of node.subgraphs) for (const name of graph.names()) this.model.claim(name);
    }
    return nodes;
  }

  /** What an edit's removed nodes read, if through other nodes, and its inserted nodes do not. */
  #valuesLost({ removeNodes = [], insertNodes = [] }: GraphEdit): ReadonlySet<string> {
    const removed = new Set(removeNodes);
    const kept = new Set(insertNodes.flatMap((spec) => spec.inputs));
    const isLost = (input: string): boolean => !kept.has(input);
    const lost = new Set(removeNodes.flatMap((node) => node.inputs).filter(isLost));
    for (const value of lost) {
      const producer = this.producer(value);
      if (producer === undefined || removed.has(producer)) continue;
      for (const input of producer.inputs) if (isLost(input)) lost.add(input);
    }
    return lost;
  }

  insert(spec: NodeSpec, before?: Node): Node {
    const [node] = this.edit({ insertNodes: [spec], before });
    if (node === undefined) throw new Error('unreachable');
    return node;
  }

  remove(...nodes: readonly Node[]): void {
    this.edit({ removeNodes: nodes });
  }

  setInitializer(tensor: Tensor): void {
    this.edit({ setInitializers: [tensor] });
  }

  removeInitializer(name: string): void {
    this.edit({ removeInitializers: [name] });
  }

  replaceUses(from: string, to: string): void {
    const origin = this.resolve(to);
    if (origin === undefined) throw editError(this, `no value is named '${to}'`);
    if (this.isOutput(from)) {
      throw editError(
        this,
        `'${from}' is an output of the graph; call rename('${to}', '${from}') after removing its producer`,
      );
    }
    const uses = [...this.uses(from)];
    if (uses.length === 0 && this.resolve(from) === undefined)
      throw editError(this, `no value is named '${from}'`);
    if (uses.length === 0 || from === to) return;
    for (const use of uses) {
      if (use.index < 0)
        throw editError(this, `'${from}' is an output of a subgraph of node '${use.node.label}'`);
    }
    checkOrder(this, to, uses);
    for (const use of uses) putInput(use.node, use.index, to);
    this.touch();
  }

  setInput(node: Node, index: number, value: string): void {
    positionOf(this, node);
    if (index < 0 || index >= node.inputs.length)
      throw editError(this, `node '${node.label}' has no input ${index}`);
    if (node.inputs[index] === value) return;
    if (value !== '') checkOrder(this, value, [{ node, index }]);
    putInput(node, index, value);
    this.touch();
  }

  rename(from: string, to: string): void {
    if (from === to) return;
    const origin = this.resolve(from);
    if (origin === undefined || origin.graph !== this) throw editError(this, `no value is named '${from}'`);
    checkFree(this, to);
    if ((this.isInput(from) || this.isOutput(from)) && this === this.model.graph) {
      const method = this.isInput(from) ? 'renameInput' : 'renameOutput';
      throw editError(
        this,
        `'${from}' is an input or output of the model, a name that its callers use; to change it, call ${method}`,
      );
    }
    this.#rename(origin, from, to);
  }

  #rename(origin: Origin, from: string, to: string): void {
    checkTraining(this, from);
    renameInProtos(this, origin, from, to);
    this.model.claim(to);
    this.touch();
  }

  addInput(value: ValueInfo): void {
    const proto = mainProto(this, 'addInput');
    const { name } = value;
    if (this.isInput(name)) throw editError(this, `'${name}' is an input already`);
    if (!this.initializers.has(name) && !this.sparseInitializers.has(name)) checkFree(this, name);
    proto.input = [...(proto.input ?? []), createMessage('ValueInfoProto', { ...value.proto })];
    this.model.claim(name);
    this.touch();
  }

  removeInput(name: string): void {
    const proto = mainProto(this, 'removeInput');
    if (!this.isInput(name)) throw editError(this, `no input is named '${name}'`);
    if (this.initializers.has(name) || this.sparseInitializers.has(name)) {
      if (this.model.irVersion < 4)
        throw editError(this, `before IR version 4 the initializer '${name}' must be listed as an input`);
    } else {
      checkUnread(this, name);
      if (this.isOutput(name)) throw editError(this, `'${name}' is an output, too; call removeOutput first`);
      forgetTypes(this, new Set([name]));
    }
    proto.input = (proto.input ?? []).filter((input) => input.name !== name);
    this.touch();
  }

  renameInput(from: string, to: string): void {
    mainProto(this, 'renameInput');
    const origin = this.isInput(from) ? this.resolve(from) : undefined;
    if (origin === undefined) throw editError(this, `no input is named '${from}'`);
    if (from === to) return;
    checkFree(this, to);
    this.#rename(origin, from, to);
  }

  addOutput(value: ValueInfo): void {
    const proto = mainProto(this, 'addOutput');
    const { name } = value;
    if (this.isOutput(name)) throw editError(this, `'${name}' is an output already`);
    if (this.resolve(name) === undefined) throw editError(this, `no value is named '${name}'`);
    proto.output = [...(proto.output ?? []), createMessage('ValueInfoProto', { ...value.proto })];
    if (proto.value_info) proto.value_info = proto.value_info.filter((entry) => entry.name !== name);
    this.touch();
  }

  removeOutput(name: string): void {
    const proto = mainProto(this, 'removeOutput');
    const entry = (proto.output ?? []).find((output) => output.name === name);
    if (entry === undefined) throw editError(this, `no output is named '${name}'`);
    checkTraining(this, name);
    proto.output = (proto.output ?? []).filter((output) => output.name !== name);
    // What is known of its type stays known.
    if (entry.type && this.producer(name) !== undefined)
      proto.value_info = [...(proto.value_info ?? []), entry];
    this.touch();
  }

  renameOutput(from: string, to: string): void {
    mainProto(this, 'renameOutput');
    const origin = this.isOutput(from) ? this.resolve(from) : undefined;
    if (origin === undefined) throw editError(this, `no output is named '${from}'`);
    if (from === to) return;
    if (this.isInput(from))
      throw editError(this, `'${from}' is an input, too; call renameInput, which renames both`);
    checkFree(this, to);
    this.#rename(origin, from, to);
  }

  renameNode(node: Node, name: string): void {
    positionOf(this, node);
    if (node.name === name) return;
    if (name !== '' && this.nodes.some((other) => other.name === name)) {
      throw editError(this, `a node is already named '${name}'; take one from model.freshName('${name}')`);
    }
    node.proto.name = name;
    this.model.claim(name);
    this.touch();
  }

  setAttribute(node: Node, name: string, value: AttributeValue | undefined): void {
    positionOf(this, node);
    const made = value === undefined ? [] : [makeAttribute(name, value)];
    const list = node.proto.attribute ?? [];
    const at = list.findIndex((attribute) => attribute.name === name);
    if (at < 0 && made.length === 0) return;
    if (value !== undefined && 'graph' in value)
      checkSubgraphs(this, { attribute: made }, positionOf(this, node));
    node.proto.attribute = at < 0 ? [...list, ...made] : list.toSpliced(at, 1, ...made);
    this.touch();
  }

  setMetadata(node: Node, key: string, value: string | undefined): void {
    positionOf(this, node);
    const made = value === undefined ? [] : [createMessage('StringStringEntryProto', { key, value })];
    const list = node.proto.metadata_props ?? [];
    const at = list.findIndex((entry) => entry.key === key);
    if ((list[at]?.value ?? undefined) === value) return;
    node.proto.metadata_props = at < 0 ? [...list, ...made] : list.toSpliced(at, 1, ...made);
    this.touch();
  }

  touch(): void {
    this.forget();
    for (let graph = this.parent; graph !== undefined; graph = graph.parent) graph.forget();
    this.model.countRevision();
  }

  forget(): void {
    this.#index = undefined;
    this.#nodeList = undefined;
  }

  // ---- state ----------------------------------------------------------------------------------------------

  #wrap(proto: NodeProto): Node {
    let node = this.#nodes.get(proto);
    if (node === undefined) {
      node = new ProtoNode(proto, this);
      this.#nodes.set(proto, node);
    }
    return node;
  }

  #values(field: 'input' | 'output'): ValueInfo[] {
    return (this.proto[field] ?? []).map(
      (entry) => new ValueInfo(typeof entry === 'string' ? { name: entry } : entry),
    );
  }
}
