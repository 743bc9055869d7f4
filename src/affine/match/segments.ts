import { type Graph, KnownConstants, type Node } from '../../graph/index.js';
import { trainedNames } from '../../graph/trained-names.js';
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
  const refused = new Map<Node, Refusal>();
  const sources = new Map<string, string>();
  const depths = new Map<string, number>();
  const meet = (a: string, b: string): string | undefined => {
    let [left, right]: (string | undefined)[] = [a, b];
    while (left !== undefined && right !== undefined && left !== right) {
      if ((depths.get(left) ?? 0) >= (depths.get(right) ?? 0)) left = sources.get(left);
      else right = sources.get(right);
    }
    return left === right ? left : undefined;
  };
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
    operators.set(node, operator);
    const [first, ...rest] = operator.data;
    const source = rest.reduce<string | undefined>(
      (found, value) => (found === undefined ? found : meet(found, value)),
      first,
    );
    if (source === undefined) continue;
    const value = node.outputs[0] ?? '';
    sources.set(value, source);
    depths.set(value, (depths.get(source) ?? 0) + 1);
  }
  return { graph, constants, operators, refused, sources, inexact: options.inexact };
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
  const queue = [output];
  for (let value = queue.pop(); value !== undefined; value = queue.pop()) {
    const node = graph.producer(value);
    if (value === source || node === undefined || found.has(node)) continue;
    found.add(node);
    queue.push(...(affine.operators.get(node)?.data ?? []));
  }
  const nodes =
    found.size === 1 ? [...found] : [...affine.operators.keys()].filter((node) => found.has(node));
  for (const node of nodes) {
    const value = node.outputs[0] ?? '';
    if (value !== output && !isReadOnlyBy(graph, value, found)) return { readElsewhere: value };
  }
  return { source, output, nodes };
}

export function isReadOnlyBy(graph: Graph, value: string, nodes: ReadonlySet<Node>): boolean {
  return !graph.isOutput(value) && graph.uses(value).every(({ node }) => nodes.has(node));
}
