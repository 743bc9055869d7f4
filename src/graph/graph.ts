import { type AttributeValue, makeAttribute } from './attribute.js';
import { ModelError } from './errors.js';
import type { Model } from './model.js';
import { makeNode, Node, type NodeSpec } from './node.js';
import { createMessage } from './proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto } from './proto/schema.js';
import { Tensor } from './tensor.js';
import { ValueInfo } from './value-info.js';

/** One place where a value is read. */
export interface Use {
  readonly node: Node;
  /** Which input of the node; -1 where the value is an output of the node's subgraph. */
  readonly index: number;
}

/** Where a value comes from. */
export type Origin =
  | { readonly kind: 'node'; readonly node: Node; readonly graph: Graph }
  | { readonly kind: 'initializer'; readonly tensor: Tensor; readonly graph: Graph }
  | { readonly kind: 'sparse'; readonly graph: Graph }
  | { readonly kind: 'input'; readonly graph: Graph };

/** A change of nodes and initializers that is checked as a whole and then made as a whole. */
export interface GraphEdit {
  readonly removeNodes?: readonly Node[];
  /** In topological order. They take the place of the last removed node, or go to `before`, or to the end. */
  readonly insertNodes?: readonly NodeSpec[];
  readonly before?: Node | undefined;
  readonly removeInitializers?: readonly string[];
  /** A tensor whose name an initializer already has replaces it. */
  readonly setInitializers?: readonly Tensor[];
}

interface Index {
  readonly producers: Map<string, Node>;
  readonly uses: Map<string, Use[]>;
  readonly initializers: Map<string, Tensor>;
  readonly sparse: ReadonlySet<string>;
  readonly inputs: ReadonlySet<string>;
  readonly outputs: ReadonlySet<string>;
}

/**
 * A graph, a subgraph of a node, or the body of a function: nodes in topological order, who makes and who reads
 * each value, and the edits. Every edit is checked before anything changes.
 */
export class Graph {
  readonly model: Model;
  readonly proto: GraphProto | FunctionProto;
  readonly kind: 'graph' | 'function';
  /** The node whose attribute holds this graph; undefined for the main graph, functions and training graphs. */
  readonly owner: Node | undefined;
  readonly #nodes = new WeakMap<NodeProto, Node>();
  readonly #subgraphs = new WeakMap<GraphProto, Graph>();
  #index: Index | undefined;
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

  /** The graph that this one may read values of. */
  get parent(): Graph | undefined {
    return this.owner?.graph;
  }

  get nodes(): readonly Node[] {
    this.#nodeList ??= (this.proto.node ?? []).map((proto) => this.#wrap(proto));
    return this.#nodeList;
  }

  /** Inputs with their types; of a function, whose inputs have none, names alone. */
  get inputs(): readonly ValueInfo[] {
    return this.#values('input');
  }

  get outputs(): readonly ValueInfo[] {
    return this.#values('output');
  }

  /** Types and shapes of inner values, as far as the file says them. */
  get valueInfo(): readonly ValueInfo[] {
    return (this.proto.value_info ?? []).map((proto) => new ValueInfo(proto));
  }

  get initializers(): ReadonlyMap<string, Tensor> {
    return this.#indexed.initializers;
  }

  /** Names of sparse initializers, which are kept but not looked into. */
  get sparseInitializers(): ReadonlySet<string> {
    return this.#indexed.sparse;
  }

  /** The node of this graph that makes a value. */
  producer(value: string): Node | undefined {
    return this.#indexed.producers.get(value);
  }

  /** Where a value is read, here and in the subgraphs of this graph's nodes. Graph outputs: see isOutput. */
  uses(value: string): readonly Use[] {
    return this.#indexed.uses.get(value) ?? [];
  }

  isInput(value: string): boolean {
    return this.#indexed.inputs.has(value);
  }

  isOutput(value: string): boolean {
    return this.#indexed.outputs.has(value);
  }

  /** Where a value comes from, here or in an outer graph. */
  resolve(value: string): Origin | undefined {
    const index = this.#indexed;
    const node = index.producers.get(value);
    if (node !== undefined) return { kind: 'node', node, graph: this };
    const tensor = index.initializers.get(value);
    if (tensor !== undefined) return { kind: 'initializer', tensor, graph: this };
    if (index.sparse.has(value)) return { kind: 'sparse', graph: this };
    if (index.inputs.has(value)) return { kind: 'input', graph: this };
    return this.parent?.resolve(value);
  }

