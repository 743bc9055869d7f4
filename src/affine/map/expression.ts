import type { ConstantValue, Node } from '../../graph/index.js';
import type { ValueKeys } from '../../graph/names/value-keys.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { AffineOperator, MapOperator } from '../rule.js';
import {
  composeGeometry,
  type Geometry,
  identityGeometry,
  strideVolume,
  sumGeometry,
  upsamplingKey,
  whyNotComposable,
} from './geometry.js';
import {
  type AxisLayout,
  channelOrder,
  channelPlace,
  isSameLayout,
  relabelled,
  withChannels,
  withWindows,
} from './layout.js';
import { type Frame, type Place, placeOf, windowRankOf } from './place.js';
import { rearrangements } from './rearrange.js';

/** How the numbers of a map are to be computed, and its geometry. Expressions may share parts. */
export type Expression = { readonly geometry: Geometry /** For messages. */; readonly label: string } & (
  | { readonly kind: 'identity' }
  | {
      readonly kind: 'step';
      readonly operator: MapOperator;
      /** Where the constants' axes are parts of the channels. */
      readonly parts?: AxisLayout | undefined;
    }
  /** Which channel each becomes. */
  | { readonly kind: 'permute'; readonly order: readonly number[] }
  /** In the order of application; none is a chain itself. */
  | { readonly kind: 'chain'; readonly parts: readonly Expression[] }
  | {
      readonly kind: 'sum';
      readonly operator: MapOperator;
      readonly terms: readonly Expression[];
      readonly parts?: AxisLayout | undefined;
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

export interface Expressed {
  readonly expression: Expression;
  readonly measures: readonly Measure[];
  /** How the output lies, by the source's axes; undefined where the rank of both is not known. */
  readonly layout: AxisLayout | undefined;
}

/** A piece of a graph with one source and one output, and no other way in or out. */
export interface Segment {
  readonly source: string;
  readonly output: string;
  /** In topological order; the last makes the output. */
  readonly nodes: readonly Node[];
}

export type Operators = ReadonlyMap<Node, AffineOperator>;

/** A value within a region: how it is made of the region's source, and how it lies. */
interface Laid {
  readonly expression: Expression;
  readonly layout: AxisLayout | undefined;
}

/**
 * The expression of a segment as a map of its source, or why it is none.
 *
 * @param layout of the source; undefined where its rank is not known
 * @param channels of the source; undefined where the graph does not tell, which is no matter where a weight does
 */
export function expressSegment(
  { source, nodes }: Segment,
  operators: Operators,
  frame: Frame,
  layout: AxisLayout | undefined,
  channels: number | undefined,
): Expressed | Refusal {
  // What reads parts of the channels does not tell how many there are.
  const isWhole = layout === undefined || channelPlace(layout) !== undefined;
  const size = (isWhole ? sizeRead(source, nodes, operators) : undefined) ?? channels ?? 0;
  const identity: Expression = {
    kind: 'identity',
    label: source,
    geometry: identityGeometry(size, windowRankOf(frame)),
  };
  const values = new Map<string, Laid>([[source, { expression: identity, layout }]]);
  const measures: Measure[] = [];
  let last: Laid | undefined;
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined) throw new Error(`'${node.label}' is in a segment, but not affine`);
    const terms = operator.data.map((value) => values.get(value)).filter((term) => term !== undefined);
    if (terms.length === 0 || terms.length !== operator.data.length)
      throw new Error(`'${node.label}' reads from outside`);
    const made = expressNode(operator, terms, frame);
    if (isRefusal(made)) return made;
    last = made;
    measures.push({ node, work: made.work, volume: strideVolume(made.expression.geometry) });
    values.set(node.outputs[0] ?? '', made);
  }
  if (last === undefined) throw new Error('a segment without nodes');
  return { ...last, measures };
}

interface Made extends Laid {
  readonly work: number;
}

