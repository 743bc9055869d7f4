import type { Node } from '../../graph/index.js';
import { type Refusal, refuse } from '../refusal.js';

/**
 * What an affine map mixes: the channels of axis 1, over windows of the axes behind it ('channel': Conv); the last
 * axis ('last': Gemm, MatMul from the right); or the last but one ('left': MatMul from the left).
 */
export type Axis = 'channel' | 'last' | 'left';

/** Padding that depends on the input's size, so that only the span of a window along each axis is known. */
export interface AutoPad {
  readonly mode: 'SAME_UPPER' | 'SAME_LOWER';
  readonly span: readonly number[];
}

/**
 * A transposed convolution whose places differ, and the node that says how. Its taps are where the elements of its kernel
 * come to stand, relative to stride times the input's position.
 */
export interface Upsampling {
  readonly node: Node;
  readonly strides: readonly number[];
  /** The window of the kernel, which holds all taps. */
  readonly grid: Grid;
  /** An axis of n elements becomes stride (n - 1) + extra; undefined where its size is told in another way. */
  readonly extra: readonly number[] | undefined;
}

/**
 * An affine map without its numbers: y[m, i] = bias[m] + sum over c and taps t of K[m, c, t] x[c, stride * i + t],
 * where x is zero outside of its domain, and an axis of n elements becomes floor((n + slack - 1) / stride) + 1.
 * Maps of an axis without windows have one tap of no coordinates.
 */
export interface Geometry {
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  /** Offsets relative to the output's position, in the order in which a kernel's elements stand. */
  readonly taps: readonly (readonly number[])[];
  readonly stride: readonly number[];
  /** Padding before and behind, less what the window is longer than one element. */
  readonly slack: readonly number[];
  /** Where this is present, taps count from the window's first element and slack says nothing. */
  readonly auto?: AutoPad | undefined;
  /** Where this is present, only what works at each place by itself can be composed with it. */
  readonly upsampling?: Upsampling | undefined;
  /** True where the input's two axes are swapped first (Gemm's transA). */
  readonly isTransposed: boolean;
  /** True where a bias is there, though it may be zero. */
  readonly hasBias: boolean;
  /** True where a bias is there that is not known to be zero: what makes of zeros something else. */
  readonly isShifted: boolean;
  /** True where something is added that is no constant vector (and no part of the map): then nothing can follow. */
  readonly isOpen: boolean;
}

/** The map that changes nothing: depthwise, one tap. */
export function identityGeometry(channels: number, windowRank: number): Geometry {
  return {
    inputs: channels,
    outputs: channels,
    groups: channels,
    taps: [new Array<number>(windowRank).fill(0)],
    stride: new Array<number>(windowRank).fill(1),
    slack: new Array<number>(windowRank).fill(0),
    isTransposed: false,
    hasBias: false,
    isShifted: false,
    isOpen: false,
  };
}

/** True for a map that treats each channel by itself and looks at one place: its kernel is a vector. */
export function isDiagonal({ inputs, outputs, groups, taps }: Geometry): boolean {
  return groups === inputs && inputs === outputs && taps.length === 1;
}

/** True for a map that works at each place by itself: no window, stride or padding. */
export function isPointwise({ taps, stride, slack, auto, upsampling }: Geometry): boolean {
  const [tap] = taps;
  return (
    auto === undefined &&
    upsampling === undefined &&
    taps.length === 1 &&
    (tap ?? []).every((offset) => offset === 0) &&
    stride.every((step) => step === 1) &&
    slack.every((extra) => extra === 0)
  );
}

/** Elements of the kernel, without the zeros that a grid of taps may need. */
export function kernelSize({ outputs, inputs, groups, taps }: Geometry): number {
  return outputs * (inputs / groups) * taps.length;
}

/** How many places of the input there are for one of the output. */
export function strideVolume({ stride, upsampling }: Geometry): number {
  const volume = stride.reduce((product, step) => product * step, 1);
  return volume / (upsampling?.strides.reduce((product, step) => product * step, 1) ?? 1);
}

function lowest(taps: Geometry['taps'], axis: number): number {
  return taps.reduce((least, tap) => Math.min(least, tap[axis] ?? 0), Number.POSITIVE_INFINITY);
}

