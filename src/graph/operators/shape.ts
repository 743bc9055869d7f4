import { axis, each, type Family } from './traits.js';

const RELABELS = { moves: true, relabels: true } as const;

/** Operators that give elements other places or axes, and those that read a shape. */
export const SHAPE = {
  ...each(['Reshape', 'Transpose'], RELABELS),
  Flatten: { ...RELABELS, ...axis(1) },
  ...each(['Squeeze', 'Unsqueeze'], { ...RELABELS, rewritten: [13] }),
  // Before operator set 4 the axis could be left out.
  Concat: { moves: true, weights: [0, 1, 2, 3], ...axis(1) },
  Split: { moves: true, rewritten: [13, 18], ...axis(0) },
  Slice: { moves: true, rewritten: [10] },
  Pad: { moves: true, rewritten: [11] },
  ...each(['CenterCropPad', 'DepthToSpace', 'Expand', 'SpaceToDepth', 'Tile'], { moves: true }),
  ...each(['ReverseSequence', 'Trilu'], { shape: 'first', moves: true }),
  ...each(['Shape', 'Size'], { flat: true }),
} satisfies Family;
