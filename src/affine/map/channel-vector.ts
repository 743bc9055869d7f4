import type { ConstantValue, Node } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { type Refusal, refuse } from '../refusal.js';
import { placesInBroadcast } from './broadcast.js';
import type { AxisLayout } from './layout.js';
import type { Place } from './place.js';

/** Vectors up to so many elements are read to see whether they are all zero. */
const READ_LIMIT = 1 << 16;

export function isZero({ root }: ConstantValue): boolean {
  return root !== undefined && root.size <= READ_LIMIT && root.floats().every((value) => value === 0);
}

export function isNumber({ shape }: ConstantValue): boolean {
  return shape.every((dim) => dim === 1);
}

/** Why a constant is not one number a channel, or one number; undefined where it is. */
export function whyNoVector(
  constant: ConstantValue,
  node: Node,
  channels: number,
  { rank, back, parts }: Place,
): Refusal | undefined {
  const no = (why: string): Refusal =>
    refuse(
      'operand',
      `'${constant.value}' of '${node.label}', of shape [${constant.shape.join(', ')}], ${why}`,
    );
  const shape = alignedShape(constant, node, rank);
  if (shape === undefined) return no('stands at an axis that is not known');
  if (parts !== undefined && placesInBroadcast(parts, shape, channels) !== undefined) return undefined;
  // Without a known rank only what a single axis takes, or two of a matrix, is safe.
  const known = rank ?? (back === -2 ? 0 : 1);
  if (shape.length > known)
    return no(rank === undefined ? 'may add axes to the value' : 'adds axes to the value');
  for (let axis = -1; axis >= -shape.length; axis -= 1) {
    const dim = shape.at(axis);
    if (dim === 1 || (axis === back && dim === channels)) continue;
    return no(axis === back ? `does not fit ${channels} channels` : 'is not one number a channel');
  }
  return undefined;
}

/** A constant's shape beside a value, counted from its last axis; undefined where that cannot be told. */
function alignedShape(
  { shape }: ConstantValue,
  { attributes }: Node,
  rank: number | undefined,
): readonly number[] | undefined {
  // Before operator set 7 a constant could be aligned at any axis.
  if (!attributes.has('axis')) return shape;
  if (rank === undefined) return undefined;
  const axis = attributes.int('axis', 0);
  const at = axis < 0 ? axis + rank : axis;
  return [...shape, ...new Array<number>(Math.max(0, rank - at - shape.length)).fill(1)];
}

/** How a constant stands beside a value whose axes are parts of the channels; undefined of other values. */
export interface BesideParts {
  readonly layout: AxisLayout;
  readonly shape: readonly number[] | undefined;
}

export function shapeBeside(
  constant: ConstantValue,
  node: Node,
  layout: AxisLayout | undefined,
): BesideParts | undefined {
  return layout && { layout, shape: alignedShape(constant, node, layout.axes.length) };
}

/** The elements of a constant. */
export async function valuesOf({ graph, value }: ConstantValue): Promise<Floats> {
  return (await evaluateConstant(graph, value)).floats();
}

/** A constant of one number, or one a channel, as one a channel. */
export async function readVector(
  constant: ConstantValue,
  length: number,
  parts?: BesideParts,
): Promise<Float64Array> {
  const values = await valuesOf(constant);
  if (parts !== undefined) {
    const places = placesInBroadcast(parts.layout, parts.shape ?? constant.shape, length);
    if (places === undefined) throw new Error(`'${constant.value}' is not one number a channel`);
    return Float64Array.from(places, (place) => values[place] as number);
  }
  return values.length === length ? Float64Array.from(values) : new Float64Array(length).fill(values[0] ?? 0);
}
