import { MC, multiplyPackedLower, packAcross } from './gemm';
import { claim, meet, shareOf, triangleShareOf } from './team';
import { add, dot, dotPair, madd, scale, subtractPair, subtractScaled } from './vector';

/**
 * Householder reduction of a symmetric matrix to tridiagonal form, from the last row upwards: row k of the lower
 * triangle is contiguous and so is the reflector that replaces it, both from column 0. Panels of nb rows are reduced
 * with the updates of the panel kept apart (A - V^T W - W^T V), as LAPACK's dlatrd does, then applied at once.
 */

/** Below this squared norm a row counts as zero: its square has lost bits to underflow. The matrix is near norm 1. */
const NEGLIGIBLE: f64 = 1e-280;

/** y = A x for the lower triangle of a k x k matrix. */
export function symmetricTimesVector(a: usize, ld: usize, k: usize, x: usize, y: usize): void {
  symmetricRowsTimesVector(a, ld, 0, k, x, y);
}

/** What rows [from, to) of the lower triangle add to A x: `to` entries at y. `from` is a multiple of four. */
function symmetricRowsTimesVector(a: usize, ld: usize, from: usize, to: usize, x: usize, y: usize): void {
  memory.fill(y, 0, to << 3);
  let i = from;
  for (; i + 4 <= to; i += 4) {
    let r0 = a + i * ld;
    let r1 = r0 + ld;
    let r2 = r1 + ld;
    let r3 = r2 + ld;
    let s0 = f64x2.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    const xi = x + (i << 3);
    const yi = y + (i << 3);
    const x0 = v128.load64_splat(xi);
    const x1 = v128.load64_splat(xi, 8);
    const x2 = v128.load64_splat(xi, 16);
    const x3 = v128.load64_splat(xi, 24);
    let px = x;
    let py = y;
    while (px < xi) {
      const v = v128.load(px);
      let t = v128.load(py);
      let r = v128.load(r0);
      s0 = madd(r, v, s0);
      t = madd(r, x0, t);
      r = v128.load(r1);
      s1 = madd(r, v, s1);
      t = madd(r, x1, t);
      r = v128.load(r2);
      s2 = madd(r, v, s2);
      t = madd(r, x2, t);
      r = v128.load(r3);
      s3 = madd(r, v, s3);
      t = madd(r, x3, t);
      v128.store(py, t);
      px += 16;
      py += 16;
      r0 += 16;
      r1 += 16;
      r2 += 16;
      r3 += 16;
    }
    // The 4 x 4 block on the diagonal, of which only the lower half holds the matrix.
    const v0 = load<f64>(xi);
    const v1 = load<f64>(xi, 8);
    const v2 = load<f64>(xi, 16);
    const v3 = load<f64>(xi, 24);
    const d10 = load<f64>(r1);
    const d20 = load<f64>(r2);
    const d21 = load<f64>(r2, 8);
    const d30 = load<f64>(r3);
    const d31 = load<f64>(r3, 8);
    const d32 = load<f64>(r3, 16);
    store<f64>(yi, sum2(s0) + load<f64>(r0) * v0 + d10 * v1 + d20 * v2 + d30 * v3);
    store<f64>(yi, sum2(s1) + d10 * v0 + load<f64>(r1, 8) * v1 + d21 * v2 + d31 * v3, 8);
    store<f64>(yi, sum2(s2) + d20 * v0 + d21 * v1 + load<f64>(r2, 16) * v2 + d32 * v3, 16);
    store<f64>(yi, sum2(s3) + d30 * v0 + d31 * v1 + d32 * v2 + load<f64>(r3, 24) * v3, 24);
  }
  for (; i < to; i++) {
    const row = a + i * ld;
    const xi = load<f64>(x + (i << 3));
    let s = 0.0;
    for (let j: usize = 0; j < i; j++) {
      const r = load<f64>(row + (j << 3));
      s += r * load<f64>(x + (j << 3));
      store<f64>(y + (j << 3), load<f64>(y + (j << 3)) + r * xi);
    }
    store<f64>(y + (i << 3), load<f64>(y + (i << 3)) + s + load<f64>(row + (i << 3)) * xi);
  }
}

