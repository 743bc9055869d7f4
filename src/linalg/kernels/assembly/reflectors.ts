import { gemm } from './gemm';
import { dot } from './vector';

/**
 * Products of the Householder reflectors that tridiagonalPanel leaves in rows of A, in compact WY form
 * (Schreiber and Van Loan, SIAM J. Sci. Stat. Comput. 10, 1989): H_k0 ... H_(k1-1) = I - V^T T V, T upper triangular.
 */

/**
 * T (nb x nb, dense, upper triangular) of rows [k0, k1). Clears each row from its diagonal to column k1, which
 * tridiagonalPanel leaves undefined. `s` holds nb x nb doubles; rows and columns of T and s are padded to 4.
 */
export function reflectorFactor(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  tau: usize,
  t: usize,
  s: usize,
  wa: usize,
  wb: usize,
): void {
  const nb = k1 - k0;
  const ldt = ((nb + 3) & ~3) << 3;
  const v = a + k0 * ld;
  for (let k = k0; k < k1; k++) memory.fill(a + k * ld + (k << 3), 0, (k1 - k) << 3);
  memory.fill(s, 0, ldt * (ldt >> 3));
  memory.fill(t, 0, ldt * (ldt >> 3));
  gemm(true, nb, nb, k1, 1, v, ld, v, ld, s, ldt, wa, wb);
  for (let j: usize = 0; j < nb; j++) {
    const tj = load<f64>(tau + ((k0 + j) << 3));
    store<f64>(t + j * ldt + (j << 3), tj);
    // S is symmetric: its row j stands in for column j.
    for (let i: usize = 0; i < j; i++) {
      const sum = dot(t + i * ldt + (i << 3), s + j * ldt + (i << 3), j - i);
      store<f64>(t + i * ldt + (j << 3), -tj * sum);
    }
  }
}

/** `rows` rows of R := R (I - V^T T V). `w` and `x` hold rows x nb doubles each, both padded to 4. */
export function reflectorApply(
  a: usize,
  ld: usize,
  k0: usize,
  k1: usize,
  t: usize,
  r: usize,
  ldr: usize,
  rows: usize,
  w: usize,
  x: usize,
  wa: usize,
  wb: usize,
): void {
  const nb = k1 - k0;
  const ldt = ((nb + 3) & ~3) << 3;
  const v = a + k0 * ld;
  const padded = ((rows + 3) & ~3) * ldt;
  memory.fill(w, 0, padded);
  memory.fill(x, 0, padded);
  gemm(true, rows, nb, k1, 1, r, ldr, v, ld, w, ldt, wa, wb);
  gemm(false, rows, nb, nb, 1, w, ldt, t, ldt, x, ldt, wa, wb);
  gemm(false, rows, k1, nb, -1, x, ldt, v, ld, r, ldr, wa, wb);
}
