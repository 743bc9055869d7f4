/**
 * The secular equation 1/rho + sum z_i^2 / (d_i - x) = 0, rho > 0, d ascending: the eigenvalues of diag(d) + rho z z^T.
 * Root j is kept as d[origin] + tau with the nearer pole as origin, so that every difference d_i - x_j comes out to
 * full relative accuracy; the vectors are then built from the z that has exactly these roots, which makes them
 * orthogonal (Gu and Eisenstat, SIAM J. Matrix Anal. Appl. 16, 1995).
 */

const EPS: f64 = 1.1102230246251565e-16;
const ITERATIONS: i32 = 100;

function get(p: usize, i: usize): f64 {
  return load<f64>(p + (i << 3));
}

/** out[0] = sum z_i^2 / delta_i, out[1] = sum z_i^2 / delta_i^2 over i in [from, to), delta_i = (d_i - origin) - tau. */
function evaluate(d: usize, z: usize, from: usize, to: usize, origin: f64, tau: f64, out: usize): void {
  let value = f64x2.splat(0);
  let slope = value;
  const vo = f64x2.splat(origin);
  const vt = f64x2.splat(tau);
  let i = from;
  for (; i + 2 <= to; i += 2) {
    const delta = f64x2.sub(f64x2.sub(v128.load(d + (i << 3)), vo), vt);
    const zi = v128.load(z + (i << 3));
    const t = f64x2.div(zi, delta);
    value = f64x2.add(value, f64x2.mul(zi, t));
    slope = f64x2.add(slope, f64x2.mul(t, t));
  }
  let f = f64x2.extract_lane(value, 0) + f64x2.extract_lane(value, 1);
  let g = f64x2.extract_lane(slope, 0) + f64x2.extract_lane(slope, 1);
  if (i < to) {
    const zi = get(z, i);
    const t = zi / (get(d, i) - origin - tau);
    f += zi * t;
    g += t * t;
  }
  store<f64>(out, f);
  store<f64>(out, g, 8);
}

/** A point strictly inside (lo, hi), in the middle of the exponents where the interval spans many: tau may be tiny. */
function middle(lo: f64, hi: f64): f64 {
  if (lo >= 0) {
    if (lo === 0) return hi * 0.015625;
    return hi > 4 * lo ? sqrt(lo) * sqrt(hi) : 0.5 * (lo + hi);
  }
  if (hi <= 0) return -middle(-hi, -lo);
  return 0.5 * (lo + hi);
}

/**
 * Roots [from, to) of k: tau[j] and the index of the origin (u32). `out` is scratch for four doubles. Rational
 * interpolation by the two neighbouring poles (the "middle way" of Ren-Cang Li, LAPACK Working Note 89), kept inside a
 * bracket. Returns the largest number of iterations, or -1 if one did not converge.
 */
export function secularRoots(
  k: usize,
  d: usize,
  z: usize,
  rho: f64,
  norm2: f64,
  from: usize,
  to: usize,
  tau: usize,
  origins: usize,
  out: usize,
): i32 {
  let most = 0;
  const inverse = 1 / rho;
  for (let j = from; j < to; j++) {
    if (k === 1) {
      store<f64>(tau, rho * norm2);
      store<u32>(origins, 0);
      return 0;
    }
    const lastRoot = j === k - 1;
    const left = lastRoot ? k - 2 : j;
    const dl = get(d, left);
    const dr = get(d, left + 1);
    const gap = dr - dl;
    let org = left + 1;
    let lo: f64;
    let hi: f64;
    let t: f64;
    if (lastRoot) {
      lo = 0;
      hi = rho * norm2 * (1 + 8 * EPS);
      t = 0.5 * hi;
    } else {
      const half = 0.5 * gap;
      const z1 = get(z, left) * get(z, left);
      const z2 = get(z, left + 1) * get(z, left + 1);
      evaluate(d, z, 0, left, dl, half, out);
      evaluate(d, z, left + 2, k, dl, half, out + 16);
      const c = inverse + get(out, 0) + get(out, 2);
      const f = c - z1 / half + z2 / (gap - half);
      if (f > 0) {
        org = left;
        lo = 0;
        hi = half;
        const a = c * gap + z1 + z2;
        const b = z1 * gap;
        const root = sqrt(Math.abs(a * a - 4 * b * c));
        t = a > 0 ? (2 * b) / (a + root) : (a - root) / (2 * c);
      } else {
        lo = -half;
        hi = 0;
        const a = -c * gap + z1 + z2;
        const b = z2 * gap;
        const root = sqrt(Math.abs(a * a + 4 * b * c));
        t = a < 0 ? (2 * b) / (a - root) : -(a + root) / (2 * c);
      }
      if (!(t > lo && t < hi)) t = middle(lo, hi);
    }
    const origin = get(d, org);
    const p1 = dl - origin;
    const p2 = dr - origin;
    let done = false;
    let previous = Infinity;
    for (let iteration = 0; iteration < ITERATIONS; iteration++) {
      if (iteration > most) most = iteration;
      evaluate(d, z, 0, left + 1, origin, t, out);
      evaluate(d, z, left + 1, k, origin, t, out + 16);
      const psi = get(out, 0);
      const psiSlope = get(out, 1);
      const phi = get(out, 2);
      const phiSlope = get(out, 3);
      const slope = psiSlope + phiSlope;
      const f = inverse + psi + phi;
      if (Math.abs(f) <= EPS * (8 * (Math.abs(psi) + Math.abs(phi) + inverse) + Math.abs(t) * slope)) {
        done = true;
        break;
      }
      if (f < 0) lo = t;
      else hi = t;
      const d1 = p1 - t;
      const d2 = p2 - t;
      let c = f - d1 * psiSlope - d2 * phiSlope;
      const a = (d1 + d2) * f - d1 * d2 * slope;
      const b = d1 * d2 * f;
      let step: f64;
      if (lastRoot) {
        c = Math.abs(c);
        const root = sqrt(Math.abs(a * a - 4 * b * c));
        step = a >= 0 ? (a + root) / (2 * c) : (2 * b) / (a - root);
      } else {
        const root = sqrt(Math.abs(a * a - 4 * b * c));
        step = a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root);
      }
      if (!(f * step < 0)) step = -f / slope;
      let next = t + step;
      const slow = iteration > 3 && Math.abs(f) > 0.25 * previous;
      previous = Math.abs(f);
      if (slow || !(next > lo && next < hi)) {
        next = middle(lo, hi);
        if (!(next > lo && next < hi)) {
          done = true;
          break;
        }
      }
      if (next === t) {
        done = true;
        break;
      }
      t = next;
    }
    if (!done) return -1;
    store<f64>(tau + (j << 3), t);
    store<u32>(origins + (j << 2), <u32>org);
  }
  return most;
}

