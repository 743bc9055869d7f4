import type { FloatType, Node } from '../../graph/index.js';
import type { ValueKeys } from '../naming.js';
import { costBefore, targetOf } from './cost.js';
import { Facts } from './facts.js';
import type { Axis } from './geometry.js';
import { isWeighted } from './operators.js';
import { chain, keyOf, type Measure, type Planned, planSegment, type Segment, sizeRead } from './plan.js';
import { isRefusal, type Refusal, refuse } from './refusal.js';
import type { Region } from './region.js';
import type { AffineGraph } from './segments.js';
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

  constructor(affine: AffineGraph, force: boolean, keys: ValueKeys) {
    this.affine = affine;
    this.#force = force;
    this.#keys = keys;
    this.#facts = new Facts(affine.graph);
  }

  /** The groups that begin with a segment, as regions or with the reason why they are none. */
  *groups(segments: readonly Segment[], start: number): Generator<[end: number, Region | Refusal]> {
    const { operators } = this.affine;
    const ahead = segments.slice(start, start + GROUP_LIMIT);
    const [first] = ahead;
    const aheadNodes = ahead.flatMap((segment) => segment.nodes);
    const frame = this.#frameOf(aheadNodes);
    if (frame === undefined || first === undefined) return;
    const size = sizeRead(first.source, aheadNodes, operators) ?? this.#facts.size(first.source, frame.axis);
    const parts: Planned[] = [];
    const nodes: Node[] = [];
    let planned: Planned | Refusal | undefined;
    let failures = 0;
    for (const [i, segment] of ahead.entries()) {
      const part = planSegment(segment, operators, frame, parts.at(-1)?.plan.geometry.outputs ?? size);
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
    const { plan } = planned;
    const carrier = carrierOf(nodes, this.affine);
    const before = costBefore(planned, operators);
    const target = targetOf(plan.geometry, frame, carrier.is('Gemm'));
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
      plan,
      target,
      before,
      usesRunningStatistics,
      key: keyOf(plan, this.#keys),
    };
  }

  /** What the first node with a weight says of the values around it. */
  #frameOf(nodes: readonly Node[]): Frame | undefined {
    for (const node of nodes) {
      const operator = this.affine.operators.get(node);
      if (operator === undefined || !isWeighted(operator)) continue;
      const { weight } = operator;
      const axis: Axis = operator.kind === 'matrix' ? operator.axis : 'channel';
      const rank = ((): number | undefined => {
        if (axis === 'channel') return weight.shape.length;
        if (node.is('Gemm')) return 2;
        // No affine node of such a region changes it.
        const values = nodes.flatMap((other) => [
          ...(this.affine.operators.get(other)?.data ?? []),
          ...other.outputs.slice(0, 1),
        ]);
        for (const value of new Set(values)) {
          const known = this.#facts.rank(value);
          if (known !== undefined) return known;
        }
        return undefined;
      })();
      return { axis, rank, type: weight.dataType as FloatType };
    }
    return undefined;
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
  return { plan, measures: [...first.measures, ...later] };
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
