import {
  type ByteSource,
  byteLengthOf,
  type ConstantValue,
  copyUnknownFields,
  type DataType,
  decodeFragment,
  EPSILON,
  encodeFragment,
  type FloatType,
  findConstant,
  type Graph,
  type GraphProto,
  isConstant,
  isFloatType,
  Model,
  type Node,
  type NodeProto,
  type NodeSpec,
  narrow,
  specOf,
  Tensor,
} from '../graph/index.js';
import { runGraph } from '../runtime/run-graph.js';
import { evaluateConstant } from '../runtime/constant.js';
import type { WeightSource } from './chain-note.js';

/** Constants up to this size are kept in the metadata with the nodes that read them: shapes, axes, scales. */
const SMALL_BYTES = 1024;
/** A longer fragment holds more than a few small nodes, and is not worth keeping. */
const FRAGMENT_LIMIT = 1 << 16;

/** How a weight is to be written back, where it is more than an initializer; undefined where it is one. */
export function describeSource(weight: ConstantValue): WeightSource | undefined {
  if (weight.path.length === 0) return undefined;
  const { root } = weight;
  const rootNode = root && weight.path.find((node) => isConstantOf(node, root));
  const fragment: GraphProto = {
    node: weight.path.map((node) => (node === rootNode ? withoutValue(node.proto) : node.proto)),
    initializer: weight.leaves
      .filter((leaf) => leaf.proto !== root?.proto && leaf.byteLength <= SMALL_BYTES)
      .map((leaf) => leaf.proto),
  };
  const bytes = encodeFragment(fragment);
  if (bytes.length > FRAGMENT_LIMIT) return undefined;
  return {
    fragment: Buffer.from(bytes).toString('base64'),
    ...(root && {
      root: {
        name: rootNode ? (rootNode.outputs[0] ?? '') : root.name,
        dataType: root.dataType,
        shape: root.shape,
        isConstantNode: rootNode !== undefined,
      },
    }),
  };
}

/** True where a Constant node's value is that very tensor. */
function isConstantOf(node: Node, tensor: Tensor): boolean {
  return node.is('Constant') && (node.proto.attribute ?? []).some((attribute) => attribute.t === tensor.proto);
}

function withoutValue(proto: NodeProto): NodeProto {
  const copy = { ...proto, attribute: (proto.attribute ?? []).filter((attribute) => attribute.name !== 'value') };
  copyUnknownFields(proto, copy);
  return copy;
}

/** Removes what made a weight, as far as nothing reads it any more: path nodes from the last on, then leaves. */
export function removeUnread(weight: ConstantValue): void {
  const isRead = (graph: Graph, value: string): boolean => graph.uses(value).length > 0 || graph.isOutput(value);
  for (const node of [...weight.path].reverse()) {
    const isPresent = node.graph.nodes.includes(node);
    if (isPresent && !node.outputs.some((output) => output !== '' && isRead(node.graph, output))) {
      node.graph.remove(node);
    }
  }
  for (const leaf of weight.leaves) {
    const origin = weight.graph.resolve(leaf.name);
    if (origin?.kind === 'initializer' && origin.tensor.proto === leaf.proto && !isRead(origin.graph, leaf.name)) {
      origin.graph.removeInitializer(leaf.name);
    }
  }
}

/** What puts a weight into a graph: nodes in front of its reader, and initializers. */
export interface WeightPlacement {
  readonly nodes: readonly NodeSpec[];
  readonly initializers: readonly Tensor[];
}

/**
 * Writes a weight as its source had it: through the same nodes, with new elements at their root. Where elements
 * were computed (ConstantOfShape …) the nodes come back if the weight is still what they compute, within rounding.
 *
 * @returns undefined where that can not be done; then the weight becomes an initializer under its name
 */
