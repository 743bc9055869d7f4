import type { Node } from '../../graph/index.js';
import type { ValueKeys } from '../../graph/value-keys.js';
import { chain, type Expressed, expressSegment, type Measure, type Segment } from '../map/expression.js';
import { isDiagonal, isPointwise } from '../map/geometry.js';
import { rearrangements } from '../map/rearrange.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { AffineOperator } from '../rule.js';
import { costBefore, costWith, isPointwiseTarget, type Pointwise, targetOf } from './cost.js';
import { Frames, type SourceFrame } from './frames.js';
import { keptOf } from './kept.js';
import { keysOf, type Region, vectorShape } from './region.js';
import type { AffineGraph } from './segments.js';

/** Of longer groups only the longest is tried: their number is quadratic. */
const GROUP_LIMIT = 64;

/** Windows that a group reaches beyond what cannot be composed from the front, in case it can from behind. */
const LOOKAHEAD = 3;

/** Makes regions of consecutive segments. */
export class Candidates {
  readonly affine: AffineGraph;
  readonly #force: boolean;
  readonly #keys: ValueKeys;
  readonly #frames: Frames;

  constructor(affine: AffineGraph, force: boolean, keys: ValueKeys) {
    this.affine = affine;
    this.#force = force;
    this.#keys = keys;
    this.#frames = new Frames(affine);
  }

  /**
   * The groups that begin with a segment, as regions or with the reason why they are none.
   *
   * @param isLong the group of all segments is among them, however many there are
   */
  groups(segments: readonly Segment[], start: number, isLong = false): [end: number, Region | Refusal][] {
    const ahead = segments.slice(start, isLong ? segments.length : start + GROUP_LIMIT);
    const [first] = ahead;
    if (first === undefined) return [];
    let failed: [end: number, Region | Refusal][] = [];
    let plain: [end: number, Region | Refusal][] | undefined;
    // The first way to look at the source that leads to a region, better to one with a weight.
    for (const way of this.#frames.of(
      first.source,
      ahead.flatMap((segment) => segment.nodes),
    )) {
      const groups = [...this.#groupsIn(way, ahead, start)];
      const regions: Region[] = [];
      for (const [, group] of groups) if (!isRefusal(group)) regions.push(group);
      if (regions.some(({ target }) => !isPointwiseTarget(target))) return groups;
      if (regions.length > 0) plain ??= groups;
      if (failed.length === 0) failed = groups;
    }
    return plain ?? failed;
  }