function highest(taps: Geometry['taps'], axis: number): number {
  return taps.reduce((most, tap) => Math.max(most, tap[axis] ?? 0), Number.NEGATIVE_INFINITY);
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return Math.abs(a);
}

/** Two lists of taps as one without repetitions, with the place of each tap of the second list in it. */
export function mergeTaps(
  list: (readonly number[])[],
  places: Map<string, number>,
  taps: Iterable<readonly number[]>,
): number[] {
  return Array.from(taps, (tap) => {
    const key = tap.join();
    let at = places.get(key);
    if (at === undefined) {
      at = list.length;
      places.set(key, at);
      list.push(tap);
    }
    return at;
  });
}

/** The taps of `second` after `first`, second's the outer loop, and for each pair the place of its sum in them. */
export function composeTaps(
  first: Geometry,
  second: Geometry,
): { readonly taps: Geometry['taps']; readonly places: readonly number[] } {
  // What looks at one place alone leaves the taps as they are.
  const [only, ...others] = second.taps;
  if (others.length === 0 && only?.every((offset) => offset === 0))
    return { taps: first.taps, places: Array.from(first.taps.keys()) };
  const taps: (readonly number[])[] = [];
  const sums = second.taps.flatMap((outer) =>
    first.taps.map((inner) =>
      inner.map((offset, axis) => offset + (first.stride[axis] ?? 1) * (outer[axis] ?? 0)),
    ),
  );
  const places = mergeTaps(taps, new Map(), sums);
  return { taps, places };
}

/** The geometry of `second` after `first`. It is exact only where whyNotComposable finds nothing. */
export function composeGeometry(first: Geometry, second: Geometry): Geometry {
  return {
    inputs: first.inputs,
    outputs: second.outputs,
    // Blocks of both divide into as many parts as both numbers of groups have in common.
    groups: gcd(first.groups, second.groups),
    taps: composeTaps(first, second).taps,
    stride: first.stride.map((step, axis) => step * (second.stride[axis] ?? 1)),
    slack: first.slack.map((extra, axis) => extra + (first.stride[axis] ?? 1) * (second.slack[axis] ?? 0)),
    ...((first.auto ?? second.auto) && { auto: first.auto ?? second.auto }),
    ...((first.upsampling ?? second.upsampling) && { upsampling: first.upsampling ?? second.upsampling }),
    isTransposed: first.isTransposed || second.isTransposed,
    hasBias: first.hasBias || second.hasBias,
    isShifted: first.isShifted || second.isShifted,
    isOpen: first.isOpen || second.isOpen,
  };
}

/**
 * Why `second` after `first` is not the map that composeGeometry tells, or cannot be; undefined where it is.
 *
 * Where the second map reads outside of what the first one made it reads zeros. The composed map computes there what
 * the first would make of zeros and of the border of its input. Those are the same where the first has no bias
 * and none of its windows there reaches into the input, or where the second reads nothing there.
 */
