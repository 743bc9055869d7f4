import { parentPort } from 'node:worker_threads';
import type { Job, Reply } from './pool.js';
import { eigenvaluesInMemory, sharedSingularValues, singularValues } from './singular.js';

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

async function valuesOf(job: Job): Promise<Float64Array> {
  const { m, n, threads } = job;
  if (job.memory !== undefined) return eigenvaluesInMemory(job.memory, n, threads);
  return threads > 1 ? sharedSingularValues(job.matrix, m, n, threads) : singularValues(job.matrix, m, n);
}
