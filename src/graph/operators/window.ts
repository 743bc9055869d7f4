import type { Node } from '../types.js';
import type { Dimension } from '../value-info.js';

/**
 * Where the steps of a window leave more elements behind the last one than this, onnxruntime 1.30 begins SAME convolutions behind the
 * first element, in a way that pads cannot say.
 */
const LEAST_TOTAL = -2;

/** A window of a convolution or pooling; pads before each axis, then behind each. */
export interface Window {
  readonly extents: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  /** Where the pads depend on the size of the input, or no pads say the same. */
  readonly auto?: 'SAME_UPPER' | 'SAME_LOWER' | undefined;
}

/**
 * Strides, dilations and pads, as attributes say them; those of SAME are worked out as far as the sizes tell.
 *
 * @param sizes spatial sizes of what the window moves over
 * @param positions how many places it has along each axis, where that does not follow from the sizes and strides
 */
export function windowOf(
  { attributes }: Pick<Node, 'attributes'>,
  extents: readonly number[],
  sizes: readonly Dimension[] = [],
  positions: readonly number[] = [],
): Window {
  const ones = extents.map(() => 1);
  const strides = attributes.ints('strides') ?? ones;
  const dilations = attributes.ints('dilations') ?? ones;
  const mode = attributes.string('auto_pad', 'NOTSET');
  const base = { extents, strides, dilations };
  const none = extents.flatMap(() => [0, 0]);
  if (mode !== 'SAME_UPPER' && mode !== 'SAME_LOWER')
    return { ...base, pads: (mode === 'VALID' ? undefined : attributes.ints('pads')) ?? none };
  const totals = extents.map((extent, axis) => {
    const step = strides[axis] ?? 1;
    if (extent === 1 && step <= 1 - LEAST_TOTAL) return 0;
    if (step === 1 && positions[axis] === undefined) return (extent - 1) * (dilations[axis] ?? 1);
    const size = sizes[axis];
    if (typeof size !== 'number') return undefined;
    const total = reach(base, positions[axis] ?? Math.ceil(size / step), axis) - size;
    return total < LEAST_TOTAL ? undefined : Math.max(0, total);
  });
  const known = totals.filter((total) => total !== undefined);
  return known.length < totals.length
    ? { ...base, pads: none, auto: mode }
    : { ...base, pads: halved(known, mode) };
}

/** Why a window is none that the standard has, as a phrase of its node; undefined where it is right. */
export function windowProblem({ extents, strides, dilations, pads }: Window): string | undefined {
  const lists = { strides, dilations };
  for (const [name, list] of Object.entries(lists)) {
    if (list.length !== extents.length || list.some((step) => step < 1))
      return `has ${name} [${list.join(', ')}] for a kernel of ${extents.length} axes`;
  }
  return pads.length === 2 * extents.length
    ? undefined
    : `has pads [${pads.join(', ')}] for a kernel of ${extents.length} axes`;
}

/** How many elements, pads among them, a number of places of a window spans along an axis. */
export function reach(
  { extents, strides, dilations }: Pick<Window, 'extents' | 'strides' | 'dilations'>,
  positions: number,
  axis: number,
): number {
  const span = ((extents[axis] ?? 1) - 1) * (dilations[axis] ?? 1) + 1;
  return (positions - 1) * (strides[axis] ?? 1) + span;
}

/** Pads of each axis from their sum: SAME_UPPER has an odd one behind, all else before. */
export function halved(totals: readonly number[], mode: string): number[] {
  const less = totals.map((total) => Math.floor(total / 2));
  const more = totals.map((total, axis) => total - (less[axis] ?? 0));
  return mode === 'SAME_UPPER' ? [...less, ...more] : [...more, ...less];
}

/**
 * What a ConvTranspose adds to sizes: an axis of n elements becomes stride (n - 1) + this. Undefined where the node says its
 * size by auto_pad or output_shape.
 */
export function transposedExtra(
  { attributes }: Node,
  { extents, dilations, pads }: Window,
): number[] | undefined {
  const mode = attributes.string('auto_pad', 'NOTSET');
  if ((mode !== 'NOTSET' && mode !== 'VALID') || attributes.has('output_shape')) return undefined;
  const behind = attributes.ints('output_padding') ?? [];
  return extents.map((extent, axis) => {
    const span = (dilations[axis] ?? 1) * (extent - 1) + 1 + (behind[axis] ?? 0);
    return span - (pads[axis] ?? 0) - (pads[axis + extents.length] ?? 0);
  });
}