function expressNode(operator: AffineOperator, terms: readonly Laid[], frame: Frame): Made | Refusal {
  const { label } = operator.node;
  const [first] = terms;
  if (first === undefined) throw new Error(`'${label}' reads nothing`);
  if ('relabelling' in operator) {
    if (first.layout === undefined)
      return refuse('unsupported', `the rank of what '${label}' reads is not known`);
    const layout = relabelled(first.layout, operator.relabelling, label);
    return isRefusal(layout) ? layout : { expression: first.expression, layout, work: 0 };
  }
  const expressions: Expression[] = [];
  let layout: AxisLayout | undefined;
  let isAlike = true;
  for (const [i, term] of terms.entries()) {
    const settled = inOrder(term);
    if (isRefusal(settled)) return settled;
    expressions.push(settled.expression);
    if (i === 0) layout = settled.layout;
    else if (layout && settled.layout && !isSameLayout(layout, settled.layout)) isAlike = false;
  }
  const [expression] = expressions;
  if (expression === undefined) throw new Error(`'${label}' reads nothing`);
  const made =
    expressions.length > 1
      ? expressSum(operator, expressions, frame, layout)
      : expressStep(operator, expression, frame, layout);
  if (isRefusal(made)) return made;
  if (made.step.isTransposed) {
    // It mixes the axis that the layout takes for the other one.
    const moved = layout === undefined ? [] : rearrangements(layout, label);
    if (isRefusal(moved) || moved.length > 0)
      return refuse('unsupported', `'${label}' transposes axes that were rearranged before`);
    return { ...made, layout: undefined };
  }
  if (!isAlike)
    return {
      kind: 'inexact',
      reason: `the branches that '${label}' adds have their axes in different order`,
    };
  if (layout === undefined) return { ...made, layout };
  const { stride, slack, auto, upsampling, outputs } = made.step;
  const kind = auto === undefined ? upsamplingKey(made.step) : 'same';
  const moved = withWindows(layout, stride, slack, kind, (size, window) => {
    const extra = upsampling?.extra?.[window];
    return extra === undefined ? undefined : (upsampling?.strides[window] ?? 1) * (size - 1) + extra;
  });
  const isPlaced = placeOf(frame, layout).back !== undefined;
  return { ...made, layout: isPlaced && outputs > 0 ? withChannels(moved, outputs) : moved };
}

/** A value with its channels in the order of the source's. */
function inOrder({ expression, layout }: Laid): Laid | Refusal {
  const order = layout && channelOrder(layout);
  if (layout === undefined || order === undefined) return { expression, layout };
  const geometry = { ...identityGeometry(order.length, expression.geometry.stride.length), groups: 1 };
  const permuted = chain(expression, { kind: 'permute', label: expression.label, order, geometry });
  return isRefusal(permuted)
    ? permuted
    : { expression: permuted, layout: withChannels(layout, order.length) };
}

/** The channels of a value, as the first weight tells that reads it or a value of as many channels. */
export function sizeRead(value: string, nodes: readonly Node[], operators: Operators): number | undefined {
  const alike = new Set([value]);
  for (const node of nodes) {
    const operator = operators.get(node);
    if (operator === undefined || !operator.data.every((input) => alike.has(input))) continue;
    if (operator.channels !== undefined) return operator.channels;
    // Behind these a weight may read what was two axes, or a part of one.
    const how = 'relabelling' in operator ? operator.relabelling.kind : undefined;
    if (how === 'reshape' || how === 'flatten') continue;
    // A constant vector could widen a single channel.
    if (operator.constants.every(({ shape }) => shape.every((dim) => dim === 1)))
      alike.add(node.outputs[0] ?? '');
  }
  return undefined;
}

interface Step {
  readonly expression: Expression;
  readonly work: number;
  /** Of the node alone. */
  readonly step: Geometry;
}