  *#groupsIn(
    way: SourceFrame,
    ahead: readonly Segment[],
    start: number,
  ): Generator<[end: number, Region | Refusal]> {
    const { operators } = this.affine;
    const [first] = ahead;
    if (first === undefined) return;
    const { frame, layout, channels } = way;
    const parts: Expressed[] = [];
    const nodes: Node[] = [];
    let expressed: Expressed | Refusal | undefined;
    let failures = 0;
    for (const [i, segment] of ahead.entries()) {
      const before = parts.at(-1);
      const part = expressSegment(
        segment,
        operators,
        frame,
        before ? before.layout : layout,
        before?.expression.geometry.outputs ?? channels,
      );
      if (isRefusal(part)) {
        yield [start + i + 1, part];
        return;
      }
      parts.push(part);
      nodes.push(...segment.nodes);
      if (expressed === undefined) expressed = part;
      else if (!isRefusal(expressed)) expressed = follow(expressed, part);
      // What is padded and cropped again is exact as a whole, though its beginning is not.
      if (isRefusal(expressed)) {
        const refusal = expressed;
        const whole = followBackwards(parts);
        if (isRefusal(whole)) {
          yield [start + i + 1, refusal];
          failures += 1;
          if (failures > LOOKAHEAD) return;
          continue;
        }
        expressed = whole;
      }
      const isTried = i < GROUP_LIMIT || i === ahead.length - 1;
      if (nodes.length < 2 || !isTried) continue;
      const region = this.#region(first.source, segment.output, [...nodes], way, expressed);
      if (region !== undefined) yield [start + i + 1, region];
    }
  }

  /** The region of an expression; undefined where one node would be no less than what is there, a refusal where it would be more. */
  #region(
    source: string,
    output: string,
    nodes: readonly Node[],
    { frame, head }: SourceFrame,
    expressed: Expressed,
  ): Region | Refusal | undefined {
    const { operators, graph, inexact } = this.affine;
    const { expression, layout } = expressed;
    const known = inexact?.get(nodes.at(-1) as Node)?.get(source);
    if (known !== undefined) return refuse(known.kind, known.reason);
    const pointwise = nodes.some((node) => this.#isWeighted(node)) ? undefined : this.#pointwise(nodes);
    // Without a weight it has to be one number a channel, or two.
    if (
      pointwise &&
      !(pointwise.isPossible && isDiagonal(expression.geometry) && isPointwise(expression.geometry))
    )
      return undefined;
    // Vectors would only grow.
    if (pointwise && head.length > 0) return undefined;
    const tail = layout === undefined ? [] : rearrangements(layout, nodes.at(-1)?.label ?? '');
    if (isRefusal(tail)) return tail;
    // A node that relabels alone belongs to a region only where it comes to nothing in it.
    const isEdge = [nodes[0], nodes.at(-1)].some((node) => {
      const operator = node && operators.get(node);
      return operator !== undefined && 'relabelling' in operator;
    });
    if (isEdge && tail.length > 0) return undefined;
    const makesConv =
      pointwise === undefined &&
      frame.axis === 'channel' &&
      !nodes.some((node) => node.is('Conv', 'ConvTranspose'));
    if (makesConv && frame.type !== 'float32' && frame.type !== 'float16')
      return refuse('unsupported', `runtimes have products of matrices in ${frame.type}, but no Conv`);
    const carrier = carrierOf(nodes, this.affine);
    if (carrier === undefined) return undefined;
    const before = costBefore(expressed, operators);
    const kind = pointwise ?? { prefersGemm: carrier.is('Gemm') };
    const bare = targetOf(expression.geometry, frame, kind, { head, tail });
    const biasShape = vectorShape({ frame, expression, target: bare });
    const kept = keptOf(expression, bare.main, biasShape);
    if (expression.geometry.isOpen && kept.bias === undefined)
      return refuse('operand', `the bias of '${nodes.at(-1)?.label}' is no constant vector`);
    const after = costWith(bare, kept, expression.geometry, biasShape);
    const target = { ...bare, cost: after };
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
        `one ${target.main} would have ${would} ${what}, the ${nodes.length} nodes have ${were}`,
      );
    }
    const usesRunningStatistics = nodes.some((node) => operators.get(node)?.isTraining);
    return {
      graph,
      source,
      output,
      nodes,
      carrier,
      frame,
      shape: this.#frames.sources.shapeOf(source),
      expression,
      measures: expressed.measures,
      head,
      tail,
      target,
      kept,
      before,
      usesRunningStatistics,
      keys: keysOf(expression, pointwise ? frame : undefined, target, this.#keys),
    };
  }

  /** What nodes without a weight can become. */
  #pointwise(nodes: readonly Node[]): Pointwise {
    const operators = nodes.map((node) => this.affine.operators.get(node)).filter((op) => op !== undefined);
    const hasNorm = operators.some(({ pointwise }) => pointwise === 'normalization');
    const hasScale = operators.some(
      ({ pointwise, data, signs }) => pointwise === 'factor' || data.length > 1 || signs?.[0] === -1,
    );
    const constants = operators.flatMap((operator) => operator.constants);
    const isUniform = constants.every(({ shape }) => shape.every((dim) => dim === 1)) && !hasNorm;
    return { hasNorm, hasScale, isPossible: constants.length > 0, isUniform };
  }

  #isWeighted(node: Node): boolean {
    return this.affine.operators.get(node)?.mixing !== undefined;
  }
}

function follow(first: Expressed, second: Expressed): Expressed | Refusal {
  const expression = chain(first.expression, second.expression);
  if (isRefusal(expression)) return expression;
  const volume = first.expression.geometry.stride.reduce((product, step) => product * step, 1);
  const later = second.measures.map((measure): Measure => ({ ...measure, volume: measure.volume * volume }));
  return { expression, measures: [...first.measures, ...later], layout: second.layout };
}

/** The same from the last part to the first. */
function followBackwards(parts: readonly Expressed[]): Expressed | Refusal {
  return parts
    .slice(0, -1)
    .reduceRight<Expressed | Refusal>(
      (behind, part) => (isRefusal(behind) ? behind : follow(part, behind)),
      parts.at(-1) as Expressed,
    );
}

/** The last of the nodes with the largest weight; without one, the last normalization, or else factor, or summand. */
function carrierOf(nodes: readonly Node[], { operators }: AffineGraph): Node | undefined {
  let carrier: Node | undefined;
  let largest = -1;
  const last: Partial<Record<NonNullable<AffineOperator['pointwise']>, Node>> = {};
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined) continue;
    const { mixing, pointwise, constants } = operator;
    if (pointwise !== undefined && constants.length > 0) last[pointwise] = node;
    if (mixing === undefined) continue;
    const size = mixing.weight.shape.reduce((product, dim) => product * dim, 1);
    if (size >= largest) [carrier, largest] = [node, size];
  }
  return carrier ?? last.normalization ?? last.factor ?? last.summand;
}
