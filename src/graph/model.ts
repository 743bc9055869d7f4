import { clonedProto } from './cloned-proto.js';
import { ProtoGraph } from './graph.js';
import { OpenFiles } from './io/open-files.js';
import type { Scratch } from './io/scratch.js';
import type { FileSource } from './io/source.js';
import { type FreshNames, namesOf } from './names/fresh-names.js';
import { editing } from './occupied.js';
import { toNumber } from './proto/codec.js';
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  SparseTensorProto,
  TensorProto,
} from './proto/schema.js';
import type { Graph, Model, Node, Pass } from './types.js';

/** See Model in types. */
class ProtoModel implements Model {
  readonly proto: ModelProto;
  readonly path: string | undefined;
  readonly graph: Graph;
  readonly trainingGraphs: readonly Graph[];
  #revision = 0;
  #savedRevision = 0;
  #names: FreshNames | undefined;
  #scratch: Scratch | undefined;
  readonly #source: FileSource | undefined;
  readonly #functions = new WeakMap<FunctionProto, Graph>();

  readonly #files: OpenFiles;
  #isDisposed = false;

  constructor(proto: ModelProto, source?: FileSource, files = new OpenFiles()) {
    this.proto = proto;
    this.#source = source;
    this.#files = files;
    this.path = source?.path;
    if (proto.graph === undefined) proto.graph = {};
    this.graph = new ProtoGraph(this, proto.graph, 'graph');
    this.trainingGraphs = (proto.training_info ?? []).flatMap((info) =>
      [info.initialization, info.algorithm]
        .filter((graph) => graph !== undefined)
        .map((graph) => new ProtoGraph(this, graph, 'graph')),
    );
  }

  get functions(): readonly Graph[] {
    return (this.proto.functions ?? []).map((body) => {
      const known = this.#functions.get(body) ?? new ProtoGraph(this, body, 'function');
      this.#functions.set(body, known);
      return known;
    });
  }

  get irVersion(): number {
    return toNumber(this.proto.ir_version);
  }

  opset(domain = ''): number {
    const entry = (this.proto.opset_import ?? []).find(
      (candidate) => normalDomain(candidate.domain) === normalDomain(domain),
    );
    return entry === undefined ? 0 : toNumber(entry.version);
  }

  get revision(): number {
    return this.#revision;
  }

  get changed(): boolean {
    return this.#revision !== this.#savedRevision;
  }

  get isOnDisk(): boolean {
    return !this.changed && this.#source?.isCurrent === true;
  }

  *graphs(): Generator<Graph> {
    yield* this.graph.walk();
    for (const graph of [...this.functions, ...this.trainingGraphs]) yield* graph.walk();
  }

  *nodes(): Generator<Node> {
    for (const graph of this.graphs()) yield* graph.nodes;
  }

  async apply<const P extends readonly Pass<unknown>[]>(
    ...passes: P
  ): Promise<{ [K in keyof P]: P[K] extends Pass<infer Account> ? Account : never }> {
    const accounts: unknown[] = [];
    for (const pass of passes) {
      const run = (): Promise<unknown> => pass.run(this);
      accounts.push(await (pass.inPlace ? editing(this, `the pass ${pass.name}`, run) : run()));
    }
    return accounts as { [K in keyof P]: P[K] extends Pass<infer Account> ? Account : never };
  }

  freshName(base: string): string {
    return this.#allNames().take(base);
  }

  claim(name: string): void {
    this.#names?.claim(name);
  }

  get scratch(): Scratch | undefined {
    return this.#scratch;
  }

  set scratch(scratch: Scratch | undefined) {
    this.#scratch = scratch && this.#files.add(scratch);
  }

  clone(): Model {
    const copy = new ProtoModel(clonedProto(this.proto), this.#source, this.#files.share());
    copy.#revision = this.#revision;
    copy.#savedRevision = this.#savedRevision;
    copy.#scratch = this.#scratch;
    return copy;
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#files[Symbol.dispose]();
  }

  countRevision(): void {
    this.#revision += 1;
  }

  #allNames(): FreshNames {
    this.#names ??= namesOf(this);
    return this.#names;
  }
}

/** A model over a decoded ModelProto; `source` is the file that it was read from, `files` all that it holds open. */
export const createModel = (proto: ModelProto, source?: FileSource, files?: OpenFiles): Model =>
  new ProtoModel(proto, source, files);

export const isModel = (value: unknown): value is Model => value instanceof ProtoModel;

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
