import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { SymmetricEigen, SymmetricMatrix } from '../eigen/eigen.js';
import type { SharedMemory } from '../exports.js';
import type { MatrixFile } from '../matrix-source.js';
import { compile } from '../module.js';
import { MOST_THREADS } from './team.js';
import { WORKER_SCRIPT } from './worker-script.js';

/** What is asked: of a matrix, or of a symmetric one in the memory of a kernel. */
type Task = { readonly m: number; readonly n: number } & (
  | { readonly kind: 'singular values'; readonly matrix: Float32Array | Float64Array | MatrixFile }
  | { readonly kind: 'eigenvectors'; readonly matrix: Float64Array }
  | { readonly kind: 'eigenvalues'; readonly memory: SharedMemory }
);

/** What a worker is started with. */
export interface WorkerStart {
  /** The compiled kernels. */
  readonly module: object;
}

/** What a worker is sent. */
export type Job = Task & {
  /** Threads to share the work, the worker's own among them. */
  readonly threads: number;
};

/** What it finds: with eigenvectors where they were asked for. */
export interface Found {
  readonly values: Float64Array;
  readonly vectors?: Float64Array;
}

/** What it answers. */
export type Reply = Found | { readonly error: Error };

/** Options of KernelPool. */
export interface KernelPoolOptions {
  /** Most worker threads at a time, 1 to 64; the number of available processors unless given. */
  readonly size?: number;
}

/** Options of one job of a KernelPool. */
export interface PoolJobOptions {
  /**
   * Hand the matrix's buffer over instead of copying it: no second copy in memory, and the caller's array is empty
   * afterwards. Only where the array spans its whole buffer; false unless given.
   */
  readonly transfer?: boolean;
  /**
   * Work that is going to be asked for next, m n min(m, n) summed: the more of it, the fewer threads share this matrix, for
   * each on a matrix of its own wastes nothing. 0 unless given.
   */
  readonly later?: number;
}

const MAX_SIZE = 64;
/** Kernels make no garbage to speak of: with what V8 takes by default a thread grows by some 20 MB. */
const YOUNG_MEGABYTES = 4;
/** A worker whose job needed more than this ends with it: only that gives WebAssembly memory back for certain. */
const RECYCLE_BYTES = 64 * 2 ** 20;

/** Least order of a matrix that threads share: below it they take as long to start, and to wait for one another, as they gain. */
const SHARED_ORDER = 1536;

interface Pending {
  readonly task: Task;
  readonly cost: number;
  readonly later: number;
  readonly resolve: (found: Found) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Singular values or eigenvectors of many matrices on worker threads, the most expensive first: one matrix a thread, and several threads to
 * a large one that would keep the rest waiting. Threads start with the first job, and idle ones do not keep the process
 * alive.
 *
 * @example
 * await using pool = new KernelPool();
 * const values = await pool.singularValues(new Float32Array([3, 0, 0, 2]), 2, 2); // [3, 2]
 */
export class KernelPool {
  /** Most worker threads at a time. */
  readonly size: number;
  readonly #queue: Pending[] = [];
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Pending & { readonly threads: number }>();
  #closed = false;

  /** @throws RangeError where size is not an integer from 1 to 64 */
  constructor(options: KernelPoolOptions = {}) {
    const size = options.size ?? Math.min(availableParallelism(), MAX_SIZE);
    if (!Number.isInteger(size) || size < 1 || size > MAX_SIZE)
      throw new RangeError(`size of the pool: expected an integer from 1 to ${MAX_SIZE}, got ${size}`);
    this.size = size;
  }

  /** Starts all threads now: they take as long to start as a program takes to read what it wants to know of them. */
  start(): this {
    while (this.#idle.length + this.#busy.size < this.size) {
      const worker = this.#start();
      worker.unref();
      this.#idle.push(worker);
    }
    return this;
  }

