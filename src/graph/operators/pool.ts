import { each, type Family } from './traits.js';

/** Pooling, and sampling of images at other places. */
export const POOL = {
  ...each(
    ['AveragePool', 'GlobalAveragePool', 'GlobalLpPool', 'GlobalMaxPool', 'LpPool', 'MaxPool', 'MaxUnpool'],
    { shape: 'channels' },
  ),
  ...each(['MaxRoiPool', 'AffineGrid', 'ImageDecoder'], {}),
  RoiAlign: { rewritten: [16] },
  GridSample: { shape: 'channels', rewritten: [20] },
  Resize: { rewritten: [11] },
  Upsample: { rewritten: [10] },
} satisfies Family;
