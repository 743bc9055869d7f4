import type { Attributes, AttributeValue } from './attribute.js';
import type { Scratch } from './io/scratch.js';
import type { AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto } from './proto/schema.js';
import type { Tensor } from './tensor/tensor.js';
import type { ValueInfo } from './value-info.js';

/** A rewrite of a model: validated options on one side, an account of what was done on the other. */
export interface Pass<Account> {
  readonly name: string;
  /** True where it edits the model that it is given; false where it only gives an account, as in a dry run. Clone a model to keep it. */
  readonly inPlace: boolean;
  run(model: Model): Promise<Account>;
}

/**
 * An ONNX model. Read one with readModel, write it with saveModel or modelToBytes.
 *
 * @example
 * using model = await readModel('model.onnx');
 * for (const node of model.graph.nodes) console.log(node.opType, node.inputs);
 */
export interface Model extends Disposable {
  readonly proto: ModelProto;
  /** The file it was read from; undefined for one read from bytes or made in memory. */
  readonly path: string | undefined;
  readonly graph: Graph;
  readonly functions: readonly Graph[];
  /** The graphs of training_info: initialization and algorithm. */
  readonly trainingGraphs: readonly Graph[];
  readonly irVersion: number;
  /** Version of an operator set ('' for the standard one) that the main graph uses; 0 where it uses none. */
  opset(domain?: string): number;
  /** Counts up with every edit. */
  readonly revision: number;
  /** True when the model was edited since it was read. */
  readonly changed: boolean;
  /** True when the file at `path` still holds this very model. */
  readonly isOnDisk: boolean;
  /** Every graph: the main one, those in nodes, function bodies, training graphs. */
  graphs(): Generator<Graph>;
  /** Every node of every graph. */
  nodes(): Generator<Node>;
  /**
   * Runs passes one after the other. Each returns its account of what it rewrote and what it skipped.
   *
   * @throws BusyError where another call is editing the model; what the passes throw
   */
  apply<const P extends readonly Pass<unknown>[]>(
    ...passes: P
  ): Promise<{ [K in keyof P]: P[K] extends Pass<infer Account> ? Account : never }>;
  /** A copy to edit: graphs and nodes are its own, tensors are shared and stay where they are. */
  clone(): Model;
  /** `base`, or `base_2`, `base_3` …: a name that no value or node in any graph of the model has, now taken. */
  freshName(base: string): string;
  /** Keeps a name from being given out by freshName. */
  claim(name: string): void;
  /** Where passes put large new weights, so that memory does not grow with them. */
  scratch: Scratch | undefined;
  /**
   * Closes the files that weights are read from and the temporary ones of passes, once its clones are disposed of too. Weights that were
   * not read before, here or in a model made from this one, can be read no more. Without it the garbage collector closes them, some time.
   */
  [Symbol.dispose](): void;
  /** Counts a revision: what edits that go past the graph's methods call. */
  countRevision(): void;
}

/**
 * A graph, a subgraph of a node, or the body of a function: nodes in topological order, who makes and who reads
 * each value, and the edits. Every edit is checked before anything changes.
 */
