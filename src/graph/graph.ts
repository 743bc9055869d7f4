import { type AttributeValue, makeAttribute } from './attribute.js';
import { ModelError } from './errors.js';
import type { Model } from './model.js';
import { makeNode, Node, type NodeSpec } from './node.js';
import { createMessage } from './proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto, TensorProto } from './proto/schema.js';
import { Tensor } from './tensor.js';
import { ValueInfo } from './value-info.js';
import { subgraphsOf, valuesMadeBelow, valuesRead } from './values.js';

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
  /** The graphs of this graph's nodes. */
  readonly subgraphs: readonly Graph[];
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

  /** Every name of a value or node in this graph and below. */
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

  /** The wrapper of a subgraph; the same object each time. */
  subgraphOf(proto: GraphProto, owner: Node): Graph {
    let graph = this.#subgraphs.get(proto);
    // A node that was made from another holds the same protos.
    if (graph === undefined || graph.owner !== owner) {
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
    if (removeNodes.length + insertNodes.length + removeInitializers.length + setInitializers.length === 0)
      return [];
    const removed = new Set(removeNodes.map((node) => node.proto));
    const list = this.proto.node ?? [];
    const inserted = insertNodes.map(makeNode);
    for (const tensor of setInitializers) ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape);
    const keptBefore = list.slice(0, position).filter((proto) => !removed.has(proto));
    const keptAfter = list.slice(position).filter((proto) => !removed.has(proto));
    this.proto.node = [...keptBefore, ...inserted, ...keptAfter];
    const gone = new Set(removeNodes.flatMap((node) => node.outputs));
    for (const output of insertNodes.flatMap((spec) => spec.outputs)) gone.delete(output);
    this.#forgetTypes(gone);
    this.#removeInitializers(new Set(removeInitializers));
    for (const tensor of setInitializers) this.#setInitializer(tensor);
    const nodes = inserted.map((proto) => this.#wrap(proto));
    this.#follow(change, nodes);
    for (const tensor of setInitializers) this.model.claim(tensor.name);
    for (const node of nodes) {
      for (const name of [node.name, ...node.outputs]) this.model.claim(name);
      for (const graph of node.subgraphs) for (const name of graph.names()) this.model.claim(name);
    }
    return nodes;
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
    if (uses.length === 0 && this.resolve(from) === undefined)
      throw this.#error(`no value is named '${from}'`);
    if (uses.length === 0 || from === to) return;
    for (const use of uses) {
      if (use.index < 0)
        throw this.#error(`'${from}' is an output of a subgraph of node '${use.node.label}'`);
    }
    this.#checkOrder(to, uses);
    for (const use of uses) use.node.graph.#putInput(use.node, use.index, to);
    this.touch();
  }

  /** Lets one input of a node read another value. */
  setInput(node: Node, index: number, value: string): void {
    this.#checkOwn(node);
    if (index < 0 || index >= node.inputs.length)
      throw this.#error(`node '${node.label}' has no input ${index}`);
    if (node.inputs[index] === value) return;
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
    this.#checkTraining(from);
    const uses = [...this.uses(from)];
    for (const { node } of [...uses, ...(origin.kind === 'node' ? [origin] : [])]) {
      const specs = (node.proto.device_configurations ?? []).flatMap((device) => device.sharding_spec ?? []);
      for (const spec of specs) if (spec.tensor_name === from) spec.tensor_name = to;
    }
    for (const use of uses) {
      if (use.index >= 0) use.node.graph.#putInput(use.node, use.index, to);
      else {
        for (const graph of use.node.subgraphs) {
          for (const output of (graph.proto as GraphProto).output ?? [])
            if (output.name === from) output.name = to;
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
      for (const sparse of proto.sparse_initializer ?? [])
        if (sparse.values?.name === from) sparse.values.name = to;
      for (const note of proto.quantization_annotation ?? []) {
        if (note.tensor_name === from) note.tensor_name = to;
        for (const entry of note.quant_parameter_tensor_names ?? [])
          if (entry.value === from) entry.value = to;
      }
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
    if (name !== '' && this.nodes.some((other) => other.name === name)) {
      throw this.#error(`a node is already named '${name}'; take one from model.freshName('${name}')`);
    }
    node.proto.name = name;
    this.model.claim(name);
    this.touch();
  }

  setAttribute(node: Node, name: string, value: AttributeValue | undefined): void {
    this.#checkOwn(node);
    const made = value === undefined ? [] : [makeAttribute(name, value)];
    const list = node.proto.attribute ?? [];
    const at = list.findIndex((attribute) => attribute.name === name);
    if (at < 0 && made.length === 0) return;
    if (value !== undefined && 'graph' in value)
      this.#checkSubgraphs({ attribute: made }, this.#positionOf(node));
    node.proto.attribute = at < 0 ? [...list, ...made] : list.toSpliced(at, 1, ...made);
    this.touch();
  }

  setMetadata(node: Node, key: string, value: string | undefined): void {
    this.#checkOwn(node);
    const made = value === undefined ? [] : [createMessage('StringStringEntryProto', { key, value })];
    const list = node.proto.metadata_props ?? [];
    const at = list.findIndex((entry) => entry.key === key);
    if ((list[at]?.value ?? undefined) === value) return;
    node.proto.metadata_props = at < 0 ? [...list, ...made] : list.toSpliced(at, 1, ...made);
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

  /**
   * Lets the index follow an edit instead of making it anew: a pass over n sites makes n edits, and anew each time
   * they took 30 s on 20,000 nodes.
   */
  #follow(
    { removeNodes = [], removeInitializers = [], setInitializers = [] }: GraphEdit,
    inserted: readonly Node[],
  ): void {
    const index = this.#index;
    this.touch();
    const touchesInputs = [...removeInitializers, ...setInitializers.map((tensor) => tensor.name)].some(
      (name) => this.model.irVersion < 4 || index?.inputs.has(name),
    );
    const hasGraphs = [...removeNodes, ...inserted].some((node) => node.subgraphProtos.length > 0);
    if (index === undefined || touchesInputs || hasGraphs) return;
    const gone = new Set(removeNodes);
    for (const node of removeNodes) {
      for (const output of node.outputs)
        if (index.producers.get(output) === node) index.producers.delete(output);
      for (const input of node.inputs) {
        const rest = index.uses.get(input)?.filter((use) => !gone.has(use.node)) ?? [];
        if (rest.length > 0) index.uses.set(input, rest);
        else index.uses.delete(input);
      }
    }
    for (const node of inserted) addToIndex(index, node);
    for (const name of removeInitializers) index.initializers.delete(name);
    for (const tensor of setInitializers) index.initializers.set(tensor.name, new Tensor(tensor.proto));
    this.#index = index;
  }

  // ---- checks of edits ------------------------------------------------------------------------------------

  /** Throws where an edit would break the graph; returns where the inserted nodes go. */
  #checkEdit(change: GraphEdit): number {
    const {
      removeNodes = [],
      insertNodes = [],
      removeInitializers = [],
      setInitializers = [],
      before,
    } = change;
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
          (this.isInput(output) && producer === undefined && !this.initializers.has(output)) ||
          this.sparseInitializers.has(output) ||
          this.#isNamedAround(output, removed);
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
      if (!this.initializers.has(tensor.name)) {
        if (this.sparseInitializers.has(tensor.name) || this.#isNamedAround(tensor.name, removed)) {
          throw this.#error(
            `'${tensor.name}' exists already; take a name from model.freshName('${tensor.name}')`,
          );
        }
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
      this.#checkTraining(value);
    }

    for (const [index, spec] of insertNodes.entries()) {
      const hasGraphs =
        Object.values(spec.attributes ?? {}).some((value) => 'graph' in value) ||
        (spec.attributeProtos ?? []).some((attribute) => attribute.g || attribute.graphs?.length);
      if (hasGraphs)
        this.#checkSubgraphNames(makeNode(spec), (name) => made.has(name) || set.has(name), lost);
      for (const input of hasGraphs ? valuesRead(makeNode(spec)) : spec.inputs) {
        if (input === '' || set.has(input)) continue;
        const at = made.get(input);
        if (at !== undefined) {
          if (at >= index)
            throw this.#error(`the inserted node that reads '${input}' stands before the one that makes it`);
          continue;
        }
        const origin = lost.has(input) ? undefined : this.resolve(input);
        if (origin === undefined) throw this.#error(`an inserted node reads '${input}', which nothing makes`);
        if (this.#isMadeBehind(origin, position)) {
          const maker = origin.kind === 'node' ? origin.node.label : '';
          throw this.#error(
            `an inserted node would stand before '${maker}', whose '${input}' it reads; name a later node in before`,
          );
        }
      }
    }
    // Readers of what is made again must stand behind it.
    for (const value of made.keys()) {
      for (const use of this.uses(value)) {
        const reader = this.#ownNode(use.node);
        if (!removed.has(reader) && this.#positionOf(reader) < position) {
          throw this.#error(
            `node '${reader.label}' reads '${value}' before the inserted nodes; name it in before`,
          );
        }
      }
    }
    return position;
  }

  /** True for a value of a node that stands at `position` of this graph or later, or beside or behind its owner. */
  #isMadeBehind(origin: Origin, position: number): boolean {
    if (origin.kind !== 'node') return false;
    if (origin.graph === this) return this.#positionOf(origin.node) >= position;
    if (this.owner === undefined) return false;
    return (
      origin.graph.#positionOf(origin.node) >= origin.graph.#positionOf(origin.graph.#ownNode(this.owner))
    );
  }

  /** Throws where a new subgraph at `position` reads what is not made by then, or makes what is made already. */
  #checkSubgraphs(node: NodeProto, position: number): void {
    this.#checkSubgraphNames(node, () => false, new Set());
    for (const value of valuesRead(node)) {
      const origin = this.resolve(value);
      if (origin === undefined) throw this.#error(`the new subgraph reads '${value}', which nothing makes`);
      if (this.#isMadeBehind(origin, position))
        throw this.#error(`the new subgraph reads '${value}', which is made behind it`);
    }
  }

  #checkSubgraphNames(node: NodeProto, isNew: (name: string) => boolean, lost: ReadonlySet<string>): void {
    for (const graph of subgraphsOf(node)) {
      for (const name of valuesMadeBelow(graph)) {
        if (isNew(name) || (!lost.has(name) && this.resolve(name) !== undefined)) {
          throw this.#error(
            `a new subgraph makes '${name}', which exists already; take a name from model.freshName('${name}')`,
          );
        }
      }
    }
  }

  /** Throws where training_info, whose graphs and bindings name values of the main graph, needs a value. */
  #checkTraining(value: string): void {
    if (this !== this.model.graph) return;
    const infos = this.model.proto.training_info ?? [];
    const isBound = infos.some((info) =>
      [...(info.initialization_binding ?? []), ...(info.update_binding ?? [])].some(
        ({ key }) => key === value,
      ),
    );
    const isRead = (graph: Graph): boolean =>
      graph.resolve(value) === undefined && graph.uses(value).length > 0;
    if (isBound || this.model.trainingGraphs.some(isRead)) {
      throw this.#error(
        `'${value}' is a name that the model's training_info uses; remove training_info first`,
      );
    }
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
    for (let own: Node | undefined = node; own !== undefined; own = own.graph.owner)
      if (set.has(own)) return true;
    return false;
  }

  #isNamedBelow(name: string, apart?: ReadonlySet<Node>): boolean {
    return this.#indexed.subgraphs.some(
      (graph) =>
        (graph.owner === undefined || !apart?.has(graph.owner)) &&
        (graph.#hasOwn(name) || graph.#isNamedBelow(name)),
    );
  }

  /** True for a name of an outer graph, or of one below that is not in the nodes `apart`. */
  #isNamedAround(name: string, apart: ReadonlySet<Node>): boolean {
    return this.parent?.resolve(name) !== undefined || this.#isNamedBelow(name, apart);
  }

  #hasOwn(name: string): boolean {
    const { producers, initializers, sparse, inputs } = this.#indexed;
    return producers.has(name) || initializers.has(name) || sparse.has(name) || inputs.has(name);
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
    const subgraphs: Graph[] = [];
    for (const node of this.nodes) {
      addToIndex({ producers, uses }, node);
      for (const graph of node.subgraphs) {
        subgraphs.push(graph);
        for (const [value, inner] of graph.#freeUses()) for (const use of inner) addUse(uses, value, use);
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
      subgraphs,
    };
  }

  /** Uses, in this subgraph, of values of the graphs around it. */
  *#freeUses(): Generator<[string, readonly Use[]]> {
    const index = this.#indexed;
    for (const [value, uses] of index.uses) if (!this.#hasOwn(value)) yield [value, uses];
    for (const value of index.outputs) {
      if (!this.#hasOwn(value) && this.owner !== undefined) yield [value, [{ node: this.owner, index: -1 }]];
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
    const typeOf = ({ data_type, dims }: TensorProto): string => `${data_type}[${(dims ?? []).join(',')}]`;
    const isSameType = at >= 0 && typeOf(list[at] ?? {}) === typeOf(tensor.proto);
    if (at >= 0) list[at] = tensor.proto;
    else proto.initializer = [...list, tensor.proto];
    if (!isSameType && proto.value_info) {
      proto.value_info = proto.value_info.filter((entry) => entry.name !== tensor.name);
    }
    const listed = (proto.input ?? []).find((input) => input.name === tensor.name);
    const info = ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape).proto;
    if (listed === undefined) {
      if (this.model.irVersion < 4 && this === this.model.graph) proto.input = [...(proto.input ?? []), info];
    } else if (!isSameType && info.type) listed.type = info.type;
  }
}

function addToIndex({ producers, uses }: Pick<Index, 'producers' | 'uses'>, node: Node): void {
  for (const output of node.outputs) if (output !== '' && !producers.has(output)) producers.set(output, node);
  for (const [index, input] of node.inputs.entries()) if (input !== '') addUse(uses, input, { node, index });
}

function addUse(uses: Map<string, Use[]>, value: string, use: Use): void {
  const list = uses.get(value);
  if (list === undefined) uses.set(value, [use]);
  else list.push(use);
}