  /** This graph and all graphs below it. */
  *walk(): Generator<Graph> {
    yield this;
    for (const node of this.nodes) for (const graph of node.subgraphs) yield* graph.walk();
  }

  /** The wrapper of a subgraph; the same object each time. */
  subgraphOf(proto: GraphProto, owner: Node): Graph {
    let graph = this.#subgraphs.get(proto);
    if (graph === undefined) {
      graph = new Graph(this.model, proto, 'graph', owner);
      this.#subgraphs.set(proto, graph);
    }
    return graph;
  }

  // ---- edits ----------------------------------------------------------------------------------------------

  /**
   * Makes several changes as one. Refuses, before anything changes, an edit that would leave a value without
   * a producer, give it two, or put a node before what it reads.
   *
   * @returns the inserted nodes
   * @throws ModelError that says what to call instead
   * @example
   * graph.edit({
   *   removeNodes: [conv],
   *   insertNodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: conv.outputs }],
   *   setInitializers: [weight],
   * });
   */
  edit(change: GraphEdit): Node[] {
    const { removeNodes = [], insertNodes = [], removeInitializers = [], setInitializers = [] } = change;
    const position = this.#checkEdit(change);
    if (removeNodes.length + insertNodes.length + removeInitializers.length + setInitializers.length === 0) return [];
    const removed = new Set(removeNodes.map((node) => node.proto));
    const list = this.proto.node ?? [];
    const inserted = insertNodes.map(makeNode);
    const keptBefore = list.slice(0, position).filter((proto) => !removed.has(proto));
    const keptAfter = list.slice(position).filter((proto) => !removed.has(proto));
    this.proto.node = [...keptBefore, ...inserted, ...keptAfter];
    const gone = new Set(removeNodes.flatMap((node) => node.outputs));
    for (const output of insertNodes.flatMap((spec) => spec.outputs)) gone.delete(output);
    this.#forgetTypes(gone);
    this.#removeInitializers(new Set(removeInitializers));
    for (const tensor of setInitializers) this.#setInitializer(tensor);
    this.touch();
    for (const name of setInitializers) this.model.claim(name.name);
    return inserted.map((proto) => this.#wrap(proto));
  }

  /** Inserts a node before another, or at the end. */
  insert(spec: NodeSpec, before?: Node): Node {
    const [node] = this.edit({ insertNodes: [spec], before });
    if (node === undefined) throw new Error('unreachable');
    return node;
  }

  /** Removes nodes whose outputs nothing else reads. */
  remove(...nodes: readonly Node[]): void {
    this.edit({ removeNodes: nodes });
  }

  setInitializer(tensor: Tensor): void {
    this.edit({ setInitializers: [tensor] });
  }

  removeInitializer(name: string): void {
    this.edit({ removeInitializers: [name] });
  }

  /** Lets every reader of `from` read `to`. A graph output keeps its name: rename the value instead. */
  replaceUses(from: string, to: string): void {
    const origin = this.resolve(to);
    if (origin === undefined) throw this.#error(`no value is named '${to}'`);
    if (this.isOutput(from)) {
      throw this.#error(
        `'${from}' is an output of the graph; call rename('${to}', '${from}') after removing its producer`,
      );
    }
    const uses = [...this.uses(from)];
    for (const use of uses) {
      if (use.index < 0) throw this.#error(`'${from}' is an output of a subgraph of node '${use.node.label}'`);
    }
    this.#checkOrder(to, uses);
    for (const use of uses) use.node.graph.#putInput(use.node, use.index, to);
    this.touch();
  }

  /** Lets one input of a node read another value. */
  setInput(node: Node, index: number, value: string): void {
    this.#checkOwn(node);
    if (index < 0 || index >= node.inputs.length) throw this.#error(`node '${node.label}' has no input ${index}`);
    if (value !== '') this.#checkOrder(value, [{ node, index }]);
    this.#putInput(node, index, value);
    this.touch();
  }

