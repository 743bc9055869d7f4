import { SymmetricMatrix } from '../../linalg/kernels/eigen/eigen.js';
import { gemmInto, type Matrix, matmul } from '../../linalg/matmul.js';

/** What was measured of a vector: its mean, and the mean of x xᵀ. */
export interface Moments {
  readonly size: number;
  /** size x size, row-major, symmetric. */
  readonly gram: Float64Array;
  readonly mean: Float64Array;
  /** How many vectors it is the mean of. */
  readonly count: number;
}

/** The covariance: the Gram matrix about the mean. */
export function covarianceOf({ size, gram, mean, count }: Moments): Moments {
  const centred = gram.slice();
  for (let i = 0, at = 0; i < size; i += 1)
    for (let j = 0; j < size; j += 1, at += 1)
      centred[at] = (centred[at] as number) - (mean[i] as number) * (mean[j] as number);
  return { size, gram: centred, mean: new Float64Array(size), count };
}

/** What the eigenvalues of a Gram matrix say of the data behind it. */
export interface Conditioning {
  /** Directions that no sample has anything in, to rounding. */
  readonly missing: number;
  readonly damping: number;
}

/**
 * A positive definite matrix M = S Sᵀ as its root, by eigenvectors: S = Vᵀ diag(√λ).
 *
 * Eigenvalues are raised by a share of their mean, so that directions which no sample has (dead channels, fewer samples than
 * inputs) count for little, but count: what is cut there is free on the calibration data alone.
 */
export class MetricRoot {
  readonly size: number;
  readonly conditioning: Conditioning;
  readonly #vectors: Matrix;
  readonly #roots: Float64Array;

  private constructor(vectors: Matrix, roots: Float64Array, conditioning: Conditioning) {
    this.size = vectors.rows;
    this.#vectors = vectors;
    this.#roots = roots;
    this.conditioning = conditioning;
  }

  /** @param damping share of the mean eigenvalue that is added to each */
  static async of(gram: Float64Array, size: number, damping: number): Promise<MetricRoot> {
    const own = new SymmetricMatrix(size);
    for (let i = 0; i < size; i += 1)
      own.lower.set(gram.subarray(i * size, i * size + i + 1), i * own.stride);
    const { values, vectors } = await own.eigen({
      gemm: ({ a, b, c, m, k, n, into }) =>
        gemmInto(into, { rows: m, columns: k, data: a }, { rows: k, columns: n, data: b }, c),
    });
    const trace = values.reduce((sum, value) => sum + Math.max(value, 0), 0);
    // All zeros: nothing was seen, and every direction counts alike.
    const mean = trace > 0 ? trace / size : 1;
    const floor = Math.max(damping, size * Number.EPSILON) * mean;
    const missing = values.filter((value) => value <= 1e-10 * mean).length;
    const roots = values.map((value) => Math.sqrt(Math.max(value, 0) + floor));
    return new MetricRoot({ rows: size, columns: size, data: vectors }, roots, { missing, damping: floor });
  }

  /** A S, of a matrix with `size` columns. */
  times(a: Matrix): Promise<Matrix> {
    return matmul(a, this.#vectors, { transposeB: true, scaleColumns: this.#roots });
  }

  /** A S⁻¹ = A diag(1/√λ) V. */
  async timesInverse(a: Matrix): Promise<Matrix> {
    return matmul(scaledColumns(a, this.#roots), this.#vectors);
  }

  /** A S⁻ᵀ = A Vᵀ diag(1/√λ). */
  timesInverseTranspose(a: Matrix): Promise<Matrix> {
    return matmul(a, this.#vectors, { transposeB: true, scaleColumns: this.#roots.map((root) => 1 / root) });
  }

  /** Sᵀ A, of a matrix with `size` rows. */
  transposeTimes(a: Matrix): Promise<Matrix> {
    return matmul(this.#vectors, a, { scaleRows: this.#roots });
  }

  /** S⁻ᵀ A = Vᵀ diag(1/√λ) A, which undoes transposeTimes. */
  async inverseTransposeTimes(a: Matrix): Promise<Matrix> {
    return matmul(this.#vectors, scaledRows(a, this.#roots), { transposeA: true });
  }
}

function scaledColumns({ rows, columns, data }: Matrix, divisors: Float64Array): Matrix {
  const out = new Float64Array(data.length);
  for (let i = 0, at = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1, at += 1) out[at] = (data[at] as number) / (divisors[j] as number);
  return { rows, columns, data: out };
}

function scaledRows({ rows, columns, data }: Matrix, divisors: Float64Array): Matrix {
  const out = new Float64Array(data.length);
  for (let i = 0, at = 0; i < rows; i += 1) {
    const divisor = divisors[i] as number;
    for (let j = 0; j < columns; j += 1, at += 1) out[at] = (data[at] as number) / divisor;
  }
  return { rows, columns, data: out };
}

/** X with X M = B for a symmetric M that is nearly positive definite, by its eigenvectors. */
export async function solveRight(b: Matrix, gram: Float64Array, size: number): Promise<Matrix> {
  const root = await MetricRoot.of(gram, size, 1e-12);
  // M = S Sᵀ, so B M⁻¹ = (B S⁻ᵀ) S⁻¹, and B S⁻ᵀ = (S⁻¹ Bᵀ)ᵀ.
  return root.timesInverse(await root.timesInverseTranspose(b));
}
