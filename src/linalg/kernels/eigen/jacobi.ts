import { Matrix, QrDecomposition } from 'ml-matrix';

/** A = U^T diag(values) V with the singular vectors as rows. */
export interface SmallSvd {
  /** min(m, n) singular values, descending. */
  readonly values: Float64Array;
  /** min(m, n) x m row-major; row i is the left singular vector of values[i] (zeros where the value is 0). */
  readonly left: Float64Array;
  /** min(m, n) x n row-major; row i is the right singular vector of values[i]. */
  readonly right: Float64Array;
}

/**
 * Sweeps after which a matrix that has not converged is given up on. Six to ten suffice in practice (Demmel and
 * Veselić 1992); the bound is there so that nothing can hang.
 */
const MAX_SWEEPS = 60;

/**
 * Singular value decomposition of a small matrix by one-sided Jacobi rotations of the triangular factor.
 *
 * Resolves singular values far below 1e-8 of the largest, which a Gram matrix cannot, and always ends: ml-matrix's
 * own SVD iterates forever on some matrices of rank one (64 x 147 of equal elements). Meant for min(m, n) up to some
 * 128; time grows with min(m, n)^3 and max(m, n) min(m, n)^2.
 *
 * Source: Hestenes 1958; Demmel and Veselić, "Jacobi's method is more accurate than QR", 1992.
 *
 * @param matrix m x n, row-major
 * @throws RangeError where the matrix holds NaN or Infinity
 * @example
 * smallSvd(new Float64Array([3, 0, 0, 4]), 2, 2).values; // [4, 3]
 */
export function smallSvd(matrix: Float32Array | Float64Array, m: number, n: number): SmallSvd {
  const k = Math.min(m, n);
  if (k === 0) return { values: new Float64Array(0), left: new Float64Array(0), right: new Float64Array(0) };
  const { work, qr, scale } = factorOf(matrix, m, n);
  const isWide = m < n;
  const [long, short] = isWide ? [n, m] : [m, n];
  const q = qr.orthogonalMatrix;
  const turned = Array.from({ length: short }, (_, i) =>
    Float64Array.from({ length: short }, (_, j) => (i === j ? 1 : 0)),
  );
  orthogonalizeRows(work, turned);

  const norms = work.map((row) => Math.sqrt(dot(row, row)));
  const order = norms.map((_, i) => i).sort((a, b) => (norms[b] as number) - (norms[a] as number));
  const values = Float64Array.from(order, (i) => (norms[i] as number) * scale);
  const ofLong = new Float64Array(k * long);
  const ofShort = new Float64Array(k * short);
  for (const [to, from] of order.entries()) {
    // R = T^T W with orthogonal T (its rows: turned) and rows W of orthogonal directions.
    const norm = norms[from] as number;
    const row = work[from] as Float64Array;
    if (norm > 0) for (let j = 0; j < short; j += 1) ofShort[to * short + j] = (row[j] as number) / norm;
    const coefficients = turned[from] as Float64Array;
    if (norm > 0) {
      for (let i = 0; i < long; i += 1) {
        let sum = 0;
        for (let j = 0; j < short; j += 1) sum += q.get(i, j) * (coefficients[j] as number);
        ofLong[to * long + i] = sum;
      }
    }
  }
  return isWide ? { values, left: ofShort, right: ofLong } : { values, left: ofLong, right: ofShort };
}

/** The values of smallSvd alone, in a fraction of the time. */
export function smallSingularValues(matrix: Float32Array | Float64Array, m: number, n: number): Float64Array {
  if (Math.min(m, n) === 0) return new Float64Array(0);
  const { work, scale } = factorOf(matrix, m, n);
  orthogonalizeRows(work, []);
  return Float64Array.from(work, (row) => Math.sqrt(dot(row, row)) * scale)
    .sort()
    .reverse();
}

/** Tall = Q R, of the matrix or its transpose divided by `scale`; the rotations then work on the rows of R. */
function factorOf(
  matrix: Float32Array | Float64Array,
  m: number,
  n: number,
): { readonly work: Float64Array[]; readonly qr: QrDecomposition; readonly scale: number } {
  if (!matrix.every(Number.isFinite)) throw new RangeError('the matrix holds NaN or infinite values');
  const isWide = m < n;
  const [long, short] = isWide ? [n, m] : [m, n];
  // Largest element 1: squares neither overflow nor vanish.
  let scale = 0;
  for (const value of matrix) scale = Math.max(scale, Math.abs(value));
  if (scale === 0) scale = 1;
  const at = (row: number, column: number): number =>
    (matrix[isWide ? column * n + row : row * n + column] as number) / scale;
  const qr = new QrDecomposition(
    Matrix.from1DArray(
      long,
      short,
      Array.from({ length: long * short }, (_, i) => at(Math.floor(i / short), i % short)),
    ),
  );
  const r = qr.upperTriangularMatrix;
  const work = Array.from({ length: short }, (_, i) =>
    Float64Array.from({ length: short }, (_, j) => r.get(i, j)),
  );
  return { work, qr, scale };
}

/** Rotates pairs of rows until all are orthogonal, and applies the same rotations to the rows of `turned` (none: to nothing). */
function orthogonalizeRows(rows: readonly Float64Array[], turned: readonly Float64Array[]): void {
  const n = rows.length;
  for (let sweep = 0; sweep < MAX_SWEEPS; sweep += 1) {
    let hasRotated = false;
    for (let i = 0; i < n - 1; i += 1) {
      for (let j = i + 1; j < n; j += 1) {
        const [a, b] = [rows[i] as Float64Array, rows[j] as Float64Array];
        const [aa, bb, ab] = [dot(a, a), dot(b, b), dot(a, b)];
        if (Math.abs(ab) <= 1e-15 * Math.sqrt(aa * bb) || ab === 0) continue;
        hasRotated = true;
        const zeta = (bb - aa) / (2 * ab);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        rotate(a, b, cosine, cosine * tangent);
        const [c, d] = [turned[i], turned[j]];
        if (c !== undefined && d !== undefined) rotate(c, d, cosine, cosine * tangent);
      }
    }
    if (!hasRotated) return;
  }
}

function rotate(a: Float64Array, b: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < a.length; i += 1) {
    const [x, y] = [a[i] as number, b[i] as number];
    a[i] = cosine * x - sine * y;
    b[i] = sine * x + cosine * y;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