  /** Gives a value of this graph another name, at its producer and at every reader. */
  rename(from: string, to: string): void {
    if (from === to) return;
    const origin = this.resolve(from);
    if (origin === undefined || origin.graph !== this) throw this.#error(`no value is named '${from}'`);
    if (to === '' || this.resolve(to) !== undefined || this.#isNamedBelow(to)) {
      throw this.#error(`a value is already named '${to}'; take one from model.freshName('${to}')`);
    }
    if (this.isInput(from) || this.isOutput(from)) {
      if (this === this.model.graph) {
        throw this.#error(`'${from}' is an input or output of the model, a name that its callers use`);
      }
    }
    const uses = [...this.uses(from)];
    for (const use of uses) {
      if (use.index >= 0) use.node.graph.#putInput(use.node, use.index, to);
      else {
        for (const graph of use.node.subgraphs) {
          for (const output of (graph.proto as GraphProto).output ?? []) if (output.name === from) output.name = to;
        }
      }
    }
    if (origin.kind === 'node') {
      const { node } = origin;
      node.proto.output = node.outputs.map((output) => (output === from ? to : output));
    }
    if (this.kind === 'graph') {
      const proto = this.proto as GraphProto;
      for (const list of [proto.input, proto.output, proto.initializer]) {
        for (const entry of list ?? []) if (entry.name === from) entry.name = to;
      }
      for (const sparse of proto.sparse_initializer ?? []) if (sparse.values?.name === from) sparse.values.name = to;
      for (const note of proto.quantization_annotation ?? []) if (note.tensor_name === from) note.tensor_name = to;
    } else {
      const proto = this.proto as FunctionProto;
      if (proto.input) proto.input = proto.input.map((input) => (input === from ? to : input));
      if (proto.output) proto.output = proto.output.map((output) => (output === from ? to : output));
    }
    for (const entry of this.proto.value_info ?? []) if (entry.name === from) entry.name = to;
    this.model.claim(to);
    this.touch();
  }

  renameNode(node: Node, name: string): void {
    this.#checkOwn(node);
    if (node.name === name) return;
    if (this.nodes.some((other) => other.name === name)) throw this.#error(`a node is already named '${name}'`);
    node.proto.name = name;
    this.touch();
  }

  setAttribute(node: Node, name: string, value: AttributeValue | undefined): void {
    this.#checkOwn(node);
    const others = (node.proto.attribute ?? []).filter((attribute) => attribute.name !== name);
    node.proto.attribute = value === undefined ? others : [...others, makeAttribute(name, value)];
    this.touch();
  }

  setMetadata(node: Node, key: string, value: string | undefined): void {
    this.#checkOwn(node);
    const others = (node.proto.metadata_props ?? []).filter((entry) => entry.key !== key);
    node.proto.metadata_props =
      value === undefined ? others : [...others, createMessage('StringStringEntryProto', { key, value })];
    this.touch();
  }

  /** Forgets what is derived from the protos, here and in the graphs around, and counts a revision. */
  touch(): void {
    for (let graph: Graph | undefined = this; graph !== undefined; graph = graph.parent) {
      graph.#index = undefined;
      graph.#nodeList = undefined;
    }
    this.model.countRevision();
  }

  // ---- checks of edits ------------------------------------------------------------------------------------

  /** Throws where an edit would break the graph; returns where the inserted nodes go. */
  #checkEdit(change: GraphEdit): number {
    const { removeNodes = [], insertNodes = [], removeInitializers = [], setInitializers = [], before } = change;
    const list = this.proto.node ?? [];
    const removed = new Set<Node>();
    let position = before === undefined ? list.length : this.#positionOf(before);
    if (before === undefined && removeNodes.length > 0) position = -1;
    for (const node of removeNodes) {
      const at = this.#positionOf(node);
      if (removed.has(node)) throw this.#error(`node '${node.label}' is to be removed twice`);
      removed.add(node);
      if (before === undefined) position = Math.max(position, at + 1);
    }
    if (this.kind === 'function' && setInitializers.length > 0) {
      throw this.#error('a function has no initializers; insert a Constant node instead');
    }

