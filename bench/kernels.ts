/**
 * The kernels against NumPy and ml-matrix:
 * npx tsx bench/kernels.ts [--orders 64,128,256,512,1024,2048,4096] [--only spectra,eigen,gram,pool]
 *
 * Ratios compare times of the same run: first singular values, where time by n³ shows whether there is a cliff, then
 * symmetric eigenvalues and eigenvectors, and Gram matrices. NumPy (/usr/bin/python3, where there is one) uses as many
 * threads as its BLAS likes; so do the kernels where it says so, and one elsewhere.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { EVD, Matrix } from 'ml-matrix';
import {
  GramAccumulator,
  KernelPool,
  singularValues,
  symmetricEigen,
  symmetricEigenvalues,
} from '../src/linalg/kernels/index.js';

const { values: options } = parseArgs({
  options: {
    orders: { type: 'string', default: '64,128,256,512,1024,2048,4096' },
    only: { type: 'string', default: 'spectra,eigen,gram,pool' },
  },
});
const isAsked = (part: string) => options.only.split(',').includes(part);
const allOrders = options.orders.split(',').map(Number);
/** Of eigenvectors, which for 4096 take half a minute inside WebAssembly. */
const orders = allOrders.filter((n) => n >= 256 && n <= 2048);
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

/** Seconds of the fastest of some runs of NumPy expressions of the n x n matrices `a` (symmetric) and `w` (float32). */
function numpy<K extends string>(
  n: number,
  expressions: Readonly<Record<K, string>>,
): Readonly<Record<K, number>> | undefined {
  const script = `
import json, sys, time
import numpy as np
w = np.random.default_rng(0).random((${n}, ${n}), dtype=np.float32) - np.float32(0.5)
a = (w + w.T).astype(np.float64)
def best(f):
    times = []
    while len(times) < ${repeatsOf(n)}:
        start = time.perf_counter(); f(); times.append(time.perf_counter() - start)
    return min(times)
def gram(w):
    d = w.astype(np.float64)
    return np.linalg.eigvalsh(d @ d.T)
print(json.dumps({k: best(eval('lambda: ' + e)) for k, e in json.loads(sys.argv[1]).items()}))`;
  try {
    const args = ['-c', script, JSON.stringify(expressions)];
    return JSON.parse(
      execFileSync('/usr/bin/python3', args, { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
    );
  } catch {
    return undefined;
  }
}

function repeatsOf(n: number): number {
  // Small ones often, for V8 has optimized code only after a while.
  return n <= 128 ? 100 : n <= 512 ? 9 : n <= 1024 ? 3 : 2;
}

const cell = (seconds: number | undefined) => (seconds === undefined ? '-' : seconds.toFixed(4)).padStart(9);
const ratio = (x: number, y: number | undefined) => (y === undefined ? '-' : (y / x).toFixed(2)).padStart(7);

if (isAsked('spectra')) await spectra();
if (isAsked('eigen')) eigen();
if (isAsked('gram')) gramMatrices();
if (isAsked('pool')) await pools();

async function spectra(): Promise<void> {
  console.log('all singular values of an n x n matrix of float32, seconds; from 1024 on with all cores');
  console.log('ps: picoseconds by n^3; x: NumPy as many times as slow\n');
  console.log('    n    kernels    ps    svd float32    ps      x    Gram float64 + eigvalsh    ps      x');
  for (const n of allOrders) {
    const w = new Float32Array(n * n).map((_, i) => Math.sin(i * i));
    await using pool = new KernelPool();
    let ours = Number.POSITIVE_INFINITY;
    for (let i = 0; i < repeatsOf(n) + 1; i++) {
      const start = performance.now();
      if (n < 1024) singularValues(w, n, n);
      else await pool.singularValues(w, n, n);
      ours = Math.min(ours, (performance.now() - start) / 1000);
    }
    const peer = numpy(n, { svd: 'np.linalg.svd(w, compute_uv=False)', gram: 'gram(w)' });
    const by = (seconds: number | undefined) =>
      seconds === undefined ? '    -' : ((seconds * 1e12) / n ** 3).toFixed(0).padStart(5);
    console.log(
      `${String(n).padStart(5)}  ${cell(ours)} ${by(ours)}      ${cell(peer?.svd)} ${by(peer?.svd)} ${ratio(ours, peer?.svd)}    ` +
        `              ${cell(peer?.gram)} ${by(peer?.gram)} ${ratio(ours, peer?.gram)}`,
    );
  }
}

function eigen(): void {
  console.log('\nsymmetric matrices, one thread, seconds; x/y = y as many times as slow as the kernel\n');
  console.log('              kernel ml-matrix     ratio     numpy   ratio');
  for (const n of orders) {
    const a = random(n);
    const repeats = repeatsOf(n);
    const values = time(() => symmetricEigenvalues(a, n), repeats);
    const vectors = time(() => symmetricEigen(a, n), repeats);
    const rows = () => Array.from({ length: n }, (_, i) => Array.from(a.subarray(i * n, (i + 1) * n)));
    const peer =
      n <= LARGEST_PEER ? time(() => new EVD(new Matrix(rows()), { assumeSymmetric: true }), 1) : undefined;
    const other = numpy(n, { eigvalsh: 'np.linalg.eigvalsh(a)', eigh: 'np.linalg.eigh(a)' });
    const line = (name: string, x: number, py: number | undefined) =>
      console.log(
        `${name} ${String(n).padStart(5)} ${cell(x)} ${cell(peer)} ${ratio(x, peer)}x ${cell(py)} ${ratio(x, py)}x`,
      );
    line('values ', values, other?.eigvalsh);
    line('vectors', vectors, other?.eigh);
  }
}

function gramMatrices(): void {
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
}

async function pools(): Promise<void> {
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
}
