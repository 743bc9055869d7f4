import { rotate } from './vector';

const EPS: f64 = 1.1102230246251565e-16;
/** Products below it have lost bits to underflow. */
const TINY: f64 = 1e-280;
/** Sweeps allowed per eigenvalue before the iteration counts as failed; two or three are usual. */
const SWEEPS: usize = 60;

function get(p: usize, i: usize): f64 {
  return load<f64>(p + (i << 3));
}

function set(p: usize, i: usize, x: f64): void {
  store<f64>(p + (i << 3), x);
}

/** sqrt(x^2 + y^2), also where the squares underflow: a rotation from a rounded one would not be orthogonal. */
function hypotenuse(x: f64, y: f64): f64 {
  const s = x * x + y * y;
  if (s > 1e-270) return sqrt(s);
  x *= 1e150;
  y *= 1e150;
  return sqrt(x * x + y * y) * 1e-150;
}

function reverse(p: usize, from: usize, to: usize): void {
  while (from + 1 < to) {
    to--;
    const x = get(p, from);
    set(p, from, get(p, to));
    set(p, to, x);
    from++;
  }
}

/**
 * All eigenvalues of a symmetric tridiagonal matrix (d diagonal of n, e off-diagonal of n - 1), unsorted in d; the
 * square-root-free QL iteration of Pal, Walker and Kahan (Parlett, The Symmetric Eigenvalue Problem, section 8.15).
 * Returns 0, or 1 if it did not converge. The matrix is near norm 1.
 */
export function tridiagonalValues(d: usize, e: usize, n: usize): i32 {
  let budget = n * SWEEPS;
  let start: usize = 0;
  while (start < n) {
    let end = start;
    while (end + 1 < n) {
      const x = Math.abs(get(e, end));
      if (x <= sqrt(Math.abs(get(d, end))) * sqrt(Math.abs(get(d, end + 1))) * EPS || x < 1e-150) break;
      set(e, end, x * x);
      end++;
    }
    // The block is [start, end]. QL converges at its first row and works best when that is the small end.
    if (Math.abs(get(d, end)) < Math.abs(get(d, start))) {
      reverse(d, start, end + 1);
      reverse(e, start, end);
    }
    let l = start;
    while (l <= end) {
      let m = l;
      while (m < end && get(e, m) > EPS * EPS * Math.abs(get(d, m) * get(d, m + 1)) && get(e, m) > 1e-300)
        m++;
      let p = get(d, l);
      if (m === l) {
        l++;
        continue;
      }
      if (budget-- === 0) return 1;
      if (m < end) set(e, m, 0);
      const root = sqrt(get(e, l));
      let sigma = (get(d, l + 1) - p) / (2 * root);
      sigma = p - root / (sigma + copysign(sqrt(sigma * sigma + 1), sigma));
      let s = 0.0;
      let gamma = get(d, m) - sigma;
      p = gamma * gamma;
      let lastP = 1.0;
      let lastR = 1.0;
      for (let i = m; i > l; ) {
        i--;
        const bb = get(e, i);
        const r = p + bb;
        if (i + 1 !== m) set(e, i + 1, s * r);
        s = bb / r;
        const oldGamma = gamma;
        const x = get(d, i) - sigma;
        // c = p / r, gamma = c x - s gamma, p = gamma^2 / c, but with one division where each step waits for the last.
        const next = p * x - bb * oldGamma;
        const product = r * p;
        let newP: f64;
        if (product > TINY) {
          gamma = next / r;
          newP = next * (next / product);
        } else {
          const c = p / r;
          gamma = c * x - s * oldGamma;
          newP = c !== 0 ? (gamma * gamma) / c : (lastP / lastR) * bb;
        }
        set(d, i + 1, oldGamma + (get(d, i) - gamma));
        lastP = p;
        lastR = r;
        p = newP;
      }
      set(e, l, s * p);
      set(d, l, sigma + gamma);
    }
    start = end + 1;
  }
  return 0;
}

/**
 * Eigenvalues (in d, unsorted) and eigenvectors of a symmetric tridiagonal matrix by the implicit QL iteration.
 * Row i of q (n columns at leading dimension ld) is multiplied along: pass the identity for the vectors of the
 * tridiagonal matrix itself. Destroys e, which needs n entries. Returns 0, or 1 if it did not converge.
 */
export function tridiagonalVectors(d: usize, e: usize, n: usize, q: usize, ld: usize): i32 {
  let budget = n * SWEEPS;
  for (let l: usize = 0; l < n; l++) {
    while (true) {
      let m = l;
      while (m + 1 < n) {
        const x = Math.abs(get(e, m));
        if (x <= EPS * sqrt(Math.abs(get(d, m))) * sqrt(Math.abs(get(d, m + 1))) || x < 1e-150) break;
        m++;
      }
      if (m === l) break;
      if (budget-- === 0) return 1;
      let g = (get(d, l + 1) - get(d, l)) / (2 * get(e, l));
      let r = sqrt(g * g + 1);
      g = get(d, m) - get(d, l) + get(e, l) / (g + copysign(r, g));
      let s = 1.0;
      let c = 1.0;
      let p = 0.0;
      let i = m;
      let cut = false;
      while (i > l) {
        i--;
        const f = s * get(e, i);
        const b = c * get(e, i);
        r = hypotenuse(f, g);
        if (i + 1 < n) set(e, i + 1, r);
        if (r === 0) {
          set(d, i + 1, get(d, i + 1) - p);
          set(e, m, 0);
          cut = true;
          break;
        }
        s = f / r;
        c = g / r;
        g = get(d, i + 1) - p;
        r = (get(d, i) - g) * s + 2 * c * b;
        p = s * r;
        set(d, i + 1, g + p);
        g = c * r - b;
        rotate(q + (i + 1) * ld, q + i * ld, c, s, n);
      }
      if (cut) continue;
      set(d, l, get(d, l) - p);
      set(e, l, g);
      set(e, m, 0);
    }
  }
  return 0;
}
