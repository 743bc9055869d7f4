import type { Node } from '../../graph/index.js';
import type { ValueKeys } from '../../graph/names/value-keys.js';
import { RELABELLING } from '../../graph/shapes/relabelling.js';
import type { Segment } from '../map/expression.js';
import { isRefusal, type Refusal } from '../refusal.js';
import { Candidates, GROUP_LIMIT } from './candidates.js';
import type { Score } from './cost.js';
import type { RefusedRegion, Region } from './region.js';
import { type AffineGraph, isReadOnlyBy, segmentOf } from './segments.js';

/** A partition of nodes into regions and nodes left alone. */
interface Solution {
  readonly regions: readonly Region[];
  readonly refused: readonly RefusedRegion[];
  readonly score: Score;
}

/** A group of consecutive segments: what it would be as one node, or the best that can be made inside of it. */
interface Choice {
  readonly start: number;
  readonly group: () => Solution;
  /** Of all groups up to this one. */
  readonly total: Score;
}

/** The best choice for each end, and why other groups could not be chosen. */
interface Choices {
  readonly best: readonly (Choice | undefined)[];
  readonly failures: ReadonlyMap<string, Refusal>;
}

/**
 * Sums within sums of one source of which all are looked into. Deeper ones are looked into from the middle on, since
 * each would have to be looked at once for each around it.
 */
const NESTED_LIMIT = 16;

const ZERO: Score = { weights: 0, nodes: 0, arranged: 0, oddities: 0 };
const EMPTY: Solution = { regions: [], refused: [], score: ZERO };

/** Splits the affine nodes of a graph into regions. */
export class Partition {
  readonly affine: AffineGraph;
  readonly #candidates: Candidates;
  readonly #force: boolean;

  constructor(affine: AffineGraph, force: boolean, keys: ValueKeys) {
    this.affine = affine;
    this.#force = force;
    this.#candidates = new Candidates({ affine, force, keys });
  }

