import type { ConstantValue, Node } from '../../graph/index.js';
import type { ValueKeys } from '../naming.js';
import {
  composeGeometry,
  type Geometry,
  identityGeometry,
  kernelSize,
  strideVolume,
  sumGeometry,
  whyNotComposable,
} from './geometry.js';
import { type AffineOperator, constantsOf, isWeighted, type SumOperator } from './operators.js';
import { isRefusal, type Refusal } from './refusal.js';
import { type Frame, stepGeometry, windowRankOf } from './step-geometry.js';

/** How the numbers of a map are to be computed, and its geometry. Plans may share parts. */
export type Plan = { readonly geometry: Geometry /** For messages. */; readonly label: string } & (
  | { readonly kind: 'identity' }
  | { readonly kind: 'step'; readonly operator: AffineOperator; readonly frame: Frame }
  /** In the order of application. */
  | { readonly kind: 'chain'; readonly parts: readonly Plan[] }
  | {
      readonly kind: 'sum';
      readonly operator: SumOperator;
      readonly terms: readonly Plan[];
      readonly frame: Frame;
    }
);

/** What a node does, for the account of costs. */
export interface Measure {
  readonly node: Node;
  /** Multiply-adds for one position of its own output. */
  readonly work: number;
  /** How many positions of the source there are for one of its output. */
  readonly volume: number;
}

export interface Planned {
  readonly plan: Plan;
  readonly measures: readonly Measure[];
}

/** A piece of a graph with one source and one output, and no other way in or out. */
export interface Segment {
  readonly source: string;
  readonly output: string;
  /** In topological order; the last makes the output. */
  readonly nodes: readonly Node[];
}

export type Operators = ReadonlyMap<Node, AffineOperator>;

/**
 * The plan of a segment as a map of its source, or why it is none.
 *
 * @param channels of the source; undefined where the graph does not tell, which is no matter where a weight does
 */
export function planSegment(
  { source, nodes }: Segment,
  operators: Operators,
  frame: Frame,
  channels: number | undefined,
): Planned | Refusal {
  const size = sizeRead(source, nodes, operators) ?? channels ?? 0;
  const plans = new Map<string, Plan>([
    [source, { kind: 'identity', label: source, geometry: identityGeometry(size, windowRankOf(frame)) }],
  ]);
  const measures: Measure[] = [];
  let plan: Plan | undefined;
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined) throw new Error(`'${node.label}' is in a segment, but not affine`);
    const terms = operator.data.map((value) => plans.get(value)).filter((term) => term !== undefined);
    const [term] = terms;
    if (term === undefined || terms.length !== operator.data.length)
      throw new Error(`'${node.label}' reads from outside`);
    const made =
      operator.kind === 'sum' && terms.length > 1
        ? planSum(operator, terms, frame)
        : planStep(operator, term, frame);
    if (isRefusal(made)) return made;
    plan = made.plan;
    measures.push({ node, work: made.work, volume: strideVolume(plan.geometry) });
    plans.set(node.outputs[0] ?? '', plan);
  }
  if (plan === undefined) throw new Error('a segment without nodes');
  return { plan, measures };
}

/** The channels of a value, as the first weight tells that reads it or a value of as many channels. */
export function sizeRead(value: string, nodes: readonly Node[], operators: Operators): number | undefined {
  const alike = new Set([value]);
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined || !operator.data.every((input) => alike.has(input))) continue;
    if (operator.kind === 'norm') return operator.scale.shape[0];
    if (operator.kind === 'matrix') return operator.weight.shape[operator.layout === 'out-in' ? 1 : 0];
    if (operator.kind === 'convTranspose') return operator.weight.shape[0];
    if (operator.kind === 'conv') return (operator.weight.shape[1] ?? 0) * operator.groups;
    // A constant vector could widen a single channel.
    const isNumber = constantsOf(operator).every(({ shape }) => shape.every((dim) => dim === 1));
    if (isNumber) alike.add(node.outputs[0] ?? '');
  }
  return undefined;
}

interface Made {
  readonly plan: Plan;
  readonly work: number;
}

