import { parentPort } from 'node:worker_threads';
import type { Job, Reply } from './pool.js';
import { sharedEigenvalues, sharedSingularValues, singularValues } from './singular.js';

// Compiled on its own: the pool starts it by its path, so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/kernels/worker.ts runs as a worker thread only');

port.on('message', async (job: Job) => {
  try {
    const values = await valuesOf(job);
    port.postMessage({ values } satisfies Reply, [values.buffer as ArrayBuffer]);
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error : new Error(String(error)) } satisfies Reply);
  }
});

async function valuesOf({ kind, matrix, m, n, threads }: Job): Promise<Float64Array> {
  if (kind === 'eigenvalues') return sharedEigenvalues(matrix as Float64Array, n, threads);
  return threads > 1 ? sharedSingularValues(matrix, m, n, threads) : singularValues(matrix, m, n);
}
