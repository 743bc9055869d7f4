import type { ConstantValue, FloatType, Node } from '../../graph/index.js';
import { transposedExtra, type Window } from '../../graph/operators/window.js';
import { type AffineOperator, constantsOf, type NormOperator, type PadOperator } from '../operators.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import { placesInBroadcast } from './broadcast.js';
import { type Axis, type Geometry, identityGeometry, tapsOfWindow } from './geometry.js';
import { type AxisLayout, axisOf, channelPlace } from './layout.js';

/** How the source of a region is mixed by its nodes. */
export interface Frame {
  readonly axis: Axis;
  /** The rank of the source; undefined where the graph does not say (of 'channel' it always does). */
  readonly rank: number | undefined;
  readonly type: FloatType;
  /** Of products with a batch of matrices: how many, axis by axis. The channels are those of all of them. */
  readonly batch?: readonly number[] | undefined;
}

export function windowRankOf({ axis, rank }: Frame): number {
  return axis === 'channel' ? (rank ?? 2) - 2 : 0;
}

/** Where a value within a region has what its source has. */
export interface Place {
  readonly frame: Frame;
  readonly rank: number | undefined;
  /** The axis of the channels, counted from the last (-1); undefined where no axis holds just them. */
  readonly back: number | undefined;
  /** What maps of its channels can be. */
  readonly axes: ReadonlySet<Axis>;
  /** For each axis behind the second the source's window that it is; undefined for axes that hold something else. */
  readonly windows: readonly (number | undefined)[];
  /** Where no axis holds just the channels, of which they may be parts. */
  readonly parts: AxisLayout | undefined;
}

/** @param layout undefined for a source whose rank is not known, and values like it */
export function placeOf(frame: Frame, layout: AxisLayout | undefined): Place {
  if (layout === undefined) {
    const back = frame.axis === 'channel' ? 1 - (frame.rank ?? 2) : frame.axis === 'last' ? -1 : -2;
    // The last of two axes is the one that normalizations take for channels.
    const axes = new Set<Axis>([
      frame.axis,
      ...(frame.axis === 'last' && frame.rank === 2 ? ['channel' as const] : []),
    ]);
    return { frame, rank: frame.rank, back, axes, windows: [], parts: undefined };
  }
  const rank = layout.axes.length;
  const at = channelPlace(layout);
  const axes = new Set<Axis>();
  if (at === 1 && rank >= 2) axes.add('channel');
  if (at === rank - 1) axes.add('last');
  if (at === rank - 2) axes.add('left');
  const windows = Array.from({ length: Math.max(0, rank - 2) }, (_, i) => {
    const axis = axisOf(layout, i + 2);
    return frame.axis !== 'channel' || axis === undefined || axis < 2 ? undefined : axis - 2;
  });
  const back = at === undefined ? undefined : at - rank;
  return { frame, rank, back, axes, windows, parts: at === undefined ? layout : undefined };
}

/**
 * The geometry of one node as a map of its input (of a sum, of one of its terms).
 *
 * @param channels how many channels it reads
 */
