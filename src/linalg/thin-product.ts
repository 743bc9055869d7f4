import { symmetricEigen } from './kernels/index.js';
import { gram, type Matrix, matmul } from './matmul.js';

/** A factor of a product through a short inner axis, which is its rows or its columns. */
export interface ThinFactor {
  readonly matrix: Matrix;
  readonly inner: 'rows' | 'columns';
}

/**
 * Singular values of a product L R through an inner axis of r, without forming it: with the Gram matrices of both along that axis,
 * G = LᵀL = V D Vᵀ and H = R Rᵀ, they are the roots of the eigenvalues of D^½ Vᵀ H V D^½, r x r. Work and memory grow with the
 * factors, not with the product. As with every Gram matrix, values below some 1e-8 of the largest are not resolved.
 *
 * @returns r values, descending
 * @throws ModelError where the data does not fill the shapes; RangeError for NaN and infinite elements, and inner axes that differ
 * @example
 * // of a LoRA adapter's B (out x r) times A (r x in)
 * const values = await thinSingularValues({ matrix: b, inner: 'columns' }, { matrix: a, inner: 'rows' });
 */
export async function thinSingularValues(left: ThinFactor, right: ThinFactor): Promise<Float64Array> {
  const r = left.matrix[left.inner];
  if (right.matrix[right.inner] !== r) {
    throw new RangeError(`the inner axes of a product are ${r} and ${right.matrix[right.inner]}`);
  }
  if (r === 0) return new Float64Array(0);
  const [g, h] = [await gram(left.matrix, left.inner), await gram(right.matrix, right.inner)];
  const { values, vectors } = symmetricEigen(g, r);
  const root = new Float64Array(r * r);
  for (let i = 0; i < r; i += 1) {
    const size = Math.sqrt(Math.max(0, values[i] as number));
    for (let j = 0; j < r; j += 1) root[i * r + j] = size * (vectors[i * r + j] as number);
  }
  const square = (data: Float64Array): Matrix => ({ rows: r, columns: r, data });
  const half = await matmul(square(root), square(h));
  const core = await matmul(half, square(root), { transposeB: true });
  const eigen = symmetricEigen(Float64Array.from(core.data), r).values;
  return eigen
    .map((value) => Math.sqrt(Math.max(0, value)))
    .sort()
    .reverse();
}
