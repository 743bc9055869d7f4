import { FUSED_KERNELS, KERNELS } from './builds.js';
import type { KernelExports, OwnArguments, SharedKernel, SharedMemory } from './exports.js';
import { Team } from './threads/team.js';

type Address = number;

interface WebAssemblyApi {
  validate(bytes: Uint8Array): boolean;
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { readonly exports: object };
  Memory: new (sizes: { initial: number; maximum: number; shared: true }) => SharedMemory;
}

// The compiler's library has WebAssembly only among the DOM types, which a Node program does not load.
const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };

/** Depth of a packed panel, rows of A and columns of B packed at a time: KC, MC and NC of assembly/gemm.ts. */
export const KC = 256;
const MC = 128;
const NC = 1024;
/** Bytes of the two buffers that the gemm kernel packs into. */
export const GEMM_A_BYTES = MC * KC * 8;
export const GEMM_B_BYTES = NC * KC * 8;

const PAGE = 65536;
const MAX_PAGES = 65536;
/** An instance that grew past this is dropped after use: WebAssembly memory never shrinks. */
const KEEP_BYTES = 48 * 2 ** 20;

let compiled: object | undefined;

/**
 * The build with fused multiply-add where the engine has it, which is 1.15 times as fast; Node 20 has it behind a flag,
 * later ones without. Its results are the same on all processors with such an instruction, as good as all there are.
 */
export function compile(): object {
  if (compiled !== undefined) return compiled;
  const fused = Buffer.from(FUSED_KERNELS, 'base64');
  if (!WebAssembly.validate(fused)) {
    process.getBuiltinModule('node:v8').setFlagsFromString('--experimental-wasm-relaxed-simd');
  }
  const isKnown = WebAssembly.validate(fused);
  compiled = new WebAssembly.Module(isKnown ? fused : Buffer.from(KERNELS, 'base64'));
  return compiled;
}

/** Lets a thread use what the one that started it compiled. */
export function adopt(module: object): void {
  compiled = module;
}

/** An instance of the module over a memory. All share the compiled code, so a fresh one runs what an earlier one warmed up. */
export function instantiate(module: object, memory: SharedMemory): KernelExports {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as KernelExports;
}

interface Instance {
  readonly kernels: KernelExports;
  readonly memory: SharedMemory;
}

const idle: Instance[] = [];

function makeInstance(
  memory: SharedMemory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared: true }),
): Instance {
  return { kernels: instantiate(compile(), memory), memory };
}

/**
 * One use of a kernel instance: a bump allocator over its memory, and the threads that share it. Call release() when done
 * with every address.
 */
export class Workspace {
  readonly kernels: KernelExports;
  readonly #memory: SharedMemory;
  readonly #sync: Address;
  #next: number;
  #end: number;
  #team: Team | undefined;
  #released = false;

  /**
   * @param shared another's memory to work in: what is taken from the two in the same order is at the same addresses
   * @throws RangeError where `bytes` passes what WebAssembly can address (4 GiB).
   */
  constructor(bytes: number, shared?: SharedMemory) {
    const { kernels, memory } = shared ? makeInstance(shared) : (idle.pop() ?? makeInstance());
    this.kernels = kernels;
    this.#memory = memory;
    this.#next = Math.ceil(kernels.heapBase() / 64) * 64;
    const end = this.#next + bytes + 4096;
    const pages = Math.ceil((end - memory.buffer.byteLength) / PAGE);
    if (end > MAX_PAGES * PAGE)
      throw new RangeError(`the matrix is too large: ${Math.ceil(bytes / 2 ** 20)} MiB of 4096 MiB`);
    if (pages > 0) memory.grow(pages);
    this.#end = memory.buffer.byteLength;
    this.#sync = this.take(64);
    new Int32Array(memory.buffer, this.#sync, 16).fill(0);
  }

  get memory(): SharedMemory {
    return this.#memory;
  }

  /** Starts the other threads of a team; together() runs on as many from then on. */
  async recruit(threads: number): Promise<void> {
    if (threads > 1) this.#team = await Team.start(compile(), this.#memory, threads);
  }

  /** Runs a kernel on all threads of the team. */
  together<K extends SharedKernel>(kernel: K, ...own: OwnArguments<Parameters<KernelExports[K]>>): void {
    const threads = this.#team?.threads ?? 1;
    const args = [...(own as number[]), this.#sync, threads];
    this.#team?.call(kernel, args);
    (this.kernels[kernel] as (...args: number[]) => void)(...args, 0);
  }

  /** Address of `bytes` bytes aligned to a cache line, of undefined content. */
  take(bytes: number): Address {
    const at = this.#next;
    this.#next += Math.ceil(bytes / 64) * 64;
    if (this.#next > this.#end) throw new Error('kernel workspace is smaller than what is taken from it');
    return at;
  }

  /** A point to reset() to, which gives back all that was taken in between. */
  mark(): Address {
    return this.#next;
  }

  reset(mark: Address): void {
    this.#next = mark;
  }

  f64(at: Address, count: number): Float64Array {
    return new Float64Array(this.#memory.buffer, at, count);
  }

  f32(at: Address, count: number): Float32Array {
    return new Float32Array(this.#memory.buffer, at, count);
  }

  u32(at: Address, count: number): Uint32Array {
    return new Uint32Array(this.#memory.buffer, at, count);
  }

  /** Resolves when the team is gone, which holds the memory as well. */
  async release(): Promise<void> {
    if (this.#released) return;
    this.#released = true;
    const isSmall = this.#memory.buffer.byteLength <= KEEP_BYTES;
    if (isSmall && idle.length < 2) idle.push({ kernels: this.kernels, memory: this.#memory });
    await this.#team?.dismiss();
  }
}

/** The next multiple of four. */
export function pad4(n: number): number {
  return (n + 3) & ~3;
}

/**
 * Leading dimension, in elements, of an n-column matrix: a multiple of four, and never a multiple of 512 bytes, at
 * which the rows of a tile would fall into the same cache sets.
 */
export function leading(n: number): number {
  const ld = pad4(n);
  return ld % 64 === 0 ? ld + 8 : ld;
}
