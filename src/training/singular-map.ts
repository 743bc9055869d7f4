import { gramEigen } from '../passes/gram-eigen.js';
import { type Matrix, matmul } from '../runtime/matmul.js';

export interface MappedMatrix {
  /** U diag(map(s)) V^T, of the type of what was given. */
  readonly matrix: Matrix;
  /** The singular values before, descending; 0 for those below the rounding of the type. */
  readonly values: Float64Array;
}

const EPSILON_FLOAT32 = 2 ** -23;

/**
 * A function of a matrix through its singular values: of A = U diag(s) V^T the matrix U diag(map(s)) V^T. Products and
 * eigenvectors (of the smaller Gram matrix) in float64, rounded once.
 *
 * With V the eigenvectors of A^T A it is A V diag(map(s) / s) V^T, so U need not be computed, and rounding is relative
 * to the singular values that are kept.
 *
 * @param map from the singular values, descending, to as many others; those of 0 must stay 0
 * @throws RangeError when A has NaN or infinite values
 * @example
 * // The best approximation of rank 8 (Eckart & Young 1936).
 * const { matrix } = await mapSingularValues(a, (values) => values.map((value, i) => (i < 8 ? value : 0)));
 */
export async function mapSingularValues(
  a: Matrix,
  map: (values: Float64Array) => Float64Array,
): Promise<MappedMatrix> {
  const { rows, columns, data } = a;
  const isWide = rows <= columns;
  const n = Math.min(rows, columns);
  const { values: squares, vectors } = await gramEigen(() => a, n, isWide ? 'rows' : 'columns');
  const isDouble = data instanceof Float64Array;
  // Of float64 the Gram matrix tells less apart than the type does.
  const resolved = Math.max(rows, columns) * (isDouble ? Number.EPSILON : EPSILON_FLOAT32 ** 2);
  const floor = Math.max(resolved, n * Number.EPSILON) * Math.max(0, squares[0] ?? 0);
  const values = Float64Array.from(squares, (square) => (square > floor ? Math.sqrt(square) : 0));
  const wanted = map(values);
  let count = n;
  while (count > 0 && wanted[count - 1] === 0) count -= 1;
  const type = isDouble ? 'float64' : 'float32';
  if (count === 0) {
    return {
      matrix: { rows, columns, data: new (isDouble ? Float64Array : Float32Array)(data.length) },
      values,
    };
  }
  const kept: Matrix = { rows: count, columns: n, data: vectors.subarray(0, count * n) };
  const scaled = new Float64Array(count * n);
  for (let row = 0; row < count; row += 1) {
    const factor = (wanted[row] as number) / (values[row] as number);
    for (let i = row * n; i < (row + 1) * n; i += 1) scaled[i] = factor * (kept.data[i] as number);
  }
  const turning = await matmul({ rows: count, columns: n, data: scaled }, kept, { transposeA: true });
  const matrix = isWide ? await matmul(turning, a, { out: type }) : await matmul(a, turning, { out: type });
  return { matrix, values };
}
