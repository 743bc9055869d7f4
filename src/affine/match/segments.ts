import { type Graph, KnownConstants, type Node } from '../../graph/index.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import type { Segment } from '../map/expression.js';
import { affineOperator } from '../operators/index.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { AffineOperator } from '../rule.js';
import { isPartOfFusion } from './fusions.js';
import type { RefusedRegion } from './region.js';

/** The affine nodes of a graph, and for each the nearest value of which it alone depends. */
export interface AffineGraph {
  readonly graph: Graph;
  readonly constants: KnownConstants;
  /** In topological order. */
  readonly operators: ReadonlyMap<Node, AffineOperator>;
  /** The places of the affine nodes among all of them. */
  readonly order: ReadonlyMap<Node, number>;
  /** Nodes that would be affine but for an operand or attribute. */
  readonly refused: ReadonlyMap<Node, Refusal>;
  /** By the value made: where the paths to it that go through affine nodes meet last. Absent where they do not. */
  readonly sources: ReadonlyMap<string, string>;
  readonly inexact: InexactRegions | undefined;
}

/**
 * Regions that cannot be folded for what their numbers are, which is known once they are computed: by the node that makes
 * the output, and by the source.
 */
export type InexactRegions = Map<Node, Map<string, RefusedRegion>>;

export interface AffineOptions {
  /** What is known of the model's constants; default what it stores. */
  readonly constants?: KnownConstants | undefined;
  /** Nodes to leave alone. */
  readonly exclude?: ReadonlySet<Node> | undefined;
  /** Take nodes with weights alone: chains of convolutions and of matrix products. */
  readonly linearOnly?: boolean | undefined;
  /** Take also what runtimes fuse into one operator as it is. */
  readonly force?: boolean | undefined;
  /** What is not to be found again. */
  readonly inexact?: InexactRegions | undefined;
}

/** Immediate dominators over affine nodes (Cooper, Harvey & Kennedy, "A Simple, Fast Dominance Algorithm", 2001; here without cycles). */
export function affineGraph(graph: Graph, options: AffineOptions = {}): AffineGraph {
  const operators = new Map<Node, AffineOperator>();
  const order = new Map<Node, number>();
  const refused = new Map<Node, Refusal>();
  const sources = new Map<string, string>();
  const ways = new WaysUp();
  const { constants = KnownConstants.stored } = options;
  const trained = trainedNames(graph.model);
  for (const node of graph.nodes) {
    if (options.exclude?.has(node)) continue;
    const operator = affineOperator(node, constants);
    if (operator === undefined) continue;
    if (options.linearOnly && (isRefusal(operator) || operator.mixing === undefined)) continue;
    if (trained.size > 0 && !isRefusal(operator)) {
      const names = [
        ...node.outputs,
        ...operator.constants.flatMap(({ leaves }) => leaves.map(({ name }) => name)),
      ];
      const bound = names.find((name) => trained.has(name));
      if (bound !== undefined) {
        refused.set(node, refuse('shared', `'${bound}' is read or updated by the model's training_info`));
        continue;
      }
    }
    if (isRefusal(operator)) {
      refused.set(node, operator);
      continue;
    }
    if (!options.force && isPartOfFusion(operator)) continue;
    order.set(node, operators.size);
    operators.set(node, operator);
    const [first, ...rest] = operator.data;
    const source = rest.reduce<string | undefined>(
      (found, value) => (found === undefined ? found : ways.meet(found, value)),
      first,
    );
    if (source === undefined) continue;
    const value = node.outputs[0] ?? '';
    sources.set(value, source);
    ways.add(value, source);
  }
  return { graph, constants, operators, order, refused, sources, inexact: options.inexact };
}

/**
 * Where the ways from two values up through their sources meet, in time that grows as the logarithm of their length: each
 * value knows its source, and one farther up (Myers, "An Applicative Random-Access Stack", 1983).
 */
class WaysUp {
  readonly #steps = new Map<string, Step>();

  add(value: string, source: string): void {
    const near = this.#step(source);
    const far = this.#step(near.far);
    const isEven = near.depth - far.depth === far.depth - this.#step(far.far).depth;
    this.#steps.set(value, { depth: near.depth + 1, up: source, far: isEven ? far.far : source });
  }

  /** What has no source is the end of a way. */
  #step(value: string): Step {
    return this.#steps.get(value) ?? { depth: 0, up: value, far: value };
  }

  meet(a: string, b: string): string | undefined {
    let [left, right] = this.#step(a).depth >= this.#step(b).depth ? [a, b] : [b, a];
    const level = this.#step(right).depth;
    for (let step = this.#step(left); step.depth > level; step = this.#step(left))
      left = this.#step(step.far).depth >= level ? step.far : step.up;
    while (left !== right) {
      const [one, other] = [this.#step(left), this.#step(right)];
      if (one.depth === 0) return undefined;
      [left, right] = one.far === other.far ? [one.up, other.up] : [one.far, other.far];
    }
    return left;
  }
}

interface Step {
  readonly depth: number;
  readonly up: string;
  readonly far: string;
}

/** The nodes between a value and the source that it depends on; undefined where one of them is read elsewhere. */
export function segmentOf(
  affine: AffineGraph,
  output: string,
): Segment | { readonly readElsewhere: string } | undefined {
  const { graph, sources } = affine;
  const source = sources.get(output);
  if (source === undefined) return undefined;
  const found = new Set<Node>();
  const nodes: Node[] = [];
  /** Nodes that are still to be looked at, in topological order. From the last on: then all that read its output in here are found. */
  const queue: Node[] = [];
  const enqueue = (value: string): void => {
    const node = value === source ? undefined : graph.producer(value);
    if (node === undefined || found.has(node)) return;
    found.add(node);
    const place = placeOf(affine, node);
    let [low, high] = [0, queue.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (placeOf(affine, queue[middle]) < place) low = middle + 1;
      else high = middle;
    }
    queue.splice(low, 0, node);
  };
  enqueue(output);
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    const value = node.outputs[0] ?? '';
    if (value !== output && !isReadOnlyBy(graph, value, found)) return { readElsewhere: value };
    nodes.push(node);
    for (const input of affine.operators.get(node)?.data ?? []) enqueue(input);
  }
  nodes.reverse();
  return { source, output, nodes };
}

function placeOf({ order }: AffineGraph, node: Node | undefined): number {
  return (node && order.get(node)) ?? -1;
}

export function isReadOnlyBy(graph: Graph, value: string, nodes: ReadonlySet<Node>): boolean {
  return !graph.isOutput(value) && graph.uses(value).every(({ node }) => nodes.has(node));
}
