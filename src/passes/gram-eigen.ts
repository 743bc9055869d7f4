import { type Gemm, type SymmetricEigen, SymmetricMatrix } from '../kernels/index.js';
import { countGarbage } from '../runtime/garbage.js';
import { gemmInto, gramInto, type Matrix } from '../runtime/matmul.js';

/** Eigenvalues, descending, and eigenvectors, as rows, of a Gram matrix. */
export interface GramEigen extends SymmetricEigen {
  /** The sum of the squares of the matrix. */
  readonly squaredNorm: number;
}

/**
 * Decomposes the Gram matrix of the rows or columns of a matrix, in float64.
 *
 * @param load called once; the matrix can be let go before the eigenvectors are computed
 * @throws RangeError when the matrix has NaN or infinite values
 */
export async function gramEigen(load: () => Matrix, n: number, side: 'rows' | 'columns'): Promise<GramEigen> {
  countGarbage(8 * n * n);
  const products = new SymmetricMatrix(n);
  await fill(products, load, side);
  let squaredNorm = 0;
  for (let i = 0; i < n; i += 1) squaredNorm += products.lower[i * products.stride + i] as number;
  if (!Number.isFinite(squaredNorm)) throw new RangeError('has NaN or infinite values');
  countGarbage(8 * n * n);
  const { values, vectors } = await products.eigen({ gemm });
  return { values: values.reverse(), vectors: reverseRows(vectors, n), squaredNorm };
}

/** A function of its own, so that nothing holds the matrix any more when it returns. */
async function fill(target: SymmetricMatrix, load: () => Matrix, side: 'rows' | 'columns'): Promise<void> {
  await gramInto({ data: target.lower, stride: target.stride }, load(), side);
}

/** Large products of the eigensolver go to onnxruntime: 4096 x 4096 takes 13 s, inside WebAssembly 24 s. */
const gemm: Gemm = ({ a, b, c, m, k, n, into }) =>
  gemmInto(into, { rows: m, columns: k, data: a }, { rows: k, columns: n, data: b }, c);

function reverseRows(data: Float64Array, n: number): Float64Array {
  const row = new Float64Array(n);
  for (let top = 0, bottom = n - 1; top < bottom; top += 1, bottom -= 1) {
    row.set(data.subarray(top * n, (top + 1) * n));
    data.copyWithin(top * n, bottom * n, (bottom + 1) * n);
    data.set(row, bottom * n);
  }
  return data;
}
