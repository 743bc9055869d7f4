import {
  type ConstantResult,
  type ConstantValue,
  findConstant,
  type Graph,
  isConstant,
  type Node,
} from '../graph/index.js';

/** What nodes were found to compute of constants alone, while work goes on that asks for it. */
const computed = new WeakMap<Node, ConstantValue>();

/** Lets operandOf know a constant that a node computes; gives what makes it forget that. */
export function knowOperand(node: Node, constant: ConstantValue): () => void {
  computed.set(node, constant);
  return () => computed.delete(node);
}

/**
 * The constant behind a value, as findConstant has it, and products of constants besides: a kernel that is written
 * as one (DO-Conv: Cao et al., "DO-Conv: Depthwise Over-parameterized Convolutional Layer", IEEE TIP 2022).
 */
export function operandOf(graph: Graph, value: string): ConstantResult {
  const found = findConstant(graph, value);
  if (isConstant(found)) return found;
  const origin = value === '' ? undefined : graph.resolve(value);
  if (origin?.kind !== 'node') return found;
  const { node, graph: home } = origin;
  const known = node.outputs[0] === value ? computed.get(node) : undefined;
  if (known !== undefined) return known;
  if (!node.is('MatMul', 'Reshape', 'Transpose')) return found;
  const inputs: ConstantValue[] = [];
  for (const input of node.inputs) {
    const operand = operandOf(home, input);
    if (!isConstant(operand)) return found;
    inputs.push(operand);
  }
  const shape = shapeOf(node.opType, inputs, node.attributes.ints('perm'));
  const [first] = inputs;
  if (shape === undefined || first === undefined) return found;
  return {
    value,
    graph: home,
    dataType: first.dataType,
    shape,
    path: [...new Set([...inputs.flatMap((input) => input.path), node])],
    leaves: [...new Map(inputs.flatMap((input) => input.leaves).map((leaf) => [leaf.proto, leaf])).values()],
    root: undefined,
  };
}

function shapeOf(
  opType: string,
  [first, second]: readonly ConstantValue[],
  permutation: readonly number[] | undefined,
): number[] | undefined {
  if (first === undefined) return undefined;
  if (opType === 'Transpose') {
    const order = permutation ?? first.shape.map((_, axis) => first.shape.length - 1 - axis);
    return order.map((axis) => first.shape[axis] ?? 0);
  }
  if (second === undefined) return undefined;
  if (opType === 'Reshape') {
    const target =
      second.dataType === 'int64' && second.root !== undefined ? second.root.integers() : undefined;
    // Sizes to be inferred are left to findConstant.
    return target?.every((dim) => dim > 0) ? target : undefined;
  }
  const [a, b] = [first.shape, second.shape];
  if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2)) return undefined;
  const rank = Math.max(a.length, b.length);
  const at = (shape: readonly number[], axis: number): number => shape[axis - rank + shape.length] ?? 1;
  const batch = Array.from({ length: rank - 2 }, (_, axis) => Math.max(at(a, axis), at(b, axis)));
  return [...batch, a.at(-2) ?? 0, b.at(-1) ?? 0];
}