function expressStep(
  operator: MapOperator,
  before: Expression,
  frame: Frame,
  layout: AxisLayout | undefined,
): Step | Refusal {
  const { label } = operator.node;
  const channels = before.geometry.outputs;
  const place = placeOf(frame, layout);
  const { parts } = place;
  const geometry = stepGeometry(operator, channels, place);
  if (isRefusal(geometry)) return geometry;
  if (channels === 0 && geometry.inputs === 0) {
    return refuse('operand', `the number of channels of '${before.label}' is not known`);
  }
  const expression = chain(before, { kind: 'step', label, operator, geometry, parts });
  return isRefusal(expression) ? expression : { expression, work: operator.work(geometry), step: geometry };
}

function expressSum(
  operator: MapOperator,
  terms: readonly Expression[],
  frame: Frame,
  layout: AxisLayout | undefined,
): Step | Refusal {
  const { label } = operator.node;
  const geometry = sumGeometry(
    terms.map((term) => term.geometry),
    label,
  );
  if (isRefusal(geometry)) return geometry;
  if (geometry.outputs === 0)
    return refuse('operand', `the number of channels that '${label}' adds is not known`);
  const place = placeOf(frame, layout);
  const { parts } = place;
  const own = stepGeometry(operator, geometry.outputs, place);
  if (isRefusal(own)) return own;
  const hasBias = geometry.hasBias || own.hasBias;
  const isOpenTaken = terms.some((term, i) => term.geometry.isOpen && operator.signs?.[i] === -1);
  if (geometry.isOpen && (own.hasBias || isOpenTaken))
    return refuse('operand', `a bias that '${label}' adds to is no constant vector`);
  const isShifted = geometry.isShifted || own.isShifted;
  return {
    expression: {
      kind: 'sum',
      label,
      operator,
      terms,
      parts,
      geometry: { ...geometry, hasBias, isShifted },
    },
    work: operator.work(own),
    step: own,
  };
}

/** The parts of an expression, in the order of application. */
export function partsOf(expression: Expression): readonly Expression[] {
  return expression.kind === 'chain' ? expression.parts : [expression];
}

/** One expression after another, as one list of parts. */
export function chain(first: Expression, second: Expression): Expression | Refusal {
  if (first.kind === 'identity') return second;
  if (second.kind === 'identity') return first;
  const problem = whyNotComposable(first.geometry, second.geometry, [first.label, second.label]);
  if (problem !== undefined) return problem;
  return new Chain(first, second);
}

/** A chain that is longer by some parts than another: its list of parts is made when it is asked for. */
class Chain {
  readonly kind = 'chain';
  readonly label: string;
  readonly geometry: Geometry;
  #parts: readonly Expression[] | undefined;
  readonly halves: readonly [Expression, Expression];

  constructor(first: Expression, second: Expression) {
    this.label = second.label;
    this.geometry = composeGeometry(first.geometry, second.geometry);
    this.halves = [first, second];
  }

  get parts(): readonly Expression[] {
    this.#parts ??= this.#gathered();
    return this.#parts;
  }

  #gathered(): Expression[] {
    const parts: Expression[] = [];
    const stack: Expression[] = [this];
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      if (!(item instanceof Chain)) parts.push(...partsOf(item));
      else if (item.#parts !== undefined) parts.push(...item.#parts);
      else stack.push(item.halves[1], item.halves[0]);
    }
    return parts;
  }
}

/** What an expression is made of, in the order of application. Of a chain two halves: chains may share their beginnings. */
export function elementsOf(expression: Expression): readonly Expression[] {
  if (expression instanceof Chain) return expression.halves;
  if (expression.kind === 'chain') return expression.parts;
  return expression.kind === 'sum' ? expression.terms : [];
}

