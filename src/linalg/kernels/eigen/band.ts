import { GEMM_A_BYTES, GEMM_B_BYTES, leading, pad4, type Workspace } from '../module.js';
import { MOST_THREADS } from '../threads/team.js';
import { reduceToTridiagonal, reductionBytes, type Tridiagonal } from './tridiagonal.js';

/** Width of the band; 48 and 64 gave the same times within noise at 2048, with more chasing. */
const BAND = 32;
/** Sweeps of the chase in one call. */
const SWEEPS = 64;
/** Side of a block in symmetricTimesPanel, assembly/band.ts. */
const SIDE = 128;

/**
 * Least order reduced by way of a band. Direct against two stages, seconds, one thread: 0.43 / 0.49 at 2048 (the other way
 * round with another thread at the same memory), 1.06 / 0.93 at 2560, 2.2 / 1.6 at 3072.
 */
const TWO_STAGE = 2048;

/** Bytes that reduceForValues takes from the workspace. */
export function valuesBytes(n: number): number {
  return n < TWO_STAGE ? reductionBytes(n) : bandBytes(n);
}

/** Reduction to tridiagonal form for eigenvalues only; t.a and t.tau hold nothing of use afterwards. */
export function reduceForValues(work: Workspace, t: Tridiagonal): void {
  if (t.n < TWO_STAGE) reduceToTridiagonal(work, t);
  else reduceByBand(work, t);
}

/** Bytes that reduceByBand takes from the workspace. */
export function bandBytes(n: number): number {
  const ld = leading(n) * 8;
  const vectors = 2 * BAND * ld + BAND * (n + SIDE) * 8 + 4 * pad4(n) * BAND * 8;
  const parts = (MOST_THREADS - 1) * BAND * ld;
  const small = 4 * (BAND + 4) * (BAND + 4) * 8 + MOST_THREADS * SIDE * SIDE * 8 + parts;
  return (n + 2) * 2 * BAND * 8 + vectors + small + GEMM_A_BYTES + GEMM_B_BYTES + 4096;
}

/**
 * Reduction to tridiagonal form in two stages, for eigenvalues only: leaves diagonal and off-diagonal in t.d and t.e.
 */
export function reduceByBand(work: Workspace, t: Tridiagonal): void {
  const { kernels } = work;
  const { n, ld, a, tau } = t;
  const b = BAND;
  const ldb = (2 * b - 1) * 8;
  const store = work.take((n + 2) * 2 * b * 8);
  work.f64(store, (n + 2) * 2 * b).fill(0);
  const band = store + ldb;
  const y = work.take(b * ld);
  const z = work.take(b * ld);
  const pv = work.take(b * (n + SIDE) * 8);
  const px = work.take(2 * pad4(n) * b * 8);
  const py = work.take(2 * pad4(n) * b * 8);
  const blocks = work.take(MOST_THREADS * SIDE * SIDE * 8);
  const parts = work.take((MOST_THREADS - 1) * b * ld);
  const [factor, s, m] = [work.take(b * b * 8), work.take(b * b * 8), work.take(b * b * 8)];
  const wa = work.take(GEMM_A_BYTES);
  const wb = work.take(GEMM_B_BYTES);
  const ldt = b * 8;
  let k1 = n;
  while (k1 > b) {
    // Q = I - V^T F^T V for the upper triangular factor F; with Y = V A and Z = F Y the block becomes
    // A - V^T W - W^T V, W = Z - 1/2 F (V Z^T) V.
    const k0 = k1 - b;
    const v = a + k0 * ld;
    kernels.bandPanel(a, ld, k0, k1, tau, band, ldb);
    kernels.reflectorFactor(a, ld, k0, k1, tau, factor, s, wa, wb);
    work.together('symmetricTimesPanel', a, ld, k0, v, b, y, pv, blocks, parts);
    work.f64(z, (b * ld) / 8).fill(0);
    work.f64(s, b * b).fill(0);
    work.f64(m, b * b).fill(0);
    kernels.gemm(0, b, k0, b, 1, factor, ldt, y, ld, z, ld, wa, wb);
    kernels.gemm(1, b, b, k0, 1, v, ld, z, ld, s, ldt, wa, wb);
    kernels.gemm(0, b, b, b, 1, factor, ldt, s, ldt, m, ldt, wa, wb);
    kernels.gemm(0, b, k0, b, -0.5, m, ldt, v, ld, z, ld, wa, wb);
    work.together('tridiagonalUpdate', a, ld, k0, k1, z, px, py);
    k1 = k0;
  }
  kernels.bandRest(a, ld, k1, band, ldb);
  for (let sweep = 0; sweep < n - 2; sweep += SWEEPS)
    kernels.chaseBand(band, ldb, n, b, sweep, Math.min(n - 2, sweep + SWEEPS), y, z);
  const d = work.f64(t.d, n);
  const e = work.f64(t.e, n);
  for (let i = 0; i < n; i++) {
    d[i] = work.f64(band + i * ldb + i * 8, 1)[0] as number;
    if (i + 1 < n) e[i] = work.f64(band + (i + 1) * ldb + i * 8, 1)[0] as number;
  }
}