function sum2(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/**
 * Reduces rows [k0, k1) of the leading k1 x k1 block, k0 >= 1, and leaves the leading k0 x k0 block to tridiagonalUpdate.
 * On return row k holds the reflector v_k in columns [0, k), d[k] the diagonal, e[k - 1] the off-diagonal, tau[k]
 * the factor of H_k = I - tau v v^T, and row k - k0 of w the vector w_k. `pair` is scratch for two doubles, `parts` for
 * `shares` vectors of leading dimension ld. The bits depend on `shares`, not on the number of threads.
 */
export function tridiagonalPanel(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  w: usize,
  d: usize,
  e: usize,
  tau: usize,
  pair: usize,
  parts: usize,
  shares: usize,
  sync: usize,
  threads: usize,
  thread: usize,
): void {
  for (let k = k1 - 1; k >= k0; k--) {
    const v = a + k * ld;
    const y = w + (k - k0) * ld;
    if (thread === 0) makeReflector(a, ld, k0, k1, k, w, d, e, tau);
    meet(sync, threads);
    // No reflector has the factor 0 but the one that is not needed.
    const t = load<f64>(tau + (k << 3));
    if (t === 0) continue;
    // The last rows reach all of y. Whoever is free takes the next ones, so that no thread waits for a slower one.
    for (let share = claim(sync); share < shares; share = claim(sync)) {
      const from = triangleShareOf(k, shares - 1 - share, shares);
      const to = triangleShareOf(k, shares - share, shares);
      symmetricRowsTimesVector(a, ld, from, to, v, share === 0 ? y : parts + (share - 1) * ld);
    }
    meet(sync, threads);
    if (thread !== 0) continue;
    for (let share: usize = 1; share < shares; share++)
      add(y, parts + (share - 1) * ld, triangleShareOf(k, shares - share, shares));
    for (let q = k + 1; q < k1; q++) {
      const vq = a + q * ld;
      const wq = w + (q - k0) * ld;
      dotPair(vq, wq, v, k, pair);
      subtractPair(y, load<f64>(pair, 8), vq, load<f64>(pair), wq, k);
    }
    const half = 0.5 * t * t * dot(y, v, k);
    scale(y, t, k);
    subtractScaled(y, half, v, k);
  }
}

/** Brings row k up to date with the rows of the panel behind it, and replaces it by its reflector. */
function makeReflector(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  k: usize,
  w: usize,
  d: usize,
  e: usize,
  tau: usize,
): void {
  const v = a + k * ld;
  const at = k << 3;
  for (let q = k + 1; q < k1; q++) {
    const vq = a + q * ld;
    const wq = w + (q - k0) * ld;
    subtractPair(v, load<f64>(vq + at), wq, load<f64>(wq + at), vq, k + 1);
  }
  store<f64>(d + at, load<f64>(v + at));
  const last = v + at - 8;
  const alpha = load<f64>(last);
  const tail = dot(v, v, k - 1);
  if (tail < NEGLIGIBLE) {
    store<f64>(e + at - 8, alpha);
    store<f64>(tau + at, 0);
    memory.fill(v, 0, at - 8);
    store<f64>(last, 1);
    memory.fill(w + (k - k0) * ld, 0, at);
    return;
  }
  const beta = -copysign(sqrt(alpha * alpha + tail), alpha);
  store<f64>(e + at - 8, beta);
  store<f64>(tau + at, (beta - alpha) / beta);
  scale(v, 1 / (alpha - beta), k - 1);
  store<f64>(last, 1);
}

/** The leading k0 x k0 block -= V^T W + W^T V, lower triangle. `px` and `py` hold k0 (to 4) x 2 (k1 - k0) doubles. */
export function tridiagonalUpdate(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  w: usize,
  px: usize,
  py: usize,
  sync: usize,
  threads: usize,
  thread: usize,
): void {
  const nb = k1 - k0;
  const half = nb << 5;
  const group = half << 1;
  const from = shareOf(k0, thread, threads);
  const lanes = shareOf(k0, thread + 1, threads) - from;
  const v = a + k0 * ld + (from << 3);
  const u = w + (from << 3);
  const x = px + (from >> 2) * group;
  const y = py + (from >> 2) * group;
  packAcross(v, ld, lanes, nb, x, group);
  packAcross(u, ld, lanes, nb, x + half, group);
  packAcross(u, ld, lanes, nb, y, group);
  packAcross(v, ld, lanes, nb, y + half, group);
  meet(sync, threads);
  const blocks = (k0 + MC - 1) / MC;
  // The longest rows first, so that the threads end together.
  for (let i = claim(sync); i < blocks; i = claim(sync)) {
    const row = (blocks - 1 - i) * MC;
    multiplyPackedLower(row, min(k0, row + MC), nb << 1, -1, px, py, a, ld);
  }
  meet(sync, threads);
}
