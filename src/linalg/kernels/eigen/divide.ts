import { externalBlock, type Product } from '../external.js';
import { GEMM_A_BYTES, GEMM_B_BYTES, leading, pad4, type Workspace } from '../module.js';

/** Largest block that the QL iteration solves with vectors. */
const LEAF = 32;
/** Eigenvectors of a merge that are built and multiplied at a time. */
const BLOCK = 256;
const EPS = 2 ** -53;

/** Least order of a merge whose products go to an external gemm. */
const EXTERNAL_ORDER = 384;

/** The eigenvectors of one half, as far as they take part in a merge. */
interface Half {
  /** Place of the first row among the grouped ones. */
  readonly start: number;
  readonly rows: readonly number[];
  readonly column: number;
  readonly columns: number;
}

/** A symmetric tridiagonal matrix near norm 1, at addresses in a workspace, and the place of its eigenvectors. */
export interface TridiagonalVectors {
  readonly n: number;
  /** Diagonal; the eigenvalues on return. */
  readonly d: number;
  /** Off-diagonal, n entries. */
  readonly e: number;
  /** n x n, outside the workspace, of which it would take half: row i becomes the unit eigenvector of d[i]; zero on entry. */
  readonly vectors: Float64Array;
}

/** Eigenvectors of one half that a merge inside needs at a time: more than EXTERNAL_ORDER are multiplied outside. */
function halfOf(n: number, external: boolean): { readonly rows: number; readonly columns: number } {
  const half = Math.ceil(n / 2);
  return { rows: external ? Math.min(half, EXTERNAL_ORDER) : half, columns: half };
}

/** Bytes that DivideAndConquer takes from the workspace. */
export function divideBytes(n: number, external: boolean): number {
  const { rows, columns } = halfOf(n, external);
  const block = Math.min(pad4(n), external ? externalBlock(n) : BLOCK) + 4;
  return (
    2 * (rows + 4) * leading(columns) * 8 +
    2 * block * leading(n) * 8 +
    7 * (n * 8 + 128) +
    GEMM_A_BYTES +
    GEMM_B_BYTES +
    4096
  );
}

/** Where an eigenvector of a merge has entries: in the upper half, in both, in the lower half. */
const UPPER = 0;
const DENSE = 1;
const LOWER = 2;

/**
 * Eigenvalues and eigenvectors of a symmetric tridiagonal matrix by divide and conquer (Cuppen, Numer. Math. 36, 1981;
 * Gu and Eisenstat, SIAM J. Matrix Anal. Appl. 16, 1995): tear in the middle, solve both halves, and glue by a
 * rank-one update whose eigenvectors multiply those of the halves. Vectors are rows, so that everything is contiguous.
 */
export class DivideAndConquer {
  readonly #work: Workspace;
  readonly #t: TridiagonalVectors;
  readonly #d: Float64Array;
  readonly #e: Float64Array;
  readonly #upper: number;
  readonly #lower: number;
  readonly #u: number;
  readonly #c: number;
  readonly #poles: number;
  readonly #z: number;
  readonly #zhat: number;
  readonly #tau: number;
  readonly #scratch: number;
  readonly #origins: number;
  readonly #place: number;
  readonly #wa: number;
  readonly #wb: number;
  readonly #block: number;
  readonly #external: boolean;

  constructor(work: Workspace, t: TridiagonalVectors, external: boolean) {
    const { n } = t;
    const { rows, columns } = halfOf(n, external);
    this.#work = work;
    this.#t = t;
    this.#d = work.f64(t.d, n);
    this.#e = work.f64(t.e, n);
    this.#external = external;
    this.#block = Math.min(pad4(n), external ? externalBlock(n) : BLOCK);
    this.#upper = work.take((rows + 4) * leading(columns) * 8);
    this.#lower = work.take((rows + 4) * leading(columns) * 8);
    this.#u = work.take((this.#block + 4) * leading(n) * 8);
    this.#c = work.take((this.#block + 4) * leading(n) * 8);
    this.#poles = work.take(n * 8);
    this.#z = work.take(n * 8);
    this.#zhat = work.take(n * 8);
    this.#tau = work.take(n * 8);
    this.#scratch = work.take(n * 8 + 32);
    this.#origins = work.take(n * 4);
    this.#place = work.take(n * 4);
    this.#wa = work.take(GEMM_A_BYTES);
    this.#wb = work.take(GEMM_B_BYTES);
  }

