/** Level-1 operations on n contiguous doubles. */

/** z + x y, rounded once in the build that has the instruction. */
export function madd(x: v128, y: v128, z: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f64x2.relaxed_madd(x, y, z) : f64x2.add(z, f64x2.mul(x, y));
}

/** z - x y, as madd. */
export function nmadd(x: v128, y: v128, z: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f64x2.relaxed_nmadd(x, y, z) : f64x2.sub(z, f64x2.mul(x, y));
}

export function dot(x: usize, y: usize, n: usize): f64 {
  let s0 = f64x2.splat(0);
  let s1 = s0;
  const end = x + ((n & ~3) << 3);
  while (x < end) {
    s0 = madd(v128.load(x), v128.load(y), s0);
    s1 = madd(v128.load(x, 16), v128.load(y, 16), s1);
    x += 32;
    y += 32;
  }
  s0 = f64x2.add(s0, s1);
  let s = f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1);
  for (let i: usize = 0; i < (n & 3); i++) s += load<f64>(x + (i << 3)) * load<f64>(y + (i << 3));
  return s;
}

/** out[0] = a . x and out[1] = b . x, one pass over x. */
export function dotPair(a: usize, b: usize, x: usize, n: usize, out: usize): void {
  let s0 = f64x2.splat(0);
  let s1 = s0;
  let t0 = s0;
  let t1 = s0;
  const end = x + ((n & ~3) << 3);
  while (x < end) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    s0 = madd(x0, v128.load(a), s0);
    s1 = madd(x1, v128.load(a, 16), s1);
    t0 = madd(x0, v128.load(b), t0);
    t1 = madd(x1, v128.load(b, 16), t1);
    x += 32;
    a += 32;
    b += 32;
  }
  s0 = f64x2.add(s0, s1);
  t0 = f64x2.add(t0, t1);
  let s = f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1);
  let t = f64x2.extract_lane(t0, 0) + f64x2.extract_lane(t0, 1);
  for (let i: usize = 0; i < (n & 3); i++) {
    const xi = load<f64>(x + (i << 3));
    s += xi * load<f64>(a + (i << 3));
    t += xi * load<f64>(b + (i << 3));
  }
  store<f64>(out, s);
  store<f64>(out, t, 8);
}

/** y -= ca * a + cb * b. */
export function subtractPair(y: usize, ca: f64, a: usize, cb: f64, b: usize, n: usize): void {
  const va = f64x2.splat(ca);
  const vb = f64x2.splat(cb);
  const end = y + ((n & ~3) << 3);
  while (y < end) {
    v128.store(y, nmadd(va, v128.load(a), nmadd(vb, v128.load(b), v128.load(y))));
    v128.store(y, nmadd(va, v128.load(a, 16), nmadd(vb, v128.load(b, 16), v128.load(y, 16))), 16);
    y += 32;
    a += 32;
    b += 32;
  }
  for (let i: usize = 0; i < (n & 3); i++) {
    const s = ca * load<f64>(a + (i << 3)) + cb * load<f64>(b + (i << 3));
    store<f64>(y + (i << 3), load<f64>(y + (i << 3)) - s);
  }
}

/** y += x. */
export function add(y: usize, x: usize, n: usize): void {
  const end = y + ((n & ~1) << 3);
  while (y < end) {
    v128.store(y, f64x2.add(v128.load(y), v128.load(x)));
    y += 16;
    x += 16;
  }
  if (n & 1) store<f64>(y, load<f64>(y) + load<f64>(x));
}

/** x *= c. */
export function scale(x: usize, c: f64, n: usize): void {
  const v = f64x2.splat(c);
  const end = x + ((n & ~1) << 3);
  while (x < end) {
    v128.store(x, f64x2.mul(v, v128.load(x)));
    x += 16;
  }
  if (n & 1) store<f64>(x, c * load<f64>(x));
}

/** (x, y) := (c x + s y, c y - s x). */
export function rotate(x: usize, y: usize, c: f64, s: f64, n: usize): void {
  const vc = f64x2.splat(c);
  const vs = f64x2.splat(s);
  const end = x + ((n & ~1) << 3);
  while (x < end) {
    const p = v128.load(x);
    const q = v128.load(y);
    v128.store(x, madd(vc, p, f64x2.mul(vs, q)));
    v128.store(y, nmadd(vs, p, f64x2.mul(vc, q)));
    x += 16;
    y += 16;
  }
  if (n & 1) {
    const p = load<f64>(x);
    const q = load<f64>(y);
    store<f64>(x, c * p + s * q);
    store<f64>(y, c * q - s * p);
  }
}

/** y -= c * x. */
export function subtractScaled(y: usize, c: f64, x: usize, n: usize): void {
  const v = f64x2.splat(c);
  const end = y + ((n & ~3) << 3);
  while (y < end) {
    v128.store(y, nmadd(v, v128.load(x), v128.load(y)));
    v128.store(y, nmadd(v, v128.load(x, 16), v128.load(y, 16)), 16);
    y += 32;
    x += 32;
  }
  for (let i: usize = 0; i < (n & 3); i++)
    store<f64>(y + (i << 3), load<f64>(y + (i << 3)) - c * load<f64>(x + (i << 3)));
}
