import { type Graph, traitsOf } from '../../graph/index.js';
import { isWeightView } from '../../passes/gradient/weights.js';

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
    if (isWeightView(node)) return index === 0 && isMatrix(node.graph, node.outputs[0] ?? '');
    return traitsOf(node).matrices?.includes(index) === true;
  });
}
