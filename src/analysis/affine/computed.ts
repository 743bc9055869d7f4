import { type Graph, type Model, ModelError, type Node } from '../../graph/index.js';
import { evaluateConstant } from '../../runtime/constant.js';
import { operandOf } from './operand.js';

/** Lists of integers that nodes make of constants, while work goes on that asks for them. */
const computed = new WeakMap<Node, readonly number[]>();

/** What a node was found to compute by `withComputedShapes`, around the call. */
export function computedIntegers(graph: Graph, value: string): readonly number[] | undefined {
  const origin = value === '' ? undefined : graph.resolve(value);
  return origin?.kind === 'node' && origin.node.outputs[0] === value ? computed.get(origin.node) : undefined;
}

/**
 * Does work for which shapes, axes and pads that nodes compute of constants alone (Concat and Unsqueeze of Constants,
 * as exporters write a view) are known as if they were constants. Looking for regions is synchronous, computing is not.
 */
export async function withComputedShapes<T>(model: Model, work: () => Promise<T>): Promise<T> {
  const makers: Node[] = [];
  for (const node of model.nodes()) {
    if (!node.is('Reshape', 'Squeeze', 'Unsqueeze', 'Pad')) continue;
    const value = node.inputs[1] ?? '';
    const origin = value === '' ? undefined : node.graph.resolve(value);
    if (origin?.kind !== 'node' || computed.has(origin.node)) continue;
    const found = operandOf(node.graph, value);
    if (!('reason' in found) && found.root !== undefined) continue;
    const integers = await integersOf(origin.graph, value);
    if (integers === undefined) continue;
    computed.set(origin.node, integers);
    makers.push(origin.node);
  }
  try {
    return await work();
  } finally {
    for (const node of makers) computed.delete(node);
  }
}

async function integersOf(graph: Graph, value: string): Promise<readonly number[] | undefined> {
  try {
    const tensor = await evaluateConstant(graph, value);
    return tensor.dataType === 'int64' || tensor.dataType === 'int32' ? tensor.integers() : undefined;
  } catch (error) {
    // It depends on an input, as shapes mostly do.
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}
