import type { WeightSource } from '../../affine/note.js';
import {
  type ByteSource,
  byteLengthOf,
  type ConstantValue,
  constantNodeTensor,
  copyUnknownFields,
  createModel,
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
  type Model,
  type Node,
  type NodeProto,
  type NodeSpec,
  narrow,
  permutationOf,
  specOf,
  Tensor,
} from '../../graph/index.js';
import { opsetsOf } from '../../graph/opsets.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { runGraph } from '../../runtime/session/run-graph.js';
import type { Placement } from './placement.js';

/** Constants up to this size are kept in the metadata with the nodes that read them: shapes, axes, scales. */
const SMALL_BYTES = 1024;
/** A longer fragment holds more than a few small nodes, and is not worth keeping. */
const FRAGMENT_LIMIT = 1 << 16;

/** How a weight is to be written back, where it is more than an initializer; undefined where it is one. */
export function describeSource(weight: ConstantValue): WeightSource | undefined {
  if (weight.path.length === 0) return undefined;
  const tensor = weight.root;
  const rootNode = tensor && weight.path.find((node) => isConstantOf(node, tensor));
  // The numbers of a Constant node that has no tensor (value_floats) come back as they were, or not at all.
  const isLeaf = weight.leaves.some((leaf) => leaf.proto === tensor?.proto);
  const root = rootNode || isLeaf ? tensor : undefined;
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
        ...(rootNode && root.proto.name !== undefined && { tensor: root.proto.name }),
      },
    }),
  };
}

/** The constant that Identity nodes pass on under other names: of weights that are one, only one is stored. */
export function behindIdentity(weight: ConstantValue): ConstantValue {
  const origin = weight.graph.resolve(weight.value);
  if (origin?.kind !== 'node' || !origin.node.is('Identity')) return weight;
  const before = findConstant(weight.graph, origin.node.inputs[0] ?? '');
  return isConstant(before) ? behindIdentity(before) : weight;
}

/** True where a Constant node's value is that very tensor. */
function isConstantOf(node: Node, tensor: Tensor): boolean {
  return (
    node.is('Constant') && (node.proto.attribute ?? []).some((attribute) => attribute.t === tensor.proto)
  );
}

function withoutValue(proto: NodeProto): NodeProto {
  const copy = {
    ...proto,
    attribute: (proto.attribute ?? []).filter((attribute) => attribute.name !== 'value'),
  };
  copyUnknownFields(proto, copy);
  return copy;
}

/** Whether a value is read by a node that is not going, or is an output. */
export function isReadBeside(going: ReadonlySet<Node>, graph: Graph, value: string): boolean {
  return graph.isOutput(value) || graph.uses(value).some(({ node }) => !going.has(node));
}

/**
 * Nodes that go, and with them those that make weights for them alone. Of each path the last comes first: then one look at each is
 * enough, since what reads a node stands behind it on every path that both are on.
 */
export function withMakers(going: Iterable<Node>, weights: readonly ConstantValue[]): Set<Node> {
  const all = new Set(going);
  for (const { path } of weights) {
    for (const maker of [...path].reverse()) {
      const isNeeded = maker.outputs.some(
        (output) => output !== '' && isReadBeside(all, maker.graph, output),
      );
      if (!isNeeded) all.add(maker);
    }
  }
  return all;
}

/**
 * Removes what made weights, as far as nothing reads it any more: nodes of their paths from the last on, then leaves. One edit
 * a graph for all of them: one for each would take the square of their number.
 */
export function removeUnread(weights: readonly ConstantValue[]): void {
  const gone = withMakers([], weights);
  const unread = new Map<Graph, Set<string>>();
  for (const { graph, leaves } of weights) {
    for (const { name, proto } of leaves) {
      const origin = graph.resolve(name);
      if (
        origin?.kind !== 'initializer' ||
        origin.tensor.proto !== proto ||
        isReadBeside(gone, origin.graph, name)
      )
        continue;
      const names = unread.get(origin.graph) ?? new Set();
      unread.set(origin.graph, names.add(name));
    }
  }
  const nodesOf = new Map<Graph, Node[]>();
  for (const node of gone) {
    const isPresent = node.outputs.some((output) => node.graph.producer(output) === node);
    if (!isPresent) continue;
    const nodes = nodesOf.get(node.graph) ?? [];
    nodes.push(node);
    nodesOf.set(node.graph, nodes);
  }
  // Readers before what they read: graphs within others first.
  for (const [graph, nodes] of [...nodesOf].sort(([a], [b]) => depthOf(b) - depthOf(a)))
    graph.remove(...nodes);
  for (const [graph, names] of unread) graph.edit({ removeInitializers: [...names] });
}

function depthOf(graph: Graph): number {
  return graph.parent === undefined ? 0 : 1 + depthOf(graph.parent);
}

/**
 * Writes a weight as its source had it: through the same nodes, with new elements at their root. Nodes and constants
 * that the graph still has (other weights are made of them, too) are read again. Where the elements were computed
 * (ConstantOfShape …), or their root is still there, the nodes come back if the weight is what they compute, within
 * rounding.
 *
 * @param home the graph that the weight is to stand in
 * @returns undefined where that cannot be done; then the weight becomes an initializer under its name
 */
