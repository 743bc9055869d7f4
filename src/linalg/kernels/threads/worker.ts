import { parentPort, workerData } from 'node:worker_threads';
import { eigenInPlace } from '../eigen/eigen.js';
import { eigenvaluesInMemory, sharedSingularValues, singularValues } from '../eigen/singular.js';
import { fileSource, type MatrixFile } from '../matrix-source.js';
import { adopt } from '../module.js';
import type { Found, Job, Reply, WorkerStart } from './pool.js';

// The pool starts it as a bundled text (scripts/bundle-threads.ts), so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/linalg/kernels/threads/worker.ts runs as a worker thread only');

adopt((workerData as WorkerStart).module);

port.on('message', async (job: Job) => {
  try {
    const found = await find(job);
    const arrays = found.vectors === undefined ? [found.values] : [found.values, found.vectors];
    port.postMessage(
      found satisfies Reply,
      arrays.map(({ buffer }) => buffer as ArrayBuffer),
    );
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error : new Error(String(error)) } satisfies Reply);
  }
});

async function find(job: Job): Promise<Found> {
  const { m, n, threads } = job;
  switch (job.kind) {
    case 'eigenvectors':
      return eigenInPlace(job.matrix, n);
    case 'eigenvalues':
      return { values: await eigenvaluesInMemory(job.memory, n, threads) };
    case 'singular values':
      return { values: await singularValuesOf(job.matrix, m, n, threads) };
  }
}

async function singularValuesOf(
  given: Float32Array | Float64Array | MatrixFile,
  m: number,
  n: number,
  threads: number,
): Promise<Float64Array> {
  const matrix = ArrayBuffer.isView(given) ? given : fileSource(given, m * n);
  return threads > 1 ? sharedSingularValues(matrix, m, n, threads) : singularValues(matrix, m, n);
}
