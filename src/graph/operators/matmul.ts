import type { Family } from './traits.js';

/** Products of matrices. */
export const MATMUL = {
  Gemm: { weights: [0, 1, 2], matrices: [0, 1] },
  MatMul: { weights: [0, 1], matrices: [0, 1] },
  Einsum: { weights: [0, 1, 2, 3], matrices: [0, 1, 2, 3] },
  Attention: {},
  RotaryEmbedding: { shape: 'first' },
  Det: {},
} satisfies Family;