export async function placeAsSource(
  home: Graph,
  weight: Tensor,
  source: WeightSource,
): Promise<Placement | undefined> {
  const placement = await placementOf(home, weight, source);
  return placement && isSelfContained(home, placement) ? placement : undefined;
}

/** Whether all that the nodes read is there: the source comes from metadata, which may say anything. */
function isSelfContained(home: Graph, { nodes, initializers }: Placement): boolean {
  const made = new Set(initializers.map(({ name }) => name));
  if (made.size < initializers.length) return false;
  for (const { inputs, outputs } of nodes) {
    if (!inputs.every((input) => input === '' || made.has(input) || home.resolve(input) !== undefined))
      return false;
    for (const output of outputs) {
      if (made.has(output)) return false;
      made.add(output);
    }
  }
  return true;
}

async function placementOf(
  home: Graph,
  weight: Tensor,
  source: WeightSource,
): Promise<Placement | undefined> {
  const restored = restore(home, source);
  if (restored === undefined) return undefined;
  const { fragment, missing, constants, root: present } = restored;
  const { root } = source;
  if (root === undefined || present !== undefined) {
    const model = fragmentModel(home, fragment, present ? [present] : []);
    return (await isComputedBy(model, weight))
      ? { nodes: missing.map(specOf), initializers: constants }
      : undefined;
  }
  const old = Tensor.of(root.name, root.dataType as DataType, root.shape, zeros(root));
  const rootTensor = await elementsAtRoot(fragmentModel(home, fragment, [old]), weight, root);
  if (rootTensor === undefined) return undefined;
  if (!root.isConstantNode) return { nodes: missing.map(specOf), initializers: [...constants, rootTensor] };
  const specs = missing.map((node): NodeSpec => {
    if (!(node.output ?? []).includes(root.name)) return specOf(node);
    const tensor = rootTensor.renamed(root.tensor ?? '');
    if (root.tensor === undefined) delete tensor.proto.name;
    return { ...specOf(node), attributes: { value: { tensor } } };
  });
  return { nodes: specs, initializers: constants };
}

/** What a source needs that a graph has not, and what it has. */
interface Restored {
  readonly fragment: GraphProto;
  readonly missing: readonly NodeProto[];
  /** Small constants that the graph has not. */
  readonly constants: readonly Tensor[];
  /** The tensor of the root, where the graph has it. */
  readonly root: Tensor | undefined;
}

/** Undefined where the graph has something else of the same name. */
function restore(home: Graph, { fragment: text, root }: WeightSource): Restored | undefined {
  let fragment: GraphProto;
  try {
    fragment = decodeFragment(Buffer.from(text, 'base64'));
  } catch {
    return undefined;
  }
  const missing: NodeProto[] = [];
  let rootTensor: Tensor | undefined;
  for (const node of fragment.node ?? []) {
    const present = (node.output ?? []).filter(Boolean).map((output) => home.resolve(output));
    if (present.every((origin) => origin === undefined)) {
      missing.push(node);
      continue;
    }
    const [origin] = present;
    if (origin?.kind !== 'node') return undefined;
    const isRoot = root?.isConstantNode === true && (node.output ?? []).includes(root.name);
    const proto = isRoot ? withoutValue(origin.node.proto) : origin.node.proto;
    if (!isSame({ node: [proto] }, { node: [node] })) return undefined;
    if (isRoot) rootTensor = constantNodeTensor(origin.node);
  }
  const constants: Tensor[] = [];
  for (const proto of fragment.initializer ?? []) {
    const origin = home.resolve(proto.name ?? '');
    if (origin === undefined) constants.push(new Tensor(proto));
    else if (
      origin.kind !== 'initializer' ||
      !isSame({ initializer: [origin.tensor.proto] }, { initializer: [proto] })
    ) {
      return undefined;
    }
  }
  if (root !== undefined && !root.isConstantNode) {
    const origin = home.resolve(root.name);
    if (origin !== undefined && origin.kind !== 'initializer') return undefined;
    rootTensor = origin?.tensor;
  }
  return { fragment, missing, constants, root: rootTensor?.renamed(root?.name ?? '') };
}

function isSame(a: GraphProto, b: GraphProto): boolean {
  return Buffer.compare(encodeFragment(a), encodeFragment(b)) === 0;
}

/** The fragment as a model; a Constant node without a value gives way to the tensor that stands in for it. */
function fragmentModel(home: Graph, fragment: GraphProto, roots: readonly Tensor[]): Model {
  const names = new Set(roots.map((tensor) => tensor.name));
  return createModel({
    ir_version: Math.max(4, home.model.irVersion),
    opset_import: [...opsetsOf(home)],
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
  const made = findConstant(model.graph, weight.name);
  if (!isConstant(made) || !hasTypeOf(made, weight)) return undefined;
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
      const permutation = permutationOf(node, rank);
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
  return isConstant(constant) && isNear(constant, weight);
}

function hasTypeOf(constant: ConstantValue, weight: Tensor): boolean {
  return constant.dataType === weight.dataType && constant.shape.join() === weight.shape.join();
}

/** Whether a constant has a weight's type, shape and elements, to the rounding of a chain of factors. */
export async function isNear(constant: ConstantValue, weight: Tensor): Promise<boolean> {
  if (!isFloatType(weight.dataType) || !hasTypeOf(constant, weight)) return false;
  const before = (await evaluateConstant(constant.graph, constant.value)).floats();
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