export async function placeAsSource(
  graph: Graph,
  weight: Tensor,
  source: WeightSource,
): Promise<WeightPlacement | undefined> {
  let fragment: GraphProto;
  try {
    fragment = decodeFragment(Buffer.from(source.fragment, 'base64'));
  } catch {
    return undefined;
  }
  const nodes = fragment.node ?? [];
  const taken = nodes.some((node) => (node.output ?? []).some((output) => output !== '' && graph.resolve(output)));
  if (taken) return undefined;
  const small = (fragment.initializer ?? []).map((proto) => new Tensor(proto));
  const missing = small.filter((tensor) => graph.resolve(tensor.name) === undefined);
  const { root } = source;
  if (root === undefined) {
    const model = fragmentModel(graph.model, fragment, []);
    const isSame = await isComputedBy(model, weight);
    return isSame ? { nodes: nodes.map(specOf), initializers: missing } : undefined;
  }
  const old = Tensor.of(root.name, root.dataType as DataType, root.shape, zeros(root));
  const model = fragmentModel(graph.model, fragment, [old]);
  const rootTensor = await elementsAtRoot(model, weight, root);
  if (rootTensor === undefined) return undefined;
  if (!root.isConstantNode) {
    if (graph.resolve(root.name) !== undefined) return undefined;
    return { nodes: nodes.map(specOf), initializers: [...missing, rootTensor] };
  }
  const specs = nodes.map((node): NodeSpec => {
    const spec = specOf(node);
    if (!(node.output ?? []).includes(root.name)) return spec;
    return { ...spec, attributes: { value: { tensor: rootTensor } } };
  });
  return { nodes: specs, initializers: missing };
}

/** The fragment as a model; a Constant node without a value gives way to the tensor that stands in for it. */
function fragmentModel(like: Model, fragment: GraphProto, roots: readonly Tensor[]): Model {
  const names = new Set(roots.map((tensor) => tensor.name));
  return new Model({
    ...(like.proto.ir_version !== undefined && { ir_version: Math.max(4, like.irVersion) }),
    opset_import: like.proto.opset_import ?? [],
    graph: {
      node: (fragment.node ?? []).filter((node) => !(node.output ?? []).some((output) => names.has(output))),
      initializer: [...(fragment.initializer ?? []), ...roots.map((tensor) => tensor.proto)],
    },
  });
}

/** Undoes the views between root and weight, from the weight back. */
async function elementsAtRoot(
  model: Model,
  weight: Tensor,
  root: NonNullable<WeightSource['root']>,
): Promise<Tensor | undefined> {
  let array = weight.array();
  let type = weight.dataType;
  let shape = weight.shape;
  for (let value = weight.name; value !== root.name; ) {
    const node = model.graph.producer(value);
    const input = node?.inputs[0];
    const before = input === undefined ? undefined : findConstant(model.graph, input);
    if (node === undefined || before === undefined || !isConstant(before)) return undefined;
    if (node.opType === 'Cast') {
      if (!isFloatType(before.dataType) || !isFloatType(type)) return undefined;
      const floats = Tensor.of('', type, shape, array as Float32Array).floats();
      type = before.dataType;
      array = narrow(type as FloatType, floats);
    } else if (node.opType === 'Transpose') {
      const rank = shape.length;
      const permutation = node.attributes.ints('perm') ?? shape.map((_, axis) => rank - 1 - axis);
      const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
      const { y } = await runGraph(
        [{ opType: 'Transpose', inputs: ['x'], outputs: ['y'], attributes: { perm: { ints: inverse } } }],
        { x: { type, shape, data: array } },
        ['y'],
      );
      if (!ArrayBuffer.isView(y?.data)) return undefined;
      array = y.data;
    }
    shape = before.shape;
    value = input as string;
  }
  return Tensor.of(root.name, type, root.shape, array as Float32Array);
}

/** Whether the fragment computes this weight, to the rounding of a chain of factors. */
async function isComputedBy(model: Model, weight: Tensor): Promise<boolean> {
  const constant = findConstant(model.graph, weight.name);
  if (!isConstant(constant) || !isFloatType(weight.dataType)) return false;
  if (constant.dataType !== weight.dataType || constant.shape.join() !== weight.shape.join()) return false;
  const before = (await evaluateConstant(model.graph, weight.name)).floats();
  const after = weight.floats();
  let difference = 0;
  let square = 0;
  for (let i = 0; i < before.length; i += 1) {
    const old = before[i] as number;
    difference += (old - (after[i] as number)) ** 2;
    square += old * old;
  }
  return difference <= (8 * EPSILON[weight.dataType]) ** 2 * square;
}

function zeros(root: NonNullable<WeightSource['root']>): ByteSource {
  const count = root.shape.reduce((product, dim) => product * dim, 1);
  const length = byteLengthOf(root.dataType as DataType, count);
  return { length, read: (_offset, bytes) => new Uint8Array(bytes) };
}

