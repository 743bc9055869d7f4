import {
  type ComputedConstant,
  type ConstantValue,
  type Graph,
  isConstant,
  isFloatType,
  KnownConstants,
  type Model,
  ModelError,
  type Node,
  type Tensor,
} from '../../graph/index.js';
import { traitsOf } from '../../graph/operators/index.js';
import { evaluateConstant } from './constant.js';

/**
 * The constants of a model with what its nodes compute of constants alone: shapes, axes and pads (Concat and Unsqueeze of
 * Constants, as exporters write a view), factors (a power of the width of a head), weights (those of weight normalization).
 * Looking for regions is synchronous, computing is not. It holds for the model as it is now: ask again after edits.
 *
 * @example
 * const { regions } = findRegions(model, { constants: await computedConstants(model) });
 */
export async function computedConstants(model: Model): Promise<KnownConstants> {
  const computed = new Map<Node, ComputedConstant>();
  const stored = KnownConstants.stored;
  const isComputable = constantNodes(model);
  for (const node of model.nodes()) {
    for (const index of constantInputs(node)) {
      const value = node.inputs[index] ?? '';
      const origin = value === '' ? undefined : node.graph.resolve(value);
      if (origin?.kind !== 'node' || !isComputable.has(origin.node)) continue;
      const { node: maker, graph } = origin;
      const found = stored.operand(node, index);
      const isKnown = isConstant(found) && (found.root !== undefined || isFloatType(found.dataType));
      if (isKnown || computed.has(maker) || maker.outputs[0] !== value) continue;
      const tensor = await evaluatedOrNot(graph, value);
      if (tensor === undefined) continue;
      if (tensor.dataType === 'int64' || tensor.dataType === 'int32')
        computed.set(maker, { integers: tensor.integers() });
      else if (isFloatType(tensor.dataType))
        computed.set(maker, { constant: { ...madeOf(maker), value, graph, ...shapeOf(tensor) } });
    }
  }
  return new KnownConstants(computed);
}

/** The inputs where constants matter: shapes, axes and pads of what moves elements; weights, factors and summands. */
function constantInputs(node: Node): Iterable<number> {
  const { elementwise, moves, relabels, shape, weights } = traitsOf(node);
  if (weights !== undefined || (elementwise === true && shape === 'broadcast')) return node.inputs.keys();
  return moves === true || relabels === true ? [1] : [];
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
