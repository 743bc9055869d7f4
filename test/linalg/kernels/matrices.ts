/** The linear congruential generator of reference.py: uniform in [-0.5, 0.5), multiples of 2 ** -24. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24 - 0.5;
  };
}

export function randomMatrix(m: number, n: number, seed: number): Float32Array {
  const next = generator(seed);
  return Float32Array.from({ length: m * n }, () => next());
}

export function symmetric(n: number, entry: (i: number, j: number) => number): Float64Array {
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = entry(i, j);
  return a;
}

export function randomSymmetric(n: number, seed: number): Float64Array {
  const next = generator(seed);
  return symmetric(n, () => next());
}

export function rows(a: ArrayLike<number>, m: number, n: number): number[][] {
  return Array.from({ length: m }, (_, i) => Array.from({ length: n }, (_, j) => a[i * n + j]!));
}

/** Largest |x_i - y_i|, relative to the largest |y_i| (absolute where that is 0). */
export function distance(x: ArrayLike<number>, y: ArrayLike<number>): number {
  if (x.length !== y.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < y.length; i++) {
    // Math.max hands NaN on, so that one never passes for a small difference.
    difference = Math.max(difference, Math.abs(x[i]! - y[i]!));
    size = Math.max(size, Math.abs(y[i]!));
  }
  return difference / (size || 1);
}

/**
 * Largest entry of A V^T - V^T diag(values), relative to the largest eigenvalue, and of V V^T - I; of a large matrix,
 * a sample of the columns.
 */
export function defects(
  a: Float64Array,
  n: number,
  values: Float64Array,
  vectors: Float64Array,
): { residual: number; orthogonality: number } {
  let residual = 0;
  let orthogonality = 0;
  let norm = 0;
  for (const value of values) norm = Math.max(norm, Math.abs(value));
  const step = n > 600 ? 17 : 1;
  for (let i = 0; i < n; i += step) {
    const v = vectors.subarray(i * n, i * n + n);
    for (let r = 0; r < n; r++) {
      let product = 0;
      let inner = 0;
      for (let c = 0; c < n; c++) {
        product += (a[r * n + c]! / (norm || 1)) * v[c]!;
        inner += v[c]! * vectors[r * n + c]!;
      }
      residual = Math.max(residual, Math.abs(product - (values[i]! / (norm || 1)) * v[r]!));
      orthogonality = Math.max(orthogonality, Math.abs(inner - (r === i ? 1 : 0)));
    }
  }
  return { residual, orthogonality };
}

const PI2 = Math.PI / 2;

/** Symmetric matrices that eigenvalue solvers are known to fail on. */
export const NASTY: Record<string, (n: number) => Float64Array> = {
  zero: (n) => symmetric(n, () => 0),
  identity: (n) => symmetric(n, (i, j) => (i === j ? 1 : 0)),
  diagonal: (n) => symmetric(n, (i, j) => (i === j ? Math.sin(i * i) : 0)),
  'all ones': (n) => symmetric(n, () => 1),
  Hilbert: (n) => symmetric(n, (i, j) => 1 / (i + j + 1)),
  'rank 3': (n) => symmetric(n, (i, j) => Math.sin(i) * Math.sin(j) + Math.cos(3 * i) * Math.cos(3 * j) + 1),
  'Wilkinson W+': (n) => symmetric(n, (i, j) => (i === j ? Math.abs((n - 1) / 2 - i) : i === j + 1 ? 1 : 0)),
  'glued Wilkinson': (n) =>
    symmetric(n, (i, j) =>
      i === j ? Math.abs(10 - (i % 21)) : i === j + 1 ? (i % 21 === 0 ? 1e-10 : 1) : 0,
    ),
  'second difference': (n) => symmetric(n, (i, j) => (i === j ? 2 : i === j + 1 ? -1 : 0)),
  'repeated eigenvalues': (n) => symmetric(n, (i, j) => (i % 7 === j % 7 ? 1 : 0)),
  'identity and noise': (n) => symmetric(n, (i, j) => (i === j ? 1 : 0) + 1e-14 * Math.sin(i * j + i + j)),
  graded: (n) => symmetric(n, (i, j) => Math.sin(i * j + i + j + 1) * 10 ** (-(i + j) / 8)),
  'graded into underflow': (n) =>
    symmetric(n, (i, j) =>
      i === j ? 10 ** (-300 * (i / n)) : i === j + 1 ? 10 ** (-150 * Math.abs(Math.sin(i))) : 0,
    ),
  'near underflow': (n) => symmetric(n, (i, j) => 1e-305 * Math.sin(i * j + i + j + 1)),
  'near overflow': (n) => symmetric(n, (i, j) => 1e305 * Math.sin(i * j + i + j + 1)),
  subnormal: (n) => symmetric(n, (i, j) => 5e-324 * ((i * j + i + j) % 5)),
  'sine transform': (n) =>
    symmetric(n, (i, j) => Math.sqrt(2 / (n + 1)) * Math.sin(((i + 1) * (j + 1) * 2 * PI2) / (n + 1))),
};
