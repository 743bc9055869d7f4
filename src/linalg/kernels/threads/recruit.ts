import { parentPort, workerData } from 'node:worker_threads';
import { instantiate } from '../module.js';
import type { Call, Recruit } from './team.js';

// A team starts it as a bundled text (scripts/bundle-threads.ts), so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/linalg/kernels/threads/recruit.ts runs as a worker thread only');

const { module, memory, thread } = workerData as Recruit;
const kernels = instantiate(module, memory);

port.on('message', ({ kernel, args }: Call) => {
  (kernels[kernel] as (...args: number[]) => void)(...args, thread);
});
port.postMessage('ready');