function planStep(operator: AffineOperator, before: Plan, frame: Frame): Made | Refusal {
  const { label } = operator.node;
  const channels = before.geometry.outputs;
  const geometry = stepGeometry(operator, channels, frame);
  if (isRefusal(geometry)) return geometry;
  if (channels === 0 && geometry.inputs === 0) {
    return { kind: 'operand', reason: `the number of channels of '${before.label}' is not known` };
  }
  const plan = chain(before, { kind: 'step', label, operator, frame, geometry });
  return isRefusal(plan) ? plan : { plan, work: workOf(operator, geometry) };
}

function planSum(operator: SumOperator, terms: readonly Plan[], frame: Frame): Made | Refusal {
  const { label } = operator.node;
  const geometry = sumGeometry(
    terms.map((term) => term.geometry),
    label,
  );
  if (isRefusal(geometry)) return geometry;
  if (geometry.outputs === 0)
    return { kind: 'operand', reason: `the number of channels that '${label}' adds is not known` };
  const own = stepGeometry(operator, geometry.outputs, frame);
  if (isRefusal(own)) return own;
  const work = geometry.outputs * (terms.length + operator.constants.length - 1);
  const hasBias = geometry.hasBias || own.hasBias;
  const isShifted = geometry.isShifted || own.isShifted;
  return {
    plan: { kind: 'sum', label, operator, terms, frame, geometry: { ...geometry, hasBias, isShifted } },
    work,
  };
}

/** One plan after another, as one list of parts where that shares nothing. */
export function chain(first: Plan, second: Plan): Plan | Refusal {
  if (first.kind === 'identity') return second;
  if (second.kind === 'identity') return first;
  const problem = whyNotComposable(first.geometry, second.geometry, [first.label, second.label]);
  if (problem !== undefined) return problem;
  return {
    kind: 'chain',
    label: second.label,
    parts: [first, second],
    geometry: composeGeometry(first.geometry, second.geometry),
  };
}

function workOf(operator: AffineOperator, geometry: Geometry): number {
  if (isWeighted(operator)) return operator.weight.shape.reduce((product, dim) => product * dim, 1);
  switch (operator.kind) {
    case 'norm':
    case 'scale':
      return geometry.outputs;
    case 'sum':
      return operator.signs[0] === -1 || operator.constants.length > 0 ? geometry.outputs : 0;
    case 'pool':
      return kernelSize(geometry);
    case 'pad':
      return 0;
  }
}

/** A constant of a plan and the node that reads it. */
export interface PlanConstant {
  readonly node: Node;
  readonly constant: ConstantValue;
  /** True for a weight that mixes channels. */
  readonly isWeight: boolean;
}

export function constantsOfPlan(plan: Plan): PlanConstant[] {
  const own = (operator: AffineOperator): PlanConstant[] =>
    constantsOf(operator).map((constant) => ({
      node: operator.node,
      constant,
      isWeight: isWeighted(operator) && constant === operator.weight,
    }));
  switch (plan.kind) {
    case 'identity':
      return [];
    case 'chain':
      return plan.parts.flatMap(constantsOfPlan);
    case 'sum':
      return [...plan.terms.flatMap(constantsOfPlan), ...own(plan.operator)];
    case 'step':
      return own(plan.operator);
  }
}

/** A text that plans have in common exactly where they compute the same numbers. */
export function keyOf(plan: Plan, keys: ValueKeys): string {
  const of = (part: Plan): string => keyOf(part, keys);
  switch (plan.kind) {
    case 'identity':
      return 'x';
    case 'chain':
      return `(${plan.parts.map(of).join(' > ')})`;
    case 'sum':
      return `(${plan.terms.map(of).join(' + ')} ${operatorKey(plan.operator, keys)})`;
    case 'step':
      return operatorKey(plan.operator, keys);
  }
}

function operatorKey({ node, data: _data, ...operator }: AffineOperator, keys: ValueKeys): string {
  return JSON.stringify([node.opType, operator], (_key, value: unknown) => {
    const isConstant = typeof value === 'object' && value !== null && 'leaves' in value;
    if (!isConstant) return value;
    const constant = value as ConstantValue;
    return keys.of(constant.graph, constant.value);
  });
}
