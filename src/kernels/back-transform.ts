import { externalBlock, type Product } from './external.js';
import { GEMM_A_BYTES, GEMM_B_BYTES, type Workspace } from './module.js';
import type { Tridiagonal } from './tridiagonal.js';

/** Rows of the eigenvector matrix that pass through all reflectors at a time: they stay in the L2 and L3 cache. */
const ROWS = 256;

/** Reflectors in one factor. Outside, every factor costs a pass over all vectors, so there are fewer of them. */
function factorRows(n: number, external: boolean): number {
  if (external) return n < 2048 ? 256 : 512;
  return n < 256 ? 32 : 128;
}

/** Bytes that either back-transformation takes from the workspace. */
export function backTransformBytes(n: number, external: boolean): number {
  const nb = factorRows(n, external);
  const panels = external ? 1 : Math.ceil(n / nb);
  const rows = external ? 0 : 2 * (ROWS + 4) * nb * 8;
  return (panels + 1) * nb * nb * 8 + rows + GEMM_A_BYTES + GEMM_B_BYTES + 128 * (panels + 8);
}

/** Multiplies the eigenvectors of the tridiagonal matrix, rows at `r`, by the reflectors of the reduction. */
export function backTransform(work: Workspace, t: Tridiagonal, r: number): void {
  const { kernels } = work;
  const nb = factorRows(t.n, false);
  const s = work.take(nb * nb * 8);
  const w = work.take((ROWS + 4) * nb * 8);
  const x = work.take((ROWS + 4) * nb * 8);
  const wa = work.take(GEMM_A_BYTES);
  const wb = work.take(GEMM_B_BYTES);
  const panels: { k0: number; k1: number; factor: number }[] = [];
  for (let k0 = 1; k0 < t.n; k0 += nb) {
    const k1 = Math.min(t.n, k0 + nb);
    const factor = work.take(nb * nb * 8);
    kernels.reflectorFactor(t.a, t.ld, k0, k1, t.tau, factor, s, wa, wb);
    panels.push({ k0, k1, factor });
  }
  for (let i = 0; i < t.n; i += ROWS) {
    const rows = Math.min(ROWS, t.n - i);
    for (const { k0, k1, factor } of panels)
      kernels.reflectorApply(t.a, t.ld, k0, k1, factor, r + i * t.ld, t.ld, rows, w, x, wa, wb);
  }
}

/** The same with the products outside: R -= (R (V^T T)) V, one factor after the other, in blocks of rows. */
export function* backTransformOutside(
  work: Workspace,
  t: Tridiagonal,
  r: number,
): Generator<Product, void, Float64Array> {
  const nb = factorRows(t.n, true);
  const block = externalBlock(t.n);
  const s = work.take(nb * nb * 8);
  const at = work.take(nb * nb * 8);
  const wa = work.take(GEMM_A_BYTES);
  const wb = work.take(GEMM_B_BYTES);
  for (let k0 = 1; k0 < t.n; k0 += nb) {
    const k1 = Math.min(t.n, k0 + nb);
    const count = k1 - k0;
    work.kernels.reflectorFactor(t.a, t.ld, k0, k1, t.tau, at, s, wa, wb);
    const v = new Float64Array(count * k1);
    const vt = new Float64Array(k1 * count);
    const factor = new Float64Array(count * count);
    for (let i = 0; i < count; i++) {
      const row = work.f64(t.a + (k0 + i) * t.ld, k1);
      v.set(row, i * k1);
      for (let j = 0; j < k1; j++) vt[j * count + i] = row[j] as number;
      factor.set(work.f64(at + i * ((count + 3) & ~3) * 8, count), i * count);
    }
    const vtt = yield { a: vt, b: factor, m: k1, k: count, n: count };
    for (let i = 0; i < t.n; i += block) {
      const rows = Math.min(block, t.n - i);
      const a = new Float64Array(rows * k1);
      for (let l = 0; l < rows; l++) a.set(work.f64(r + (i + l) * t.ld, k1), l * k1);
      const x = yield { a, b: vtt, m: rows, k: k1, n: count };
      const changed = yield { a: x, b: v, c: a, m: rows, k: count, n: k1 };
      for (let l = 0; l < rows; l++)
        work.f64(r + (i + l) * t.ld, k1).set(changed.subarray(l * k1, (l + 1) * k1));
    }
  }
}
