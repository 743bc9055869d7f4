import { Worker } from 'node:worker_threads';
import type { SharedKernel, SharedMemory } from '../exports.js';
import { RECRUIT_SCRIPT } from './recruit-script.js';

/** What a thread of a team is started with. */
export interface Recruit {
  readonly module: object;
  readonly memory: SharedMemory;
  /** Its number, from 1 on. */
  readonly thread: number;
}

/** What it is sent: a kernel and all its arguments but the number of the thread. */
export interface Call {
  readonly kernel: SharedKernel;
  readonly args: readonly number[];
}

/** More threads wait for one another, and for memory, longer than they help. */
export const MOST_THREADS = 8;

/** Threads that run kernels together with the one that started them, over one memory. */
export class Team {
  /** With the one that started it. */
  readonly threads: number;
  readonly #workers: readonly Worker[];

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers;
    this.threads = workers.length + 1;
  }

  /** Resolves when all threads are ready: kernels wait for one another without a way out. */
  static async start(module: object, memory: SharedMemory, threads: number): Promise<Team> {
    const workers = Array.from(
      { length: threads - 1 },
      (_, i) =>
        // The parent's flags (--input-type, loaders) are not for this script.
        new Worker(RECRUIT_SCRIPT, {
          eval: true,
          execArgv: [],
          workerData: { module, memory, thread: i + 1 } satisfies Recruit,
        }),
    );
    try {
      await Promise.all(workers.map(isReady));
    } catch (error) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw error;
    }
    for (const worker of workers) worker.unref();
    return new Team(workers);
  }

  /** Lets the others run a kernel, which the caller is to run as well. */
  call(kernel: SharedKernel, args: readonly number[]): void {
    for (const worker of this.#workers) worker.postMessage({ kernel, args } satisfies Call);
  }

  /** Ends the threads: only that lets go of the memory for certain. */
  async dismiss(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

function isReady(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a kernel thread ended with code ${code}`)));
  });
}
