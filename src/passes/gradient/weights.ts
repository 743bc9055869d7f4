import {
  ancestors,
  type Graph,
  isFloatType,
  isView,
  type Node,
  type Tensor,
  traitsOf,
} from '../../graph/index.js';
import { ownRuleOf, RULES } from './rules/index.js';

/** What only gives a weight another form. */
export function isWeightView(node: Node): boolean {
  return isView(node) || node.is('Expand');
}

/** Inputs in which a node takes what is trained; none where training does not get past it. */
export function weightInputs(node: Node): readonly number[] {
  const own = ownRuleOf(node)?.weights;
  if (own !== undefined) return own;
  const { weights = [], gates } = traitsOf(node);
  return gates !== undefined || Object.hasOwn(RULES, node.opType) ? weights : [];
}

/** Lower numbers are those of attention masks. */
const MASK = -1e4;

/**
 * The initializers that a training framework would train: float tensors that stand where weights, biases, scales,
 * embeddings and slopes do. Running statistics, single numbers, masks and constants of other operators (epsilons,
 * means and deviations of a normalization of the input) are not among them.
 *
 * @param output the value that the loss reads
 * @example
 * const [output] = model.graph.outputs;
 * if (output) console.log(trainableWeights(model.graph, output.name)); // ['conv1.weight', 'conv1.bias', …]
 */
export function trainableWeights(graph: Graph, output: string): string[] {
  const found = new Set<string>();
  const loose = new Map<string, Tensor>();
  for (const node of ancestors(graph.nodes, [output])) {
    for (const index of weightInputs(node)) {
      const source = sourceOf(graph, node.inputs[index] ?? '');
      const tensor = graph.initializers.get(source);
      if (tensor === undefined || !isFloatType(tensor.dataType)) continue;
      const isLoose = node.is('Add', 'Mul', 'Concat');
      if (isLoose && (tensor.size <= 1 || tensor.floats().some((number) => number < MASK))) continue;
      found.add(source);
      if (node.is('Mul')) loose.set(source, tensor);
    }
  }
  for (const name of rotations(loose)) found.delete(name);
  // In the order of the file.
  return [...graph.initializers.keys()].filter((name) => found.has(name));
}

/**
 * Cosines and sines of rotary positions, which exporters compute for fixed sizes: two tables that nodes multiply by, whose squares sum to one
 * number (1, or that of a scaled rotation) everywhere.
 */
function rotations(factors: ReadonlyMap<string, Tensor>): Set<string> {
  const tables = [...factors].filter(([, { shape }]) => shape.filter((dim) => dim > 1).length > 1);
  const found = new Set<string>();
  for (const [i, [name, tensor]] of tables.entries()) {
    for (const [other, second] of tables.slice(i + 1)) {
      if (second.shape.join() !== tensor.shape.join() || found.has(name)) continue;
      const [a, b] = [tensor.floats(), second.floats()];
      const squared = (at: number): number => (a[at] as number) ** 2 + (b[at] as number) ** 2;
      const first = squared(0);
      const isOne = a.every((_, at) => Math.abs(squared(at) - first) <= 1e-2 * first);
      const isFilled = a.every((value) => value === a[0]);
      if (isOne && first > 0 && !isFilled) found.add(name).add(other);
    }
  }
  return found;
}

/**
 * The values that stand where weights and running statistics do and that a node with `holds` makes, views of them looked
 * through. Of the operands of Add and Mul only vectors behind Identity are among them: another number that a node holds there
 * is seldom a weight.
 */
export function weightPlaces(graph: Graph, output: string, holds: (node: Node) => boolean): Set<string> {
  const found = new Set<string>();
  for (const node of ancestors(graph.nodes, [output])) {
    if (node.is('Concat')) continue;
    const isLoose = node.is('Add', 'Mul');
    for (const index of [...weightInputs(node), ...(traitsOf(node).statistics ?? [])]) {
      const source = sourceOf(graph, node.inputs[index] ?? '', holds);
      const maker = graph.producer(source);
      if (isLoose && !isCopiedVector(graph, maker)) continue;
      if (maker !== undefined && holds(maker)) found.add(source);
    }
  }
  return found;
}

function isCopiedVector(graph: Graph, maker: Node | undefined): boolean {
  const tensor = maker?.is('Identity') ? graph.initializers.get(maker.inputs[0] ?? '') : undefined;
  return tensor !== undefined && tensor.size > 1;
}

/** What a value is a view of: an initializer, or what a node makes that is no view or `stops`. */
function sourceOf(graph: Graph, value: string, stops: (node: Node) => boolean = () => false): string {
  for (let name = value; ; ) {
    const node = graph.producer(name);
    if (node === undefined || !isWeightView(node) || stops(node)) return name;
    name = node.inputs[0] ?? '';
  }
}
