/**
 * Symmetric eigenvalues and eigenvectors against ml-matrix and NumPy: npx tsx bench/kernels.ts [largest order]
 *
 * Ratios compare times of the same run; NumPy (/usr/bin/python3, where there is one) uses as many threads as its BLAS
 * likes, the kernels use one.
 */
import { execFileSync } from 'node:child_process';
import { EVD, Matrix } from 'ml-matrix';
import { GramAccumulator, KernelPool, symmetricEigen, symmetricEigenvalues } from '../src/kernels/index.js';

const largest = Number(process.argv[2] ?? 2048);
const orders = [256, 512, 1024, 2048, 4096].filter((n) => n <= largest);
/** ml-matrix needs 9 s for 1024. */
const LARGEST_PEER = 512;

function random(n: number): Float64Array {
  const a = new Float64Array(n * n);
  let state = n;
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      a[i * n + j] = a[j * n + i] = state / 2 ** 32 - 0.5;
    }
  return a;
}

/** Seconds of the fastest of a few runs. */
function time(run: () => void, repeats: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    run();
    best = Math.min(best, performance.now() - start);
  }
  return best / 1000;
}

interface Peer {
  eigvalsh: number;
  eigh: number;
}

function numpy(n: number, repeats: number): Peer | undefined {
  const script = `
import json, time
import numpy as np
a = np.random.default_rng(0).random((${n}, ${n})) - 0.5
a = a + a.T
def best(f):
    times = []
    for _ in range(${repeats}):
        start = time.perf_counter(); f(a); times.append(time.perf_counter() - start)
    return min(times)
print(json.dumps({'eigvalsh': best(np.linalg.eigvalsh), 'eigh': best(np.linalg.eigh)}))`;
  try {
    return JSON.parse(
      execFileSync('/usr/bin/python3', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
    );
  } catch {
    return undefined;
  }
}

const cell = (seconds: number | undefined) => (seconds === undefined ? '-' : seconds.toFixed(4)).padStart(9);
const ratio = (x: number, y: number | undefined) => (y === undefined ? '-' : (y / x).toFixed(2)).padStart(7);

console.log('seconds; x/y = y as many times as slow as the kernel\n');
console.log('              kernel ml-matrix     ratio     numpy   ratio');
for (const n of orders) {
  const a = random(n);
  const repeats = n <= 512 ? 5 : n <= 1024 ? 3 : 2;
  const values = time(() => symmetricEigenvalues(a, n), repeats);
  const vectors = time(() => symmetricEigen(a, n), repeats);
  const rows = () => Array.from({ length: n }, (_, i) => Array.from(a.subarray(i * n, (i + 1) * n)));
  const peer =
    n <= LARGEST_PEER ? time(() => new EVD(new Matrix(rows()), { assumeSymmetric: true }), 1) : undefined;
  const other = numpy(n, repeats);
  const line = (name: string, x: number, py: number | undefined) =>
    console.log(
      `${name} ${String(n).padStart(5)} ${cell(x)} ${cell(peer)} ${ratio(x, peer)}x ${cell(py)} ${ratio(x, py)}x`,
    );
  line('values ', values, other?.eigvalsh);
  line('vectors', vectors, other?.eigh);
}

console.log('\nGram matrix, GFLOP/s (half of the products, by symmetry)');
for (const n of orders) {
  const rows = new Float32Array(2 * n * n).map((_, i) => Math.sin(i));
  const gram = new GramAccumulator(n);
  const down = time(() => gram.addRows(rows, 2 * n), 3);
  const along = time(() => gram.addColumns(rows, { stride: 2 * n }), 3);
  const flops = (2 * n ** 3) / 1e9;
  console.log(
    `${String(n).padStart(5)}  A^T A ${(flops / down).toFixed(1)}  A A^T ${(flops / along).toFixed(1)}`,
  );
}

const weights = Array.from({ length: 8 }, (_, i) =>
  new Float32Array(768 * 1536).map((_, j) => Math.sin(i + j * j)),
);
console.log('\n8 matrices 768 x 1536, seconds');
for (const size of [1, 2]) {
  await using pool = new KernelPool({ size });
  const start = performance.now();
  await Promise.all(weights.map((w) => pool.singularValues(w, 768, 1536)));
  console.log(`${size} worker${size > 1 ? 's' : ' '} ${((performance.now() - start) / 1000).toFixed(2)}`);
}
