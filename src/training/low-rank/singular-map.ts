import { gramEigen } from '../../linalg/gram-eigen.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';

const EPSILON_FLOAT32 = 2 ** -23;

/**
 * Functions of a matrix through its singular values: of A = U diag(s) V^T the matrices U diag(map(s)) V^T. Products and
 * eigenvectors (of the smaller Gram matrix) in float64, rounded once.
 *
 * With V the eigenvectors of A^T A it is A V diag(map(s) / s) V^T, so U need not be computed, and rounding is relative
 * to the singular values that are kept.
 *
 * @param maps from the singular values, descending, to lists of as many others; those of 0, which are below the rounding of
 *   the type, must stay 0
 * @returns a matrix, of the type of A, for each list
 * @throws RangeError when A has NaN or infinite values
 * @example
 * // The best approximation of rank 8 (Eckart & Young 1936).
 * const [matrix] = await mapSingularValues(a, (values) => [values.map((value, i) => (i < 8 ? value : 0))]);
 */
export async function mapSingularValues(
  a: Matrix,
  maps: (values: Float64Array) => readonly Float64Array[],
): Promise<Matrix[]> {
  const { rows, columns, data } = a;
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const { values: squares, vectors } = await gramEigen({ load: () => a }, n, isWide ? 'rows' : 'columns');
  const isDouble = data instanceof Float64Array;
  // Of float64 the Gram matrix tells less apart than the type does.
  const resolved = Math.max(rows, columns) * (isDouble ? Number.EPSILON : EPSILON_FLOAT32 ** 2);
  const floor = Math.max(resolved, n * Number.EPSILON) * Math.max(0, squares[0] ?? 0);
  const values = Float64Array.from(squares, (square) => (square > floor ? Math.sqrt(square) : 0));
  const out = isDouble ? 'float64' : 'float32';
  const mapped = async (wanted: Float64Array): Promise<Matrix> => {
    const count = wanted.findLastIndex((value) => value !== 0) + 1;
    if (count === 0)
      return { rows, columns, data: new (isDouble ? Float64Array : Float32Array)(data.length) };
    const kept: Matrix = { rows: count, columns: n, data: vectors.subarray(0, count * n) };
    const scaled = new Float64Array(count * n);
    for (let row = 0; row < count; row += 1) {
      const factor = (wanted[row] as number) / (values[row] as number);
      for (let i = row * n; i < (row + 1) * n; i += 1) scaled[i] = factor * (kept.data[i] as number);
    }
    const turning = await matmul({ rows: count, columns: n, data: scaled }, kept, { transposeA: true });
    return isWide ? await matmul(turning, a, { out }) : await matmul(a, turning, { out });
  };
  const matrices: Matrix[] = [];
  for (const wanted of maps(values)) matrices.push(await mapped(wanted));
  return matrices;
}
