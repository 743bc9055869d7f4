import {
  byteLengthOf,
  type FloatType,
  type Graph,
  type GraphEdit,
  type Model,
  type Node,
  type NodeSpec,
  narrow,
  Scratch,
  Tensor,
} from '../graph/index.js';
import type { FunctionProto, OperatorSetIdProto } from '../graph/proto/schema.js';

/** What puts constants into a graph: nodes in front of their reader, and initializers. */
export interface Placement {
  readonly nodes: readonly NodeSpec[];
  readonly initializers: readonly Tensor[];
}

/** Tensors as a graph holds them. A function has no initializers: there they are Constant nodes. */
export function asConstants(home: Graph, tensors: readonly Tensor[]): Placement {
  if (home.kind === 'graph') return { nodes: [], initializers: tensors };
  const nodes = tensors.map((tensor): NodeSpec => {
    const { name } = tensor;
    return { opType: 'Constant', name, inputs: [], outputs: [name], attributes: { value: { tensor } } };
  });
  return { nodes, initializers: [] };
}

/**
 * Edits a graph together with the constants that the edit reads, which go into `home`, the graph or one around it,
 * in front of `reader`.
 */
export function editWith(
  { nodes, initializers }: Placement,
  home: Graph,
  reader: Node,
  change: GraphEdit,
): Node[] {
  const { graph } = reader;
  if (home === graph && nodes.length === 0) return graph.edit({ ...change, setInitializers: initializers });
  home.edit({ insertNodes: nodes, before: nodeOf(home, reader), setInitializers: initializers });
  return graph.edit(change);
}

/** The node of a graph that is `node`, or holds it in a subgraph. */
function nodeOf(graph: Graph, node: Node): Node {
  let own: Node | undefined = node;
  while (own !== undefined && own.graph !== graph) own = own.graph.owner;
  if (own === undefined) throw new Error(`node '${node.label}' is not in the graph '${graph.name}'`);
  return own;
}

/** The main graph or function that a graph is, or is in. */
export function bodyOf(graph: Graph): Graph {
  let body = graph;
  while (body.parent !== undefined) body = body.parent;
  return body;
}

/** Operator sets that hold in a graph: a function has its own. */
export function opsetsOf(graph: Graph): readonly OperatorSetIdProto[] {
  const body = bodyOf(graph);
  const own = body.kind === 'function' ? (body.proto as FunctionProto).opset_import : undefined;
  return own ?? graph.model.proto.opset_import ?? [];
}

/** Version of the standard operator set that holds in a graph. */
export function opsetOf(graph: Graph): number {
  const entry = opsetsOf(graph).find(({ domain = '' }) => domain === '' || domain === 'ai.onnx');
  return Number(entry?.version ?? 0);
}

/**
 * A tensor whose bytes wait in the model's scratch file, so that memory does not grow with the weights made.
 *
 * @param values all elements, or parts of them one behind the other
 */
export async function scratchTensor(
  model: Model,
  name: string,
  type: FloatType,
  shape: readonly number[],
  values: Float32Array | Float64Array | AsyncIterable<Float32Array | Float64Array>,
): Promise<Tensor> {
  model.scratch ??= new Scratch();
  const count = shape.reduce((product, dim) => product * dim, 1);
  const writer = model.scratch.writer(byteLengthOf(type, count));
  for await (const part of ArrayBuffer.isView(values) ? [values] : values) {
    const { buffer, byteOffset, byteLength } = narrow(type, part);
    writer.write(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return Tensor.of(name, type, shape, writer.finish());
}

/** Names that training_info reads or updates; a weight of such a name can not be taken away. */
export function trainedNames(model: Model): ReadonlySet<string> {
  const names = new Set<string>();
  for (const info of model.proto.training_info ?? []) {
    for (const { key = '' } of [...(info.initialization_binding ?? []), ...(info.update_binding ?? [])])
      names.add(key);
  }
  for (const graph of model.trainingGraphs) {
    for (const node of graph.nodes)
      for (const input of node.inputs) if (!graph.resolve(input)) names.add(input);
  }
  return names;
}
