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
 * @param parts hidden units that are turned among themselves, one behind the other
 */
export function rotateHidden(
  factors: readonly Factor[],
  parts: readonly number[],
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
    before = await blockRotation(parts, random);
    return turnColumns(turned, before, out);
  });
}

async function blockRotation(parts: readonly number[], random: Random): Promise<Matrix> {
  const [first = 0, ...others] = parts;
  if (others.length === 0) return semiOrthogonal(first, first, true, random);
  const size = parts.reduce((sum, part) => sum + part, 0);
  const data = new Float64Array(size * size);
  let start = 0;
  for (const part of parts) {
    const block = await semiOrthogonal(part, part, true, random);
    for (let i = 0; i < part; i += 1)
      data.set(block.data.subarray(i * part, (i + 1) * part), (start + i) * size + start);
    start += part;
  }
  return { rows: size, columns: size, data };
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