export function stepGeometry(operator: AffineOperator, channels: number, place: Place): Geometry | Refusal {
  const { node } = operator;
  const { frame, axes, rank } = place;
  if (operator.kind !== 'norm') {
    const other = constantsOf(operator).find(({ dataType }) => dataType !== frame.type);
    if (other !== undefined) {
      return refuse(
        'operand',
        `'${node.label}' computes with '${other.value}', which is ${other.dataType}, not ${frame.type}`,
      );
    }
  }
  const identity = identityGeometry(channels, windowRankOf(frame));
  const wrongAxis = (): Refusal =>
    refuse('unsupported', `'${node.label}' (${node.opType}) mixes other axes than the nodes around it`);
  switch (operator.kind) {
    case 'conv':
    case 'convTranspose':
    case 'up': {
      const { weight, bias, groups, window } = operator;
      if (!axes.has('channel') || weight.shape.length !== rank) return wrongAxis();
      const [rows = 0, perGroup = 0] = weight.shape;
      const isForward = operator.kind === 'conv';
      const [outputs, inputs] = isForward ? [rows, perGroup * groups] : [perGroup * groups, rows];
      const own =
        operator.kind === 'up'
          ? upWindow(window, node)
          : isForward
            ? forwardWindow(window)
            : backwardWindow(window);
      const windowed = inSource(own, place, node);
      if (isRefusal(windowed)) return windowed;
      const isShifted = bias !== undefined && !isZero(bias);
      const isOpen = operator.openBias !== undefined;
      const hasBias = bias !== undefined;
      return { ...identity, ...windowed, inputs, outputs, groups, hasBias, isShifted, isOpen };
    }
    case 'matrix': {
      const { axis, weight, bias, batch = [], layout, isInputTransposed } = operator;
      if (!axes.has(axis) || (node.is('Gemm') && rank !== undefined && rank !== 2)) return wrongAxis();
      if (batch.join() !== (frame.batch ?? []).join())
        return refuse('operand', `'${node.label}' has batches of another shape, [${batch.join(', ')}]`);
      const [rows = 0, columns = 0] = weight.shape.slice(-2);
      const groups = batch.reduce((product, dim) => product * dim, 1);
      const [outputs, inputs] = layout === 'out-in' ? [rows, columns] : [columns, rows];
      // A Gemm that must have a bias may have one zero.
      const hasBias = bias !== undefined && !(isScalar(bias) && isZero(bias));
      return {
        ...identity,
        inputs: inputs * groups,
        outputs: outputs * groups,
        groups,
        hasBias,
        isShifted: hasBias,
        isOpen: operator.openBias !== undefined,
        isTransposed: isInputTransposed,
      };
    }
    case 'norm': {
      const size = operator.scale.shape[0] ?? 0;
      const { parts } = place;
      const isBroadcast =
        parts !== undefined && placesInBroadcast(parts, normShape(size, parts), channels) !== undefined;
      if (!axes.has('channel') && !isBroadcast) return wrongAxis();
      return {
        ...identityGeometry(isBroadcast ? channels : size, windowRankOf(frame)),
        hasBias: true,
        isShifted: !isCentered(operator),
      };
    }
    case 'scale': {
      const problem = whyNoVector(operator.factor, node, channels, place);
      return problem ?? identity;
    }
    case 'sum': {
      for (const { value } of operator.constants) {
        const problem = whyNoVector(value, node, channels, place);
        if (problem !== undefined) return problem;
      }
      const isShifted = operator.constants.some(({ value }) => !isZero(value));
      return { ...identity, hasBias: operator.constants.length > 0, isShifted };
    }
    case 'pool': {
      const { window } = operator;
      if (!axes.has('channel') || window.extents.length + 2 !== rank) return wrongAxis();
      const windowed = inSource(forwardWindow(window), place, node);
      return isRefusal(windowed) ? windowed : { ...identity, ...windowed };
    }
    case 'pad': {
      const pads = padsOfAxes(operator, rank ?? 0);
      if (!axes.has('channel') || pads === undefined) return wrongAxis();
      const before = pads.slice(2).map(([pad]) => pad);
      const behind = pads.slice(2).map(([, pad]) => pad);
      const padsOthers = pads.slice(0, 2).some(([low, high]) => low !== 0 || high !== 0);
      if (padsOthers) return refuse('unsupported', `'${node.label}' (Pad) pads the batch or the channels`);
      const windowed = inSource(
        {
          taps: [before.map((pad) => 0 - pad)],
          stride: before.map(() => 1),
          slack: before.map((pad, axis) => pad + (behind[axis] ?? 0)),
        },
        place,
        node,
      );
      return isRefusal(windowed) ? windowed : { ...identity, ...windowed };
    }
    case 'relabel':
      throw new Error(`'${node.label}' is no map of channels`);
  }
}

/** Pads before and behind each axis; undefined for pads that do not fit the rank. */
export function padsOfAxes({ pads, axes }: PadOperator, rank: number): [number, number][] | undefined {
  const named = axes ?? Array.from({ length: rank }, (_, axis) => axis);
  if (pads.length !== 2 * named.length) return undefined;
  const all = Array.from({ length: rank }, (): [number, number] => [0, 0]);
  for (const [i, axis] of named.entries()) {
    const at = axis < 0 ? axis + rank : axis;
    if (all[at] === undefined) return undefined;
    all[at] = [pads[i] ?? 0, pads[i + named.length] ?? 0];
  }
  return all;
}

