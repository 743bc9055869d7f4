import { multiplyPacked, packAcross, packAlong } from './gemm';
import { claim, meet, shareOf } from './team';
import { symmetricTimesVector } from './tridiagonal';
import { add, dot, scale, subtractPair, subtractScaled } from './vector';

/**
 * The way to tridiagonal form by way of a band (Bischof, Lang and Sun, ACM TOMS 26, 2000), for eigenvalues without
 * vectors: dense to band is nothing but matrix products, where the direct way reads the matrix once for every row;
 * band to tridiagonal is cheap.
 *
 * The band lies in rows of 2 b doubles, the room that chasing needs: element (i, j) of it, i - 2 b < j <= i, is at
 * band + i * ldb + j * 8 with ldb = (2 b - 1) * 8 bytes, where `band` is the place of element (0, 0).
 */

const NEGLIGIBLE: f64 = 1e-280;

/** Side of the blocks of A in symmetricTimesPanel: 128 x 128 doubles are 128 KiB. */
const SIDE: usize = 128;

/**
 * Sums of symmetricTimesPanel that are made apart, MOST_THREADS of src/linalg/kernels/threads/team.ts: as many on one thread
 * as on eight, since the bits of a sum depend on what is added to what.
 */
const LANES: usize = 8;

/**
 * Reduces rows [k0, k1), k1 - k0 = b, to columns [k - b, k] by reflectors on the columns before k0, from the last row
 * upwards. Copies what remains into the band, and leaves in columns [0, k1) of each row its reflector and zeros.
 */
export function bandPanel(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  tau: usize,
  band: usize,
  ldb: usize,
): void {
  for (let k = k1 - 1; k >= k0; k--) {
    const v = a + k * ld;
    const out = band + k * ldb;
    const done = k1 - 1 - k;
    if (done >= k0) {
      memory.copy(out, v, (k + 1) << 3);
      memory.fill(v, 0, k1 << 3);
      store<f64>(tau + (k << 3), 0);
      continue;
    }
    const length = k0 - done;
    memory.copy(out + (length << 3), v + (length << 3), (k + 1 - length) << 3);
    memory.fill(v + (length << 3), 0, (k1 - length) << 3);
    const last = v + ((length - 1) << 3);
    const alpha = load<f64>(last);
    const tail = dot(v, v, length - 1);
    if (tail < NEGLIGIBLE) {
      store<f64>(out + ((length - 1) << 3), alpha);
      store<f64>(tau + (k << 3), 0);
      memory.fill(v, 0, length << 3);
      continue;
    }
    const beta = -copysign(sqrt(alpha * alpha + tail), alpha);
    const t = (beta - alpha) / beta;
    store<f64>(out + ((length - 1) << 3), beta);
    store<f64>(tau + (k << 3), t);
    scale(v, 1 / (alpha - beta), length - 1);
    store<f64>(last, 1);
    for (let r = k0; r < k; r++) {
      const row = a + r * ld;
      subtractScaled(row, t * dot(row, v, length), v, length);
    }
  }
}

/** Rows [0, k) of the matrix, k <= b, into the band as they are. */
export function bandRest(a: usize, ld: usize, k: usize, band: usize, ldb: usize): void {
  for (let i: usize = 0; i < k; i++) memory.copy(band + i * ldb, a + i * ld, (i + 1) << 3);
}

/**
 * Y = V A for b rows V and the lower triangle of A (n x n), all at leading dimension ld; b is a multiple of 4.
 * `pv` holds b x (n to 128) doubles, `blocks` 128 x 128 of each thread, `parts` b rows of each of LANES but the first.
 * Any number of threads gives the same bits.
 */
