import { Worker } from 'node:worker_threads';
import { onnxruntimePlace } from '../../runtime/session/onnxruntime.js';
import { unpackError } from '../../training/engine/engine-messages.js';
import type { Outcome } from '../study.js';
import type { RunAnswer, RunRequest, WorkerStart } from './worker-messages.js';

export interface Made {
  readonly outcome: Outcome;
  readonly seconds: number;
}

type Request = Omit<RunRequest, 'id'>;

/** Threads that make runs, each one at a time, with an onnxruntime of one thread. */
export class WorkerPool implements AsyncDisposable {
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
  }

  static async open(size: number): Promise<WorkerPool> {
    const { STUDY_SCRIPT } = await import('./study-script.js');
    const workerData = { onnxruntime: onnxruntimePlace() } satisfies WorkerStart;
    // The parent's flags (--input-type, loaders) are not for this script.
    const start = (): Worker => new Worker(STUDY_SCRIPT, { eval: true, execArgv: [], workerData });
    return new WorkerPool(Array.from({ length: size }, start));
  }

  /**
   * Makes runs in their order, as many at a time as there are threads, and hands each over as soon as it is done. After
   * `signal` no further run is begun.
   *
   * @throws the first error of a run, when those that were under way are done
   */
  async each(
    requests: readonly Request[],
    take: (index: number, made: Made) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    let next = 0;
    const failures: unknown[] = [];
    const work = async (worker: Worker): Promise<void> => {
      while (next < requests.length && failures.length === 0 && signal?.aborted !== true) {
        const index = next;
        next += 1;
        try {
          take(index, await ask(worker, { ...(requests[index] as Request), id: index }));
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(this.#workers.map(work));
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function ask(worker: Worker, request: RunRequest): Promise<Made> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      worker.off('message', take).off('error', fail).off('exit', exit);
    };
    const take = (answer: RunAnswer): void => {
      done();
      if ('error' in answer) reject(unpackError(answer.error));
      else resolve(answer);
    };
    const fail = (error: Error): void => {
      done();
      reject(error);
    };
    const exit = (code: number): void => fail(new Error(`a thread of the sweep ended with code ${code}`));
    worker.on('message', take).on('error', fail).on('exit', exit);
    worker.postMessage(request);
  });
}
