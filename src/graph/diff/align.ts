import { attributeText } from '../print.js';
import type { NodeProto } from '../proto/schema.js';
import { subgraphsOf } from '../subgraphs.js';
import type { Graph, Model, Node } from '../types.js';

/** A value or node that one model calls otherwise. */
export interface Renamed {
  readonly kind: 'value' | 'node';
  /** In the first model. */
  readonly before: string;
  /** In the second. */
  readonly after: string;
}

/**
 * A copy of the second model in the names of the first, where the same thing stands in the same place under another name: values
 * inside of the main graph, weights and nodes. Nodes are matched from the inputs on by operator and by what they read. Names of inputs
 * and outputs are what callers know a model by, and stay; so do names inside of subgraphs and functions.
 *
 * @example
 * const { model, renamed } = alignNames(a, b);
 * console.log(renamed.length, diffModels(a, model).length);
 */
export function alignNames(
  a: Model,
  b: Model,
): { readonly model: Model; readonly renamed: readonly Renamed[] } {
  const model = b.clone();
  const { values, nodes } = matchGraphs(a.graph, model.graph);
  const renamed: Renamed[] = [];
  // By way of names that nobody has: the second model may have swapped two.
  const graph = model.graph;
  const taken = new Set(
    [
      ...graph.nodes.flatMap((node) => node.outputs),
      ...graph.initializers.keys(),
      ...graph.inputs.map(({ name }) => name),
    ].filter((name) => name !== '' && !values.has(name)),
  );
  const moves = [...values].filter(([, to]) => !taken.has(to));
  const steps = moves.map(([from, to]) => ({ from, to, between: model.freshName(`aligned/${to}`) }));
  for (const { from, between } of steps) graph.rename(from, between);
  for (const { between, to, from } of steps) {
    graph.rename(between, to);
    renamed.push({ kind: 'value', before: to, after: from });
  }
  for (const [node, name] of nodes) {
    if (node.name !== '') renamed.push({ kind: 'node', before: name, after: node.name });
    node.proto.name = name;
  }
  graph.touch();
  return { model, renamed };
}

interface Matched {
  /** From names in the second graph to those in the first, where they differ. */
  readonly values: ReadonlyMap<string, string>;
  /** Nodes of the second with the name of their partner, where it differs. */
  readonly nodes: ReadonlyMap<Node, string>;
}

function matchGraphs(a: Graph, b: Graph): Matched {
  const fixed = new Set([...b.inputs, ...b.outputs].map(({ name }) => name));
  const fixedInA = new Set([...a.inputs, ...a.outputs].map(({ name }) => name));
  const isConstant = (graph: Graph, name: string): boolean =>
    graph.initializers.has(name) && !graph.isInput(name);
  /** From the second's names to the first's, the equal ones too. */
  const names = new Map<string, string>();
  const partners = new Set<Node>();
  /** What a node computes and reads; constants by their shape alone, the text of attributes where asked for. */
  const keyOf = (
    node: Node,
    graph: Graph,
    isExact: boolean,
    nameIn: (name: string) => string | undefined,
  ): string => {
    const inputs = node.inputs.map((name) => {
      if (name === '') return '';
      const tensor = isConstant(graph, name) ? graph.initializers.get(name) : undefined;
      return tensor === undefined ? `%${nameIn(name) ?? '?'}` : `${tensor.dataType}[${tensor.shape.join()}]`;
    });
    return [
      node.domain,
      node.opType,
      node.outputs.length,
      ...inputs,
      isExact ? attributesText(node.proto) : '',
    ].join(' ');
  };
  const candidates = new Map<string, Node[]>();
  for (const node of a.nodes) {
    for (const isExact of [true, false]) {
      const key = keyOf(node, a, isExact, (name) => name);
      const list = candidates.get(key);
      if (list === undefined) candidates.set(key, [node]);
      else list.push(node);
    }
  }
  const values = new Map<string, string>();
  const nodes = new Map<Node, string>();
  const pair = (from: string, to: string): void => {
    if (from === '' || to === '' || names.has(from)) return;
    names.set(from, to);
    if (!fixed.has(from) && !fixedInA.has(to) && from !== to) values.set(from, to);
  };
  for (const { name } of b.inputs) names.set(name, name);
  const targets = new Set<string>();
  for (const node of b.nodes) {
    const free = (isExact: boolean): Node[] =>
      (candidates.get(keyOf(node, b, isExact, (name) => names.get(name) ?? name)) ?? []).filter(
        (one) => !partners.has(one),
      );
    const exact = free(true);
    const found = exact.length > 0 ? exact : free(false);
    const partner =
      found.find((one) => one.name !== '' && one.name === node.name) ??
      found.find((one) => one.outputs[0] === node.outputs[0]) ??
      found[0];
    if (partner === undefined) continue;
    partners.add(partner);
    for (const [index, output] of node.outputs.entries()) pair(output, partner.outputs[index] ?? '');
    for (const [index, input] of node.inputs.entries()) {
      const other = partner.inputs[index] ?? '';
      if (!isConstant(b, input) || !isConstant(a, other) || targets.has(other)) continue;
      if (names.has(input)) continue;
      // A weight that the first model has too, under its own name, is that one.
      if (input !== other && a.initializers.has(input)) names.set(input, input);
      else pair(input, other);
      targets.add(names.get(input) ?? '');
    }
    if (partner.name !== '' && partner.name !== node.name) nodes.set(node, partner.name);
  }
  // A name that another node keeps is not given twice.
  const kept = new Set(b.nodes.filter((node) => !nodes.has(node)).map(({ name }) => name));
  for (const [node, name] of nodes) if (kept.has(name)) nodes.delete(node);
  return { values, nodes };
}

function attributesText(node: NodeProto): string {
  if (subgraphsOf(node).length > 0) return '{}';
  return (node.attribute ?? [])
    .map((attribute) => attributeText(attribute))
    .sort()
    .join(';');
}
