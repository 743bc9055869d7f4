import type { Family } from './traits.js';

/** Recurrent layers: W, R, B and, of an LSTM, P. */
export const RECURRENT = {
  RNN: { gates: [''], weights: [1, 2, 3], matrices: [1, 2] },
  GRU: { gates: ['z', 'r', 'h'], weights: [1, 2, 3], matrices: [1, 2] },
  LSTM: { gates: ['i', 'o', 'f', 'c'], weights: [1, 2, 3, 7], matrices: [1, 2] },
} satisfies Family;
