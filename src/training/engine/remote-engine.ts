import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import {
  type Model,
  modelToBytes,
  type NativeArray,
  saveModel,
  Tensor,
  tensorProtos,
} from '../../graph/index.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import { onnxruntimePlace } from '../../runtime/session/onnxruntime.js';
import type { Batch, Chunk, ChunkResult, Engine, Evaluation, TrainingState } from '../types.js';
import {
  type Answer,
  type EngineStart,
  type ModelSource,
  type NextBatch,
  type Request,
  unpackError,
} from './engine-messages.js';
import type { EngineSpec } from './engine-spec.js';

/** A request before it has its number. */
type Unnumbered = Request extends infer One ? (One extends Request ? Omit<One, 'id'> : never) : never;

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  /** Of an evaluation. */
  readonly batches?: AsyncIterator<Batch> | undefined;
}

/**
 * An engine in a thread of its own: a run of onnxruntime blocks the thread it is on, and this one stays free for
 * progress and signals.
 *
 * @throws whatever openEngine throws
 */
export async function openRemoteEngine(model: Model, spec: EngineSpec): Promise<Engine> {
  const { source, dispose } = await sourceOf(model);
  const { ENGINE_SCRIPT } = await import('./engine-script.js');
  const engine = new RemoteEngine(ENGINE_SCRIPT);
  try {
    await engine.open(source, spec);
    return engine;
  } catch (error) {
    await engine[Symbol.asyncDispose]();
    throw error;
  } finally {
    await dispose();
  }
}

/** More than this, and a message would be too large for one array. */
const BYTES_LIMIT = 2 ** 31 - (64 << 20);

async function sourceOf(model: Model): Promise<{ readonly source: ModelSource; dispose(): Promise<void> }> {
  const nothing = async (): Promise<void> => {};
  if (model.isOnDisk && model.path !== undefined) return { source: { path: model.path }, dispose: nothing };
  const tensors = [...tensorProtos(model.proto)].map((proto) => new Tensor(proto));
  const size = tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0);
  if (size <= BYTES_LIMIT && !tensors.some((tensor) => tensor.isExternal)) {
    return { source: { bytes: modelToBytes(model) }, dispose: nothing };
  }
  const directory = await mkdtemp(join(tmpdir(), 'onnx-overparam-'));
  const path = join(directory, 'model.onnx');
  const dispose = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    await saveModel(model, path);
    return { source: { path }, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

class RemoteEngine implements Engine {
  #batch = 0;
  #trained: readonly string[] = [];
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #next = 0;
  #ended: Error | undefined;

  constructor(script: string) {
    const workerData = { onnxruntime: onnxruntimePlace() } satisfies EngineStart;
    // The parent's flags (--input-type, loaders) are not for this script.
    this.#worker = new Worker(script, { eval: true, execArgv: [], workerData });
    this.#worker.on('message', (answer: Answer) => this.#take(answer));
    this.#worker.on('error', (error: Error) => this.#fail(error));
    this.#worker.on('exit', (code) =>
      this.#fail(new Error(`the thread of the training ended with code ${code}`)),
    );
  }

  get batch(): number {
    return this.#batch;
  }

  get trained(): readonly string[] {
    return this.#trained;
  }

  async open(source: ModelSource, spec: EngineSpec): Promise<void> {
    const opened = await this.#ask<{ batch: number; trained: readonly string[] }>({
      kind: 'open',
      source,
      spec,
    });
    this.#batch = opened.batch;
    this.#trained = opened.trained;
  }

  run(chunk: Chunk): Promise<ChunkResult> {
    const inputs = Object.fromEntries(
      Object.entries(chunk.inputs).map(([name, value]) => [name, alone(value)]),
    );
    const target = chunk.target && alone(chunk.target);
    return this.#ask({ kind: 'run', chunk: { ...chunk, inputs, target } });
  }

  evaluate(batches: AsyncIterable<Batch>, weights: 'current' | 'ema' = 'current'): Promise<Evaluation> {
    return this.#ask({ kind: 'evaluate', weights }, batches[Symbol.asyncIterator]());
  }

  state(): Promise<TrainingState> {
    return this.#ask({ kind: 'state' });
  }

  restore(state: TrainingState): Promise<void> {
    return this.#ask({ kind: 'restore', state });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A session that is not released before its thread ends takes the process down with it.
    if (this.#ended === undefined) await this.#ask({ kind: 'dispose' }).catch(() => undefined);
    this.#ended ??= new Error('the engine is closed');
    await this.#worker.terminate();
  }

  #ask<Value>(request: Unnumbered, batches?: AsyncIterator<Batch>): Promise<Value> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    this.#next += 1;
    const id = this.#next;
    return new Promise<Value>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, batches });
      this.#worker.postMessage({ ...request, id });
    });
  }

  #take(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    if (answer.kind === 'want') {
      void this.#feed(answer.id, pending);
      return;
    }
    this.#pending.delete(answer.id);
    if (answer.kind === 'done') pending.resolve(answer.value as never);
    else pending.reject(unpackError(answer.error));
  }

  async #feed(id: number, { batches, reject }: Pending): Promise<void> {
    let batch: Batch | undefined;
    try {
      const next = await batches?.next();
      batch = next?.done === false ? next.value : undefined;
    } catch (error) {
      this.#pending.delete(id);
      reject(error instanceof Error ? error : new Error(String(error)));
    }
    this.#worker.postMessage({ kind: 'batch', batch } satisfies NextBatch);
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}

/** A view of a larger buffer would be cloned with all of that buffer. */
function alone(tensor: RuntimeTensor): RuntimeTensor {
  const data = tensor.data as NativeArray;
  return data.byteLength === data.buffer.byteLength ? tensor : { ...tensor, data: data.slice() };
}
