import type { FunctionProto, GraphProto, NodeProto, TensorProto } from '../proto/schema.js';
import { Tensor } from '../tensor/tensor.js';
import type { Graph, Node, Origin } from '../types.js';
import { ValueInfo } from '../value-info.js';
import { indexNear } from './nearby.js';

/** Lets an input of a node read another value, whatever that makes of the graph. */
export function putInput(node: Node, index: number, value: string): void {
  const inputs = [...node.inputs];
  inputs[index] = value;
  node.proto.input = inputs;
  node.graph.touch();
}

/** Puts another name wherever a graph's value is named: at its maker, its readers, and in what is noted of it. */
export function renameInProtos(graph: Graph, origin: Origin, from: string, to: string): void {
  const uses = [...graph.uses(from)];
  for (const { node } of [...uses, ...(origin.kind === 'node' ? [origin] : [])]) {
    const specs = (node.proto.device_configurations ?? []).flatMap((device) => device.sharding_spec ?? []);
    for (const spec of specs) if (spec.tensor_name === from) spec.tensor_name = to;
  }
  for (const use of uses) {
    if (use.index >= 0) putInput(use.node, use.index, to);
    else {
      for (const inner of use.node.subgraphs) {
        for (const output of (inner.proto as GraphProto).output ?? [])
          if (output.name === from) output.name = to;
      }
    }
  }
  if (origin.kind === 'node') {
    const { node } = origin;
    node.proto.output = node.outputs.map((output) => (output === from ? to : output));
  }
  if (graph.kind === 'graph') {
    const proto = graph.proto as GraphProto;
    for (const list of [proto.input, proto.output]) {
      for (const entry of list ?? []) if (entry.name === from) entry.name = to;
    }
    // A clone of the model has the same messages of tensors.
    const renamed = (tensor: TensorProto): TensorProto =>
      tensor.name === from ? new Tensor(tensor).renamed(to).proto : tensor;
    if (proto.initializer) proto.initializer = proto.initializer.map(renamed);
    for (const sparse of proto.sparse_initializer ?? [])
      if (sparse.values) sparse.values = renamed(sparse.values);
    for (const note of proto.quantization_annotation ?? []) {
      if (note.tensor_name === from) note.tensor_name = to;
      for (const entry of note.quant_parameter_tensor_names ?? []) if (entry.value === from) entry.value = to;
    }
  } else {
    const proto = graph.proto as FunctionProto;
    if (proto.input) proto.input = proto.input.map((input) => (input === from ? to : input));
    if (proto.output) proto.output = proto.output.map((output) => (output === from ? to : output));
  }
  for (const entry of graph.proto.value_info ?? []) if (entry.name === from) entry.name = to;
}

/** Takes away what is noted of values that are no more. */
export function forgetTypes(graph: Graph, values: ReadonlySet<string>): void {
  if (values.size === 0) return;
  if (graph.proto.value_info && [...values].some((value) => graph.index.typed.has(value))) {
    graph.proto.value_info = graph.proto.value_info.filter((entry) => !values.has(entry.name ?? ''));
  }
  if (graph.kind === 'graph') {
    const proto = graph.proto as GraphProto;
    if (proto.quantization_annotation) {
      proto.quantization_annotation = proto.quantization_annotation.filter(
        (entry) => !values.has(entry.tensor_name ?? ''),
      );
    }
  }
}

/** Takes initializers away, and the inputs by their names. */
export function removeInitializers(graph: Graph, names: ReadonlySet<string>): void {
  if (names.size === 0) return;
  const proto = graph.proto as GraphProto;
  proto.initializer = withoutNames(proto.initializer ?? [], names);
  // IR < 4 lists initializers among the inputs; one that is gone would become an input that must be fed.
  const inputs = new Set([...names].filter((name) => graph.isInput(name)));
  if (inputs.size > 0) proto.input = withoutNames(proto.input ?? [], inputs);
  forgetTypes(graph, names);
}

/** Puts a tensor in the place of the initializer of its name, or in front of another, or behind all. */
export function setInitializer(graph: Graph, tensor: Tensor, before: ReadonlySet<string>): void {
  const proto = graph.proto as GraphProto;
  const list = proto.initializer ?? [];
  proto.initializer = list;
  const at = graph.initializers.has(tensor.name) ? indexNamed(list, tensor.name) : -1;
  const typeOf = ({ data_type, dims }: TensorProto): string => `${data_type}[${(dims ?? []).join(',')}]`;
  const isSameType = at >= 0 && typeOf(list[at] ?? {}) === typeOf(tensor.proto);
  if (at >= 0) list[at] = tensor.proto;
  else insertBefore(before, graph, list, tensor.proto);
  if (!isSameType && proto.value_info && graph.index.typed.has(tensor.name)) {
    proto.value_info = proto.value_info.filter((entry) => entry.name !== tensor.name);
  }
  const inputs = proto.input ?? [];
  const listed = graph.isInput(tensor.name) ? inputs[indexNamed(inputs, tensor.name)] : undefined;
  const info = ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape).proto;
  if (listed === undefined) {
    const isListed = graph.model.irVersion < 4 && graph === graph.model.graph;
    if (isListed) {
      proto.input = inputs;
      insertBefore(before, graph, inputs, info);
    }
  } else if (!isSameType && info.type) listed.type = info.type;
}

/** Up to so many nodes or initializers are taken out one by one. */
const FEW = 16;

interface Named {
  readonly name?: string;
}

function indexNamed(list: readonly Named[], name: string): number {
  return indexNear(list, (entry) => entry.name === name);
}

/** A list without the entries of these names, which it has; of a few it is changed in its place, as of nodes. */
function withoutNames<T extends Named>(list: T[], names: ReadonlySet<string>): T[] {
  if (names.size > FEW) return list.filter(({ name = '' }) => !names.has(name));
  for (const name of names) {
    const at = indexNamed(list, name);
    if (at >= 0) list.splice(at, 1);
  }
  return list;
}

/** Puts an entry of a list of initializers in front of the first of those named, or behind all. */
function insertBefore<T extends Named>(
  names: ReadonlySet<string>,
  { initializers }: Graph,
  list: T[],
  entry: T,
): void {
  const places = [...names]
    .filter((value) => initializers.has(value))
    .map((value) => indexNamed(list, value))
    .filter((at) => at >= 0);
  list.splice(Math.min(list.length, ...places), 0, entry);
}

/**
 * Takes nodes out, and puts others in at a position that counts those that go. Of a few the list is changed in its place: a copy for
 * each edit of a pass over 8,000 layers took half of its time.
 */
export function replaceNodes(
  { proto }: Graph,
  removed: ReadonlySet<NodeProto>,
  inserted: readonly NodeProto[],
  position: number,
): void {
  let list = proto.node ?? [];
  let at = position;
  if (removed.size > FEW) {
    at = list.slice(0, position).filter((node) => !removed.has(node)).length;
    list = list.filter((node) => !removed.has(node));
  } else {
    for (const node of removed) {
      const place = indexNear(list, (other) => other === node);
      list.splice(place, 1);
      if (place < at) at -= 1;
    }
  }
  list.splice(at, 0, ...inserted);
  proto.node = list;
}
