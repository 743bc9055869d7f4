import { parentPort, workerData } from 'node:worker_threads';
import { instantiate } from './module.js';
import type { Call, Recruit } from './team.js';

// Bundled on its own (scripts/bundle-cli.ts): a team starts it by its path, so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/kernels/recruit.ts runs as a worker thread only');

const { module, memory, thread } = workerData as Recruit;
const kernels = instantiate(module, memory);

port.on('message', ({ kernel, args }: Call) => {
  (kernels[kernel] as (...args: number[]) => void)(...args, thread);
});
port.postMessage('ready');
