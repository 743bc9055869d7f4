import { externalBlock, type Product } from '../external.js';
import { GEMM_A_BYTES, GEMM_B_BYTES, leading, pad4, type Workspace } from '../module.js';
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
  const rows = external ? 0 : (ROWS + 4) * (2 * nb + leading(n)) * 8;
  return (panels + 1) * nb * nb * 8 + rows + GEMM_A_BYTES + GEMM_B_BYTES + 128 * (panels + 8);
}

/** Multiplies the eigenvectors of the tridiagonal matrix, rows of R, by the reflectors of the reduction. */
export function backTransform(work: Workspace, t: Tridiagonal, r: Float64Array): void {
  const { kernels } = work;
  const nb = factorRows(t.n, false);
  const s = work.take(nb * nb * 8);
  const w = work.take((ROWS + 4) * nb * 8);
  const x = work.take((ROWS + 4) * nb * 8);
  const part = work.take((ROWS + 4) * t.ld);
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
    const rowOf = (l: number): Float64Array => r.subarray((i + l) * t.n, (i + l + 1) * t.n);
    for (let l = 0; l < rows; l++) work.f64(part + l * t.ld, t.n).set(rowOf(l));
    for (const { k0, k1, factor } of panels)
      kernels.reflectorApply(t.a, t.ld, k0, k1, factor, part, t.ld, rows, w, x, wa, wb);
    for (let l = 0; l < rows; l++) rowOf(l).set(work.f64(part + l * t.ld, t.n));
  }
}

/** The same with the products outside: R -= (R (V^T T)) V, one factor after the other, in blocks of rows. */
export function* backTransformOutside(
  work: Workspace,
  t: Tridiagonal,
  r: Float64Array,
): Generator<Product, void, void> {
  const { n, ld } = t;
  const nb = Math.min(n, factorRows(n, true));
  const block = externalBlock(n);
  const s = work.take(nb * nb * 8);
  const at = work.take(nb * nb * 8);
  const wa = work.take(GEMM_A_BYTES);
  const wb = work.take(GEMM_B_BYTES);
  const [v, vt, vtt] = [new Float64Array(nb * n), new Float64Array(nb * n), new Float64Array(nb * n)];
  const [rows, changed] = [new Float64Array(block * n), new Float64Array(block * n)];
  const [factor, x] = [new Float64Array(nb * nb), new Float64Array(block * nb)];
  for (let k0 = 1; k0 < n; k0 += nb) {
    const k1 = Math.min(n, k0 + nb);
    const count = k1 - k0;
    work.kernels.reflectorFactor(t.a, ld, k0, k1, t.tau, at, s, wa, wb);
    for (let i = 0; i < count; i++) {
      const row = work.f64(t.a + (k0 + i) * ld, k1);
      v.set(row, i * k1);
      for (let j = 0; j < k1; j++) vt[j * count + i] = row[j] as number;
      factor.set(work.f64(at + i * pad4(count) * 8, count), i * count);
    }
    const b = vtt.subarray(0, k1 * count);
    yield {
      a: vt.subarray(0, b.length),
      b: factor.subarray(0, count * count),
      m: k1,
      k: count,
      n: count,
      into: b,
    };
    for (let i = 0; i < n; i += block) {
      const m = Math.min(block, n - i);
      const a = rows.subarray(0, m * k1);
      for (let l = 0; l < m; l++) a.set(r.subarray((i + l) * n, (i + l) * n + k1), l * k1);
      const y = x.subarray(0, m * count);
      yield { a, b, m, k: k1, n: count, into: y };
      const into = changed.subarray(0, a.length);
      yield { a: y, b: v.subarray(0, count * k1), c: a, m, k: count, n: k1, into };
      for (let l = 0; l < m; l++) r.set(into.subarray(l * k1, (l + 1) * k1), (i + l) * n);
    }
  }
}
