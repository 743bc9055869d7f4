import { parentPort, workerData } from 'node:worker_threads';
import { collectGarbage } from '../../runtime/garbage.js';
import { findOnnxruntime } from '../../runtime/session/onnxruntime.js';
import { packError } from '../../training/engine/engine-messages.js';
import { studyOf } from '../studies/index.js';
import type { RunAnswer, RunRequest, WorkerStart } from './worker-messages.js';

// WorkerPool starts it as a bundled text (scripts/bundle-threads.ts), so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/study/sweep/worker.ts runs as a worker thread only');

findOnnxruntime((workerData as WorkerStart).onnxruntime);
collectGarbage();

async function answer({ id, study, settings, context, custom }: RunRequest): Promise<RunAnswer> {
  const start = performance.now();
  try {
    const outcome = await studyOf(study, custom).run(settings, context);
    return { id, outcome, seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    return { id, error: packError(error) };
  }
}

port.on('message', (request: RunRequest) => {
  void answer(request).then((made) => port.postMessage(made));
});