export function symmetricTimesPanel(
  a: usize,
  ld: usize,
  n: usize,
  v: usize,
  b: usize,
  y: usize,
  pv: usize,
  blocks: usize,
  parts: usize,
  sync: usize,
  threads: usize,
  thread: usize,
): void {
  const w = blocks + thread * ((SIDE * SIDE) << 3);
  const count = (n + SIDE - 1) / SIDE;
  for (let p = thread; p < count; p += threads) {
    const from = p * SIDE;
    packAlong(v + (from << 3), ld, b, min(SIDE, n - from), pv + ((from * b) << 3));
  }
  meet(sync, threads);
  const lanes = min(LANES, count);
  for (let lane = claim(sync); lane < lanes; lane = claim(sync)) {
    const own = lane === 0 ? y : parts + (lane - 1) * b * ld;
    const reach = min(n, (count - lane) * SIDE);
    for (let r: usize = 0; r < b; r++) memory.fill(own + r * ld, 0, reach << 3);
    for (let piece = lane; piece < count; piece += LANES) {
      const i = (count - 1 - piece) * SIDE;
      const rows = min(SIDE, n - i);
      const block = a + i * ld;
      const vi = pv + ((i * b) << 3);
      const yi = own + (i << 3);
      for (let j: usize = 0; j < i; j += SIDE) {
        const from = block + (j << 3);
        packAcross(from, ld, SIDE, rows, w, rows << 5);
        multiplyPacked(b, SIDE, rows, 1, vi, w, own + (j << 3), ld);
        packAlong(from, ld, rows, SIDE, w);
        multiplyPacked(b, rows, SIDE, 1, pv + ((j * b) << 3), w, yi, ld);
      }
      packSymmetric(block + (i << 3), ld, rows, w);
      multiplyPacked(b, rows, rows, 1, vi, w, yi, ld);
    }
  }
  meet(sync, threads);
  const from = shareOf(n, thread, threads);
  const to = shareOf(n, thread + 1, threads);
  for (let lane: usize = 1; lane < lanes; lane++) {
    // Its rows end here, so that the sums beyond are zero.
    const end = min(to, (count - lane) * SIDE);
    if (end <= from) continue;
    for (let r: usize = 0; r < b; r++) {
      add(y + r * ld + (from << 3), parts + ((lane - 1) * b + r) * ld + (from << 3), end - from);
    }
  }
  meet(sync, threads);
}

/** A symmetric n x n block, of which the lower triangle is given, packed whole. */
function packSymmetric(a: usize, ld: usize, n: usize, dst: usize): void {
  const group = n << 5;
  for (let l: usize = 0; l < ((n + 3) & ~3); l++) {
    let to = dst + (l >> 2) * group + ((l & 3) << 3);
    for (let p: usize = 0; p < n; p++) {
      const at = p >= l ? p * ld + (l << 3) : l * ld + (p << 3);
      store<f64>(to, l < n ? load<f64>(a + at) : 0);
      to += 32;
    }
  }
}

/**
 * Sweeps [from, to) of the reduction of the band to tridiagonal form: sweep s clears column s below the first
 * off-diagonal and chases the bulge down. `v` and `w` hold b doubles each.
 */
export function chaseBand(
  band: usize,
  ldb: usize,
  n: usize,
  b: usize,
  from: usize,
  to: usize,
  v: usize,
  w: usize,
): void {
  for (let s = from; s < to; s++) {
    let column = s;
    let first = s + 1;
    while (first + 1 < n) {
      const length = min(b, n - first);
      const block = band + first * ldb;
      let tail = 0.0;
      let x = block + (column << 3);
      const alpha = load<f64>(x);
      for (let i: usize = 1; i < length; i++) {
        x += ldb;
        const xi = load<f64>(x);
        store<f64>(v + (i << 3), xi);
        store<f64>(x, 0);
        tail += xi * xi;
      }
      if (tail < NEGLIGIBLE) break;
      const beta = -copysign(sqrt(alpha * alpha + tail), alpha);
      const t = (beta - alpha) / beta;
      store<f64>(block + (column << 3), beta);
      store<f64>(v, 1);
      scale(v + 8, 1 / (alpha - beta), length - 1);

      const between = first - 1 - column;
      if (between > 0) reflectLeft(block + ((column + 1) << 3), ldb, length, between, v, t, w);
      const diagonal = block + (first << 3);
      symmetricTimesVector(diagonal, ldb, length, v, w);
      scale(w, t, length);
      subtractScaled(w, 0.5 * t * dot(w, v, length), v, length);
      for (let i: usize = 0; i < length; i++)
        subtractPair(diagonal + i * ldb, load<f64>(v + (i << 3)), w, load<f64>(w + (i << 3)), v, i + 1);
      const next = first + length;
      const end = min(n, next + b);
      for (let r = next; r < end; r++) {
        const row = band + r * ldb + (first << 3);
        subtractScaled(row, t * dot(row, v, length), v, length);
      }
      column = first;
      first = next;
    }
  }
}

/** H B for H = I - t v v^T and B of `rows` x `columns`; w holds `columns` doubles. */
function reflectLeft(b: usize, ld: usize, rows: usize, columns: usize, v: usize, t: f64, w: usize): void {
  memory.fill(w, 0, columns << 3);
  let i: usize = 0;
  for (; i + 2 <= rows; i += 2) {
    const row = b + i * ld;
    subtractPair(w, -load<f64>(v + (i << 3)), row, -load<f64>(v + (i << 3), 8), row + ld, columns);
  }
  if (i < rows) subtractScaled(w, -load<f64>(v + (i << 3)), b + i * ld, columns);
  for (i = 0; i < rows; i++) subtractScaled(b + i * ld, t * load<f64>(v + (i << 3)), w, columns);
}
