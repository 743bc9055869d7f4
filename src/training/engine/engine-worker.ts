import { parentPort, workerData } from 'node:worker_threads';
import { readModel } from '../../graph/index.js';
import { collectGarbage } from '../../runtime/garbage.js';
import { findOnnxruntime } from '../../runtime/session/onnxruntime.js';
import type { Batch, ChunkResult, Engine, Evaluation, TrainingState } from '../types.js';
import { type Answer, type EngineStart, packError, type Request } from './engine-messages.js';
import { engineOf } from './engine-spec.js';

// RemoteEngine starts it as a bundled text (scripts/bundle-threads.ts), so the test runner never loads it from source.
const port = parentPort;
if (port === null) throw new Error('src/training/engine/engine-worker.ts runs as a worker thread only');

findOnnxruntime((workerData as EngineStart).onnxruntime);
collectGarbage();

let engine: Engine | undefined;
/** Where the batches that are being evaluated come in. */
let takeBatch: ((batch: Batch | undefined) => void) | undefined;

function opened(): Engine {
  if (engine === undefined) throw new Error('the engine is not open');
  return engine;
}

async function* batchesOf(id: number): AsyncGenerator<Batch> {
  for (;;) {
    const batch = await new Promise<Batch | undefined>((resolve) => {
      takeBatch = resolve;
      send({ id, kind: 'want' });
    });
    if (batch === undefined) return;
    yield batch;
  }
}

function send(answer: Answer, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(answer, transfer);
}

/** Buffers of a copy that nobody else holds. */
function buffersOf({ weights, slots }: TrainingState): ArrayBuffer[] {
  const arrays = [...weights.values(), ...slots.values()].map(({ data }) => data);
  const buffers = arrays.flatMap((data) =>
    ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer ? [data.buffer] : [],
  );
  return [...new Set(buffers)];
}

async function answer(request: Request): Promise<unknown> {
  switch (request.kind) {
    case 'open': {
      const { source, spec } = request;
      const model =
        'path' in source ? await readModel(source.path) : await readModel(source.bytes, { directory: '.' });
      engine = await engineOf(model, spec);
      const { batch, trained } = engine;
      return { batch, trained };
    }
    case 'run':
      return (await opened().run(request.chunk)) satisfies ChunkResult;
    case 'evaluate':
      return (await opened().evaluate(batchesOf(request.id), request.weights)) satisfies Evaluation;
    case 'state':
      return opened().state();
    case 'restore':
      return opened().restore(request.state);
    case 'dispose':
      await engine?.[Symbol.asyncDispose]();
      return undefined;
  }
}

port.on('message', (message: Request | { readonly kind: 'batch'; readonly batch: Batch | undefined }) => {
  if (message.kind === 'batch') {
    takeBatch?.(message.batch);
    return;
  }
  void answer(message).then(
    (value) =>
      send(
        { id: message.id, kind: 'done', value },
        message.kind === 'state' ? buffersOf(value as TrainingState) : [],
      ),
    (error: unknown) => send({ id: message.id, kind: 'failed', error: packError(error) }),
  );
});