  /** The best partition of affine nodes, given in topological order, into regions and nodes left alone. */
  solve(scope: readonly Node[], depth = 0): Solution {
    const { graph, sources } = this.affine;
    const isInScope = new Set(scope);
    const isDone = new Set<Node>();
    const solutions: Solution[] = [];
    const refused: RefusedRegion[] = [];
    for (const end of [...scope].reverse()) {
      if (isDone.has(end)) continue;
      /** From the last to the first. */
      const segments: Segment[] = [];
      for (let value = end.outputs[0] ?? ''; ; ) {
        const node = graph.producer(value);
        if (node === undefined || !isInScope.has(node) || !sources.has(value)) break;
        const segment = segmentOf(this.affine, value);
        if (segment === undefined) break;
        if ('readElsewhere' in segment) {
          refused.push(this.#shared(segment.readElsewhere, [node]));
          break;
        }
        const next = segments.at(-1);
        if (next !== undefined && !isReadOnlyBy(graph, value, new Set(next.nodes))) {
          const isPlain = [...next.nodes.slice(0, 1), node].every(
            (part) => part.is(...RELABELLING) === false,
          );
          if (isPlain && [...next.nodes, node].some((part) => this.#isWeighted(part))) {
            refused.push(this.#shared(value, [...segment.nodes, ...next.nodes]));
          }
          break;
        }
        segments.push(segment);
        for (const inner of segment.nodes) isDone.add(inner);
        value = segment.source;
      }
      // A node that joins values of different sources, or of shared ones, stays as it is.
      if (segments.length === 0) isDone.add(end);
      solutions.push(segments.length === 0 ? this.#alone([end]) : this.#partition(segments.reverse(), depth));
    }
    return join([...solutions, { ...EMPTY, refused }]);
  }

  /** What stood in the way of nodes that would be affine, where a neighbour is. */
  operandRefusals(): RefusedRegion[] {
    const { graph, operators, refused } = this.affine;
    const isAffine = (node: Node | undefined): boolean => node !== undefined && operators.has(node);
    const found: RefusedRegion[] = [];
    for (const [node, { kind, reason }] of refused) {
      const before = node.inputs.map((input) => graph.producer(input)).filter(isAffine);
      const behind = node.outputs
        .flatMap((output) => graph.uses(output).map((use) => use.node))
        .filter(isAffine);
      if (before.length + behind.length === 0) continue;
      // Shapes are computed everywhere; it matters where something could have been folded.
      const computes = (other: Node | undefined): boolean => other?.is(...RELABELLING) === false;
      if (node.is(...RELABELLING) && !(before.some(computes) && behind.some(computes))) continue;
      found.push({ kind, reason, nodes: [...before.filter((other) => other !== undefined), node] });
    }
    return found;
  }

  /**
   * The best partition of consecutive segments. In a run that is longer than the groups that are tried, what became a
   * group is one segment of the next round, until nothing more becomes one.
   */
  #partition(run: readonly Segment[], depth: number): Solution {
    /** What segments are that were groups in a round before. */
    const settled = new Map<Segment, Solution>();
    for (let segments = run; ; ) {
      const choices = this.#choices(segments, settled, depth);
      const bounds = boundsOf(choices);
      if (segments.length <= GROUP_LIMIT || bounds.length > segments.length) {
        const groups = bounds.slice(1).map((end) => (choices.best[end] as Choice).group());
        return join([...groups, { ...EMPTY, refused: this.#boundaries(segments, bounds, choices) }]);
      }
      segments = bounds.slice(1).map((end, i) => {
        const group = segments.slice(bounds[i], end);
        const merged = this.#candidates.join(group);
        settled.set(merged, (choices.best[end] as Choice).group());
        return merged;
      });
    }
  }

  /** Dynamic programming over the ends of groups of consecutive segments. */
  #choices(segments: readonly Segment[], settled: ReadonlyMap<Segment, Solution>, depth: number): Choices {
    const best: (Choice | undefined)[] = [{ start: 0, group: () => EMPTY, total: ZERO }];
    const failures = new Map<string, Refusal>();
    for (const [start, segment] of segments.entries()) {
      const before = best[start];
      if (before === undefined) continue;
      const consider = (end: number, score: Score, group: () => Solution): void => {
        const choice = { start, group, total: sum(before.total, score) };
        const other = best[end];
        if (other === undefined || this.#isBetter(choice.total, other.total)) best[end] = choice;
      };
      const inside = settled.get(segment) ?? this.#inside(segment, depth);
      consider(start + 1, inside.score, () => inside);
      for (const [count, group] of this.#candidates.groups(segments, start)) {
        const end = start + count;
        if (isRefusal(group)) failures.set(`${start} ${end}`, group);
        else {
          const { score, region } = group;
          consider(end, score, () => ({ regions: [region()], refused: [], score }));
        }
      }
    }
    return { best, failures };
  }

  #isBetter(a: Score, b: Score): boolean {
    if (this.#force && a.nodes !== b.nodes) return a.nodes < b.nodes;
    if (a.weights !== b.weights) return a.weights < b.weights;
    if (a.nodes !== b.nodes) return a.nodes < b.nodes;
    if (a.arranged !== b.arranged) return a.arranged < b.arranged;
    return a.oddities < b.oddities;
  }

  /** Why each group was not made one with the group before it. */
  #boundaries(
    segments: readonly Segment[],
    bounds: readonly number[],
    { failures }: Choices,
  ): RefusedRegion[] {
    const found: RefusedRegion[] = [];
    const nodesOf = (start: number, end: number): Node[] =>
      segments.slice(start, end).flatMap((segment) => segment.nodes);
    const isRelabelling = (node: Node): boolean => node.is(...RELABELLING);
    let end = segments.length;
    for (let i = bounds.length - 2; i > 0; i -= 1) {
      const [earlier, start] = [bounds[i - 1] ?? 0, bounds[i] ?? 0];
      // What only relabels does not stand between two groups, but in front of the later.
      if (nodesOf(earlier, start).every(isRelabelling)) continue;
      const nodes = nodesOf(earlier, end);
      // The refusal may have come before the end was reached.
      let failure: Refusal | undefined;
      for (let at = end; at > start && failure === undefined; at -= 1)
        failure = failures.get(`${earlier} ${at}`);
      const counted = nodes.filter((node) => !isRelabelling(node));
      if (failure !== undefined && counted.length > 1 && this.#isTold(failure, nodes))
        found.unshift({ ...failure, nodes });
      end = start;
    }
    // The first group alone may be a block that is not one node.
    const only = segments.length === 1 ? failures.get('0 1') : undefined;
    const [block] = segments;
    if (only !== undefined && block !== undefined && block.nodes.length > 1)
      found.push({ ...only, nodes: block.nodes });
    return found;
  }

  /** What has no weight is no loss, unless it would be one node but for what is not known. */
  #isTold({ kind }: Refusal, nodes: readonly Node[]): boolean {
    return kind === 'unknown' || nodes.some((node) => this.#isWeighted(node));
  }

  /** The best that can be made of one segment without making it one node. */
  #inside({ nodes }: Segment, depth: number): Solution {
    if (nodes.length === 1) return this.#alone(nodes);
    if (depth < NESTED_LIMIT)
      return join([this.#alone(nodes.slice(-1)), this.solve(nodes.slice(0, -1), depth + 1)]);
    const half = Math.floor(nodes.length / 2);
    return join([this.#alone(nodes.slice(half)), this.solve(nodes.slice(0, half))]);
  }

  #alone(nodes: readonly Node[]): Solution {
    const operators = nodes.map((node) => this.affine.operators.get(node));
    const weights = operators.reduce((sum, operator) => {
      const shape = operator?.mixing?.weight.shape ?? [0];
      return sum + shape.reduce((product, dim) => product * dim, 1);
    }, 0);
    return { ...EMPTY, score: { ...ZERO, weights, nodes: nodes.length } };
  }

  #isWeighted(node: Node): boolean {
    return this.affine.operators.get(node)?.mixing !== undefined;
  }

  #shared(value: string, nodes: readonly Node[]): RefusedRegion {
    const { graph } = this.affine;
    const readers = graph.uses(value).map(({ node }) => `'${node.label}'`);
    const who = graph.isOutput(value) ? 'is an output of the graph' : `is read by ${readers.join(', ')}`;
    return { kind: 'shared', reason: `'${value}', which would be within, ${who}`, nodes };
  }
}

function join(solutions: readonly Solution[]): Solution {
  return {
    regions: solutions.flatMap((solution) => solution.regions),
    refused: solutions.flatMap((solution) => solution.refused),
    score: solutions.reduce((total, { score }) => sum(total, score), ZERO),
  };
}

function sum(a: Score, b: Score): Score {
  return {
    weights: a.weights + b.weights,
    nodes: a.nodes + b.nodes,
    arranged: a.arranged + b.arranged,
    oddities: a.oddities + b.oddities,
  };
}

/** Where the groups of the best partition begin and end, from 0 on. */
function boundsOf({ best }: Choices): number[] {
  const bounds: number[] = [];
  for (let end = best.length - 1; end > 0; ) {
    const choice = best[end];
    if (choice === undefined) throw new Error('a partition always exists');
    bounds.push(end);
    end = choice.start;
  }
  return [0, ...bounds.reverse()];
}
