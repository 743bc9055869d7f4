import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { MOST_THREADS } from './team.js';

interface Task {
  /** What is asked of the matrix. */
  readonly kind: 'singular values' | 'eigenvalues';
  readonly matrix: Float32Array | Float64Array;
  readonly m: number;
  readonly n: number;
}

/** What a worker is sent. */
export interface Job extends Task {
  /** Threads to share the work, the worker's own among them. */
  readonly threads: number;
}

/** What it answers. */
export type Reply = { readonly values: Float64Array } | { readonly error: Error };

export interface KernelPoolOptions {
  /** Most worker threads at a time, 1 to 64; the number of available processors unless given. */
  readonly size?: number;
}

export interface PoolJobOptions {
  /**
   * Hand the matrix's buffer over instead of copying it: no second copy in memory, and the caller's array is empty
   * afterwards. Only where the array spans its whole buffer; false unless given.
   */
  readonly transfer?: boolean;
}

const MAX_SIZE = 64;
/** A worker whose job needed more than this ends with it: only that gives WebAssembly memory back for certain. */
const RECYCLE_BYTES = 64 * 2 ** 20;

/** Least order of a matrix that threads share: below it they wait for one another as long as they work. */
const SHARED_ORDER = 1024;

interface Pending extends Task {
  readonly cost: number;
  readonly resolve: (values: Float64Array) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Singular values of many matrices on worker threads, the most expensive first: one matrix a thread, and several threads to
 * a large one that would keep the rest waiting. Threads start with the first job, and idle ones do not keep the process
 * alive.
 *
 * @example
 * await using pool = new KernelPool();
 * const spectra = await Promise.all(weights.map(({ data, m, n }) => pool.singularValues(data, m, n)));
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

  /**
   * All min(m, n) singular values, descending, as the function of the same name gives them.
   *
   * @param matrix row-major, m x n; copied unless options.transfer says otherwise
   * @returns rejects with a RangeError where singularValues would throw one, and with an Error once the pool is closed
   */
  singularValues(
    matrix: Float32Array | Float64Array,
    m: number,
    n: number,
    options: PoolJobOptions = {},
  ): Promise<Float64Array> {
    return this.#ask('singular values', matrix, m, n, options);
  }

  /**
   * All eigenvalues of a symmetric matrix, ascending, as symmetricEigenvalues gives them; otherwise as singularValues.
   *
   * @param a row-major, n x n; only the lower triangle is read
   */
  eigenvalues(a: Float64Array, n: number, options: PoolJobOptions = {}): Promise<Float64Array> {
    return this.#ask('eigenvalues', a, n, n, options);
  }

  #ask(
    kind: Task['kind'],
    matrix: Float32Array | Float64Array,
    m: number,
    n: number,
    { transfer }: PoolJobOptions,
  ): Promise<Float64Array> {
    if (this.#closed) return Promise.reject(new Error('the kernel pool is closed'));
    const whole = matrix.byteLength === matrix.buffer.byteLength && matrix.buffer instanceof ArrayBuffer;
    // A view of a larger buffer would be cloned with all of that buffer.
    const own = transfer === true && whole ? matrix : matrix.slice();
    return new Promise((resolve, reject) => {
      this.#queue.push({ kind, matrix: own, m, n, cost: m * n * Math.min(m, n), resolve, reject });
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
      const { kind, matrix, m, n } = job;
      worker.postMessage({ kind, matrix, m, n, threads } satisfies Job, [matrix.buffer as ArrayBuffer]);
    }
  }

  /** Threads that have nothing to do. */
  #free(): number {
    return [...this.#busy.values()].reduce((rest, { threads }) => rest - threads, this.size);
  }

  /** How many threads a matrix is worth beside what else waits. */
  #share({ m, n, cost }: Pending): number {
    if (Math.min(m, n) < SHARED_ORDER) return 1;
    const waiting = this.#queue.reduce((sum, other) => sum + other.cost, 0);
    return Math.max(1, Math.min(MOST_THREADS, Math.round((this.size * cost) / (cost + waiting))));
  }

  #start(): Worker {
    // From TypeScript source (tests), the compiled worker: Node 20 does not load .ts in a thread.
    const path = import.meta.url.endsWith('.ts') ? '../../dist/kernels/worker.js' : './worker.js';
    // The parent's flags (--input-type, loaders) are not for this file.
    const worker = new Worker(new URL(path, import.meta.url), { execArgv: [] });
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
    const order = Math.min(job.m, job.n);
    if ((job.m * job.n + order * order) * 8 > RECYCLE_BYTES) void worker.terminate();
    else this.#idle.push(worker);
    if ('error' in reply) job.reject(reply.error);
    else job.resolve(reply.values);
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
