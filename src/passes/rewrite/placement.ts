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
} from '../../graph/index.js';

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

/** Elements that are rounded at a time, so that they stay in the processor's cache. */
const ROUNDED = 1 << 16;

/**
 * A tensor whose bytes wait in the model's scratch file, so that memory does not grow with the weights made.
 *
 * @param values all elements, or consecutive parts of them
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
  const rounded = new Float32Array(type === 'float32' ? Math.min(count, ROUNDED) : 0);
  for await (const part of ArrayBuffer.isView(values) ? [values] : values) {
    for (let start = 0; start < part.length; start += ROUNDED) {
      const piece = part.subarray(start, start + ROUNDED);
      const isRounded = type === 'float32' && piece instanceof Float64Array;
      if (isRounded) rounded.set(piece);
      const { buffer, byteOffset, byteLength } = isRounded
        ? rounded.subarray(0, piece.length)
        : narrow(type, piece);
      writer.write(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return Tensor.of(name, type, shape, writer.finish());
}

/**
 * The same, written on another thread meanwhile: the tensor can be read, and its values may change, when `written` has
 * resolved. Where that is undefined the tensor is small, and the values themselves may be its data.
 *
 * @param zeros how many zeros stand behind the values
 */
export function laterTensor(
  model: Model,
  name: string,
  type: FloatType,
  shape: readonly number[],
  values: Float32Array | Float64Array,
  zeros = 0,
): { readonly tensor: Tensor; readonly written?: Promise<void> } {
  model.scratch ??= new Scratch();
  const { buffer, byteOffset, byteLength } = narrow(type, values);
  const bytes = new Uint8Array(buffer, byteOffset, byteLength);
  const { source, ...rest } = model.scratch.write(bytes, byteLengthOf(type, zeros));
  return { tensor: Tensor.of(name, type, shape, source), ...rest };
}
