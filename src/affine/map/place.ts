import type { FloatType, Node } from '../../graph/index.js';
import type { Window } from '../../graph/operators/window.js';
import { type Refusal, refuse } from '../refusal.js';
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

/** The map of so many channels that changes nothing, at a place. */
export function identityAt({ frame }: Place, channels: number): Geometry {
  return identityGeometry(channels, windowRankOf(frame));
}

export function wrongAxis(node: Node): Refusal {
  return refuse('unsupported', `'${node.label}' (${node.opType}) mixes other axes than the nodes around it`);
}

/** What a window is in a geometry. */
export type Windowed = Pick<Geometry, 'taps' | 'stride' | 'slack'> &
  Partial<Pick<Geometry, 'auto' | 'upsampling'>>;

/** A window over a value's axes as one over the source's: the same axes, perhaps in another order, or with others besides. */
export function windowInSource(
  windowed: Windowed,
  { frame, windows }: Place,
  node: Node,
): Windowed | Refusal {
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

/** Of a convolution or pooling. */
export function forwardWindow({ extents, strides, dilations, pads, auto }: Window): Windowed {
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  const start = extents.map((_, axis) => 0 - (pads[axis] ?? 0));
  const total = extents.map((_, axis) => (pads[axis] ?? 0) + (pads[axis + extents.length] ?? 0));
  return {
    taps: tapsOfWindow(extents, dilations, start),
    stride: strides,
    slack: auto !== undefined ? span.map(() => 0) : total.map((pad, axis) => pad - (span[axis] ?? 0)),
    ...(auto !== undefined && { auto: { mode: auto, span } }),
  };
}
