import type { Node } from '../../graph/index.js';
import { RELABELLING } from '../../graph/shapes/relabelling.js';
import type { ValueKeys } from '../../graph/value-keys.js';
import { stemOf } from '../factor-names.js';
import { partsOf, type Segment } from '../map/expression.js';
import { isRefusal, type Refusal } from '../refusal.js';
import { Candidates } from './candidates.js';
import type { RefusedRegion, Region } from './region.js';
import { type AffineGraph, isReadOnlyBy, segmentOf } from './segments.js';

/** What a partition leaves: the first that differs decides, nodes before weights where all is to be folded. */
interface Score {
  readonly weights: number;
  readonly nodes: number;
  /** Regions that give their source other axes first. */
  readonly arranged: number;
  /** What a chain of factors would not have. */
  readonly oddities: number;
}

/** A partition of nodes into regions and nodes left alone. */
interface Solution {
  readonly regions: readonly Region[];
  readonly refused: readonly RefusedRegion[];
  readonly score: Score;
}

/** A group of consecutive segments: what it would be as one node, or the best that can be made inside of it. */
interface Choice {
  readonly start: number;
  readonly group: Solution;
  /** Of all groups up to this one. */
  readonly total: Score;
}

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
    this.#candidates = new Candidates(affine, force, keys);
  }

  /** The best partition of affine nodes, given in topological order, into regions and nodes left alone. */
  solve(scope: readonly Node[]): Solution {
    const { graph, sources } = this.affine;
    const isInScope = new Set(scope);
    const isDone = new Set<Node>();
    const solutions: Solution[] = [];
    const refused: RefusedRegion[] = [];
    for (const end of [...scope].reverse()) {
      if (isDone.has(end)) continue;
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
        const next = segments[0];
        if (next !== undefined && !isReadOnlyBy(graph, value, new Set(next.nodes))) {
          const isPlain = [...next.nodes.slice(0, 1), node].every(
            (part) => part.is(...RELABELLING) === false,
          );
          if (isPlain && [...next.nodes, node].some((part) => this.#isWeighted(part))) {
            refused.push(this.#shared(value, [...segment.nodes, ...next.nodes]));
          }
          break;
        }
        segments.unshift(segment);
        for (const inner of segment.nodes) isDone.add(inner);
        value = segment.source;
      }
      // A node that joins values of different sources, or of shared ones, stays as it is.
      if (segments.length === 0) isDone.add(end);
      solutions.push(segments.length === 0 ? this.#alone([end]) : this.#partition(segments));
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

  /** Dynamic programming over the ends of groups of consecutive segments. */
  #partition(segments: readonly Segment[]): Solution {
    const best: (Choice | undefined)[] = [{ start: 0, group: EMPTY, total: ZERO }];
    const failures = new Map<string, Refusal>();
    for (const [start, segment] of segments.entries()) {
      const before = best[start];
      if (before === undefined) continue;
      const consider = (end: number, group: Solution): void => {
        const choice = { start, group, total: sum(before.total, group.score) };
        const other = best[end];
        if (other === undefined || this.#isBetter(choice.total, other.total)) best[end] = choice;
      };
      consider(start + 1, this.#inside(segment));
      for (const [end, group] of this.#candidates.groups(segments, start, start === 0)) {
        if (isRefusal(group)) failures.set(`${start} ${end}`, group);
        else consider(end, { regions: [group], refused: [], score: scoreOf(group) });
      }
    }
    const groups: Solution[] = [];
    for (let end = segments.length; end > 0; ) {
      const choice = best[end];
      if (choice === undefined) throw new Error('a partition always exists');
      groups.unshift(choice.group);
      end = choice.start;
    }
    return join([...groups, { ...EMPTY, refused: this.#boundaries(segments, best, failures) }]);
  }

  #isBetter(a: Score, b: Score): boolean {
    const rank = ({ weights, nodes, arranged, oddities }: Score): number[] =>
      this.#force ? [nodes, weights, arranged, oddities] : [weights, nodes, arranged, oddities];
    const [left, right] = [rank(a), rank(b)];
    const at = left.findIndex((figure, i) => figure !== right[i]);
    return at >= 0 && (left[at] as number) < (right[at] as number);
  }

  /** Why each group was not made one with the group before it. */
  #boundaries(
    segments: readonly Segment[],
    best: readonly (Choice | undefined)[],
    failures: ReadonlyMap<string, Refusal>,
  ): RefusedRegion[] {
    const found: RefusedRegion[] = [];
    const nodesOf = (start: number, end: number): Node[] =>
      segments.slice(start, end).flatMap((segment) => segment.nodes);
    const isRelabelling = (node: Node): boolean => node.is(...RELABELLING);
    let end = segments.length;
    let start = best[end]?.start ?? 0;
    while (start > 0) {
      const earlier = best[start]?.start ?? 0;
      // What only relabels does not stand between two groups, but in front of the later.
      if (nodesOf(earlier, start).every(isRelabelling)) {
        start = earlier;
        continue;
      }
      const nodes = nodesOf(earlier, end);
      // The refusal may have come before the end was reached.
      let failure: Refusal | undefined;
      for (let at = end; at > start && failure === undefined; at -= 1)
        failure = failures.get(`${earlier} ${at}`);
      const counted = nodes.filter((node) => !isRelabelling(node));
      if (failure !== undefined && counted.length > 1 && nodes.some((node) => this.#isWeighted(node)))
        found.unshift({ ...failure, nodes });
      [start, end] = [earlier, start];
    }
    // The first group alone may be a block that is not one node.
    const only = segments.length === 1 ? failures.get('0 1') : undefined;
    const [block] = segments;
    if (only !== undefined && block !== undefined && block.nodes.length > 1)
      found.push({ ...only, nodes: block.nodes });
    return found;
  }

  /** The best that can be made of one segment without making it one node. */
  #inside({ nodes }: Segment): Solution {
    if (nodes.length === 1) return this.#alone(nodes);
    return join([this.#alone(nodes.slice(-1)), this.solve(nodes.slice(0, -1))]);
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

function scoreOf(region: Region): Score {
  const { head, target } = region;
  const { weights, nodes } = target.cost;
  return { weights, nodes, arranged: head.length > 0 ? 1 : 0, oddities: odditiesOf(region) };
}

/**
 * What chains of factors have not: a bias before the end, a kernel behind the start, names of several sites. Where hidden
 * layers have the width of a boundary, cuts at each of them cost the same; then the one counts that looks like a boundary
 * of what was expanded.
 */
function odditiesOf({ expression }: Region): number {
  const steps = partsOf(expression).flatMap((part) =>
    part.kind === 'step' && part.operator.mixing
      ? [{ ...part.operator.mixing, node: part.operator.node }]
      : [],
  );
  const biases = steps.slice(0, -1).filter(({ bias }) => bias !== undefined).length;
  const kernels = steps
    .slice(1)
    .filter(
      ({ axis, weight }) => axis === 'channel' && weight.shape.slice(2).some((extent) => extent > 1),
    ).length;
  const stems = new Set(steps.map(({ node }) => stemOf(node.name))).size;
  return biases + kernels + Math.max(0, stems - 1);
}
