import {
  createModel,
  DATA_TYPES,
  type Graph,
  type GraphProto,
  type Model,
  type NodeProto,
  Tensor,
  ValueInfo,
} from '../../graph/index.js';
import { createMessage, fromBigInt } from '../../graph/proto/codec.js';
import type { FunctionProto, TensorProto, ValueInfoProto } from '../../graph/proto/schema.js';
import { widened } from './narrow-weight.js';
import type { ConvertAccount } from './to-half.js';

const HALF: ReadonlySet<number> = new Set([DATA_TYPES.float16.code, DATA_TYPES.bfloat16.code]);
const TYPED = ['to', 'dtype', 'output_datatype', 'output_dtype'];

/** All of a model, subgraphs and functions too, in float32 where it was in half precision. */
export function toSingle(
  model: Model,
  keepIo: boolean,
): { readonly model: Model; readonly account: ConvertAccount } {
  let [weights, nodes, casts] = [0, 0, 0];
  const tensor = (proto: TensorProto): TensorProto => {
    if (!HALF.has(proto.data_type ?? 0)) return proto;
    weights += 1;
    return widened(new Tensor(proto)).proto;
  };
  const value = (proto: ValueInfoProto): ValueInfoProto => {
    const info = new ValueInfo(proto);
    const { dataType } = info;
    return dataType === 'float16' || dataType === 'bfloat16'
      ? ValueInfo.tensor(info.name, 'float32', info.shape).proto
      : proto;
  };
  const node = (proto: NodeProto): NodeProto => {
    let isChanged = false;
    const attribute = (proto.attribute ?? []).map((one) => {
      if (one.t && HALF.has(one.t.data_type ?? 0)) {
        isChanged = true;
        return { ...one, t: tensor(one.t) };
      }
      if (TYPED.includes(one.name ?? '') && HALF.has(Number(one.i))) {
        isChanged = true;
        return { ...one, i: fromBigInt(DATA_TYPES.float32.code) };
      }
      if (one.g) return { ...one, g: graph(one.g) };
      if (one.graphs && one.graphs.length > 0) return { ...one, graphs: one.graphs.map(graph) };
      return one;
    });
    if (isChanged) nodes += 1;
    return { ...proto, attribute } as NodeProto;
  };
  const graph = (proto: GraphProto): GraphProto =>
    createMessage('GraphProto', {
      ...proto,
      node: (proto.node ?? []).map(node),
      initializer: (proto.initializer ?? []).map(tensor),
      input: (proto.input ?? []).map(value),
      output: (proto.output ?? []).map(value),
      value_info: (proto.value_info ?? []).map(value),
    });
  const functions = (model.proto.functions ?? []).map(
    (body): FunctionProto => ({
      ...body,
      node: (body.node ?? []).map(node),
      value_info: (body.value_info ?? []).map(value),
    }),
  );
  const made = graph(model.graph.proto as GraphProto);
  const whole = keepIo ? withTypes(model.graph, made, model, () => (casts += 1)) : made;
  const result = createModel(
    createMessage('ModelProto', { ...model.proto, training_info: [], functions, graph: whole }),
  ).clone();
  return { model: result, account: { type: 'float32', nodes, weights, casts, skipped: [], vanished: [] } };
}

/** Inputs and outputs of the types that they had, with casts behind and before them. */
function withTypes(old: Graph, made: GraphProto, model: Model, count: () => void): GraphProto {
  const [before, behind]: [NodeProto[], NodeProto[]] = [[], []];
  const names = new Map<string, string>();
  const isHalf = (value: ValueInfo): boolean => value.dataType === 'float16' || value.dataType === 'bfloat16';
  const cast = (from: string, to: string, code: number): NodeProto => {
    count();
    return createMessage('NodeProto', {
      op_type: 'Cast',
      name: model.freshName(`${to}/cast`),
      input: [from],
      output: [to],
      attribute: [createMessage('AttributeProto', { name: 'to', type: 2, i: fromBigInt(code) })],
    });
  };
  for (const value of old.inputs) {
    if (!isHalf(value) || old.initializers.has(value.name)) continue;
    const inner = model.freshName(`${value.name}_float32`);
    names.set(value.name, inner);
    before.push(cast(value.name, inner, DATA_TYPES.float32.code));
  }
  for (const value of old.outputs) {
    if (!isHalf(value) || value.dataType === undefined) continue;
    const inner = names.get(value.name) ?? model.freshName(`${value.name}_float32`);
    names.set(value.name, inner);
    behind.push(cast(inner, value.name, DATA_TYPES[value.dataType].code));
  }
  const renamed = (name: string): string => names.get(name) ?? name;
  return createMessage('GraphProto', {
    ...made,
    node: [
      ...before,
      ...(made.node ?? []).map((node) => ({
        ...node,
        input: (node.input ?? []).map(renamed),
        output: (node.output ?? []).map(renamed),
      })),
      ...behind,
    ] as NodeProto[],
    input: old.inputs.map((value) =>
      old.initializers.has(value.name)
        ? ((made.input ?? []).find(({ name }) => name === value.name) ?? value.proto)
        : value.proto,
    ),
    output: old.outputs.map((value) => value.proto),
    value_info: (made.value_info ?? []).filter(({ name = '' }) => !names.has(name)),
  });
}