type Windowed = Pick<Geometry, 'taps' | 'stride' | 'slack'> & Partial<Pick<Geometry, 'auto' | 'upsampling'>>;

/** A window over a value's axes as one over the source's: the same axes, perhaps in another order, or with others besides. */
function inSource(windowed: Windowed, { frame, windows }: Place, node: Node): Windowed | Refusal {
  const rank = windowRankOf(frame);
  const { taps, stride, slack, auto, upsampling } = windowed;
  if (stride.length === rank && windows.every((window, axis) => window === axis)) return windowed;
  if (auto !== undefined)
    return refuse('unsupported', `'${node.label}' pads by auto_pad behind axes that were rearranged`);
  if (upsampling !== undefined)
    return refuse(
      'unsupported',
      `'${node.label}' (ConvTranspose) stands behind axes that were rearranged, and its places differ`,
    );
  const at = (axis: number): number => windows.indexOf(axis);
  for (const [axis, step] of stride.entries()) {
    const isTrivial = step === 1 && slack[axis] === 0 && taps.every((tap) => tap[axis] === 0);
    if (windows[axis] === undefined && !isTrivial)
      return refuse(
        'unsupported',
        `'${node.label}' has a window over an axis that is none of its region's source`,
      );
  }
  const over = (own: readonly number[], missing: number): number[] =>
    Array.from({ length: rank }, (_, axis) => own[at(axis)] ?? missing);
  return { taps: taps.map((tap) => over(tap, 0)), stride: over(stride, 1), slack: over(slack, 0) };
}

function forwardWindow({ extents, strides, dilations, pads, auto }: Window): Windowed {
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  // A window of one element is not padded.
  const isAuto = auto !== undefined && span.some((length) => length > 0);
  const start = extents.map((_, axis) => 0 - (pads[axis] ?? 0));
  const total = extents.map((_, axis) => (pads[axis] ?? 0) + (pads[axis + extents.length] ?? 0));
  return {
    taps: tapsOfWindow(extents, dilations, start),
    stride: strides,
    slack: isAuto ? span.map(() => 0) : total.map((pad, axis) => pad - (span[axis] ?? 0)),
    ...(isAuto && { auto: { mode: auto, span } }),
  };
}

/** Of a ConvTranspose of stride 1, which is a Conv with its kernel reversed. */
function backwardWindow({ extents, strides, dilations, pads }: Window): Windowed {
  const start = extents.map((_, axis) => pads[axis] ?? 0);
  const steps = dilations.map((dilation) => -dilation);
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  return {
    taps: tapsOfWindow(extents, steps, start),
    stride: strides,
    slack: span.map((length, axis) => length - (pads[axis] ?? 0) - (pads[axis + extents.length] ?? 0)),
  };
}

/** Of any other ConvTranspose. Where its size is not told by its pads, they are not known. */
function upWindow(window: Window, node: Node): Windowed {
  const { extents, strides, dilations } = window;
  const extra = transposedExtra(node, window);
  const pads = extra === undefined ? window.pads.map(() => 0) : window.pads;
  const start = extents.map((_, axis) => 0 - (pads[axis] ?? 0));
  return {
    taps: tapsOfWindow(extents, dilations, start),
    stride: extents.map(() => 1),
    slack: extents.map(() => 0),
    upsampling: { node, strides, extra, grid: { extents, dilations, pads, start } },
  };
}

function isScalar({ shape }: ConstantValue): boolean {
  return shape.every((dim) => dim === 1);
}

/** Why a constant is not one number a channel, or one number; undefined where it is. */
function whyNoVector(
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

/** The shape of one number a channel of axis 1 beside a value. */
export function normShape(channels: number, { axes }: AxisLayout): number[] {
  return [channels, ...axes.slice(2).map(() => 1)];
}

/** A constant's shape counted from the last axis of a value; undefined where that cannot be told. */
export function alignedShape(
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

/** Bias vectors up to so many elements are read to see whether they are all zero. */
const READ_LIMIT = 1 << 16;

function isZero({ root }: ConstantValue): boolean {
  return root !== undefined && root.size <= READ_LIMIT && root.floats().every((value) => value === 0);
}

/** True for a normalization that adds nothing. */
function isCentered({ shift, mean }: NormOperator): boolean {
  return isZero(shift) && isZero(mean);
}
