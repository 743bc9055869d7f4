import { inlineCalls } from '../../../graph/edit/inline-functions.js';
import {
  ancestors,
  type Graph,
  isFloatType,
  type Model,
  type Node,
  type NodeSpec,
  specOf,
  type Tensor,
  traitsOf,
} from '../../../graph/index.js';
import { isWeightView, weightInputs, weightPlaces } from '../weights.js';
import { inlined } from './inline.js';
import { ownTensor } from './own-weights.js';

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
  const { copies, inputs } = fillCopies(graph, output);
  graph.edit({ setInitializers: copies });
  for (const { node, index, copy } of inputs) graph.setInput(node, index, copy);
  return copies.map(({ name }) => name);
}

/** The copies that layers get of tensors all of whose elements are equal, and who reads them. */
function fillCopies(graph: Graph, output: string) {
  const { model } = graph;
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
  return { copies, inputs };
}

/** Inputs of a node that hold a weight or a running statistic; tables that are looked up in are not among them. */
function placesOf(node: Node): readonly number[] {
  if (node.is('Gather', 'Concat')) return [];
  return [...weightInputs(node), ...(traitsOf(node).statistics ?? [])];
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

/** A place of a layer that a weight stands in, and the views that lie before it, the one next to the weight first. */
interface Place {
  readonly node: Node;
  readonly index: number;
  readonly views: readonly Node[];
}

/** The layers that read each of some initializers, if through views. */
function placesByWeight(graph: Graph, output: string): ReadonlyMap<string, readonly Place[]> {
  const found = new Map<string, Place[]>();
  for (const node of ancestors(graph.nodes, [output])) {
    if (node.domain !== '' || node.is('Concat')) continue;
    for (const index of weightInputs(node)) {
      const views: Node[] = [];
      let name = node.inputs[index] ?? '';
      for (let maker = graph.producer(name); maker && isWeightView(maker); maker = graph.producer(name)) {
        views.unshift(maker);
        name = maker.inputs[0] ?? '';
      }
      const tensor = graph.initializers.get(name);
      if (tensor === undefined || !isFloatType(tensor.dataType) || tensor.size <= 1) continue;
      found.set(name, [...(found.get(name) ?? []), { node, index, views }]);
    }
  }
  return found;
}

/**
 * Places by the parameter that they had before an exporter wrote equal ones once: it leaves an Identity with the name of each, and
 * where that is gone each place is one.
 */
function byParameter(places: readonly Place[]): readonly (readonly Place[])[] {
  const groups = new Map<Node | Place, Place[]>();
  for (const place of places) {
    const alias = place.views.find((view) => view.is('Identity')) ?? place;
    groups.set(alias, [...(groups.get(alias) ?? []), place]);
  }
  return [...groups.values()];
}

/**
 * Those of some weights that several layers share, so that they train as one. Whether they are one (the table of an embedding that
 * is the head too, a layer that is applied twice) or an exporter merged weights that began equal, a file does not say.
 *
 * @param output the value that the loss reads
 */
export function tiedWeights(
  model: Model,
  output: string,
  names: readonly string[],
): readonly { readonly name: string; readonly saved: number; readonly nodes: readonly string[] }[] {
  const { graph } = inlined(model);
  const places = placesByWeight(graph, output);
  return names.flatMap((name) => {
    const groups = byParameter(places.get(name) ?? []);
    if (groups.length < 2) return [];
    const size = graph.initializers.get(name)?.size ?? 0;
    const nodes = groups.flatMap((group) => group.map(({ node }) => node.label));
    return [{ name, saved: (groups.length - 1) * size, nodes }];
  });
}

/**
 * Puts functions in place of those calls behind which layers are to get weights of their own: what several share because it is
 * equal, what is wanted besides, and what functions hold themselves.
 *
 * @returns the names of the calls
 */
export function showWeights(
  model: Model,
  output: string,
  isWanted: (name: string) => boolean = () => false,
): string[] {
  return inlineCalls(model, ({ graph }) => {
    const held = weightPlaces(graph, output, (node) => ownTensor(node) !== undefined);
    const shared = [...placesByWeight(graph, output)].flatMap(([name, places]) =>
      isWanted(name) && byParameter(places).length > 1 ? places : [],
    );
    return [
      ...[...held].map((name) => graph.producer(name)).filter((node) => node !== undefined),
      ...fillCopies(graph, output).inputs.map(({ node }) => node),
      ...shared.flatMap(({ node, views }) => [node, ...views]),
    ].map((node) => [node]);
  });
}

/**
 * Gives each layer that shares one of some weights a copy of its own. The first one keeps the weight. The function of the model is the
 * same until it is trained.
 *
 * @returns the names of the copies
 */
export function untieShared(model: Model, output: string, isWanted: (name: string) => boolean): string[] {
  const { graph } = model;
  const copies: string[] = [];
  for (const [name, places] of placesByWeight(graph, output)) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined || !isWanted(name)) continue;
    for (const group of byParameter(places).slice(1)) {
      const alias = group[0]?.views.find((view) => view.is('Identity'));
      const own = alias?.outputs[0] ?? '';
      if (alias !== undefined && alias.inputs[0] === name && !graph.isOutput(own)) {
        graph.edit({ removeNodes: [alias], setInitializers: [tensor.renamed(own)] });
        copies.push(own);
        continue;
      }
      const copy = model.freshName(name);
      graph.setInitializer(tensor.renamed(copy));
      copies.push(copy);
      for (const place of group) readFrom(graph, place, copy);
    }
  }
  return copies;
}

/** Lets a layer read another weight, through views of its own. */
function readFrom(graph: Graph, { node, index, views }: Place, weight: string): void {
  let value = weight;
  const specs = views.map((view): NodeSpec => {
    const inputs = [value, ...view.inputs.slice(1)];
    value = graph.model.freshName(view.outputs[0] ?? '');
    return { ...specOf(view.proto), name: graph.model.freshName(view.name), inputs, outputs: [value] };
  });
  if (specs.length > 0) graph.edit({ insertNodes: specs, before: node });
  graph.setInput(node, index, value);
  for (const view of views.toReversed())
    if (view.outputs.every((output) => graph.uses(output).length === 0 && !graph.isOutput(output)))
      graph.remove(view);
}
