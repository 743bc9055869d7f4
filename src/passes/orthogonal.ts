import { type Gemm, symmetricEigen } from '../kernels/index.js';
import { gram, type Matrix, matmul } from '../runtime/matmul.js';
import type { Random } from '../runtime/random.js';

/**
 * A random matrix with orthonormal rows (or columns, where there are fewer of them), uniform among them (Haar): the polar
 * factor (G G^T)^(-1/2) G of a matrix G of normal numbers, and one Newton-Schulz step, which squares what G's condition
 * left of an error. Faster here than QR, since it is matrix products and one eigendecomposition.
 */
export async function semiOrthogonal(
  rows: number,
  columns: number,
  isDouble: boolean,
  random: Random,
): Promise<Matrix> {
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const data = isDouble ? new Float64Array(rows * columns) : new Float32Array(rows * columns);
  for (let i = 0; i < data.length; i += 1) data[i] = random.normal();
  const out = isDouble ? 'float64' : 'float32';
  const g: Matrix = { rows, columns, data };
  const apply = (square: Matrix, to: Matrix): Promise<Matrix> =>
    isWide ? matmul(square, to, { out }) : matmul(to, square, { out });
  const side = isWide ? 'rows' : 'columns';
  const polar = await apply(await inverseRoot(await gram(g, side), n), g);
  // (3 I - Q Q^T) / 2.
  const step = (await gram(polar, side)).map((value, at) => ((at % (n + 1) === 0 ? 3 : 0) - value) / 2);
  return apply({ rows: n, columns: n, data: step }, polar);
}

/** A^(-1/2) of a positive definite matrix. */
async function inverseRoot(a: Float64Array, n: number): Promise<Matrix> {
  if (n === 1) return { rows: 1, columns: 1, data: Float64Array.of(1 / Math.sqrt(a[0] as number)) };
  const { values, vectors } = await symmetricEigen(a, n, { gemm });
  const scaled = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    const scale = 1 / Math.sqrt(Math.max(values[i] as number, Number.MIN_VALUE));
    for (let j = 0; j < n; j += 1) scaled[i * n + j] = scale * (vectors[i * n + j] as number);
  }
  return matmul(
    { rows: n, columns: n, data: scaled },
    { rows: n, columns: n, data: vectors },
    { transposeA: true },
  );
}

const gemm: Gemm = async (a, b, m, k, n) => {
  const { data } = await matmul({ rows: m, columns: k, data: a }, { rows: k, columns: n, data: b });
  return data as Float64Array;
};
