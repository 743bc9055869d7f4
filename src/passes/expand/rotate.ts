import { type Matrix, matmul } from '../../linalg/matmul.js';
import { semiOrthogonal } from '../../linalg/orthogonal.js';
import type { Random } from '../../runtime/random.js';

type Factor = () => Matrix | Promise<Matrix>;

/**
 * Turns the hidden units between the factors of a product by random rotations: F_1 O_1, O_1^T F_2 O_2, …, which leaves the
 * product as it was, and neighbours balanced: O^T W_{i+1}^T W_{i+1} O = O^T W_i W_i^T O. Each factor then is orthonormal
 * columns times its singular values times orthonormal rows, as it was, but not the identity on either side.
 *
 * A factor with more columns than hidden units that is read by one behind it has a kernel of columns / hidden taps, the
 * units outside.
 *
 * @param factors in the order of multiplication; each is called once and in this order
 */
export function rotateHidden(
  factors: readonly Factor[],
  hidden: number,
  isDouble: boolean,
  random: Random,
): Factor[] {
  const out = isDouble ? 'float64' : 'float32';
  let before: Matrix | undefined;
  return factors.map((factor, i) => async () => {
    let turned = await factor();
    if (before !== undefined) turned = await matmul(before, turned, { transposeA: true, out });
    before = undefined;
    if (i === factors.length - 1) return turned;
    before = await semiOrthogonal(hidden, hidden, true, random);
    return turnColumns(turned, before, out);
  });
}

async function turnColumns(matrix: Matrix, rotation: Matrix, out: 'float32' | 'float64'): Promise<Matrix> {
  const hidden = rotation.rows;
  const taps = matrix.columns / hidden;
  if (taps === 1) return matmul(matrix, rotation, { out });
  const inside = exchanged(matrix.data, matrix.rows, hidden, taps);
  const { data } = await matmul({ rows: matrix.rows * taps, columns: hidden, data: inside }, rotation, {
    out,
  });
  return { ...matrix, data: exchanged(data, matrix.rows, taps, hidden) };
}

/** [rows, a, b] as [rows, b, a]. */
function exchanged(
  data: Float32Array | Float64Array,
  rows: number,
  a: number,
  b: number,
): Float32Array | Float64Array {
  const made = new Float64Array(data.length);
  for (let row = 0; row < rows; row += 1) {
    for (let i = 0; i < a; i += 1) {
      for (let j = 0; j < b; j += 1) made[(row * b + j) * a + i] = data[(row * a + i) * b + j] as number;
    }
  }
  return made;
}