  /** @returns the rows in ascending order of their eigenvalues. */
  *run(): Generator<Product, Int32Array, void> {
    return yield* this.#solve(0, this.#t.n);
  }

  /** `count` entries of the vector of d[i], from a given one on. */
  #row(i: number, column: number, count: number): Float64Array {
    const at = i * this.#t.n + column;
    return this.#t.vectors.subarray(at, at + count);
  }

  #ascending(from: number, to: number): Int32Array {
    const d = this.#d;
    const order = Int32Array.from({ length: to - from }, (_, i) => from + i);
    return order.sort((i, j) => (d[i] as number) - (d[j] as number));
  }

  *#solve(from: number, to: number): Generator<Product, Int32Array, void> {
    if (to - from <= LEAF) return this.#leaf(from, to);
    const mid = (from + to) >> 1;
    const beta = this.#e[mid - 1] as number;
    const size = Math.abs(beta);
    this.#d[mid - 1] = (this.#d[mid - 1] as number) - size;
    this.#d[mid] = (this.#d[mid] as number) - size;
    const left = yield* this.#solve(from, mid);
    const right = yield* this.#solve(mid, to);
    yield* this.#merge(from, mid, to, beta, left, right);
    return this.#ascending(from, to);
  }

  #leaf(from: number, to: number): Int32Array {
    const n = to - from;
    const q = this.#c;
    const ldq = leading(n) * 8;
    const identity = this.#work.f64(q, (n * ldq) / 8).fill(0);
    for (let i = 0; i < n; i++) identity[i * (ldq / 8 + 1)] = 1;
    // The last off-diagonal belongs to the tear; the iteration uses its place and leaves it zero.
    const tear = this.#e[to - 1] as number;
    const failed = this.#work.kernels.tridiagonalVectors(
      this.#t.d + from * 8,
      this.#t.e + from * 8,
      n,
      q,
      ldq,
    );
    this.#e[to - 1] = tear;
    for (let i = 0; i < n; i++) this.#row(from + i, from, n).set(this.#work.f64(q + i * ldq, n));
    if (failed !== 0) throw new Error(`the QL iteration did not converge on a ${n} x ${n} block`);
    return this.#ascending(from, to);
  }

  /** Eigen-decomposition of diag(left, right) + |beta| v v^T, v = e_(mid-1) + sign(beta) e_mid. */
  *#merge(
    from: number,
    mid: number,
    to: number,
    beta: number,
    left: Int32Array,
    right: Int32Array,
  ): Generator<Product, void, void> {
    if (beta === 0) return;
    const d = this.#d;
    const rho = 2 * Math.abs(beta);
    const z = new Float64Array(to - from);
    const sign = Math.sign(beta) * Math.SQRT1_2;
    const { n, vectors } = this.#t;
    for (const i of left) z[i - from] = (vectors[i * n + mid - 1] as number) * Math.SQRT1_2;
    for (const i of right) z[i - from] = (vectors[i * n + mid] as number) * sign;

    const { rows, kinds } = this.#deflate(from, mid, to, rho, z, mergeSorted(d, left, right));
    const k = rows.length;
    if (k === 0) return;

    // Rows grouped by where they have entries, so that zeros are never multiplied.
    const grouped: number[] = [];
    const counts = [UPPER, DENSE, LOWER].map((kind) => {
      for (let i = 0; i < k; i++) if (kinds[i] === kind) grouped.push(i);
      return grouped.length;
    });
    const place = this.#work.u32(this.#place, k);
    for (let g = 0; g < k; g++) place[grouped[g] as number] = g;
    const sorted = grouped.map((i) => rows[i] as number);
    const upper = { start: 0, rows: sorted.slice(0, counts[1]), column: from, columns: mid - from };
    const start = counts[0] as number;
    const lower = { start, rows: sorted.slice(start), column: mid, columns: to - mid };

    this.#findRoots(rows, from, rho, z);
    if (this.#external && k >= EXTERNAL_ORDER) yield* this.#productsOutside(rows, upper, lower);
    else this.#products(rows, from, upper, lower);

    const poles = this.#work.f64(this.#poles, k);
    const tau = this.#work.f64(this.#tau, k);
    const origins = this.#work.u32(this.#origins, k);
    for (let j = 0; j < k; j++)
      d[rows[j] as number] = (poles[origins[j] as number] as number) + (tau[j] as number);
  }

  #findRoots(rows: readonly number[], from: number, rho: number, z: Float64Array): void {
    const { kernels } = this.#work;
    const k = rows.length;
    const poles = this.#work.f64(this.#poles, k);
    const weights = this.#work.f64(this.#z, k);
    let norm2 = 0;
    for (let i = 0; i < k; i++) {
      const row = rows[i] as number;
      const zi = z[row - from] as number;
      poles[i] = this.#d[row] as number;
      weights[i] = zi;
      norm2 += zi * zi;
    }
    const [p, q, tau, origins] = [this.#poles, this.#z, this.#tau, this.#origins];
    const most = kernels.secularRoots(k, p, q, rho, norm2, 0, k, tau, origins, this.#scratch);
    if (most < 0) throw new Error(`the secular equation of order ${k} did not converge`);
    kernels.secularWeights(k, p, q, tau, origins, this.#zhat);
  }

  /** Eigenvectors [j, j + count) of the rank-one problem, k entries each, as rows at `u`. */
  #rankOneVectors(k: number, j: number, count: number, ldu: number): void {
    const [p, tau, origins, place] = [this.#poles, this.#tau, this.#origins, this.#place];
    this.#work.kernels.secularVectors(
      k,
      p,
      this.#zhat,
      tau,
      origins,
      place,
      j,
      j + count,
      this.#u,
      ldu,
      this.#scratch,
    );
  }

  #products(rows: readonly number[], from: number, upper: Half, lower: Half): void {
    const k = rows.length;
    const n = upper.columns + lower.columns;
    const ldu = leading(k) * 8;
    const ldc = leading(n) * 8;
    const { kernels } = this.#work;
    const halves = [
      { ...upper, at: this.#upper, ld: leading(upper.columns) * 8 },
      { ...lower, at: this.#lower, ld: leading(lower.columns) * 8 },
    ];
    for (const half of halves)
      half.rows.forEach((row, g) => {
        const own = this.#row(row, half.column, half.columns);
        this.#work.f64(half.at + g * half.ld, half.columns).set(own);
      });
    for (let j = 0; j < k; j += this.#block) {
      const count = Math.min(this.#block, k - j);
      this.#rankOneVectors(k, j, count, ldu);
      this.#work.f64(this.#c, ((count + 4) * ldc) / 8).fill(0);
      for (const { start, rows, at, ld, column, columns } of halves) {
        const u = this.#u + start * 8;
        const c = this.#c + (column - from) * 8;
        kernels.gemm(0, count, columns, rows.length, 1, u, ldu, at, ld, c, ldc, this.#wa, this.#wb);
      }
      for (let i = 0; i < count; i++)
        this.#row(rows[j + i] as number, from, n).set(this.#work.f64(this.#c + i * ldc, n));
    }
  }

  *#productsOutside(rows: readonly number[], upper: Half, lower: Half): Generator<Product, void, void> {
    const k = rows.length;
    const ldu = leading(k) * 8;
    const block = Math.min(this.#block, k);
    const wide = Math.max(upper.columns, lower.columns);
    const long = Math.max(upper.rows.length, lower.rows.length);
    const [left, right, made] = [
      new Float64Array(block * long),
      new Float64Array(long * wide),
      new Float64Array(block * wide),
    ];
    // One half after the other, though that computes the vectors of the rank-one update twice: a copy of both took as
    // much memory as the matrix.
    for (const { start, rows: inner, column, columns } of [upper, lower]) {
      const b = right.subarray(0, inner.length * columns);
      inner.forEach((row, g) => {
        b.set(this.#row(row, column, columns), g * columns);
      });
      for (let j = 0; j < k; j += block) {
        const m = Math.min(block, k - j);
        this.#rankOneVectors(k, j, m, ldu);
        const a = left.subarray(0, m * inner.length);
        for (let i = 0; i < m; i++)
          a.set(this.#work.f64(this.#u + i * ldu + start * 8, inner.length), i * inner.length);
        const into = made.subarray(0, m * columns);
        if (inner.length === 0) into.fill(0);
        else yield { a, b, m, k: inner.length, n: columns, into };
        for (let i = 0; i < m; i++)
          this.#row(rows[j + i] as number, column, columns).set(
            into.subarray(i * columns, (i + 1) * columns),
          );
      }
    }
  }

  /**
   * Takes out what the update leaves alone: entries of z that vanish against rho, and pairs of close eigenvalues, one
   * of which a rotation frees (LAPACK's dlaed2). Writes z, d and the rotated rows.
   *
   * @param order all rows, ascending by d
   */
  #deflate(
    from: number,
    mid: number,
    to: number,
    rho: number,
    z: Float64Array,
    order: Int32Array,
  ): { rows: number[]; kinds: number[] } {
    const d = this.#d;
    let most = 0;
    for (let i = from; i < to; i++)
      most = Math.max(most, Math.abs(d[i] as number), Math.abs(z[i - from] as number));
    const tolerance = 8 * EPS * most;
    const rows: number[] = [];
    const kinds: number[] = [];
    let pending = -1;
    let pendingKind = UPPER;
    for (const row of order) {
      const zi = z[row - from] as number;
      if (rho * Math.abs(zi) <= tolerance) continue;
      let kind = row < mid ? UPPER : LOWER;
      if (pending >= 0) {
        const zp = z[pending - from] as number;
        const tau = Math.hypot(zi, zp);
        const c = zi / tau;
        const s = -zp / tau;
        const dp = d[pending] as number;
        const di = d[row] as number;
        if (Math.abs((di - dp) * c * s) <= tolerance) {
          z[row - from] = tau;
          z[pending - from] = 0;
          if (kind !== pendingKind) kind = DENSE;
          rotate(this.#row(pending, from, to - from), this.#row(row, from, to - from), c, s);
          d[pending] = dp * c * c + di * s * s;
          d[row] = dp * s * s + di * c * c;
        } else {
          rows.push(pending);
          kinds.push(pendingKind);
        }
      }
      pending = row;
      pendingKind = kind;
    }
    if (pending >= 0) {
      rows.push(pending);
      kinds.push(pendingKind);
    }
    return { rows, kinds };
  }
}

function mergeSorted(d: Float64Array, left: Int32Array, right: Int32Array): Int32Array {
  const order = new Int32Array(left.length + right.length);
  let i = 0;
  let j = 0;
  for (let o = 0; o < order.length; o++) {
    const l = left[i];
    const r = right[j];
    const takeLeft = r === undefined || (l !== undefined && (d[l] as number) <= (d[r] as number));
    order[o] = (takeLeft ? left[i++] : right[j++]) as number;
  }
  return order;
}

/** (x, y) := (c x + s y, c y - s x). */
function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let i = 0; i < x.length; i++) {
    const p = x[i] as number;
    const q = y[i] as number;
    x[i] = c * p + s * q;
    y[i] = c * q - s * p;
  }
}
