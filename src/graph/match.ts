import { constantTensor } from './constants/constants.js';
import { operatorName } from './registry.js';
import type { Graph, Node } from './types.js';

/** What one value is made of: a node of an operator, and in turn what its inputs are made of. */
export interface Pattern {
  /** Operators of the standard by their names, others as `com.acme.Swish`; any of a list. */
  readonly op: string | readonly string[];
  /**
   * What each input is made of, by place: a pattern; 'constant', a stored tensor; undefined, or left out at the end, any value.
   * Inputs of Add and Mul, and their like, may be written in either order: `commutes`.
   */
  readonly inputs?: readonly (Pattern | 'constant' | undefined)[];
  /** Both orders of two inputs match; default false. */
  readonly commutes?: boolean;
  /** The node's name in Match.nodes. */
  readonly as?: string;
  /** A further condition. */
  readonly where?: (node: Node) => boolean;
}

/** Nodes that a pattern found. */
export interface Match {
  /** The node that makes the value of the whole pattern. */
  readonly root: Node;
  /** Those with a name (`as`). */
  readonly nodes: Readonly<Record<string, Node>>;
  /** All nodes of the pattern, in topological order. */
  readonly all: readonly Node[];
  /** True where nothing else reads a value within, so that all nodes can be removed together. */
  readonly isClosed: boolean;
}

/**
 * What a pattern finds at a node; undefined where it is something else. Looks only: nothing changes.
 *
 * @example
 * const found = matchNode(conv, { op: 'Relu', inputs: [{ op: 'Conv', as: 'conv' }] });
 * console.log(found?.nodes.conv?.label);
 */
export function matchNode(node: Node, pattern: Pattern): Match | undefined {
  const named: Record<string, Node> = Object.create(null) as Record<string, Node>;
  const all = new Set<Node>();
  if (!matches(node, pattern, named, all)) return undefined;
  const { graph } = node;
  const isInner = (value: string): boolean =>
    value === '' || (!graph.isOutput(value) && graph.uses(value).every((use) => all.has(use.node)));
  const isClosed = [...all].every((one) => one === node || one.outputs.every(isInner));
  return { root: node, nodes: named, all: [...all], isClosed };
}

/**
 * Where a pattern is found in a graph, at the nodes in topological order. Matches may have nodes in common: look again after an
 * edit, or leave out those whose nodes are gone.
 *
 * @example
 * // x * Sigmoid(x)
 * const pattern = { op: 'Mul', commutes: true, inputs: [{ op: 'Sigmoid', as: 'gate' }] };
 * for (const { root, nodes, isClosed } of findMatches(model.graph, pattern)) {
 *   if (isClosed && nodes.gate) console.log(root.label, nodes.gate.inputs[0]);
 * }
 */
export function findMatches(graph: Graph, pattern: Pattern): Match[] {
  return graph.nodes.flatMap((node) => matchNode(node, pattern) ?? []);
}

function matches(node: Node, pattern: Pattern, named: Record<string, Node>, all: Set<Node>): boolean {
  const { inputs = [], as, commutes } = pattern;
  const name = operatorName(node);
  if (![pattern.op].flat().includes(name) || pattern.where?.(node) === false) return false;
  const orders =
    commutes && node.inputs.length === 2 ? [node.inputs, [...node.inputs].reverse()] : [node.inputs];
  const [before, names] = [[...all], { ...named }];
  for (const order of orders) {
    const isFound = inputs.every(
      (part, index) => part === undefined || isMadeOf(node, order[index] ?? '', part, named, all),
    );
    if (isFound && (as === undefined || named[as] === undefined || named[as] === node)) {
      if (as !== undefined) named[as] = node;
      all.add(node);
      return true;
    }
    // What the other order found is none of this one.
    all.clear();
    for (const one of before) all.add(one);
    for (const key of Object.keys(named)) delete named[key];
    Object.assign(named, names);
  }
  return false;
}

function isMadeOf(
  { graph }: Node,
  value: string,
  part: Pattern | 'constant',
  named: Record<string, Node>,
  all: Set<Node>,
): boolean {
  if (value === '') return false;
  if (part === 'constant') return constantTensor(graph, value) !== undefined;
  const producer = graph.producer(value);
  return producer !== undefined && matches(producer, part, named, all);
}
