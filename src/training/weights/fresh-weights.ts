import { findLinearSites } from '../../affine/linear-sites.js';
import {
  type FloatType,
  type Graph,
  isFloatType,
  type Model,
  narrow,
  type Tensor,
  traitsOf,
} from '../../graph/index.js';
import { activationGain, freshScales } from '../../passes/expand/fresh.js';
import { Random, type RuntimeTensor } from '../../runtime/index.js';
import { FRESH_INITS } from '../choices.js';

/** Distributions that layers begin with; see freshScales. */
export { FRESH_INITS };
/** How train makes fresh weights before it begins: an element of FRESH_INITS. */
export type FreshStart = (typeof FRESH_INITS)[number];

/** Inputs of operators that are no linear layers, and what they begin with. */
const CONSTANTS: Readonly<Record<string, Readonly<Record<number, number>>>> = {
  BatchNormalization: { 1: 1, 2: 0, 3: 0, 4: 1 },
  LayerNormalization: { 1: 1, 2: 0 },
  InstanceNormalization: { 1: 1, 2: 0 },
  GroupNormalization: { 1: 1, 2: 0 },
  PRelu: { 1: 0.25 },
  Gemm: { 2: 0 },
  Conv: { 2: 0 },
  ConvTranspose: { 2: 0 },
  RNN: { 3: 0 },
  GRU: { 3: 0 },
  LSTM: { 3: 0, 7: 0 },
  Mul: { 0: 1, 1: 1 },
  Concat: { 0: 0, 1: 0, 2: 0, 3: 0 },
};

/** Standard deviation of embeddings of words and positions (Radford et al. 2018; Dosovitskiy et al. 2021). */
const EMBEDDING = 0.02;

/**
 * Weights as a training from scratch begins with them: layers with the variance that keeps that of the signal through
 * the activation behind them (He et al., ICCV 2015, eq. 10, for 'kaiming'), biases zero, normalizations the identity with
 * fresh running statistics, embeddings normal with a small deviation, recurrent layers by their hidden units. Factors of
 * a chain are layers like any other. The same seed gives the same numbers.
 *
 * @param names the initializers to draw anew; running statistics of their normalizations come along
 */
export function freshWeights(
  model: Model,
  names: readonly string[],
  init: FreshStart,
  seed: number,
): ReadonlyMap<string, RuntimeTensor> {
  const { graph } = model;
  const scales = scalesOf(model, init);
  const fresh = new Map<string, RuntimeTensor>();
  const wanted = new Set([...names, ...statisticsOf(graph, new Set(names))]);
  for (const name of wanted) {
    const tensor = graph.initializers.get(name);
    if (tensor === undefined || !isFloatType(tensor.dataType)) continue;
    const values = new Float64Array(tensor.size);
    const random = new Random(seed, `fresh ${name}`);
    const scale = scales.get(name) ?? recurrentScale(graph, name);
    const constant = constantOf(graph, name);
    if (scale !== undefined) draw(values, scale, init, random);
    else if (constant !== undefined) values.fill(constant);
    else if (isTable(graph, tensor)) draw(values, EMBEDDING, 'normal', random);
    fresh.set(name, {
      type: tensor.dataType,
      shape: tensor.shape,
      data: narrow(tensor.dataType as FloatType, values),
    });
  }
  return fresh;
}

/** Standard deviations of the weights of linear layers, by the initializer that holds them. */
function scalesOf(model: Model, init: FreshStart): ReadonlyMap<string, number> {
  const scales = new Map<string, number>();
  for (const site of findLinearSites(model).sites) {
    const name = site.weight.root?.name ?? site.weight.leaves[0]?.name;
    if (name === undefined || scales.has(name)) continue;
    const plan = { depth: 1, perGroup: 1, kernels: [site.kernel], isSplit: false };
    const [scale] = freshScales(site, plan, `fresh:${init}`, activationGain(site.node)).scales;
    if (scale !== undefined) scales.set(name, scale);
  }
  return scales;
}

/**
 * The weights of recurrent layers begin with the variance of numbers between ± 1 / √hidden, as PyTorch's do, whatever
 * the distribution. Undefined for what is none.
 */
function recurrentScale(graph: Graph, name: string): number | undefined {
  const layer = graph
    .uses(name)
    .find(({ node, index }) => traitsOf(node).gates !== undefined && index > 0 && index < 3);
  const hidden = layer && graph.initializers.get(layer.node.inputs[2] ?? '')?.shape[2];
  return hidden && 1 / Math.sqrt(3 * hidden);
}

function draw(values: Float64Array, deviation: number, init: FreshStart, random: Random): void {
  const bound = deviation * Math.sqrt(3);
  for (let i = 0; i < values.length; i += 1) {
    values[i] = init === 'uniform' ? bound * (2 * random.uniform() - 1) : deviation * random.normal();
  }
}

/** What an initializer begins with because of where it stands; undefined where that says nothing. */
function constantOf(graph: Graph, name: string): number | undefined {
  for (const { node, index } of graph.uses(name)) {
    const value = node.domain === '' ? CONSTANTS[node.opType]?.[index] : undefined;
    if (value !== undefined) return value;
  }
  return undefined;
}

/** An embedding, or positions that are added to one: anything with two or more dimensions that are not 1. */
function isTable(graph: Graph, { name, shape }: Tensor): boolean {
  const isLookedUp = graph.uses(name).some(({ node, index }) => node.is('Gather') && index === 0);
  return isLookedUp || shape.filter((dim) => dim > 1).length > 1;
}

/** Running statistics of the normalizations whose scale is among the weights. */
function statisticsOf(graph: Graph, weights: ReadonlySet<string>): string[] {
  return graph.nodes.flatMap((node) =>
    node.is('BatchNormalization') && weights.has(node.inputs[1] ?? '') ? node.inputs.slice(3, 5) : [],
  );
}
