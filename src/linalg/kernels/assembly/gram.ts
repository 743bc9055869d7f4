import { MC, multiplyPackedLower } from './gemm';
import { claim, meet, shareOf } from './team';

/** Packs kc rows of `lanes` contiguous floats as doubles, times `scale`; see packAcross in gemm.ts. */
function packAcross32(src: usize, ld: usize, lanes: usize, kc: usize, dst: usize, scale: f64): void {
  const s = f64x2.splat(scale);
  let l: usize = 0;
  for (; l + 4 <= lanes; l += 4) {
    let from = src + (l << 2);
    for (let p: usize = 0; p < kc; p++) {
      v128.store(dst, f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(from))));
      v128.store(dst, f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(from, 8))), 16);
      from += ld;
      dst += 32;
    }
  }
  if (l < lanes) {
    let from = src + (l << 2);
    const rest = lanes - l;
    for (let p: usize = 0; p < kc; p++) {
      for (let q: usize = 0; q < 4; q++)
        store<f64>(dst + (q << 3), q < rest ? scale * <f64>load<f32>(from + (q << 2)) : 0);
      from += ld;
      dst += 32;
    }
  }
}

function packAcross64(src: usize, ld: usize, lanes: usize, kc: usize, dst: usize, scale: f64): void {
  const s = f64x2.splat(scale);
  let l: usize = 0;
  for (; l + 4 <= lanes; l += 4) {
    let from = src + (l << 3);
    for (let p: usize = 0; p < kc; p++) {
      v128.store(dst, f64x2.mul(s, v128.load(from)));
      v128.store(dst, f64x2.mul(s, v128.load(from, 16)), 16);
      from += ld;
      dst += 32;
    }
  }
  if (l < lanes) {
    let from = src + (l << 3);
    const rest = lanes - l;
    for (let p: usize = 0; p < kc; p++) {
      for (let q: usize = 0; q < 4; q++)
        store<f64>(dst + (q << 3), q < rest ? scale * load<f64>(from + (q << 3)) : 0);
      from += ld;
      dst += 32;
    }
  }
}

/** Packs `lanes` rows of kc contiguous floats as doubles, times `scale`; see packAlong in gemm.ts. Returns how many it packed: whole groups. */
function packAlong32(src: usize, ld: usize, lanes: usize, kc: usize, dst: usize, scale: f64): usize {
  const s = f64x2.splat(scale);
  let l: usize = 0;
  for (; l + 4 <= lanes; l += 4) {
    let s0 = src + l * ld;
    let s1 = s0 + ld;
    let s2 = s1 + ld;
    let s3 = s2 + ld;
    let to = dst + (l >> 2) * (kc << 5);
    let p: usize = 0;
    for (; p + 2 <= kc; p += 2) {
      const r0 = f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(s0)));
      const r1 = f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(s1)));
      const r2 = f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(s2)));
      const r3 = f64x2.mul(s, f64x2.promote_low_f32x4(v128.load64_zero(s3)));
      v128.store(to, v128.shuffle<f64>(r0, r1, 0, 2));
      v128.store(to, v128.shuffle<f64>(r2, r3, 0, 2), 16);
      v128.store(to, v128.shuffle<f64>(r0, r1, 1, 3), 32);
      v128.store(to, v128.shuffle<f64>(r2, r3, 1, 3), 48);
      s0 += 8;
      s1 += 8;
      s2 += 8;
      s3 += 8;
      to += 64;
    }
    if (p < kc) {
      store<f64>(to, scale * <f64>load<f32>(s0));
      store<f64>(to, scale * <f64>load<f32>(s1), 8);
      store<f64>(to, scale * <f64>load<f32>(s2), 16);
      store<f64>(to, scale * <f64>load<f32>(s3), 24);
    }
  }
  return l;
}

/** Packs `lanes` rows of kc contiguous floats (element = 4) or doubles (element = 8); see packAlong in gemm.ts. */
function packAlongScaled(
  src: usize,
  ld: usize,
  element: usize,
  lanes: usize,
  kc: usize,
  dst: usize,
  scale: f64,
): void {
  const group = kc << 5;
  for (let l = element === 4 ? packAlong32(src, ld, lanes, kc, dst, scale) : 0; l < lanes; l++) {
    let from = src + l * ld;
    let to = dst + (l >> 2) * group + ((l & 3) << 3);
    if (element === 4) {
      for (let p: usize = 0; p < kc; p++) {
        store<f64>(to, scale * <f64>load<f32>(from));
        from += 4;
        to += 32;
      }
    } else {
      for (let p: usize = 0; p < kc; p++) {
        store<f64>(to, scale * load<f64>(from));
        from += 8;
        to += 32;
      }
    }
  }
  for (let l = lanes; (l & 3) !== 0; l++) {
    let to = dst + (l >> 2) * group + ((l & 3) << 3);
    for (let p: usize = 0; p < kc; p++) {
      store<f64>(to, 0);
      to += 32;
    }
  }
}

/**
 * The lower triangle of G (n x n) += P^T P for a chunk P of a matrix, with `ld` bytes from row to row. `across`: kc rows of n
 * lanes; else n lanes of kc values. `packed` holds n (to 4) x kc doubles.
 */
export function gramAdd(
  chunk: usize,
  ld: usize,
  element: usize,
  across: bool,
  n: usize,
  kc: usize,
  packed: usize,
  scale: f64,
  g: usize,
  ldg: usize,
  sync: usize,
  threads: usize,
  thread: usize,
): void {
  const from = shareOf(n, thread, threads);
  const lanes = shareOf(n, thread + 1, threads) - from;
  const to = packed + (from >> 2) * (kc << 5);
  if (!across) packAlongScaled(chunk + from * ld, ld, element, lanes, kc, to, scale);
  else if (element === 4) packAcross32(chunk + (from << 2), ld, lanes, kc, to, scale);
  else packAcross64(chunk + (from << 3), ld, lanes, kc, to, scale);
  meet(sync, threads);
  const blocks = (n + MC - 1) / MC;
  // The longest rows first, so that the threads end together.
  for (let i = claim(sync); i < blocks; i = claim(sync)) {
    const row = (blocks - 1 - i) * MC;
    multiplyPackedLower(row, min(n, row + MC), kc, 1, packed, packed, g, ldg);
  }
  meet(sync, threads);
}

/** Largest absolute value in the lower triangle of an n x n matrix; NaN or Infinity where one occurs. */
export function maxAbsLower(g: usize, ldg: usize, n: usize): f64 {
  let best = 0.0;
  for (let i: usize = 0; i < n; i++) {
    const row = g + i * ldg;
    for (let j: usize = 0; j <= i; j++) {
      const x = Math.abs(load<f64>(row + (j << 3)));
      if (!(x <= best)) {
        if (!(x < Infinity)) return x;
        best = x;
      }
    }
  }
  return best;
}

/** Multiplies the lower triangle by a factor. */
export function scaleLower(g: usize, ldg: usize, n: usize, factor: f64): void {
  for (let i: usize = 0; i < n; i++) {
    const row = g + i * ldg;
    for (let j: usize = 0; j <= i; j++) store<f64>(row + (j << 3), factor * load<f64>(row + (j << 3)));
  }
}
