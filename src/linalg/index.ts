export { type GramOptions, gram } from './gram.js';
export { batchedMatmul, type MatmulOptions, type MatrixBatch, matmul } from './matmul.js';
export { type Matrix, type ProductPlace, withProducts } from './matrix.js';
