import { clonedProto } from './cloned-proto.js';
import { Graph } from './graph.js';
import type { Scratch } from './io/scratch.js';
import type { FileSource } from './io/source.js';
import type { Node } from './node.js';
import { toNumber } from './proto/codec.js';
import type {
  AttributeProto,
  GraphProto,
  ModelProto,
  NodeProto,
  SparseTensorProto,
  TensorProto,
} from './proto/schema.js';

/** A rewrite of a model: validated options on one side, an account of what was done on the other. */
export interface Pass<Account> {
  readonly name: string;
  run(model: Model): Promise<Account>;
}

/**
 * An ONNX model. Read one with readModel, write it with saveModel or modelToBytes.
 *
 * @example
 * const model = await readModel('model.onnx');
 * for (const node of model.graph.nodes) console.log(node.opType, node.inputs);
 */
export class Model {
  readonly proto: ModelProto;
  /** The file it was read from; undefined for one read from bytes or made in memory. */
  readonly path: string | undefined;
  readonly graph: Graph;
  readonly functions: readonly Graph[];
  /** The graphs of training_info: initialization and algorithm. */
  readonly trainingGraphs: readonly Graph[];
  #revision = 0;
  #savedRevision = 0;
  #names: Set<string> | undefined;
  #scratch: Scratch | undefined;
  readonly #source: FileSource | undefined;

  constructor(proto: ModelProto, source?: FileSource) {
    this.proto = proto;
    this.#source = source;
    this.path = source?.path;
    if (proto.graph === undefined) proto.graph = {};
    this.graph = new Graph(this, proto.graph, 'graph');
    this.functions = (proto.functions ?? []).map((body) => new Graph(this, body, 'function'));
    this.trainingGraphs = (proto.training_info ?? []).flatMap((info) =>
      [info.initialization, info.algorithm]
        .filter((graph) => graph !== undefined)
        .map((graph) => new Graph(this, graph, 'graph')),
    );
  }

  get irVersion(): number {
    return toNumber(this.proto.ir_version);
  }

  /** Version of an operator set ('' for the standard one) that the main graph uses; 0 where it uses none. */
  opset(domain = ''): number {
    const entry = (this.proto.opset_import ?? []).find(
      (candidate) => normalDomain(candidate.domain) === normalDomain(domain),
    );
    return entry === undefined ? 0 : toNumber(entry.version);
  }

  /** Counts up with every edit. */
  get revision(): number {
    return this.#revision;
  }

  /** True when the model was edited since it was read. */
  get changed(): boolean {
    return this.#revision !== this.#savedRevision;
  }

  /** True when the file at `path` still holds this very model. */
  get isOnDisk(): boolean {
    return !this.changed && this.#source?.isCurrent === true;
  }

  /** Every graph: the main one, those in nodes, function bodies, training graphs. */
  *graphs(): Generator<Graph> {
    yield* this.graph.walk();
    for (const graph of [...this.functions, ...this.trainingGraphs]) yield* graph.walk();
  }

  /** Every node of every graph. */
  *nodes(): Generator<Node> {
    for (const graph of this.graphs()) yield* graph.nodes;
  }

  /** Runs passes one after the other. Each returns its account of what it rewrote and what it skipped. */
  async apply<const P extends readonly Pass<unknown>[]>(
    ...passes: P
  ): Promise<{ [K in keyof P]: P[K] extends Pass<infer Account> ? Account : never }> {
    const accounts: unknown[] = [];
    for (const pass of passes) accounts.push(await pass.run(this));
    return accounts as { [K in keyof P]: P[K] extends Pass<infer Account> ? Account : never };
  }

  /** `base`, or `base_2`, `base_3` …: a name that no value or node in any graph of the model has, now taken. */
  freshName(base: string): string {
    const names = this.#allNames();
    let name = base;
    for (let count = 2; names.has(name); count += 1) name = `${base}_${count}`;
    names.add(name);
    return name;
  }

  /** Keeps a name from being given out by freshName. */
  claim(name: string): void {
    this.#names?.add(name);
  }

  /** Where passes put large new weights, so that memory does not grow with them. */
  get scratch(): Scratch | undefined {
    return this.#scratch;
  }

  set scratch(scratch: Scratch | undefined) {
    this.#scratch = scratch;
  }

  /** A copy to edit: graphs and nodes are its own, tensors are shared and stay where they are. */
  clone(): Model {
    const copy = new Model(clonedProto(this.proto), this.#source);
    copy.#revision = this.#revision;
    copy.#savedRevision = this.#savedRevision;
    copy.#scratch = this.#scratch;
    return copy;
  }

  countRevision(): void {
    this.#revision += 1;
  }

  #allNames(): Set<string> {
    if (this.#names === undefined) {
      const names = new Set<string>();
      for (const graph of [this.graph, ...this.functions, ...this.trainingGraphs]) {
        for (const name of graph.names()) names.add(name);
      }
      this.#names = names;
    }
    return this.#names;
  }
}

function normalDomain(domain: string | undefined): string {
  return domain === undefined || domain === 'ai.onnx' ? '' : domain;
}

/** Every tensor of a model, wherever it stands: initializers, attributes, sparse tensors, functions. */
export function* tensorProtos(model: ModelProto): Generator<TensorProto> {
  if (model.graph) yield* inGraph(model.graph);
  for (const info of model.training_info ?? []) {
    if (info.initialization) yield* inGraph(info.initialization);
    if (info.algorithm) yield* inGraph(info.algorithm);
  }
  for (const body of model.functions ?? []) {
    yield* inNodes(body.node ?? []);
    yield* inAttributes(body.attribute_proto ?? []);
  }
}

/** Every tensor of a graph and of the graphs below it. */
export function* inGraph(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer ?? [];
  for (const sparse of graph.sparse_initializer ?? []) yield* inSparse(sparse);
  yield* inNodes(graph.node ?? []);
}

function* inNodes(nodes: readonly NodeProto[]): Generator<TensorProto> {
  for (const node of nodes) yield* inAttributes(node.attribute ?? []);
}

function* inAttributes(attributes: readonly AttributeProto[]): Generator<TensorProto> {
  for (const attribute of attributes) {
    if (attribute.t) yield attribute.t;
    yield* attribute.tensors ?? [];
    if (attribute.sparse_tensor) yield* inSparse(attribute.sparse_tensor);
    for (const sparse of attribute.sparse_tensors ?? []) yield* inSparse(sparse);
    if (attribute.g) yield* inGraph(attribute.g);
    for (const graph of attribute.graphs ?? []) yield* inGraph(graph);
  }
}

function* inSparse(sparse: SparseTensorProto): Generator<TensorProto> {
  if (sparse.values) yield sparse.values;
  if (sparse.indices) yield sparse.indices;
}