export function whyNotComposable(
  first: Geometry,
  second: Geometry,
  names: readonly [string, string],
): Refusal | undefined {
  const [a, b] = names;
  if (second.isTransposed) return refuse('unsupported', `'${b}' transposes what '${a}' makes`);
  if (first.outputs !== second.inputs) {
    return refuse('operand', `${first.outputs} outputs meet ${second.inputs} inputs ('${a}' and '${b}')`);
  }
  if (first.isOpen) return refuse('operand', `the bias of '${a}' is no constant vector`);
  if (second.isOpen && first.hasBias)
    return refuse(
      'operand',
      `what '${a}' adds would come to the bias of '${b}', which is no constant vector`,
    );
  if (first.upsampling !== undefined && !isPointwise(second))
    return refuse(
      'inexact',
      `'${a}' (ConvTranspose) has places that differ, and '${b}' is no map of single places`,
    );
  if (second.upsampling !== undefined) {
    if (!isPointwise(first))
      return refuse(
        'inexact',
        `'${b}' (ConvTranspose) has places that differ, and '${a}' is no map of single places`,
      );
    if (first.isShifted)
      return refuse('inexact', `'${a}' adds a bias in front of '${b}' (ConvTranspose), whose places differ`);
    return undefined;
  }
  if (first.auto !== undefined) {
    if (isPointwise(second)) return undefined;
    return refuse('inexact', `the padding of '${a}' (auto_pad) depends on the size of its input`);
  }
  if (second.auto !== undefined) {
    if (first.isShifted)
      return refuse('inexact', `'${a}' adds a bias in front of the zero padding of '${b}'`);
    if (isPointwise(first)) return undefined;
    return refuse('inexact', `the padding of '${b}' (auto_pad) depends on the size of its input`);
  }
  for (const [axis, step] of first.stride.entries()) {
    const padsBefore = lowest(second.taps, axis) < 0;
    const padsBehind = highest(second.taps, axis) + (second.slack[axis] ?? 0) > 0;
    if ((padsBefore || padsBehind) && first.isShifted) {
      return refuse(
        'inexact',
        `'${a}' adds a bias in front of the zero padding of '${b}', so that the border differs`,
      );
    }
    const reachesBefore = highest(first.taps, axis) > step - 1;
    const reachesBehind = lowest(first.taps, axis) < -(first.slack[axis] ?? 0);
    if ((padsBefore && reachesBefore) || (padsBehind && reachesBehind)) {
      return refuse(
        'inexact',
        `'${b}' pads with zeros what '${a}' makes of a window, so that the border differs`,
      );
    }
  }
  return undefined;
}

/** The geometry of a sum of maps of the same input, or why their outputs are not of one size. */
export function sumGeometry(terms: readonly Geometry[], node: string): Geometry | Refusal {
  const [first, ...rest] = terms;
  if (first === undefined) return refuse('unsupported', `'${node}' adds nothing`);
  const taps: (readonly number[])[] = [];
  const places = new Map<string, number>();
  let { groups, hasBias, isShifted, upsampling } = first;
  const isOpen = terms.some((term) => term.isOpen);
  // It can be kept where nothing else is added.
  const others = terms.filter((term) => term.isOpen || term.hasBias).length - 1;
  if (isOpen && others > 0)
    return refuse('operand', `a branch that '${node}' adds has a bias that is no constant vector`);
  mergeTaps(taps, places, first.taps);
  for (const term of rest) {
    if (term.inputs !== first.inputs || term.outputs !== first.outputs) {
      return refuse(
        'operand',
        `the branches that '${node}' adds have ${first.inputs} to ${first.outputs} and ${term.inputs} to ${term.outputs} channels`,
      );
    }
    if (term.stride.join() !== first.stride.join()) {
      return refuse(
        'inexact',
        `the branches that '${node}' adds have strides ${first.stride} and ${term.stride}`,
      );
    }
    if (term.isTransposed !== first.isTransposed) {
      return refuse('unsupported', `one of the branches that '${node}' adds is transposed`);
    }
    const isSameAuto =
      term.auto?.mode === first.auto?.mode && term.auto?.span.join() === first.auto?.span.join();
    if (!isSameAuto) {
      return refuse('inexact', `the branches that '${node}' adds are padded differently (auto_pad)`);
    }
    if (upsamplingKey(term) !== upsamplingKey(first)) {
      return refuse(
        'inexact',
        `the branches that '${node}' adds are transposed convolutions of different kinds`,
      );
    }
    if (first.auto === undefined && term.slack.join() !== first.slack.join()) {
      return refuse(
        'inexact',
        `the branches that '${node}' adds come out in different sizes (for some inputs at least)`,
      );
    }
    mergeTaps(taps, places, term.taps);
    groups = gcd(groups, term.groups);
    hasBias ||= term.hasBias;
    isShifted ||= term.isShifted;
    if (
      term.upsampling !== undefined &&
      term.taps.length > (upsampling === undefined ? 0 : tapCount(upsampling.grid))
    )
      upsampling = term.upsampling;
  }
  // What is no transposed convolution counts its taps the other way.
  const isAlike = terms.every((term) => term.upsampling !== undefined || isPointwise(term));
  if (upsampling !== undefined && !(isAlike && taps.every((tap) => isInGrid(tap, upsampling.grid))))
    return refuse(
      'inexact',
      `the branches that '${node}' adds are transposed convolutions of different kinds`,
    );
  return { ...first, groups, taps, hasBias, isShifted, isOpen, upsampling };
}

