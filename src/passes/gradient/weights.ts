import { type Graph, isFloatType } from '../../graph/index.js';
import { ancestors } from './probe.js';

/** Inputs in which operators take what is trained. */
const WEIGHT_INPUTS: Readonly<Record<string, readonly number[]>> = {
  Gemm: [0, 1, 2],
  MatMul: [0, 1],
  Einsum: [0, 1, 2, 3],
  Conv: [1, 2],
  ConvTranspose: [1, 2],
  BatchNormalization: [1, 2],
  LayerNormalization: [1, 2],
  InstanceNormalization: [1, 2],
  GroupNormalization: [1, 2],
  PRelu: [1],
  Gather: [0],
  Add: [0, 1],
  Mul: [0, 1],
  Concat: [0, 1, 2, 3],
};

/** What only gives a weight another form. */
export const WEIGHT_VIEWS = [
  'Identity',
  'Cast',
  'Transpose',
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
  'Expand',
] as const;

/** Lower numbers are those of attention masks. */
const MASK = -1e4;

/**
 * The initializers that a training framework would train: float tensors that stand where weights, biases, scales,
 * embeddings and slopes do. Running statistics, single numbers, masks and constants of other operators (epsilons,
 * means and deviations of a normalization of the input) are not among them.
 *
 * @param output the value that the loss reads
 */
export function trainableWeights(graph: Graph, output: string): string[] {
  const found = new Set<string>();
  for (const node of ancestors(graph.nodes, [output])) {
    if (node.domain !== '') continue;
    for (const index of WEIGHT_INPUTS[node.opType] ?? []) {
      const source = sourceOf(graph, node.inputs[index] ?? '');
      const tensor = source === undefined ? undefined : graph.initializers.get(source);
      if (source === undefined || tensor === undefined || !isFloatType(tensor.dataType)) continue;
      const isLoose = node.is('Add', 'Mul', 'Concat');
      if (isLoose && (tensor.size <= 1 || tensor.floats().some((number) => number < MASK))) continue;
      found.add(source);
    }
  }
  // In the order of the file.
  return [...graph.initializers.keys()].filter((name) => found.has(name));
}

function sourceOf(graph: Graph, value: string): string | undefined {
  for (let name = value; ; ) {
    if (graph.initializers.has(name)) return name;
    const node = graph.producer(name);
    if (node === undefined || !node.is(...WEIGHT_VIEWS)) return undefined;
    name = node.inputs[0] ?? '';
  }
}
