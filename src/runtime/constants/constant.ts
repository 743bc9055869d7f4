import {
  assertConstantsFit,
  constantTensor,
  type DataType,
  type Graph,
  type Model,
  ModelError,
  type Node,
  type NodeSpec,
  Tensor,
  traitsOf,
  ValueInfo,
} from '../../graph/index.js';
import type { FunctionProto, GraphProto, SparseTensorProto } from '../../graph/proto/schema.js';
import { openSession } from '../session/session.js';
import { buildModel } from '../session/small-model.js';
import { RUNTIME_TYPES, type RuntimeTensor } from '../types.js';

export { constantTensor };

/** Smaller constants are written into the model that computes; larger ones are fed, which copies nothing. */
const INLINE_BYTES = 4096;

/**
 * The value of a constant expression: of an initializer, a Constant node, or of any nodes that read nothing else.
 * What has to be computed is computed by onnxruntime, from a model of those nodes alone; values that a subgraph
 * captures from the graphs around it count as its own.
 *
 * @returns the tensor, named as the value
 * @throws ModelError naming the input, function parameter or random operator that makes the value no constant
 * @example
 * // w -> Transpose -> DequantizeLinear -> 'weight'
 * const weight = await evaluateConstant(model.graph, 'weight');
 */
export async function evaluateConstant(graph: Graph, value: string): Promise<Tensor> {
  const known = constantTensor(graph, value);
  if (known !== undefined) return known.name === value ? known : known.renamed(value);
  const parts = new Parts(value);
  parts.addValue(graph, value);
  parts.assertFits(graph.model);
  return parts.evaluate(graph);
}

/** The nodes and constants that a value is made of, in topological order. */
class Parts {
  readonly #wanted: string;
  readonly #nodes: Node[] = [];
  readonly #constants = new Map<string, Tensor>();
  readonly #sparse = new Map<string, SparseTensorProto>();
  readonly #done = new Set<string>();

  constructor(wanted: string) {
    this.#wanted = wanted;
  }

  /** Takes up what makes a value. Not recursive: chains of constants may be deeper than the stack. */
  addValue(graph: Graph, value: string): void {
    const stack: ({ graph: Graph; value: string } | { made: Node })[] = [{ graph, value }];
    const visited = new Set<Node>();
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      if ('made' in item) {
        this.#nodes.push(item.made);
        continue;
      }
      if (this.#done.has(item.value)) continue;
      this.#done.add(item.value);
      const node = this.#source(item.graph, item.value);
      if (node === undefined || visited.has(node)) continue;
      visited.add(node);
      stack.push({ made: node });
      for (const input of readValues(node)) stack.push({ graph: node.graph, value: input });
    }
  }

