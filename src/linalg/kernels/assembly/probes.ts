import { madd } from './vector';

/** Vectors that a matrix is multiplied by at a time. */
const PROBES: usize = 4;

/** Elements `at` and `at + element` as doubles. */
function pair(at: usize, element: usize): v128 {
  return element === 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at)) : v128.load(at);
}

function single(at: usize, element: usize): f64 {
  return element === 4 ? <f64>load<f32>(at) : load<f64>(at);
}

function sum(pair: v128): f64 {
  return f64x2.extract_lane(pair, 0) + f64x2.extract_lane(pair, 1);
}

/**
 * Four vectors y = A x of a part of a block-diagonal matrix: `count` rows from number `from` on, `rows` of them in each block,
 * contiguous at `a` with their own block's columns alone. Strides between vectors are in bytes.
 */
export function probeRows(
  a: usize,
  element: usize,
  from: usize,
  count: usize,
  rows: usize,
  columns: usize,
  x: usize,
  strideX: usize,
  y: usize,
  strideY: usize,
): void {
  const width = columns * element;
  const end = from + count;
  for (let i = from; i < end; ) {
    const block = i / rows;
    // Two rows of a block at a time share what is read of x; the last one alone is taken twice.
    const isPair = i + 1 < end && (i + 1) / rows === block;
    const xs = x + block * columns * 8;
    const first = a + (i - from) * width;
    const second = isPair ? first + width : first;
    let p0 = f64x2.splat(0);
    let p1 = p0;
    let p2 = p0;
    let p3 = p0;
    let q0 = p0;
    let q1 = p0;
    let q2 = p0;
    let q3 = p0;
    let j: usize = 0;
    for (; j + 2 <= columns; j += 2) {
      const u = pair(first + j * element, element);
      const v = pair(second + j * element, element);
      let at = xs + (j << 3);
      let w = v128.load(at);
      p0 = madd(u, w, p0);
      q0 = madd(v, w, q0);
      at += strideX;
      w = v128.load(at);
      p1 = madd(u, w, p1);
      q1 = madd(v, w, q1);
      at += strideX;
      w = v128.load(at);
      p2 = madd(u, w, p2);
      q2 = madd(v, w, q2);
      at += strideX;
      w = v128.load(at);
      p3 = madd(u, w, p3);
      q3 = madd(v, w, q3);
    }
    let at = y + (i << 3);
    store<f64>(at, sum(p0));
    store<f64>(at + strideY, sum(p1));
    store<f64>(at + 2 * strideY, sum(p2));
    store<f64>(at + 3 * strideY, sum(p3));
    if (isPair) {
      store<f64>(at, sum(q0), 8);
      store<f64>(at + strideY, sum(q1), 8);
      store<f64>(at + 2 * strideY, sum(q2), 8);
      store<f64>(at + 3 * strideY, sum(q3), 8);
    }
    if (j < columns) {
      for (let p: usize = 0; p < PROBES; p++) {
        const factor = load<f64>(xs + p * strideX + (j << 3));
        store<f64>(at, load<f64>(at) + single(first + j * element, element) * factor);
        if (isPair) store<f64>(at, load<f64>(at, 8) + single(second + j * element, element) * factor, 8);
        at += strideY;
      }
    }
    i += isPair ? 2 : 1;
  }
}

/** Four vectors x += A^T y of the same part. */
export function probeColumns(
  a: usize,
  element: usize,
  from: usize,
  count: usize,
  rows: usize,
  columns: usize,
  y: usize,
  strideY: usize,
  x: usize,
  strideX: usize,
): void {
  const width = columns * element;
  const end = from + count;
  for (let i = from; i < end; ) {
    const block = i / rows;
    const isPair = i + 1 < end && (i + 1) / rows === block;
    const xs = x + block * columns * 8;
    const first = a + (i - from) * width;
    const second = isPair ? first + width : first;
    const ys = y + (i << 3);
    const p0 = v128.load64_splat(ys);
    const p1 = v128.load64_splat(ys + strideY);
    const p2 = v128.load64_splat(ys + 2 * strideY);
    const p3 = v128.load64_splat(ys + 3 * strideY);
    const zero = f64x2.splat(0);
    const q0 = isPair ? v128.load64_splat(ys, 8) : zero;
    const q1 = isPair ? v128.load64_splat(ys + strideY, 8) : zero;
    const q2 = isPair ? v128.load64_splat(ys + 2 * strideY, 8) : zero;
    const q3 = isPair ? v128.load64_splat(ys + 3 * strideY, 8) : zero;
    let j: usize = 0;
    for (; j + 2 <= columns; j += 2) {
      const u = pair(first + j * element, element);
      const v = pair(second + j * element, element);
      let at = xs + (j << 3);
      v128.store(at, madd(v, q0, madd(u, p0, v128.load(at))));
      at += strideX;
      v128.store(at, madd(v, q1, madd(u, p1, v128.load(at))));
      at += strideX;
      v128.store(at, madd(v, q2, madd(u, p2, v128.load(at))));
      at += strideX;
      v128.store(at, madd(v, q3, madd(u, p3, v128.load(at))));
    }
    if (j < columns) {
      let at = xs + (j << 3);
      for (let p: usize = 0; p < PROBES; p++) {
        let value = load<f64>(at) + single(first + j * element, element) * load<f64>(ys + p * strideY);
        if (isPair) value += single(second + j * element, element) * load<f64>(ys + p * strideY, 8);
        store<f64>(at, value);
        at += strideX;
      }
    }
    i += isPair ? 2 : 1;
  }
}

/**
 * Squared norms of the rows, and of the columns added to what is there, of the same part.
 *
 * @returns the largest size of an element; NaN where one is
 */
export function squareSums(
  a: usize,
  element: usize,
  from: usize,
  count: usize,
  rows: usize,
  columns: usize,
  ofRows: usize,
  ofColumns: usize,
): f64 {
  let most = f64x2.splat(0);
  let largest: f64 = 0;
  const end = from + count;
  for (let i = from; i < end; i++) {
    let to = ofColumns + (i / rows) * columns * 8;
    let squares = f64x2.splat(0);
    let j: usize = 0;
    for (; j + 2 <= columns; j += 2) {
      const u = pair(a, element);
      const square = f64x2.mul(u, u);
      most = f64x2.max(most, f64x2.abs(u));
      squares = f64x2.add(squares, square);
      v128.store(to, f64x2.add(v128.load(to), square));
      a += 2 * element;
      to += 16;
    }
    let all = sum(squares);
    if (j < columns) {
      const value = single(a, element);
      largest = max(largest, abs(value));
      all += value * value;
      store<f64>(to, load<f64>(to) + value * value);
      a += element;
    }
    store<f64>(ofRows + (i << 3), all);
  }
  return max(largest, max(f64x2.extract_lane(most, 0), f64x2.extract_lane(most, 1)));
}
