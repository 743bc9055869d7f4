import { parentPort } from 'node:worker_threads';
import type { Job, Reply } from './pool.js';
import { singularValues } from './singular.js';

// Compiled on its own: the pool starts it by its path, so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/kernels/worker.ts runs as a worker thread only');

port.on('message', ({ matrix, m, n }: Job) => {
  try {
    const values = singularValues(matrix, m, n);
    port.postMessage({ values } satisfies Reply, [values.buffer as ArrayBuffer]);
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error : new Error(String(error)) } satisfies Reply);
  }
});