export interface Graph {
  readonly model: Model;
  readonly proto: GraphProto | FunctionProto;
  readonly kind: 'graph' | 'function';
  /** The node whose attribute holds this graph; undefined for the main graph, functions and training graphs. */
  readonly owner: Node | undefined;
  readonly name: string;
  /** The graph that this one may read values of. */
  readonly parent: Graph | undefined;
  readonly nodes: readonly Node[];
  /** Inputs with their types; of a function, whose inputs have none, names alone. */
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Types and shapes of inner values, as far as the file says them. */
  readonly valueInfo: readonly ValueInfo[];
  /** What is derived from the protos; valid until the next edit. The accessors below ask it. */
  readonly index: GraphIndex;
  readonly initializers: ReadonlyMap<string, Tensor>;
  /** Names of sparse initializers, which are kept but not looked into. */
  readonly sparseInitializers: ReadonlySet<string>;
  /** The node of this graph that makes a value. */
  producer(value: string): Node | undefined;
  /** Where a value is read, here and in the subgraphs of this graph's nodes. Graph outputs: see isOutput. */
  uses(value: string): readonly Use[];
  isInput(value: string): boolean;
  isOutput(value: string): boolean;
  /** Where a value comes from, here or in an outer graph. */
  resolve(value: string): Origin | undefined;
  /** This graph and all graphs below it. */
  walk(): Generator<Graph>;
  /** Every name of a value or node in this graph and below. */
  names(): Generator<string>;
  /** The wrapper of a subgraph; the same object each time. */
  subgraphOf(proto: GraphProto, owner: Node): Graph;
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
  edit(change: GraphEdit): Node[];
  /** Inserts a node before another, or at the end. */
  insert(spec: NodeSpec, before?: Node): Node;
  /** Removes nodes whose outputs nothing else reads. */
  remove(...nodes: readonly Node[]): void;
  setInitializer(tensor: Tensor): void;
  removeInitializer(name: string): void;
  /** Lets every reader of `from` read `to`. A graph output keeps its name: rename the value instead. */
  replaceUses(from: string, to: string): void;
  /** Lets one input of a node read another value. */
  setInput(node: Node, index: number, value: string): void;
  /** Gives a value of this graph another name, at its producer and at every reader. Inputs and outputs of the model: see renameInput, renameOutput. */
  rename(from: string, to: string): void;
  renameNode(node: Node, name: string): void;
  /**
   * Adds an input to the main graph, behind those that it has. One with the name of an initializer lets callers feed another
   * tensor for it.
   *
   * @throws ModelError where a value has the name already
   * @example
   * model.graph.addInput(ValueInfo.tensor('mask', 'float32', ['batch', 10]));
   */
  addInput(value: ValueInfo): void;
  /**
   * Takes an input from the main graph. An initializer of its name stays, and is a constant then.
   *
   * @throws ModelError where something reads the value and no initializer has its name
   */
  removeInput(name: string): void;
  /**
   * Gives an input of the main graph another name, there and at every reader.
   *
   * @throws ModelError where a value has the name already
   */
  renameInput(from: string, to: string): void;
  /**
   * Makes a value of the main graph an output, behind those that it has.
   *
   * @throws ModelError where there is no such value or it is an output already
   * @example
   * model.graph.addOutput(ValueInfo.tensor('features', 'float32', ['batch', 512]));
   */
  addOutput(value: ValueInfo): void;
  /** Takes an output from the main graph. The node that makes the value stays. */
  removeOutput(name: string): void;
  /**
   * Gives an output of the main graph another name, there, at its producer and at every reader.
   *
   * @throws ModelError where a value has the name already, or the output is an input too
   */
  renameOutput(from: string, to: string): void;
  setAttribute(node: Node, name: string, value: AttributeValue | undefined): void;
  setMetadata(node: Node, key: string, value: string | undefined): void;
  /** Forgets what is derived from the protos, here and in the graphs around, and counts a revision. */
  touch(): void;
  /** Forgets what is derived from the protos of this graph alone; touch calls it. */
  forget(): void;
}

/** What is derived from the protos of a graph: who makes and who reads each value. */
export interface GraphIndex {
  readonly producers: ReadonlyMap<string, Node>;
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  readonly initializers: ReadonlyMap<string, Tensor>;
  readonly sparse: ReadonlySet<string>;
  readonly inputs: ReadonlySet<string>;
  readonly outputs: ReadonlySet<string>;
  /** The graphs of this graph's nodes. */
  readonly subgraphs: readonly Graph[];
  /** Values that value_info says or, before an edit, said something of. */
  readonly typed: ReadonlySet<string>;
  /** True for a value of the graph itself, not of one around or below. */
  has(value: string): boolean;
  /** The readers, in a subgraph, of values of the graphs around it. */
  freeUses(): Iterable<[string, Use]>;
}

/** A node of a graph or function. Read it here; change it through its graph's edit methods. */
export interface Node {
  readonly proto: NodeProto;
  readonly graph: Graph;
  /** The node's name; '' where the file gives none (names are optional in ONNX). */
  readonly name: string;
  /** A name for messages and reports: the node's own or, where it has none, that of its first output. */
  readonly label: string;
  readonly opType: string;
  /** The operator's domain; 'ai.onnx' is spelled ''. */
  readonly domain: string;
  /** Names of the input values; '' stands for an optional input that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
  readonly metadata: ReadonlyMap<string, string>;
  /** True for an operator of the standard ONNX domain. */
  is(...opTypes: readonly string[]): boolean;
  /** The graphs in the node's attributes: the branches of If, the bodies of Loop and Scan. */
  readonly subgraphs: readonly Graph[];
  readonly subgraphProtos: readonly GraphProto[];
}

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
  /**
   * A tensor whose name an initializer already has replaces it. Others come in front of the first initializer that
   * the removed nodes read and the inserted ones do not, or behind all.
   */
  readonly setInitializers?: readonly Tensor[];
}

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
