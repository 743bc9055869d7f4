import {
  type AttributeValue,
  type FloatType,
  isFloatType,
  type Model,
  makeNode,
  type Node,
  type NodeProto,
  narrow,
  Tensor,
} from '../../../../graph/index.js';
import type { Shapes } from '../../../../graph/shapes/shapes.js';

type Attributes = Readonly<Record<string, AttributeValue>>;

/** Nodes of standard operators in place of fused ones. Sizes are told by zeros and -1 of Reshape, so that none need be known. */
export class Emit {
  readonly nodes: NodeProto[] = [];
  readonly constants: Tensor[] = [];
  readonly node: Node;
  readonly shapes: Shapes;
  readonly #model: Model;
  readonly #type: FloatType;

  constructor(node: Node, shapes: Shapes, type: FloatType) {
    this.node = node;
    this.shapes = shapes;
    this.#model = node.graph.model;
    this.#type = type;
  }

  /** An input of the fused node; undefined for one that is left out. */
  input(index: number): string | undefined {
    return this.node.inputs[index] || undefined;
  }

  /** The same, of one that has to be there. */
  needed(index: number): string {
    return this.node.inputs[index] ?? '';
  }

  op(opType: string, inputs: readonly string[], attributes: Attributes = {}, output?: string): string {
    const name = output ?? this.#fresh(opType);
    this.nodes.push(
      makeNode({ opType, name: this.#fresh(`${opType}_node`), inputs, outputs: [name], attributes }),
    );
    return name;
  }

  /** The k largest along the last axis, and where they are. */
  topK(value: string, k: number): readonly [values: string, indices: string] {
    const outputs = [this.#fresh('TopK'), this.#fresh('TopK_indices')] as const;
    const inputs = [value, this.ints([k])];
    this.nodes.push(makeNode({ opType: 'TopK', name: this.#fresh('TopK_node'), inputs, outputs }));
    return outputs;
  }

  /** Gives an output of the fused node its value, where something reads it. */
  output(index: number, value: string): void {
    const name = this.node.outputs[index];
    if (name) this.op('Identity', [value], {}, name);
  }

  float(value: number): string {
    return this.#constant(
      Tensor.of(this.#fresh('constant'), this.#type, [], narrow(this.#type, Float64Array.of(value))),
    );
  }

  ints(values: readonly number[]): string {
    const data = BigInt64Array.from(values, BigInt);
    return this.#constant(Tensor.of(this.#fresh('constant'), 'int64', [values.length], data));
  }

  int(value: number): string {
    return this.#constant(Tensor.of(this.#fresh('constant'), 'int64', [], BigInt64Array.of(BigInt(value))));
  }

  int32(value: number): string {
    return this.#constant(Tensor.of(this.#fresh('constant'), 'int32', [], Int32Array.of(value)));
  }

  /** Of the float type of the model. */
  cast(value: string): string {
    return this.op('Cast', [value], { to: { int: FLOAT_CODES[this.#type] } });
  }

  toInt(value: string, code: 6 | 7): string {
    return this.op('Cast', [value], { to: { int: code } });
  }

  reshape(value: string, shape: readonly number[]): string {
    return this.op('Reshape', [value, this.ints(shape)]);
  }

  transpose(value: string, perm: readonly number[]): string {
    return this.op('Transpose', [value], { perm: { ints: [...perm] } });
  }

  /** Elements [from, to) along the last axis. */
  last(value: string, from: number, to: number, step = 1): string {
    return this.op('Slice', [value, this.ints([from]), this.ints([to]), this.ints([-1]), this.ints([step])]);
  }

  concat(values: readonly string[], axis = -1): string {
    return this.op('Concat', values, { axis: { int: axis } });
  }

  add(a: string, b: string): string {
    return this.op('Add', [a, b]);
  }

  mul(a: string, b: string): string {
    return this.op('Mul', [a, b]);
  }

  scale(value: string, factor: number): string {
    return factor === 1 ? value : this.mul(value, this.float(factor));
  }

  /** Mean over the last axis, which stays. */
  lastMean(value: string): string {
    return this.#model.opset() < 18
      ? this.op('ReduceMean', [value], { axes: { ints: [-1] }, keepdims: { int: 1 } })
      : this.op('ReduceMean', [value, this.ints([-1])], { keepdims: { int: 1 } });
  }

  /** The size of an axis, as a scalar. */
  sizeOf(value: string, axis: number): string {
    const shape = this.op('Shape', [value]);
    return this.op('Gather', [shape, this.int(axis)]);
  }

  /** 0 to size - 1. */
  range(size: string): string {
    return this.op('Range', [this.int(0), size, this.int(1)]);
  }

  /** The same numbers as no weight that could be trained: caches and scales stand where weights do. */
  frozen(value: string): string {
    return this.op('Neg', [this.op('Neg', [value])]);
  }

  #constant(tensor: Tensor): string {
    this.constants.push(tensor);
    return tensor.name;
  }

  #fresh(base: string): string {
    return this.#model.freshName(`${this.node.label}/${base}`);
  }
}

const FLOAT_CODES = { float32: 1, float16: 10, float64: 11, bfloat16: 16 } as const satisfies Record<
  FloatType,
  number
>;

/** The float type that a model computes in: that of most of its constants. */
export function floatTypeOf(model: Model): FloatType {
  const counts = new Map<FloatType, number>();
  for (const { dataType } of model.graph.initializers.values())
    if (isFloatType(dataType)) counts.set(dataType, (counts.get(dataType) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  const input = model.graph.inputs.find(({ dataType }) => dataType !== undefined && isFloatType(dataType));
  return most?.[0] ?? (input?.dataType as FloatType | undefined) ?? 'float32';
}
