import { madd } from './vector';

/**
 * Packed matrix products. Every operand is packed into groups of four lanes, `[group][k][4]`, zero-padded to a
 * whole group; the 4 x 4 tile then reads both operands in order. Padding lanes add exact zeros, so a tile may hang
 * over the edge of C as long as the memory belongs to the caller: nothing there changes.
 *
 * Leading dimensions are in bytes throughout; counts are in elements.
 */

/** Depth of one packed panel: two groups of 256 x 4 doubles are 16 KiB, half of a small L1 cache. */
export const KC: usize = 256;
/** Rows of A packed at a time: 128 x 256 doubles are 256 KiB, which an L2 cache keeps. */
export const MC: usize = 128;
/** Columns of B packed at a time. */
export const NC: usize = 1024;

/** C[0..4)[0..4) += alpha * sum over p of a[p][i] * b[p][j]. */
export function tile(kc: usize, alpha: f64, a: usize, b: usize, c: usize, ldc: usize): void {
  let c00 = f64x2.splat(0);
  let c01 = c00;
  let c10 = c00;
  let c11 = c00;
  let c20 = c00;
  let c21 = c00;
  let c30 = c00;
  let c31 = c00;
  const end = b + (kc << 5);
  // Not unrolled: V8 then moves registers about, 14 GFLOP/s against 17.5. So do 6 x 4 and 4 x 6 tiles (14.5).
  while (b < end) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    let x = v128.load64_splat(a);
    c00 = madd(x, b0, c00);
    c01 = madd(x, b1, c01);
    x = v128.load64_splat(a, 8);
    c10 = madd(x, b0, c10);
    c11 = madd(x, b1, c11);
    x = v128.load64_splat(a, 16);
    c20 = madd(x, b0, c20);
    c21 = madd(x, b1, c21);
    x = v128.load64_splat(a, 24);
    c30 = madd(x, b0, c30);
    c31 = madd(x, b1, c31);
    a += 32;
    b += 32;
  }
  const s = f64x2.splat(alpha);
  addTo(c, s, c00, c01);
  addTo(c + ldc, s, c10, c11);
  addTo(c + 2 * ldc, s, c20, c21);
  addTo(c + 3 * ldc, s, c30, c31);
}

function addTo(c: usize, s: v128, x: v128, y: v128): void {
  v128.store(c, madd(s, x, v128.load(c)));
  v128.store(c, madd(s, y, v128.load(c, 16)), 16);
}

/**
 * Packs kc rows of `lanes` contiguous doubles: element (p, lane) is at src + p * ld + lane * 8. `group` is the
 * distance of two groups in bytes, kc * 32 unless several sources share the depth of one panel.
 */
export function packAcross(src: usize, ld: usize, lanes: usize, kc: usize, dst: usize, group: usize): void {
  const skip = group - (kc << 5);
  let l: usize = 0;
  for (; l + 4 <= lanes; l += 4) {
    let s = src + (l << 3);
    for (let p: usize = 0; p < kc; p++) {
      v128.store(dst, v128.load(s));
      v128.store(dst, v128.load(s, 16), 16);
      s += ld;
      dst += 32;
    }
    dst += skip;
  }
  if (l < lanes) {
    let s = src + (l << 3);
    const rest = lanes - l;
    for (let p: usize = 0; p < kc; p++) {
      for (let q: usize = 0; q < 4; q++) store<f64>(dst + (q << 3), q < rest ? load<f64>(s + (q << 3)) : 0);
      s += ld;
      dst += 32;
    }
  }
}

