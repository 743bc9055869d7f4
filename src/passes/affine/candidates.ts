import type { FloatType, Node } from '../../graph/index.js';
import type { ValueKeys } from '../naming.js';
import { costBefore, targetOf } from './cost.js';
import { Facts } from './facts.js';
import type { Axis } from './geometry.js';
import { channelAxis, type Layout, rearrangements, sourceLayout } from './layout.js';
import { isWeighted } from './operators.js';
import { chain, keyOf, type Measure, type Planned, planSegment, type Segment, sizeRead } from './plan.js';
import { isRefusal, type Refusal, refuse } from './refusal.js';
import type { Region } from './region.js';
import type { AffineGraph } from './segments.js';
import { Shapes } from './shapes.js';
import type { Frame } from './step-geometry.js';

/** Longer groups are not tried: their number is quadratic. */
const GROUP_LIMIT = 64;

/** Windows that a group reaches beyond what can not be composed from the front, in case it can from behind. */
const LOOKAHEAD = 3;

/** Makes regions of consecutive segments. */
export class Candidates {
  readonly affine: AffineGraph;
  readonly #force: boolean;
  readonly #keys: ValueKeys;
  readonly #facts: Facts;
  readonly #shapes: Shapes;

  constructor(affine: AffineGraph, force: boolean, keys: ValueKeys) {
    this.affine = affine;
    this.#force = force;
    this.#keys = keys;
    this.#facts = new Facts(affine.graph);
    this.#shapes = new Shapes(affine.graph);
  }

  /** The groups that begin with a segment, as regions or with the reason why they are none. */
  groups(segments: readonly Segment[], start: number): [end: number, Region | Refusal][] {
    const ahead = segments.slice(start, start + GROUP_LIMIT);
    const [first] = ahead;
    if (first === undefined) return [];
    let failed: [end: number, Region | Refusal][] = [];
    // The first way to look at the source that leads to a region.
    for (const frame of this.#framesOf(
      first.source,
      ahead.flatMap((segment) => segment.nodes),
    )) {
      const groups = [...this.#groupsIn(frame, ahead, start)];
      if (groups.some(([, group]) => !isRefusal(group))) return groups;
      if (failed.length === 0) failed = groups;
    }
    return failed;
  }

