import { createModel } from '../model.js';
import { createMessage, fromBigInt } from '../proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../proto/schema.js';
import { DATA_TYPES, type DataType } from '../tensor/data-type.js';
import { Tensor, widen } from '../tensor/tensor.js';
import type { Graph, Model } from '../types.js';
import { ValueInfo } from '../value-info.js';

type Half = 'float16' | 'bfloat16';
const TYPED = ['to', 'dtype', 'output_datatype', 'output_dtype'];

/** What inSingle changed. */
export interface SinglePrecision {
  readonly model: Model;
  readonly nodes: number;
  readonly weights: number;
  readonly casts: number;
}

/** Whether a model has weights, inputs, outputs or casts of a type. */
export function usesType(model: Model, type: DataType): boolean {
  const { code } = DATA_TYPES[type];
  for (const graph of [model.graph, ...model.functions].flatMap((one) => [...one.walk()])) {
    for (const { dataType } of graph.initializers.values()) if (dataType === type) return true;
    for (const { dataType } of [...graph.inputs, ...graph.outputs]) if (dataType === type) return true;
    for (const node of graph.nodes)
      for (const one of node.proto.attribute ?? [])
        if (one.t?.data_type === code || (TYPED.includes(one.name ?? '') && Number(one.i) === code))
          return true;
  }
  return false;
}

/**
 * A copy of a model, subgraphs and functions too, that is in float32 where it was in half precision.
 *
 * @param keepIo inputs and outputs keep their types, with casts behind and before them
 * @param types which types give way; default both
 */
export function inSingle(
  model: Model,
  keepIo: boolean,
  types: readonly Half[] = ['float16', 'bfloat16'],
): SinglePrecision {
  const half: ReadonlySet<number> = new Set(types.map((type) => DATA_TYPES[type].code));
  const isMeant = (type: DataType | undefined): boolean => types.some((one) => one === type);
  let [weights, nodes, casts] = [0, 0, 0];
  const tensor = (proto: TensorProto): TensorProto => {
    if (!half.has(proto.data_type ?? 0)) return proto;
    weights += 1;
    return widened(new Tensor(proto)).proto;
  };
  const value = (proto: ValueInfoProto): ValueInfoProto => {
    const info = new ValueInfo(proto);
    const { dataType } = info;
    return isMeant(dataType) ? ValueInfo.tensor(info.name, 'float32', info.shape).proto : proto;
  };
  const node = (proto: NodeProto): NodeProto => {
    let isChanged = false;
    const attribute = (proto.attribute ?? []).map((one) => {
      if (one.t && half.has(one.t.data_type ?? 0)) {
        isChanged = true;
        return { ...one, t: tensor(one.t) };
      }
      if (TYPED.includes(one.name ?? '') && half.has(Number(one.i))) {
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
  const whole = keepIo ? withTypes(model.graph, made, model, { isMeant, count: () => (casts += 1) }) : made;
  const result = createModel(
    createMessage('ModelProto', { ...model.proto, training_info: [], functions, graph: whole }),
  ).clone();
  return { model: result, nodes, weights, casts };
}

/** A tensor of half precision as float32, which holds all of its numbers. */
function widened(tensor: Tensor): Tensor {
  const data = widen(tensor.dataType as 'float16', tensor.array() as never);
  return Tensor.of(tensor.name, 'float32', tensor.shape, data as Float32Array);
}

/** Inputs and outputs of the types that they had, with casts behind and before them. */
function withTypes(
  old: Graph,
  made: GraphProto,
  model: Model,
  {
    isMeant,
    count,
  }: { readonly isMeant: (type: DataType | undefined) => boolean; readonly count: () => void },
): GraphProto {
  const [before, behind]: [NodeProto[], NodeProto[]] = [[], []];
  const names = new Map<string, string>();
  const isHalf = (value: ValueInfo): boolean => isMeant(value.dataType);
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
