import type { Random } from '../runtime/random.js';
import { gramEigen } from './gram-eigen.js';
import { gram, type Matrix, matmul } from './matmul.js';

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
  const data = random.fillNormal(
    isDouble ? new Float64Array(rows * columns) : new Float32Array(rows * columns),
  );
  const out = isDouble ? 'float64' : 'float32';
  const g: Matrix = { rows, columns, data };
  const apply = (square: Matrix, to: Matrix): Promise<Matrix> =>
    isWide ? matmul(square, to, { out }) : matmul(to, square, { out });
  const side = isWide ? 'rows' : 'columns';
  const polar = await apply(await inverseRoot(g, side, n), g);
  // (3 I - Q Q^T) / 2.
  const step = (await gram(polar, side)).map((value, at) => ((at % (n + 1) === 0 ? 3 : 0) - value) / 2);
  return apply({ rows: n, columns: n, data: step }, polar);
}

/** (G G^T)^(-1/2), or (G^T G)^(-1/2). */
async function inverseRoot(g: Matrix, side: 'rows' | 'columns', n: number): Promise<Matrix> {
  const { values, vectors } = await gramEigen({ load: () => g }, n, side);
  const scale = values.map((value) => 1 / Math.sqrt(Math.max(value, Number.MIN_VALUE)));
  const scaled = vectors.map((value, at) => value * (scale[Math.floor(at / n)] as number));
  return matmul(
    { rows: n, columns: n, data: scaled },
    { rows: n, columns: n, data: vectors },
    { transposeA: true },
  );
}
