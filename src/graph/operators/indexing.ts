import { axis, each, type Family } from './traits.js';

/** Operators that pick or place elements by index, and those that make indices. */
export const INDEXING = {
  Gather: { moves: true, weights: [0], matrices: [0], ...axis(0) },
  GatherElements: { moves: true, ...axis(0) },
  GatherND: { moves: true },
  // Without an axis the input is flattened first.
  Compress: { moves: true },
  Scatter: { shape: 'first', rewritten: [11], ...axis(0) },
  // They may add to what is there.
  ScatterElements: { shape: 'first', ...axis(0) },
  ScatterND: { shape: 'first' },
  TensorScatter: { shape: 'first', moves: true, ...axis(-2) },
  ...each(['ArgMax', 'ArgMin'], { decides: true, flat: true, ...axis(0) }),
  TopK: { decides: true, rewritten: [10], ...axis(-1) },
  OneHot: { flat: true, ...axis(-1) },
  NonMaxSuppression: { decides: true, flat: true },
  NonZero: { decides: true, flat: true },
  Unique: { decides: true },
} satisfies Family;