    const made = new Map<string, number>();
    for (const [index, spec] of insertNodes.entries()) {
      for (const output of spec.outputs) {
        if (output === '') continue;
        if (made.has(output)) throw this.#error(`two inserted nodes make '${output}'`);
        made.set(output, index);
        const producer = this.producer(output);
        const taken =
          (producer !== undefined && !removed.has(producer)) ||
          (this.initializers.has(output) && !removeInitializers.includes(output)) ||
          (this.isInput(output) && producer === undefined && !this.initializers.has(output));
        if (taken) {
          throw this.#error(
            `'${output}' exists already; include its producer in removeNodes, or take a name from model.freshName('${output}')`,
          );
        }
      }
    }
    for (const tensor of setInitializers) {
      const producer = this.producer(tensor.name);
      if (tensor.name === '') throw this.#error('an initializer needs a name');
      if (made.has(tensor.name) || (producer !== undefined && !removed.has(producer))) {
        throw this.#error(`'${tensor.name}' is made by a node; remove that node or take model.freshName`);
      }
    }
    const set = new Set(setInitializers.map((tensor) => tensor.name));

    const lost = new Set<string>();
    for (const node of removed) for (const output of node.outputs) if (output !== '') lost.add(output);
    for (const name of removeInitializers) {
      if (!this.initializers.has(name)) throw this.#error(`no initializer is named '${name}'`);
      lost.add(name);
    }
    for (const value of lost) {
      if (made.has(value) || set.has(value)) continue;
      const reader = this.uses(value).find((use) => !this.#isWithin(use.node, removed));
      if (reader !== undefined) {
        throw this.#error(
          `node '${reader.node.label}' still reads '${value}'; call replaceUses('${value}', …) first, or make it again in insertNodes`,
        );
      }
      if (this.isOutput(value)) {
        throw this.#error(`'${value}' is an output of the graph; make it again in insertNodes`);
      }
    }

    for (const [index, spec] of insertNodes.entries()) {
      for (const input of spec.inputs) {
        if (input === '' || set.has(input)) continue;
        const at = made.get(input);
        if (at !== undefined) {
          if (at >= index) throw this.#error(`the inserted node that reads '${input}' stands before the one that makes it`);
          continue;
        }
        const origin = lost.has(input) ? undefined : this.resolve(input);
        if (origin === undefined) throw this.#error(`an inserted node reads '${input}', which nothing makes`);
        if (origin.kind === 'node' && origin.graph === this && this.#positionOf(origin.node) >= position) {
          throw this.#error(
            `an inserted node would stand before '${origin.node.label}', whose '${input}' it reads; name a later node in before`,
          );
        }
      }
    }
    // Readers of what is made again must stand behind it.
    for (const value of made.keys()) {
      for (const use of this.uses(value)) {
        const reader = this.#ownNode(use.node);
        if (!removed.has(reader) && this.#positionOf(reader) < position) {
          throw this.#error(`node '${reader.label}' reads '${value}' before the inserted nodes; name it in before`);
        }
      }
    }
    return position;
  }

  /** Throws unless `value` is made before each of its would-be readers. */
  #checkOrder(value: string, uses: readonly Use[]): void {
    for (const use of uses) {
      const origin = use.node.graph.resolve(value);
      if (origin === undefined) throw this.#error(`no value is named '${value}'`);
      if (origin.kind !== 'node') continue;
      const reader = origin.graph.#ownNode(use.node);
      if (origin.graph.#positionOf(origin.node) >= origin.graph.#positionOf(reader)) {
        throw this.#error(`'${value}' is made behind node '${use.node.label}', which would read it`);
      }
    }
  }

  /** The node of this graph that is `node`, or holds it in a subgraph. */
  #ownNode(node: Node): Node {
    let own = node;
    while (own.graph !== this) {
      if (own.graph.owner === undefined) throw this.#error(`node '${node.label}' is not in this graph`);
      own = own.graph.owner;
    }
    return own;
  }

  #isWithin(node: Node, set: ReadonlySet<Node>): boolean {
    for (let own: Node | undefined = node; own !== undefined; own = own.graph.owner) if (set.has(own)) return true;
    return false;
  }

  #isNamedBelow(name: string): boolean {
    for (const graph of this.walk()) {
      if (graph !== this && (graph.producer(name) || graph.initializers.has(name) || graph.isInput(name))) return true;
    }
    return false;
  }

  #checkOwn(node: Node): void {
    this.#positionOf(node);
  }

  #positionOf(node: Node): number {
    const position = (this.proto.node ?? []).indexOf(node.proto);
    if (position < 0 || node.graph !== this) {
      throw this.#error(`node '${node.label}' is not in this graph (was it removed before?)`);
    }
    return position;
  }

  #error(what: string): ModelError {
    return new ModelError(what, { graph: this.name || (this.kind === 'function' ? 'function' : 'main') });
  }

  // ---- state ----------------------------------------------------------------------------------------------

  #wrap(proto: NodeProto): Node {
    let node = this.#nodes.get(proto);
    if (node === undefined) {
      node = new Node(proto, this);
      this.#nodes.set(proto, node);
    }
    return node;
  }

  #values(field: 'input' | 'output'): ValueInfo[] {
    return (this.proto[field] ?? []).map(
      (entry) => new ValueInfo(typeof entry === 'string' ? { name: entry } : entry),
    );
  }

  get #indexed(): Index {
    this.#index ??= this.#buildIndex();
    return this.#index;
  }

  #buildIndex(): Index {
    const producers = new Map<string, Node>();
    const uses = new Map<string, Use[]>();
    const addUse = (value: string, use: Use): void => {
      const list = uses.get(value);
      if (list === undefined) uses.set(value, [use]);
      else list.push(use);
    };
    for (const node of this.nodes) {
      for (const output of node.outputs) if (output !== '' && !producers.has(output)) producers.set(output, node);
      for (const [index, input] of node.inputs.entries()) if (input !== '') addUse(input, { node, index });
      for (const graph of node.subgraphs) {
        for (const [value, inner] of graph.#freeUses()) for (const use of inner) addUse(value, use);
      }
    }
    const proto: GraphProto = this.kind === 'graph' ? (this.proto as GraphProto) : {};
    const initializers = new Map<string, Tensor>();
    for (const tensor of proto.initializer ?? []) initializers.set(tensor.name ?? '', new Tensor(tensor));
    return {
      producers,
      uses,
      initializers,
      sparse: new Set((proto.sparse_initializer ?? []).map((sparse) => sparse.values?.name ?? '')),
      inputs: new Set(this.inputs.map((input) => input.name)),
      outputs: new Set(this.outputs.map((output) => output.name)),
    };
  }

  /** Uses, in this subgraph, of values of the graphs around it. */
  *#freeUses(): Generator<[string, readonly Use[]]> {
    const index = this.#indexed;
    const isOwn = (value: string): boolean =>
      index.producers.has(value) || index.initializers.has(value) || index.inputs.has(value) || index.sparse.has(value);
    for (const [value, uses] of index.uses) if (!isOwn(value)) yield [value, uses];
    for (const value of index.outputs) {
      if (!isOwn(value) && this.owner !== undefined) yield [value, [{ node: this.owner, index: -1 }]];
    }
  }

  #putInput(node: Node, index: number, value: string): void {
    const inputs = [...node.inputs];
    inputs[index] = value;
    node.proto.input = inputs;
    node.graph.touch();
  }

  #forgetTypes(values: ReadonlySet<string>): void {
    if (values.size === 0) return;
    if (this.proto.value_info) {
      this.proto.value_info = this.proto.value_info.filter((entry) => !values.has(entry.name ?? ''));
    }
    if (this.kind === 'graph') {
      const proto = this.proto as GraphProto;
      if (proto.quantization_annotation) {
        proto.quantization_annotation = proto.quantization_annotation.filter(
          (entry) => !values.has(entry.tensor_name ?? ''),
        );
      }
    }
  }

  #removeInitializers(names: ReadonlySet<string>): void {
    if (names.size === 0) return;
    const proto = this.proto as GraphProto;
    proto.initializer = (proto.initializer ?? []).filter((tensor) => !names.has(tensor.name ?? ''));
    // IR < 4 lists initializers among the inputs; one that is gone would become an input that must be fed.
    proto.input = (proto.input ?? []).filter((input) => !names.has(input.name ?? ''));
    this.#forgetTypes(names);
  }

  #setInitializer(tensor: Tensor): void {
    const proto = this.proto as GraphProto;
    const list = proto.initializer ?? [];
    const at = list.findIndex((entry) => entry.name === tensor.name);
    if (at >= 0) list[at] = tensor.proto;
    else proto.initializer = [...list, tensor.proto];
    if (this.model.irVersion < 4 && this === this.model.graph) {
      const inputs = (proto.input ?? []).filter((input) => input.name !== tensor.name);
      proto.input = [...inputs, ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape).proto];
    }
  }
}