/** Packs `lanes` rows of kc contiguous doubles: element (p, lane) is at src + lane * ld + p * 8. */
export function packAlong(src: usize, ld: usize, lanes: usize, kc: usize, dst: usize): void {
  let l: usize = 0;
  for (; l + 4 <= lanes; l += 4) {
    let s0 = src + l * ld;
    let s1 = s0 + ld;
    let s2 = s1 + ld;
    let s3 = s2 + ld;
    let p: usize = 0;
    for (; p + 2 <= kc; p += 2) {
      const r0 = v128.load(s0);
      const r1 = v128.load(s1);
      const r2 = v128.load(s2);
      const r3 = v128.load(s3);
      v128.store(dst, v128.shuffle<f64>(r0, r1, 0, 2));
      v128.store(dst, v128.shuffle<f64>(r2, r3, 0, 2), 16);
      v128.store(dst, v128.shuffle<f64>(r0, r1, 1, 3), 32);
      v128.store(dst, v128.shuffle<f64>(r2, r3, 1, 3), 48);
      s0 += 16;
      s1 += 16;
      s2 += 16;
      s3 += 16;
      dst += 64;
    }
    if (p < kc) {
      store<f64>(dst, load<f64>(s0));
      store<f64>(dst, load<f64>(s1), 8);
      store<f64>(dst, load<f64>(s2), 16);
      store<f64>(dst, load<f64>(s3), 24);
      dst += 32;
    }
  }
  if (l < lanes) {
    const rest = lanes - l;
    for (let p: usize = 0; p < kc; p++) {
      for (let q: usize = 0; q < 4; q++)
        store<f64>(dst + (q << 3), q < rest ? load<f64>(src + (l + q) * ld + (p << 3)) : 0);
      dst += 32;
    }
  }
}

/** C (m x n) += alpha * A B from packed operands of depth kc. */
export function multiplyPacked(
  m: usize,
  n: usize,
  kc: usize,
  alpha: f64,
  pa: usize,
  pb: usize,
  c: usize,
  ldc: usize,
): void {
  const group = kc << 5;
  for (let j: usize = 0; j < n; j += 4) {
    let a = pa;
    let cij = c + (j << 3);
    for (let i: usize = 0; i < m; i += 4) {
      tile(kc, alpha, a, pb, cij, ldc);
      a += group;
      cij += ldc << 2;
    }
    pb += group;
  }
}

/**
 * Rows [from, to) of the lower triangle of C += alpha * A B, where both packed operands start at lane 0 and `from`
 * is a multiple of 4. Tiles on the diagonal also write above it.
 */
export function multiplyPackedLower(
  from: usize,
  to: usize,
  kc: usize,
  alpha: f64,
  pa: usize,
  pb: usize,
  c: usize,
  ldc: usize,
): void {
  const group = kc << 5;
  for (let j: usize = 0; j < to; j += 4) {
    const start = j > from ? j : from;
    let a = pa + (start >> 2) * group;
    let cij = c + start * ldc + (j << 3);
    for (let i: usize = start; i < to; i += 4) {
      tile(kc, alpha, a, pb, cij, ldc);
      a += group;
      cij += ldc << 2;
    }
    pb += group;
  }
}

/**
 * C (m x n) += alpha * A B for row-major A (m x k) and B (k x n), or with `transposed` B given as n x k.
 * `wa` holds MC x KC doubles, `wb` NC x KC.
 */
export function gemm(
  transposed: bool,
  m: usize,
  n: usize,
  k: usize,
  alpha: f64,
  a: usize,
  lda: usize,
  b: usize,
  ldb: usize,
  c: usize,
  ldc: usize,
  wa: usize,
  wb: usize,
): void {
  for (let jc: usize = 0; jc < n; jc += NC) {
    const nc = min(NC, n - jc);
    for (let pc: usize = 0; pc < k; pc += KC) {
      const kc = min(KC, k - pc);
      if (transposed) packAlong(b + jc * ldb + (pc << 3), ldb, nc, kc, wb);
      else packAcross(b + pc * ldb + (jc << 3), ldb, nc, kc, wb, kc << 5);
      for (let ic: usize = 0; ic < m; ic += MC) {
        const mc = min(MC, m - ic);
        packAlong(a + ic * lda + (pc << 3), lda, mc, kc, wa);
        multiplyPacked(mc, nc, kc, alpha, wa, wb, c + ic * ldc + (jc << 3), ldc);
      }
    }
  }
}
