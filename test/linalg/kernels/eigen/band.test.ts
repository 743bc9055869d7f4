import { describe, expect, it } from 'vitest';
import { bandBytes, reduceByBand } from '../../../../src/linalg/kernels/eigen/band.js';
import {
  loadLower,
  normalize,
  takeTridiagonal,
  tridiagonalBytes,
  tridiagonalEigenvalues,
} from '../../../../src/linalg/kernels/eigen/tridiagonal.js';
import { symmetricEigenvalues } from '../../../../src/linalg/kernels/index.js';
import { Workspace } from '../../../../src/linalg/kernels/module.js';
import { distance, NASTY, randomSymmetric } from '../matrices.js';

/** The two-stage way, which symmetricEigenvalues takes for large matrices only. */
function byBand(a: Float64Array, n: number): Float64Array {
  const work = new Workspace(tridiagonalBytes(n) + bandBytes(n));
  const t = takeTridiagonal(work, n);
  loadLower(work, t, a);
  const exponent = normalize(work, t);
  reduceByBand(work, t);
  const values = tridiagonalEigenvalues(work, t, exponent);
  void work.release();
  return values;
}

describe('reduction by way of a band', () => {
  it('gives the eigenvalues of the direct one on any order', () => {
    for (const n of [1, 2, 3, 31, 32, 33, 34, 63, 64, 65, 97, 127, 128, 129, 161, 257, 300]) {
      const a = randomSymmetric(n, n);
      expect(distance(byBand(a, n), symmetricEigenvalues(a, n)), `order ${n}`).toBeLessThan(1e-13);
    }
  });

  it.each(Object.keys(NASTY))('stands %s', (name) => {
    if (name === 'subnormal') return;
    for (const n of [2, 40, 84, 150, 211]) {
      const a = NASTY[name]!(n);
      expect(distance(byBand(a, n), symmetricEigenvalues(a, n)), `order ${n}`).toBeLessThan(1e-13);
    }
  });
});