/** The z for which the computed roots are exact, with the signs of the given one; `zhat` holds k doubles. */
export function secularWeights(k: usize, d: usize, z: usize, tau: usize, origins: usize, zhat: usize): void {
  for (let i: usize = 0; i < k; i++) store<f64>(zhat + (i << 3), 1);
  for (let j: usize = 0; j < k; j++) {
    const dj = get(d, j);
    const origin = get(d, load<u32>(origins + (j << 2)));
    const t = get(tau, j);
    weightsOf(d, zhat, 0, j, dj, origin, t);
    store<f64>(zhat + (j << 3), get(zhat, j) * (dj - origin - t));
    weightsOf(d, zhat, j + 1, k, dj, origin, t);
  }
  for (let i: usize = 0; i < k; i++)
    store<f64>(zhat + (i << 3), copysign(sqrt(Math.abs(get(zhat, i))), get(z, i)));
}

function weightsOf(d: usize, zhat: usize, from: usize, to: usize, dj: f64, origin: f64, tau: f64): void {
  const vj = f64x2.splat(dj);
  const vo = f64x2.splat(origin);
  const vt = f64x2.splat(tau);
  let i = from;
  for (; i + 2 <= to; i += 2) {
    const di = v128.load(d + (i << 3));
    const q = f64x2.div(f64x2.sub(f64x2.sub(di, vo), vt), f64x2.sub(di, vj));
    v128.store(zhat + (i << 3), f64x2.mul(v128.load(zhat + (i << 3)), q));
  }
  if (i < to) {
    const q = (get(d, i) - origin - tau) / (get(d, i) - dj);
    store<f64>(zhat + (i << 3), get(zhat, i) * q);
  }
}

/**
 * Unit eigenvectors of roots [from, to) as rows of u; entry i goes to column place[i] (u32). `scratch` holds k doubles.
 */
export function secularVectors(
  k: usize,
  d: usize,
  zhat: usize,
  tau: usize,
  origins: usize,
  place: usize,
  from: usize,
  to: usize,
  u: usize,
  ldu: usize,
  scratch: usize,
): void {
  for (let j = from; j < to; j++) {
    const vo = f64x2.splat(get(d, load<u32>(origins + (j << 2))));
    const vt = f64x2.splat(get(tau, j));
    let sum = f64x2.splat(0);
    let i: usize = 0;
    for (; i + 2 <= k; i += 2) {
      const delta = f64x2.sub(f64x2.sub(v128.load(d + (i << 3)), vo), vt);
      const x = f64x2.div(v128.load(zhat + (i << 3)), delta);
      v128.store(scratch + (i << 3), x);
      sum = f64x2.add(sum, f64x2.mul(x, x));
    }
    let s = f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
    if (i < k) {
      const x = get(zhat, i) / (get(d, i) - f64x2.extract_lane(vo, 0) - f64x2.extract_lane(vt, 0));
      store<f64>(scratch + (i << 3), x);
      s += x * x;
    }
    const r = 1 / sqrt(s);
    for (i = 0; i < k; i++) store<f64>(u + ((<usize>load<u32>(place + (i << 2))) << 3), r * get(scratch, i));
    u += ldu;
  }
}
