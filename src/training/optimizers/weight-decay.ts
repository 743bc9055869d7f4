import type { Graph } from '../../graph/index.js';
import { WEIGHT_VIEWS } from '../../passes/gradient/weights.js';

/** Inputs in which an operator multiplies by a weight, other than by one number a channel. */
const MATRIX_INPUTS: Readonly<Record<string, readonly number[]>> = {
  Gemm: [0, 1],
  MatMul: [0, 1],
  Einsum: [0, 1, 2, 3],
  Conv: [1],
  ConvTranspose: [1],
  Gather: [0],
  RNN: [1, 2],
  GRU: [1, 2],
  LSTM: [1, 2],
};

/**
 * The weights that weight decay is good for: those that a linear layer or an embedding multiplies by. Biases, the scales
 * and shifts of normalizations, slopes and positions, which shrinking would only distort, are not among them. What
 * tells is how the graph uses a weight, not its name or rank: a bias of rank 2 stays a bias.
 *
 * @param weights names of initializers
 */
export function decayedWeights(graph: Graph, weights: Iterable<string>): ReadonlySet<string> {
  return new Set([...weights].filter((name) => isMatrix(graph, name)));
}

function isMatrix(graph: Graph, name: string): boolean {
  return graph.uses(name).some(({ node, index }) => {
    if (node.is(...WEIGHT_VIEWS)) return index === 0 && isMatrix(node.graph, node.outputs[0] ?? '');
    return node.domain === '' && (MATRIX_INPUTS[node.opType] ?? []).includes(index);
  });
}