  /**
   * All min(m, n) singular values, descending, as the function of the same name gives them.
   *
   * @param matrix row-major, m x n; copied unless options.transfer says otherwise. Where it stands in an open file, the
   *   thread reads it there, and the descriptor has to stay open until then
   * @returns rejects with a RangeError where singularValues would throw one, and with an Error once the pool is closed
   */
  async singularValues(
    matrix: Float32Array | Float64Array | MatrixFile,
    m: number,
    n: number,
    options: PoolJobOptions = {},
  ): Promise<Float64Array> {
    const { transfer, later } = options;
    const sent = ArrayBuffer.isView(matrix) ? toSend(matrix, transfer) : matrix;
    return (await this.#ask({ kind: 'singular values', matrix: sent, m, n }, later)).values;
  }

  /**
   * All eigenvalues of a symmetric matrix, ascending, as symmetricEigenvalues gives them, computed where the matrix is: it
   * is gone afterwards. Rejects with a RangeError where it holds NaN or Infinity.
   */
  async eigenvalues(
    matrix: SymmetricMatrix,
    { later }: Pick<PoolJobOptions, 'later'> = {},
  ): Promise<Float64Array> {
    const { n } = matrix;
    return (await this.#ask({ kind: 'eigenvalues', memory: matrix.handOver(), m: n, n }, later)).values;
  }

  /**
   * All eigenvalues and eigenvectors of a symmetric matrix, as symmetricEigen gives them on one thread.
   *
   * @param a n x n row-major, of which the lower triangle is read; with `transfer` the eigenvectors take its place
   * @returns rejects as singularValues does
   */
  async eigenvectors(
    a: Float64Array,
    n: number,
    { transfer, later }: PoolJobOptions = {},
  ): Promise<SymmetricEigen> {
    const matrix = toSend(a, transfer);
    const { values, vectors = matrix } = await this.#ask({ kind: 'eigenvectors', matrix, m: n, n }, later);
    return { values, vectors };
  }

  #ask(task: Task, later = 0): Promise<Found> {
    if (this.#closed) return Promise.reject(new Error('the kernel pool is closed'));
    const { m, n } = task;
    return new Promise((resolve, reject) => {
      this.#queue.push({ task, cost: m * n * Math.min(m, n), later, resolve, reject });
      this.#queue.sort((a, b) => a.cost - b.cost);
      this.#dispatch();
    });
  }

  /** Ends all threads; jobs that are not done reject. */
  async close(): Promise<void> {
    this.#closed = true;
    const workers = [...this.#idle.splice(0), ...this.#busy.keys()];
    const jobs = [...this.#queue.splice(0), ...this.#busy.values()];
    this.#busy.clear();
    for (const job of jobs) job.reject(new Error('the kernel pool was closed before the job was done'));
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #dispatch(): void {
    for (let free = this.#free(); free > 0; free = this.#free()) {
      const job = this.#queue.pop();
      if (job === undefined) return;
      const threads = Math.min(free, this.#share(job));
      const worker = this.#idle.pop() ?? this.#start();
      this.#busy.set(worker, { ...job, threads });
      worker.ref();
      const { task } = job;
      const isSent = 'matrix' in task && ArrayBuffer.isView(task.matrix);
      const moved = isSent ? [task.matrix.buffer as ArrayBuffer] : [];
      worker.postMessage({ ...task, threads } satisfies Job, moved);
    }
  }

  /** Threads that have nothing to do. */
  #free(): number {
    return [...this.#busy.values()].reduce((rest, { threads }) => rest - threads, this.size);
  }

  /** How many threads a matrix is worth beside what else waits. */
  #share({ task: { kind, m, n }, cost, later }: Pending): number {
    if (kind === 'eigenvectors' || Math.min(m, n) < SHARED_ORDER) return 1;
    const waiting = this.#queue.reduce((sum, other) => sum + other.cost, later);
    return Math.max(1, Math.min(MOST_THREADS, Math.round((this.size * cost) / (cost + waiting))));
  }

  #start(): Worker {
    const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MEGABYTES };
    const workerData = { module: compile() } satisfies WorkerStart;
    // The parent's flags (--input-type, loaders) are not for this script.
    const worker = new Worker(WORKER_SCRIPT, { eval: true, execArgv: [], resourceLimits, workerData });
    worker.on('message', (reply: Reply) => this.#finish(worker, reply));
    worker.on('error', (error: Error) => this.#lose(worker, error));
    worker.on('exit', (code) => this.#lose(worker, new Error(`a kernel worker ended with code ${code}`)));
    return worker;
  }

  #finish(worker: Worker, reply: Reply): void {
    const job = this.#busy.get(worker);
    if (job === undefined) return;
    this.#busy.delete(worker);
    worker.unref();
    const { m, n } = job.task;
    if ((m * n + Math.min(m, n) ** 2) * 8 > RECYCLE_BYTES) void worker.terminate();
    else this.#idle.push(worker);
    if ('error' in reply) job.reject(reply.error);
    else job.resolve(reply);
    this.#dispatch();
  }

  #lose(worker: Worker, error: Error): void {
    const at = this.#idle.indexOf(worker);
    if (at >= 0) this.#idle.splice(at, 1);
    const job = this.#busy.get(worker);
    if (job === undefined) return;
    this.#busy.delete(worker);
    job.reject(error);
    this.#dispatch();
  }
}

/** The matrix itself, or a copy: a view of a larger buffer would be cloned with all of that buffer. */
function toSend<T extends Float32Array | Float64Array>(matrix: T, transfer = false): T {
  const isWhole = matrix.byteLength === matrix.buffer.byteLength && matrix.buffer instanceof ArrayBuffer;
  return transfer && isWhole ? matrix : (matrix.slice() as T);
}
