import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  KernelPool,
  SymmetricMatrix,
  singularValues,
  symmetricEigen,
  symmetricEigenvalues,
} from '../../../../src/linalg/kernels/index.js';
import { randomMatrix, randomSymmetric } from '../matrices.js';

function filled(a: Float64Array, n: number): SymmetricMatrix {
  const matrix = new SymmetricMatrix(n);
  for (let i = 0; i < n; i += 1) matrix.lower.set(a.subarray(i * n, i * n + i + 1), i * matrix.stride);
  return matrix;
}

describe('KernelPool', () => {
  it('gives what singularValues gives, in the order asked', async () => {
    await using pool = new KernelPool({ size: 2 }).start();
    const shapes = [
      [3, 5],
      [40, 30],
      [1, 7],
      [64, 64],
      [90, 10],
    ] as const;
    const results = await Promise.all(
      shapes.map(([m, n]) => pool.singularValues(randomMatrix(m, n, m), m, n)),
    );
    shapes.forEach(([m, n], i) => {
      expect(results[i]).toEqual(singularValues(randomMatrix(m, n, m), m, n));
    });
  });

  it('shares a large matrix among the threads: any number of them gives the same bits', async () => {
    // One order reduced at once, one by way of a band.
    for (const [m, n, sizes] of [
      [1540, 1541, [2, 5]],
      [2051, 2050, [3]],
    ] as const) {
      const matrix = randomMatrix(m, n, 3);
      const alone = singularValues(matrix, m, n);
      for (const size of sizes) {
        await using pool = new KernelPool({ size });
        expect(await pool.singularValues(matrix, m, n)).toEqual(alone);
      }
    }
  });

  it('gives the eigenvalues of symmetric matrices', async () => {
    await using pool = new KernelPool({ size: 2 });
    const a = new Float64Array([2, 9, 1, 2]);
    expect(await pool.eigenvalues(filled(a, 2))).toEqual(symmetricEigenvalues(a, 2));
    const large = randomSymmetric(1540, 5);
    const values = await pool.eigenvalues(filled(large, 1540));
    expect(values).toEqual(symmetricEigenvalues(large, 1540));
  });

  it('gives the eigenvectors of symmetric matrices, with transfer in the place of the matrix', async () => {
    await using pool = new KernelPool({ size: 1 });
    const a = randomSymmetric(90, 3);
    const expected = symmetricEigen(a, 90);
    expect(await pool.eigenvectors(a, 90)).toEqual(expected);
    expect(a.length).toBe(8100);
    expect(await pool.eigenvectors(a, 90, { transfer: true })).toEqual(expected);
    expect(a.length).toBe(0);
    const bad = new Float64Array(4).fill(Number.NaN);
    await expect(pool.eigenvectors(bad, 2)).rejects.toThrow(RangeError);
  });

  it('copies the matrix, or empties it when told to', async () => {
    await using pool = new KernelPool({ size: 1 });
    const a = randomMatrix(6, 4, 1);
    const first = await pool.singularValues(a, 6, 4);
    expect(a.length).toBe(24);
    const second = await pool.singularValues(a, 6, 4, { transfer: true });
    expect(a.length).toBe(0);
    expect(second).toEqual(first);
    const view = randomMatrix(12, 4, 1).subarray(0, 24);
    expect(await pool.singularValues(view, 6, 4, { transfer: true })).toEqual(first);
    expect(view.length).toBe(24);
  });

  it('reads what stands in a file: at any offset, of either type, in whole or in blocks', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pool-'));
    await using pool = new KernelPool({ size: 1 });
    const shapes = [
      [90, 70, 'float32'],
      [70, 90, 'float32'],
      [300, 3, 'float64'],
      [5, 700, 'float64'],
      // Wider than the kernels read at a time.
      [40, 110_000, 'float32'],
    ] as const;
    try {
      for (const [k, [m, n, type]] of shapes.entries()) {
        const single = randomMatrix(m, n, k);
        const matrix = type === 'float32' ? single : Float64Array.from(single, (value) => value * 1e-200);
        const offset = 3 + k;
        const path = join(folder, `${k}.bin`);
        writeFileSync(path, Buffer.concat([Buffer.alloc(offset), new Uint8Array(matrix.buffer)]));
        const descriptor = openSync(path, 'r');
        try {
          const found = await pool.singularValues({ descriptor, offset, type }, m, n);
          expect(found).toEqual(singularValues(matrix, m, n));
          const beyond = pool.singularValues({ descriptor, offset: offset + 8, type }, m, n);
          await expect(beyond).rejects.toThrow('ends at byte');
        } finally {
          closeSync(descriptor);
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('hands errors on and goes on', async () => {
    await using pool = new KernelPool({ size: 1 });
    const bad = new Float32Array([1, Number.NaN]);
    const failure = await pool.singularValues(bad, 1, 2).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(RangeError);
    expect(String(failure)).toContain('NaN at [0, 1]');
    expect([...(await pool.singularValues(new Float32Array([3, 4]), 1, 2))]).toEqual([5]);
  });

  it('rejects after close and refuses silly sizes', async () => {
    const pool = new KernelPool({ size: 1 });
    const job = pool.singularValues(randomMatrix(50, 50, 1), 50, 50);
    const outcome = expect(job).rejects.toThrow('closed');
    await pool.close();
    await outcome;
    await expect(pool.singularValues(new Float32Array(1), 1, 1)).rejects.toThrow('closed');
    expect(() => new KernelPool({ size: 0 })).toThrow(RangeError);
    expect(() => new KernelPool({ size: 65 })).toThrow(RangeError);
  });

  it('does not keep a process alive', () => {
    const index = fileURLToPath(new URL('../../../../dist/lib/analysis.js', import.meta.url));
    const script = `
      const { KernelPool } = await import(${JSON.stringify(index)});
      console.log((await new KernelPool({ size: 2 }).singularValues(new Float32Array([3, 4]), 1, 2))[0]);`;
    const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 20000 });
    expect(out.toString().trim()).toBe('5');
  });
});
