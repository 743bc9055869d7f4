import {
  ancestors,
  type Graph,
  isFloatType,
  type Model,
  type Node,
  type Tensor,
} from '../../../graph/index.js';
import { WEIGHT_INPUTS } from '../weights.js';

/** One vector at most: all dimensions but one are 1. */
const isVector = ({ shape }: Tensor): boolean => shape.filter((dim) => dim > 1).length <= 1;

/**
 * Gives each layer a copy of its own of what exporters wrote once because it happened to be equal: the zeros of biases
 * and running means, the ones of scales and running variances, the fill of a weight that a file leaves out. Trained as one,
 * they would be tied. The function of the model is the same.
 *
 * Only tensors whose elements are all equal are untied: others are equal because they are one, as the table of an embedding
 * that is the head too. Readers that have another weight in common are one layer that is applied several times, and go
 * on sharing.
 *
 * @param output the value that the loss reads
 * @returns the names of the copies
 */
export function untieWeights(model: Model, output: string): string[] {
  const { graph } = model;
  const fills = new Map<string, boolean>();
  const isFill = (tensor: Tensor): boolean => {
    const known = fills.get(tensor.name) ?? isFilled(tensor);
    fills.set(tensor.name, known);
    return known;
  };
  /** By tensor, the names that the places of layers read it by. */
  const readers = new Map<string, Map<string, string>>();
  const copies: Tensor[] = [];
  const inputs: { readonly node: Node; readonly index: number; readonly copy: string }[] = [];
  for (const node of ancestors(graph.nodes, [output])) {
    for (const index of placesOf(node)) {
      const tensor = graph.initializers.get(node.inputs[index] ?? '');
      if (tensor === undefined || !isFloatType(tensor.dataType) || tensor.size <= 1) continue;
      const uses = graph.uses(tensor.name);
      if (uses.length < 2 || uses.some((use) => use.node.is('Gather'))) continue;
      const isLoose = node.is('Add', 'Mul');
      if ((isLoose && !isVector(tensor)) || !isFill(tensor)) continue;
      const places = readers.get(tensor.name) ?? new Map<string, string>();
      readers.set(tensor.name, places);
      // The order of the operands of a sum says nothing.
      const place = `${node.opType} ${isLoose ? '' : index} ${layerOf(graph, node, isFill)}`;
      let copy = places.get(place);
      if (copy === undefined) {
        copy = places.size === 0 ? tensor.name : model.freshName(tensor.name);
        if (copy !== tensor.name) copies.push(tensor.renamed(copy));
        places.set(place, copy);
      }
      if (copy !== tensor.name) inputs.push({ node, index, copy });
    }
  }
  graph.edit({ setInitializers: copies });
  for (const { node, index, copy } of inputs) graph.setInput(node, index, copy);
  return copies.map(({ name }) => name);
}

/** Inputs of a node that hold a weight or a running statistic; tables that are looked up in are not among them. */
function placesOf(node: Node): readonly number[] {
  if (node.domain !== '' || node.is('Gather', 'Concat')) return [];
  return [...(WEIGHT_INPUTS[node.opType] ?? []), ...(node.is('BatchNormalization') ? [3, 4] : [])];
}

/**
 * A name for the layer that a node belongs to. One that is applied several times is known by another weight that it reads
 * each time, or that the product before its bias or normalization does.
 */
function layerOf(graph: Graph, node: Node, isFill: (tensor: Tensor) => boolean): string {
  const before = node.inputs.flatMap((input) => graph.producer(input)?.inputs ?? []);
  const shared = [...node.inputs, ...before].find((input) => {
    const tensor = graph.initializers.get(input);
    const isWeight = tensor !== undefined && isFloatType(tensor.dataType) && tensor.size > 1;
    return isWeight && graph.uses(input).length > 1 && !isFill(tensor);
  });
  return shared ?? node.outputs[0] ?? '';
}

/** Whether all elements of a tensor are equal. */
export function isFilled(tensor: Tensor): boolean {
  const numbers = tensor.floats();
  return numbers.every((number) => number === numbers[0]);
}