/** The geometry of one node as a map of its input; of a sum, of the sum of its data. */
function stepGeometry(operator: MapOperator, channels: number, place: Place): Geometry | Refusal {
  const { type } = place.frame;
  const other = operator.mayMixTypes
    ? undefined
    : operator.constants.find(({ dataType }) => dataType !== type);
  if (other === undefined) return operator.geometry(channels, place);
  const { label } = operator.node;
  return refuse(
    'operand',
    `'${label}' computes with '${other.value}', which is ${other.dataType}, not ${type}`,
  );
}

/** A constant of an expression and the node that reads it. */
export interface ExpressionConstant {
  readonly node: Node;
  readonly constant: ConstantValue;
  /** True for a weight that mixes channels. */
  readonly isWeight: boolean;
}

/** The constants of an expression in the order of its parts; what it holds more than once tells its own once. */
export function constantsOfExpression(expression: Expression): ExpressionConstant[] {
  const found: ExpressionConstant[] = [];
  const seen = new Set<Expression>();
  const stack: (Expression | MapOperator)[] = [expression];
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    if ('node' in item) {
      const { node, constants, mixing } = item;
      for (const constant of constants) found.push({ node, constant, isWeight: constant === mixing?.weight });
      continue;
    }
    if (seen.has(item)) continue;
    seen.add(item);
    if (item.kind === 'sum' || item.kind === 'step') stack.push(item.operator);
    stack.push(...elementsOf(item).toReversed());
  }
  return found;
}

/**
 * A text that only expressions have in common that compute the same numbers.
 *
 * @param withBias false for what they multiply by alone
 */
export function keyOf(expression: Expression, keys: ValueKeys, withBias: boolean): string {
  /** What comes again is told by the place at which it came first: written out, sums of sums would double. */
  const places = new Map<Expression, number>();
  const beginnings = new Map<Expression, number>();
  let text = '';
  // Sums are nested as deep as a model has nodes: what is left to write waits in a list, the next at its end.
  const left: (string | Expression)[] = [expression];
  const write = (parts: readonly (string | Expression)[]): void => {
    left.push(...parts.toReversed());
  };
  const joined = (parts: readonly (string | Expression)[], between: string): (string | Expression)[] =>
    parts.flatMap((part, index) => (index === 0 ? [part] : [between, part]));
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (typeof part === 'string') {
      text += part;
      continue;
    }
    const place = places.get(part);
    if (place !== undefined) {
      text += `#${place}`;
      continue;
    }
    if (part.kind !== 'identity') places.set(part, places.size);
    switch (part.kind) {
      case 'identity':
        text += 'x';
        break;
      case 'permute':
        text += `[${part.order.join(' ')}]`;
        break;
      case 'chain': {
        // From behind, as far as no beginning of it was written before.
        const backwards: Expression[] = [];
        let first: Expression = part;
        for (; first.kind === 'chain' && !beginnings.has(first); first = elementsOf(first)[0] ?? first) {
          beginnings.set(first, beginnings.size);
          backwards.push(...elementsOf(first).slice(1).flatMap(partsOf).toReversed());
        }
        const known = beginnings.get(first);
        write([
          '(',
          ...joined([known === undefined ? first : `##${known}`, ...backwards.toReversed()], ' > '),
          ')',
        ]);
        break;
      }
      case 'sum':
        write([
          '(',
          ...joined(part.terms, ' + '),
          ` ${operatorKey(part.operator, part.parts, keys, withBias)})`,
        ]);
        break;
      case 'step':
        text += operatorKey(part.operator, part.parts, keys, withBias);
    }
  }
  return text;
}

function operatorKey(
  { node, details }: MapOperator,
  parts: AxisLayout | undefined,
  keys: ValueKeys,
  withBias: boolean,
): string {
  const { factors, summands } = details;
  return JSON.stringify([node.opType, factors, withBias && summands, parts], (_, value: unknown) => {
    const isConstant = typeof value === 'object' && value !== null && 'leaves' in value;
    if (!isConstant) return value;
    const constant = value as ConstantValue;
    return keys.of(constant.graph, constant.value);
  });
}
