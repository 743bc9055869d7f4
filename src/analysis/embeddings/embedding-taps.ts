import { ancestors, type Graph, type Model, type Node, valuesRead } from '../../graph/index.js';
import { glob, PatternError } from '../../graph/names/glob.js';
import { findWeights } from '../weights/find-weights.js';
import { scaledBehind } from '../weights/quantized-weights.js';

/** Which values of a model are looked at as embeddings. */
export interface TapOptions {
  /** What linear nodes make ('outputs', the default) or what they read ('inputs'). */
  readonly of?: 'outputs' | 'inputs' | undefined;
  /** Only of nodes of which their name, or that of a weight, matches one of these globs. */
  readonly only?: readonly string[] | undefined;
  /** Instead: the values whose name, or whose node's name, matches one of these globs. */
  readonly at?: readonly string[] | undefined;
}

/** A value of the main graph, and the weights beside which it is reported. */
export interface Tap {
  readonly value: string;
  /** The nodes that make it or, of inputs, read it. */
  readonly nodes: readonly Node[];
  /** Names of their weights, as the rank report has them. */
  readonly weights: readonly string[];
}

/** A node whose embeddings are not looked at, and why. */
export interface Untapped {
  readonly node: Node;
  readonly reason: string;
}

/**
 * The values to look at, in the order of execution. Each once, however many nodes read it.
 *
 * @throws ModelError for a glob that matches nothing
 */
export function findTaps(model: Model, options: TapOptions = {}): { taps: Tap[]; others: Untapped[] } {
  const { at = [], of = 'outputs', only = [] } = options;
  const tests = only.map(glob);
  const weights = weightsByNode(model);
  if (at.length > 0) return { taps: tapsAt(model.graph, at, weights), others: [] };
  const taps = new Map<string, { nodes: Node[]; weights: Set<string> }>();
  const others: Untapped[] = [];
  for (const [node, names] of weights) {
    const isChosen = tests.some((matches) => matches(node.label) || [...names].some(matches));
    if (tests.length > 0 && !isChosen) continue;
    if (node.graph !== model.graph) {
      const where = node.graph.kind === 'function' ? 'a function' : 'a subgraph';
      others.push({ node, reason: `it is in ${where}, whose values do not come out of a run` });
      continue;
    }
    const value = of === 'outputs' ? madeBy(node) : readBy(node);
    if (value === undefined) {
      others.push({
        node,
        reason: `it ${of === 'outputs' ? 'makes' : 'reads'} nothing that is not constant`,
      });
      continue;
    }
    const tap = taps.get(value) ?? { nodes: [], weights: new Set() };
    tap.nodes.push(node);
    for (const name of names) tap.weights.add(name);
    taps.set(value, tap);
  }
  return {
    taps: [...taps].map(([value, tap]) => ({ value, nodes: tap.nodes, weights: [...tap.weights] })),
    others,
  };
}

/** In the order of execution. */
function weightsByNode(model: Model): Map<Node, Set<string>> {
  const weights = new Map<Node, Set<string>>();
  for (const weight of findWeights(model, { chains: 'factors' }).weights) {
    for (const { node } of weight.uses) weights.set(node, (weights.get(node) ?? new Set()).add(weight.name));
  }
  const place = new Map([...model.nodes()].map((node, index) => [node, index]));
  return new Map([...weights].sort(([a], [b]) => (place.get(a) ?? 0) - (place.get(b) ?? 0)));
}

/** The output; of an integer product, what becomes of it in floating point. */
function madeBy(node: Node): string | undefined {
  const isInteger = node.is('MatMulInteger', 'ConvInteger');
  return (isInteger ? scaledBehind(node)?.value : undefined) ?? node.outputs.find((name) => name !== '');
}

/** The data; where it is quantized, what it was in floating point. */
function readBy(node: Node): string | undefined {
  const value = dataInput(node);
  const maker = value === undefined ? undefined : node.graph.producer(value);
  return maker?.is('DynamicQuantizeLinear', 'QuantizeLinear') ? maker.inputs[0] : value;
}

/** The first input that is no constant. */
function dataInput({ graph, inputs }: Node): string | undefined {
  const isFed = (value: string): boolean => graph.resolve(value)?.kind === 'input';
  return inputs.find((name) => {
    if (name === '') return false;
    const makers = ancestors(graph.nodes, [name]);
    return isFed(name) || makers.some(({ proto }) => [...valuesRead(proto)].some(isFed));
  });
}

function tapsAt(graph: Graph, globs: readonly string[], weights: ReadonlyMap<Node, Set<string>>): Tap[] {
  const tests = globs.map((pattern) => ({ pattern, matches: glob(pattern), isUsed: false }));
  const taps: Tap[] = [];
  const visit = (value: string, node: Node | undefined): void => {
    const found = tests.filter(
      ({ matches }) => matches(value) || (node !== undefined && node.name !== '' && matches(node.name)),
    );
    for (const test of found) test.isUsed = true;
    if (found.length === 0) return;
    const own = node && weights.get(node);
    taps.push({ value, nodes: node ? [node] : [], weights: own ? [...own] : [] });
  };
  for (const { name } of graph.inputs) if (!graph.initializers.has(name)) visit(name, undefined);
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== '') visit(output, node);
  }
  const unused = tests.find(({ isUsed }) => !isUsed);
  if (unused !== undefined) {
    const names = graph.nodes.map(({ label }) => label);
    throw new PatternError('at', unused.pattern, 'value or node of the main graph', names, graph.model.path);
  }
  return taps;
}
