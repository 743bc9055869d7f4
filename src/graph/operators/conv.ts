import { each, type Family } from './traits.js';

/** Convolutions. */
export const CONV = {
  ...each(['Conv', 'ConvTranspose'], { weights: [1, 2], matrices: [1] }),
  DeformConv: { weights: [1, 3], matrices: [1] },
  Col2Im: {},
} satisfies Family;