  assertFits(model: Model): void {
    assertConstantsFit(this.#nodes, model);
  }

  /** Keeps a constant; returns the node that makes any other value. */
  #source(graph: Graph, value: string): Node | undefined {
    const origin = graph.resolve(value);
    if (origin === undefined) throw this.#error(graph, `nothing makes '${value}'`);
    switch (origin.kind) {
      case 'initializer':
        this.#constants.set(value, origin.tensor);
        return undefined;
      case 'sparse': {
        const list = (origin.graph.proto as GraphProto).sparse_initializer ?? [];
        const sparse = list.find((candidate) => candidate.values?.name === value);
        if (sparse !== undefined) this.#sparse.set(value, sparse);
        return undefined;
      }
      case 'input':
        throw this.#error(
          graph,
          `is not constant: it depends on ${origin.graph.kind === 'function' ? 'the function parameter' : 'the input'} '${value}'`,
        );
      default: {
        const { node } = origin;
        for (const attribute of node.attributes.names()) {
          if (!node.attributes.isReference(attribute)) continue;
          throw this.#error(
            graph,
            `is not constant: attribute '${attribute}' of node '${node.label}' is a parameter of the function`,
          );
        }
        if (traitsOf(node).random) {
          throw this.#error(
            graph,
            `is not constant: node '${node.label}' (${node.opType}) makes random numbers`,
          );
        }
        return node;
      }
    }
  }

  async evaluate(graph: Graph): Promise<Tensor> {
    const fed = new Map<string, RuntimeTensor>();
    const inline: Tensor[] = [];
    for (const [name, tensor] of this.#constants) {
      const type = tensor.dataType;
      if (tensor.byteLength > INLINE_BYTES && isFed(type)) {
        fed.set(name, { type, shape: tensor.shape, data: tensor.array() });
      } else inline.push(tensor.isExternal ? Tensor.of(name, type, tensor.shape, tensor.bytes()) : tensor);
    }
    const body = outermost(graph);
    const imports =
      (body.kind === 'function'
        ? (body.proto as FunctionProto).opset_import
        : graph.model.proto.opset_import) ?? [];
    const parts = {
      nodes: [
        ...this.#nodes.map((node) => node.proto),
        // A model's output must be made by a node, and a value by the name of a sparse initializer is not.
        ...(this.#sparse.has(this.#wanted) ? [identity(this.#wanted)] : []),
      ],
      inputs: [...fed].map(([name, { type, shape }]) => ValueInfo.tensor(name, type, shape)),
      initializers: inline,
      sparseInitializers: [...this.#sparse.values()],
      // A model that imports none is of IR version 1 or 2, and means the first.
      opset: imports.length > 0 ? imports : 1,
      functions: graph.model.proto.functions,
      irVersion: Math.max(4, graph.model.irVersion),
    };
    const output = this.#sparse.has(this.#wanted) ? `${this.#wanted}:dense` : this.#wanted;
    const run = async (value: ValueInfo | string): Promise<RuntimeTensor | undefined> => {
      const model = buildModel({ ...parts, outputs: [value] });
      // Folding constants before the run would only compute everything twice.
      await using session = await openSession(model, { optimization: 'disabled', arena: false });
      return (await session.run(Object.fromEntries(fed)))[output];
    };
    let result: RuntimeTensor | undefined;
    try {
      result = await this.#run(graph, () => run(output));
    } catch (error) {
      // The type of the value is known only to onnxruntime, which gives its code where it cannot pass it.
      if (!(error instanceof ModelError) || !/Unsupported data type: 16$/.test(error.message)) throw error;
      result = await this.#run(graph, () => run(ValueInfo.tensor(output, 'bfloat16')));
    }
    if (result === undefined) throw this.#error(graph, 'onnxruntime did not return it');
    return toTensor(this.#wanted, result);
  }

  async #run<T>(graph: Graph, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      throw new ModelError(`could not be computed: ${error.message}`, this.#where(graph), { cause: error });
    }
  }

  #error(graph: Graph, what: string): ModelError {
    return new ModelError(what, this.#where(graph));
  }

  #where(graph: Graph): { file?: string | undefined; tensor: string } {
    return { file: graph.model.path, tensor: this.#wanted };
  }
}

function isFed(type: DataType): boolean {
  return type !== 'string' && type !== 'bfloat16' && (RUNTIME_TYPES as readonly DataType[]).includes(type);
}

function outermost(graph: Graph): Graph {
  let body = graph;
  while (body.parent !== undefined) body = body.parent;
  return body;
}

function identity(value: string): NodeSpec {
  return { opType: 'Identity', inputs: [value], outputs: [`${value}:dense`] };
}

/** What a node reads: its inputs, and what its subgraphs capture. */
function readValues(node: Node): string[] {
  const values = new Set(node.inputs.filter((input) => input !== ''));
  for (const graph of node.subgraphs) for (const value of captured(graph)) values.add(value);
  return [...values];
}

function captured(graph: Graph): Set<string> {
  const own = new Set<string>([
    ...graph.initializers.keys(),
    ...graph.sparseInitializers,
    ...graph.inputs.map((input) => input.name),
    ...graph.nodes.flatMap((node) => node.outputs),
  ]);
  const read = [...graph.nodes.flatMap(readValues), ...graph.outputs.map((output) => output.name)];
  return new Set(read.filter((value) => !own.has(value)));
}

function toTensor(name: string, { type, shape, data }: RuntimeTensor): Tensor {
  if (!ArrayBuffer.isView(data)) {
    return Tensor.ofStrings(
      name,
      shape,
      data.map((text) => new TextEncoder().encode(text)),
    );
  }
  return Tensor.of(name, type, shape, data as Uint8Array);
}
