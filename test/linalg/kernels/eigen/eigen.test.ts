import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Gemm,
  GramAccumulator,
  SymmetricMatrix,
  symmetricEigen,
  symmetricEigenvalues,
} from '../../../../src/linalg/kernels/index.js';
import { GEMM_A_BYTES, GEMM_B_BYTES, Workspace } from '../../../../src/linalg/kernels/module.js';
import { defects, distance, NASTY, randomMatrix, randomSymmetric } from '../matrices.js';

function check(a: Float64Array, n: number): void {
  const { values, vectors } = symmetricEigen(a, n);
  expect(values.every((v, i) => i === 0 || v >= values[i - 1]!)).toBe(true);
  const { residual, orthogonality } = defects(a, n, values, vectors);
  expect(residual).toBeLessThan(1e-15 * (n + 20));
  expect(orthogonality).toBeLessThan(1e-15 * (n + 20));
  expect(distance(values, symmetricEigenvalues(a, n))).toBeLessThan(1e-15 * (n + 20));
}

describe('symmetricEigen', () => {
  it('has small residual and orthogonal vectors on any order', () => {
    void fc.assert(
      fc.property(fc.integer({ min: 1, max: 140 }), fc.nat(), (n, seed) =>
        check(randomSymmetric(n, seed), n),
      ),
      { seed: 3, numRuns: 40 },
    );
  });

  it('does so past one block of rows and reflectors', () => {
    for (const n of [256, 261, 520]) check(randomSymmetric(n, n), n);
  });

  it.each(Object.keys(NASTY))('stands %s', (name) => {
    if (name === 'subnormal') return;
    for (const n of [1, 2, 3, 32, 33, 84, 211]) check(NASTY[name]!(n), n);
  });

  it('keeps the vectors of a matrix whose eigenvalues are subnormal', () => {
    const { vectors } = symmetricEigen(NASTY.subnormal!(60), 60);
    expect(defects(NASTY.zero!(60), 60, new Float64Array(60), vectors).orthogonality).toBeLessThan(1e-13);
  });

  it('stands matrices with few distinct eigenvalues', () => {
    // A projection onto a random subspace: V^T V for the first half of the eigenvectors of another matrix.
    const n = 120;
    const { vectors } = symmetricEigen(randomSymmetric(n, 11), n);
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < n; j++)
        for (let k = 0; k < n / 2; k++) a[i * n + j]! += vectors[k * n + i]! * vectors[k * n + j]!;
    check(a, n);
  });

  it('gives rows: A v = value v', () => {
    const { values, vectors } = symmetricEigen(new Float64Array([2, 1, 1, 2]), 2);
    expect(distance(values, [1, 3])).toBeLessThan(1e-15);
    expect(vectors[0]! + vectors[1]!).toBeCloseTo(0, 14);
    expect(vectors[2]! - vectors[3]!).toBeCloseTo(0, 14);
  });

  it('refuses NaN and what is not square; the empty matrix has nothing', () => {
    expect(() => symmetricEigen(new Float64Array([1, 0, Number.NaN, 1]), 2)).toThrow(RangeError);
    expect(() => symmetricEigen(new Float64Array(3), 2)).toThrow(RangeError);
    expect(symmetricEigen(new Float64Array(0), 0).values.length).toBe(0);
  });
});

describe('symmetricEigen with an external gemm', () => {
  const product: Gemm = async ({ a, b, c: from, m, k, n, into }) => {
    const [ma, mb, mc] = [m * k, k * n, (m + 4) * (n + 4)].map((count) => count * 8) as [
      number,
      number,
      number,
    ];
    const work = new Workspace(ma + mb + mc + GEMM_A_BYTES + GEMM_B_BYTES + 1024);
    const [pa, pb, pc] = [work.take(ma), work.take(mb), work.take(mc)];
    work.f64(pa, m * k).set(a);
    work.f64(pb, k * n).set(b);
    work.f64(pc, mc / 8).fill(0);
    const ldc = (n + 4) * 8;
    for (let i = 0; from !== undefined && i < m; i++)
      work.f64(pc + i * ldc, n).set(from.subarray(i * n, (i + 1) * n));
    const [wa, wb] = [work.take(GEMM_A_BYTES), work.take(GEMM_B_BYTES)];
    work.kernels.gemm(0, m, n, k, from === undefined ? 1 : -1, pa, k * 8, pb, n * 8, pc, ldc, wa, wb);
    for (let i = 0; i < m; i++) into.set(work.f64(pc + i * ldc, n), i * n);
    await work.release();
  };

  it.each([1, 2, 3])('gives the same decomposition on %i threads', async (threads) => {
    // Large enough for the products to be asked for; rank 40 and a diagonal, so that much deflates.
    const n = 1030;
    const u = randomMatrix(n, 40, 5);
    const a = new GramAccumulator(n).addColumns(u, { stride: 40 }).toArray();
    for (let i = 0; i < n; i++) a[i * n + i]! += 1e-3 * Math.sin(i);
    let calls = 0;
    const { values, vectors } = await filled(a, n).eigen({
      gemm: (operands) => {
        calls++;
        return product(operands);
      },
      threads,
    });
    expect(calls).toBeGreaterThan(5);
    const { residual, orthogonality } = defects(a, n, values, vectors);
    expect(residual).toBeLessThan(1e-13);
    expect(orthogonality).toBeLessThan(1e-13);
    expect(distance(values, symmetricEigenvalues(a, n))).toBeLessThan(1e-13);
  });

  it('does small ones inside, and rejects where the gemm fails', async () => {
    const gemm = () => Promise.reject(new Error('no such device'));
    const small = await filled(randomSymmetric(30, 1), 30).eigen({ gemm });
    expect(small).toEqual(symmetricEigen(randomSymmetric(30, 1), 30));
    await expect(filled(NASTY['second difference']!(1024), 1024).eigen({ gemm })).rejects.toThrow(
      'no such device',
    );
    await expect(filled(new Float64Array([1, 0, Number.NaN, 1]), 2).eigen({ gemm })).rejects.toThrow(
      RangeError,
    );
  });
});

function filled(a: Float64Array, n: number): SymmetricMatrix {
  const matrix = new SymmetricMatrix(n);
  for (let i = 0; i < n; i++) matrix.lower.set(a.subarray(i * n, i * n + i + 1), i * matrix.stride);
  return matrix;
}
