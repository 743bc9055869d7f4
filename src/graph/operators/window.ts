import type { Node } from '../types.js';

/** A window of a convolution or pooling; pads before each axis, then behind each. */
export interface Window {
  readonly extents: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
  /** Where the pads depend on the size of the input. */
  readonly auto: 'SAME_UPPER' | 'SAME_LOWER' | undefined;
}

/** Strides, dilations and pads, as attributes say them. */
export function windowOf(node: Node, extents: readonly number[]): Window {
  const { attributes } = node;
  const ones = extents.map(() => 1);
  const strides = attributes.ints('strides') ?? ones;
  const dilations = attributes.ints('dilations') ?? ones;
  const mode = attributes.string('auto_pad', 'NOTSET');
  const base = { extents, strides, dilations };
  if (mode === 'SAME_UPPER' || mode === 'SAME_LOWER') {
    const zeros = extents.flatMap(() => [0, 0]);
    if (strides.some((step) => step !== 1)) return { ...base, pads: zeros, auto: mode };
    const totals = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
    const less = totals.map((total) => Math.floor(total / 2));
    const more = totals.map((total, axis) => total - (less[axis] ?? 0));
    return {
      ...base,
      pads: mode === 'SAME_UPPER' ? [...less, ...more] : [...more, ...less],
      auto: undefined,
    };
  }
  const pads = mode === 'VALID' ? undefined : attributes.ints('pads');
  return { ...base, pads: pads ?? extents.flatMap(() => [0, 0]), auto: undefined };
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
