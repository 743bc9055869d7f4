import { parentPort } from 'node:worker_threads';
import type { Job, Reply } from './pool.js';
import { sharedSingularValues, singularValues } from './singular.js';

// Compiled on its own: the pool starts it by its path, so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/kernels/worker.ts runs as a worker thread only');

port.on('message', async ({ matrix, m, n, threads }: Job) => {
  try {
    const values =
      threads > 1 ? await sharedSingularValues(matrix, m, n, threads) : singularValues(matrix, m, n);
    port.postMessage({ values } satisfies Reply, [values.buffer as ArrayBuffer]);
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error : new Error(String(error)) } satisfies Reply);
  }
});
