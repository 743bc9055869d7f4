import type { ConstantValue, FloatType, Node } from '../../graph/index.js';
import { type Axis, type Geometry, identityGeometry, tapsOfWindow } from './geometry.js';
import {
  type AffineOperator,
  constantsOf,
  type NormOperator,
  type PadOperator,
  type Window,
} from './operators.js';
import { type Refusal, refuse } from './refusal.js';

/** What all nodes of a region have in common. */
export interface Frame {
  readonly axis: Axis;
  /** The rank of its values; undefined where the graph does not say (of 'channel' it always does). */
  readonly rank: number | undefined;
  readonly type: FloatType;
}

export function windowRankOf({ axis, rank }: Frame): number {
  return axis === 'channel' ? (rank ?? 2) - 2 : 0;
}

/**
 * The geometry of one node as a map of its input (of a sum, of one of its terms).
 *
 * @param channels how many channels it reads
 */
export function stepGeometry(operator: AffineOperator, channels: number, frame: Frame): Geometry | Refusal {
  const { node } = operator;
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
    case 'convTranspose': {
      const { weight, bias, groups, window } = operator;
      if (frame.axis !== 'channel' || weight.shape.length !== frame.rank) return wrongAxis();
      const [rows = 0, perGroup = 0] = weight.shape;
      const isForward = operator.kind === 'conv';
      const [outputs, inputs] = isForward ? [rows, perGroup * groups] : [perGroup * groups, rows];
      const place = isForward ? forwardWindow(window) : backwardWindow(window);
      const isShifted = bias !== undefined && !isZero(bias);
      return { ...identity, ...place, inputs, outputs, groups, hasBias: bias !== undefined, isShifted };
    }
    case 'matrix': {
      const { axis, weight, bias, layout, isInputTransposed } = operator;
      if (axis !== frame.axis) return wrongAxis();
      const [rows = 0, columns = 0] = weight.shape;
      const [outputs, inputs] = layout === 'out-in' ? [rows, columns] : [columns, rows];
      const isRow = bias === undefined || isRowVector(bias.shape, outputs);
      if (!isRow) {
        return refuse('operand', `the bias of '${node.label}' differs from row to row`);
      }
      const hasBias = bias !== undefined;
      return {
        ...identity,
        inputs,
        outputs,
        groups: 1,
        hasBias,
        isShifted: hasBias,
        isTransposed: isInputTransposed,
      };
    }
    case 'norm': {
      if (frame.axis === 'left' || (frame.axis === 'last' && frame.rank !== 2)) return wrongAxis();
      const size = operator.scale.shape[0] ?? 0;
      return {
        ...identityGeometry(size, windowRankOf(frame)),
        hasBias: true,
        isShifted: !isCentered(operator),
      };
    }
    case 'scale': {
      const problem = whyNoVector(operator.factor, node, channels, frame);
      return problem ?? identity;
    }
    case 'sum': {
      for (const { value } of operator.constants) {
        const problem = whyNoVector(value, node, channels, frame);
        if (problem !== undefined) return problem;
      }
      const isShifted = operator.constants.some(({ value }) => !isZero(value));
      return { ...identity, hasBias: operator.constants.length > 0, isShifted };
    }
    case 'pool': {
      const { window } = operator;
      if (frame.axis !== 'channel' || window.extents.length !== windowRankOf(frame)) return wrongAxis();
      return { ...identity, ...forwardWindow(window) };
    }
    case 'pad': {
      const pads = padsOfAxes(operator, frame.rank ?? 0);
      if (frame.axis !== 'channel' || pads === undefined) return wrongAxis();
      const before = pads.slice(2).map(([pad]) => pad);
      const behind = pads.slice(2).map(([, pad]) => pad);
      const padsOthers = pads.slice(0, 2).some(([low, high]) => low !== 0 || high !== 0);
      if (padsOthers) return refuse('unsupported', `'${node.label}' (Pad) pads the batch or the channels`);
      return {
        ...identity,
        taps: [before.map((pad) => 0 - pad)],
        slack: before.map((pad, axis) => pad + (behind[axis] ?? 0)),
      };
    }
  }
}

/** Pads before and behind each axis; undefined for pads that do not fit the rank. */
function padsOfAxes({ pads, axes }: PadOperator, rank: number): [number, number][] | undefined {
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

type Place = Pick<Geometry, 'taps' | 'stride' | 'slack'> & Partial<Pick<Geometry, 'auto'>>;

function forwardWindow({ extents, strides, dilations, pads, auto }: Window): Place {
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
function backwardWindow({ extents, strides, dilations, pads }: Window): Place {
  const start = extents.map((_, axis) => pads[axis] ?? 0);
  const steps = dilations.map((dilation) => -dilation);
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  return {
    taps: tapsOfWindow(extents, steps, start),
    stride: strides,
    slack: span.map((length, axis) => length - (pads[axis] ?? 0) - (pads[axis + extents.length] ?? 0)),
  };
}

function isRowVector(shape: readonly number[], length: number): boolean {
  const last = shape.at(-1) ?? 1;
  return shape.slice(0, -1).every((dim) => dim === 1) && (last === 1 || last === length);
}

/** Why a constant is not one number a channel, or one number; undefined where it is. */
function whyNoVector(
  constant: ConstantValue,
  node: Node,
  channels: number,
  frame: Frame,
): Refusal | undefined {
  const { rank } = frame;
  let { shape } = constant;
  const no = (why: string): Refusal =>
    refuse(
      'operand',
      `'${constant.value}' of '${node.label}', of shape [${constant.shape.join(', ')}], ${why}`,
    );
  if (node.attributes.has('axis')) {
    // Before operator set 7 a constant could be aligned at any axis.
    if (rank === undefined) return no('stands at an axis that is not known');
    const axis = node.attributes.int('axis', 0);
    const at = axis < 0 ? axis + rank : axis;
    shape = [...shape, ...new Array<number>(Math.max(0, rank - at - shape.length)).fill(1)];
  }
  // Without a known rank only what a single axis takes, or two of a matrix, is safe.
  const known = rank ?? (frame.axis === 'left' ? 0 : 1);
  if (shape.length > known)
    return no(rank === undefined ? 'may add axes to the value' : 'adds axes to the value');
  const at = frame.axis === 'channel' ? 1 - known : frame.axis === 'last' ? -1 : -2;
  for (let back = -1; back >= -shape.length; back -= 1) {
    const dim = shape.at(back);
    if (dim === 1 || (back === at && dim === channels)) continue;
    return no(back === at ? `does not fit ${channels} channels` : 'is not one number a channel');
  }
  return undefined;
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