function tapCount({ extents }: Grid): number {
  return extents.reduce((product, extent) => product * extent, 1);
}

function isInGrid(tap: readonly number[], { start, dilations, extents }: Grid): boolean {
  return tap.every((offset, axis) => {
    const index = (offset - (start[axis] ?? 0)) / (dilations[axis] ?? 1);
    return Number.isInteger(index) && index >= 0 && index < (extents[axis] ?? 1);
  });
}

/** What transposed convolutions have in common whose outputs have one size; nothing for those that keep the size. */
export function upsamplingKey({ upsampling, taps }: Pick<Geometry, 'upsampling' | 'taps'>): string {
  if (upsampling === undefined) return '';
  if (upsampling.extra !== undefined) {
    const isSame = [...upsampling.strides, ...upsampling.extra].every((size) => size === 1);
    return isSame ? '' : JSON.stringify([upsampling.strides, upsampling.extra]);
  }
  const { attributes } = upsampling.node;
  const lists = ['strides', 'dilations', 'pads', 'output_padding', 'output_shape'].map((name) =>
    attributes.ints(name),
  );
  return JSON.stringify([attributes.string('auto_pad', 'NOTSET'), lists, taps]);
}

/** A window as a Conv has it. */
export interface Grid {
  readonly extents: readonly number[];
  readonly dilations: readonly number[];
  /** Before each axis, then behind each. With auto_pad, zeros. */
  readonly pads: readonly number[];
  /** The offset of the first element along each axis. */
  readonly start: readonly number[];
}

/** The smallest regular window that holds all taps and whose pads are not negative. */
export function gridOf({ taps, slack, auto, upsampling, stride }: Geometry): Grid {
  if (upsampling !== undefined) return upsampling.grid;
  const rank = stride.length;
  const extents: number[] = [];
  const dilations: number[] = [];
  const start: number[] = [];
  const behind: number[] = [];
  for (let axis = 0; axis < rank; axis += 1) {
    let [low, high] = [lowest(taps, axis), highest(taps, axis)];
    const extra = slack[axis] ?? 0;
    let step = taps.reduce((divisor, tap) => gcd(divisor, (tap[axis] ?? 0) - low), 0);
    if (auto !== undefined) {
      low = 0;
      high = auto.span[axis] ?? 0;
      step = taps.reduce((divisor, tap) => gcd(divisor, tap[axis] ?? 0), high);
    } else {
      // A window that begins behind the output's position, or ends before its end, is lengthened by zeros.
      const [missingBefore, missingBehind] = [Math.max(0, low), Math.max(0, -extra - high)];
      if (step === 0) step = missingBefore || missingBehind;
      if (step > 0) {
        low -= step * Math.ceil(missingBefore / step);
        high += step * Math.ceil(missingBehind / step);
      }
    }
    start.push(low);
    dilations.push(step || 1);
    extents.push(step === 0 ? 1 : (high - low) / step + 1);
    behind.push(auto === undefined ? extra + high : 0);
  }
  const before = start.map((low) => (auto === undefined ? -low : 0));
  return { extents, dilations, start, pads: [...before, ...behind].map((pad) => pad + 0) };
}

/** Where each tap stands among the elements of a grid, row-major. */
export function placesInGrid(taps: Geometry['taps'], grid: Grid): number[] {
  return taps.map((tap) =>
    tap.reduce((place, offset, axis) => {
      const index = (offset - (grid.start[axis] ?? 0)) / (grid.dilations[axis] ?? 1);
      return place * (grid.extents[axis] ?? 1) + index;
    }, 0),
  );
}

/** All offsets of a window, row-major. */
export function tapsOfWindow(
  extents: readonly number[],
  dilations: readonly number[],
  start: readonly number[],
): number[][] {
  let taps: number[][] = [[]];
  for (const [axis, extent] of extents.entries()) {
    const steps = Array.from({ length: extent }, (_, i) => (start[axis] ?? 0) + i * (dilations[axis] ?? 1));
    taps = taps.flatMap((tap) => steps.map((step) => [...tap, step]));
  }
  return taps;
}
