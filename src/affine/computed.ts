import {
  type ConstantValue,
  type Graph,
  isFloatType,
  type Model,
  ModelError,
  type Node,
  type Tensor,
} from '../graph/index.js';
import { evaluateConstant } from '../runtime/session/constant.js';
import { knowOperand, operandOf } from './operand.js';

/** Lists of integers that nodes make of constants, while work goes on that asks for them. */
const computed = new WeakMap<Node, readonly number[]>();

/** What a node was found to compute by `withComputedConstants`, around the call. */
export function computedIntegers(graph: Graph, value: string): readonly number[] | undefined {
  const origin = value === '' ? undefined : graph.resolve(value);
  return origin?.kind === 'node' && origin.node.outputs[0] === value ? computed.get(origin.node) : undefined;
}

/** Operators that read shapes, axes or pads, and those that read weights, factors and summands. */
const INTEGER_READERS = ['Reshape', 'Squeeze', 'Unsqueeze', 'Pad'];
const FLOAT_READERS = [
  ...['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization'],
  ...['Add', 'Sub', 'Sum', 'Mul', 'Div'],
];

/**
 * Does work for which what nodes compute of constants alone is known as if it were constants: shapes, axes and pads
 * (Concat and Unsqueeze of Constants, as exporters write a view), factors (a power of the width of a head), weights
 * (those of weight normalization). Looking for regions is synchronous, computing is not.
 */
export async function withComputedConstants<T>(model: Model, work: () => Promise<T>): Promise<T> {
  const forget: (() => void)[] = [];
  try {
    const isConstant = constantNodes(model);
    for (const node of model.nodes()) {
      const indices = node.is(...INTEGER_READERS) ? [1] : node.is(...FLOAT_READERS) ? node.inputs.keys() : [];
      for (const index of indices) {
        const value = node.inputs[index] ?? '';
        const origin = value === '' ? undefined : node.graph.resolve(value);
        if (origin?.kind !== 'node' || !isConstant.has(origin.node)) continue;
        const { node: maker, graph } = origin;
        const found = operandOf(node.graph, value);
        const isKnown = !('reason' in found) && (found.root !== undefined || isFloatType(found.dataType));
        if (isKnown || computed.has(maker) || maker.outputs[0] !== value) continue;
        const tensor = await evaluatedOrNot(graph, value);
        if (tensor === undefined) continue;
        if (tensor.dataType === 'int64' || tensor.dataType === 'int32') {
          computed.set(maker, tensor.integers());
          forget.push(() => computed.delete(maker));
        } else if (isFloatType(tensor.dataType)) {
          forget.push(knowOperand(maker, { ...madeOf(maker), value, graph, ...shapeOf(tensor) }));
        }
      }
    }
    return await work();
  } finally {
    for (const undo of forget) undo();
  }
}

function shapeOf({ dataType, shape }: Tensor): Pick<ConstantValue, 'dataType' | 'shape' | 'root'> {
  return { dataType, shape, root: undefined };
}

/** The nodes that read nothing but constants, each other's outputs included. */
function constantNodes(model: Model): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of model.nodes()) {
    const isMade = (input: string): boolean => {
      const origin = input === '' ? undefined : node.graph.resolve(input);
      return (
        input === '' || origin?.kind === 'initializer' || (origin?.kind === 'node' && found.has(origin.node))
      );
    };
    if (node.subgraphs.length === 0 && node.domain === '' && node.inputs.every(isMade)) found.add(node);
  }
  return found;
}

/** The nodes that compute a constant, in topological order, and the initializers that they read. */
function madeOf(maker: Node): Pick<ConstantValue, 'path' | 'leaves'> {
  const path = new Set<Node>();
  const leaves = new Set<Tensor>();
  const stack: { node: Node; isDone: boolean }[] = [{ node: maker, isDone: false }];
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    const { node, isDone } = item;
    if (isDone) path.add(node);
    if (isDone || path.has(node)) continue;
    stack.push({ node, isDone: true });
    for (const input of node.inputs) {
      const origin = input === '' ? undefined : node.graph.resolve(input);
      if (origin?.kind === 'initializer') leaves.add(origin.tensor);
      if (origin?.kind === 'node' && !path.has(origin.node)) stack.push({ node: origin.node, isDone: false });
    }
  }
  return { path: [...path], leaves: [...leaves] };
}

async function evaluatedOrNot(graph: Graph, value: string): Promise<Tensor | undefined> {
  try {
    return await evaluateConstant(graph, value);
  } catch (error) {
    // A random operator, or one that the runtime does not have.
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}