  *#groupsIn(
    frame: Frame,
    ahead: readonly Segment[],
    start: number,
  ): Generator<[end: number, Region | Refusal]> {
    const { operators } = this.affine;
    const [first] = ahead;
    if (first === undefined) return;
    const aheadNodes = ahead.flatMap((segment) => segment.nodes);
    const layout = this.#layoutOf(first.source, frame);
    const size = sizeRead(first.source, aheadNodes, operators) ?? this.#facts.size(first.source, frame.axis);
    const parts: Planned[] = [];
    const nodes: Node[] = [];
    let planned: Planned | Refusal | undefined;
    let failures = 0;
    for (const [i, segment] of ahead.entries()) {
      const before = parts.at(-1);
      const part = planSegment(
        segment,
        operators,
        frame,
        before ? before.layout : layout,
        before?.plan.geometry.outputs ?? size,
      );
      if (isRefusal(part)) {
        yield [start + i + 1, part];
        return;
      }
      parts.push(part);
      nodes.push(...segment.nodes);
      if (planned === undefined) planned = part;
      else if (!isRefusal(planned)) planned = follow(planned, part);
      // What is padded and cropped again is exact as a whole, though its beginning is not.
      if (isRefusal(planned)) {
        const refusal = planned;
        const whole = followBackwards(parts);
        if (isRefusal(whole)) {
          yield [start + i + 1, refusal];
          failures += 1;
          if (failures > LOOKAHEAD) return;
          continue;
        }
        planned = whole;
      }
      if (nodes.length < 2 || !nodes.some((node) => this.#isWeighted(node))) continue;
      const region = this.#region(first.source, segment.output, [...nodes], frame, planned);
      if (region !== undefined) yield [start + i + 1, region];
    }
  }

  /** The region of a plan; undefined where one node would be no less than what is there, a refusal where it would be more. */
  #region(
    source: string,
    output: string,
    nodes: readonly Node[],
    frame: Frame,
    planned: Planned,
  ): Region | Refusal | undefined {
    const { operators, graph } = this.affine;
    const { plan, layout } = planned;
    const tail = layout === undefined ? [] : rearrangements(layout, nodes.at(-1)?.label ?? '');
    if (isRefusal(tail)) return tail;
    // A node that relabels alone belongs to a region only where it comes to nothing in it.
    const isEdge = [nodes[0], nodes.at(-1)].some((node) => node && operators.get(node)?.kind === 'relabel');
    if (isEdge && tail.length > 0) return undefined;
    const makesConv = frame.axis === 'channel' && !nodes.some((node) => node.is('Conv', 'ConvTranspose'));
    if (makesConv && frame.type !== 'float32' && frame.type !== 'float16')
      return refuse('unsupported', `runtimes have products of matrices in ${frame.type}, but no Conv`);
    const carrier = carrierOf(nodes, this.affine);
    const before = costBefore(planned, operators);
    const target = targetOf(plan.geometry, frame, carrier.is('Gemm'), tail);
    const after = target.cost;
    // MatMul and Add are what MatMul and Add become.
    if (after.nodes >= before.nodes && after.weights >= before.weights) return undefined;
    const isDearer = after.weights > before.weights || after.multiplyAdds > before.multiplyAdds;
    if (isDearer && !this.#force) {
      const [what, were, would] =
        after.weights > before.weights
          ? ['weights', before.weights, after.weights]
          : ['multiply-adds per output position', before.multiplyAdds, after.multiplyAdds];
      return refuse(
        'cost',
        `one ${target.operators[0]} would have ${would} ${what}, the ${nodes.length} nodes have ${were}`,
      );
    }
    const usesRunningStatistics = nodes.some((node) => {
      const operator = operators.get(node);
      return operator?.kind === 'norm' && operator.isTraining;
    });
    return {
      graph,
      source,
      output,
      nodes,
      carrier,
      frame,
      shape: this.#shapes.of(source),
      plan,
      measures: planned.measures,
      tail,
      target,
      before,
      usesRunningStatistics,
      key: keyOf(plan, this.#keys),
    };
  }

  /** How a source may be mixed: as the first node with a weight says; behind a relabelling there are more ways. */
  #framesOf(source: string, nodes: readonly Node[]): Frame[] {
    const { operators } = this.affine;
    /** Values whose axes are the source's. */
    const alike = new Set([source]);
    for (const node of nodes) {
      const operator = operators.get(node);
      if (operator === undefined) continue;
      const isAlike = operator.data.every((value) => alike.has(value));
      if (isAlike && operator.kind !== 'relabel')
        for (const output of node.outputs.slice(0, 1)) alike.add(output);
      if (!isWeighted(operator)) continue;
      const { weight } = operator;
      const type = weight.dataType as FloatType;
      const axis: Axis = operator.kind === 'matrix' ? operator.axis : 'channel';
      if (isAlike) {
        if (axis === 'channel') return [{ axis, rank: weight.shape.length, type }];
        return [{ axis, type, rank: node.is('Gemm') ? 2 : this.#rankOf(alike) }];
      }
      const rank = this.#rankOf([source]);
      if (rank === undefined) return [];
      const axes: Axis[] = rank > 2 ? ['channel', 'last', 'left'] : ['last', 'left'];
      return axes.map((way) => ({ axis: way, rank, type }));
    }
    return [];
  }

  #rankOf(values: Iterable<string>): number | undefined {
    for (const value of values) {
      const rank = this.#facts.rank(value) ?? this.#shapes.of(value)?.length;
      if (rank !== undefined) return rank;
    }
    return undefined;
  }

  #layoutOf(source: string, { axis, rank }: Frame): Layout | undefined {
    if (rank === undefined) return undefined;
    const known = this.#shapes.of(source);
    const shape = known?.length === rank ? known : new Array<undefined>(rank).fill(undefined);
    return sourceLayout(shape, channelAxis(axis, rank));
  }

  #isWeighted(node: Node): boolean {
    const operator = this.affine.operators.get(node);
    return operator !== undefined && isWeighted(operator);
  }
}

function follow(first: Planned, second: Planned): Planned | Refusal {
  const plan = chain(first.plan, second.plan);
  if (isRefusal(plan)) return plan;
  const volume = first.plan.geometry.stride.reduce((product, step) => product * step, 1);
  const later = second.measures.map((measure): Measure => ({ ...measure, volume: measure.volume * volume }));
  return { plan, measures: [...first.measures, ...later], layout: second.layout };
}

/** The same from the last part to the first. */
function followBackwards(parts: readonly Planned[]): Planned | Refusal {
  return parts
    .slice(0, -1)
    .reduceRight<Planned | Refusal>(
      (behind, part) => (isRefusal(behind) ? behind : follow(part, behind)),
      parts.at(-1) as Planned,
    );
}

/** The last of the nodes with the largest weight. */
function carrierOf(nodes: readonly Node[], { operators }: AffineGraph): Node {
  let carrier: Node | undefined;
  let largest = -1;
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined || !isWeighted(operator)) continue;
    const size = operator.weight.shape.reduce((product, dim) => product * dim, 1);
    if (size >= largest) [carrier, largest] = [node, size];
  }
  if (carrier === undefined) throw new Error('a region without a weight');
  return carrier;
}
