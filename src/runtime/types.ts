import type { DataType, Dimension, NativeArray } from '../graph/index.js';
import type { ProviderFailure } from './providers/provider-failure.js';
import type { ExecutionProvider, ProviderChoice } from './providers/providers.js';
import type { Placement } from './session/placement.js';

/** Element types that onnxruntime-node passes in and out as they are; bfloat16 goes through float32, exactly. */
export const RUNTIME_TYPES = [
  'float32',
  'float64',
  'float16',
  'bfloat16',
  'int8',
  'int16',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool',
  'string',
] as const satisfies readonly DataType[];

/**
 * A tensor that goes into or comes out of a run: elements in row-major order, in the array of their type
 * (fp16 and bf16 as bits in a Uint16Array, bool as 0 and 1 in a Uint8Array, strings as strings).
 */
export interface RuntimeTensor {
  readonly type: DataType;
  readonly shape: readonly number[];
  readonly data: NativeArray | string[];
}

/** An input or output of a session. */
export interface SessionValue {
  readonly name: string;
  /** Undefined for what is no tensor: a sequence, a map. */
  readonly type: DataType | undefined;
  /** Sizes, names of symbolic dimensions, undefined for dimensions that are not known. */
  readonly shape: readonly Dimension[];
}

/** Options of openSession. */
export interface SessionOptions {
  /**
   * What to run on, in the order of preference; the CPU takes the nodes that no other has a kernel for. Each must
   * load. 'auto' takes the best one that loads here, and the session says which it was and why not a better one.
   * Default 'cpu'.
   */
  readonly providers?: ProviderChoice | undefined;
  /** Which GPU, for CUDA, TensorRT and DirectML; default the first, 0. */
  readonly device?: number | undefined;
  /** Refuse a model of which some node would fall to the CPU; default false. */
  readonly strict?: boolean | undefined;
  /**
   * Note which provider runs which node, for Session.placement; costs a few µs a node. Where that cannot be had (no room for temporary
   * files, loops of unknown length), the session runs all the same, and the placement says why it knows nothing. Default false.
   */
  readonly profile?: boolean | undefined;
  /**
   * Leave the outputs in the memory of the device, for Session.bind; default false. onnxruntime-node does this with WebGPU
   * alone: it knows no CUDA memory.
   */
  readonly bound?: boolean | undefined;
  /** Let threads sleep as soon as a run is over: for sessions that take turns. Default false. */
  readonly yielding?: boolean | undefined;
  /**
   * Names of outputs that stay on the device, on WebGPU: they come with empty `data` and can be fed to sessions there.
   * `fetchTensor` reads one, `releaseTensor` frees it.
   */
  readonly resident?: readonly string[] | undefined;
  /** Threads of one operator; default: one a physical core. */
  readonly threads?: number | undefined;
  /** How far onnxruntime rewrites the graph before it runs it; default 'all'. */
  readonly optimization?: 'all' | 'basic' | 'disabled' | undefined;
  /** Keep freed memory for the next run (default true): quicker, but it is not given back before dispose. */
  readonly arena?: boolean | undefined;
}

/** Options of Session.run. */
export interface RunOptions {
  /** Names of the outputs to compute; default all. */
  readonly outputs?: readonly string[] | undefined;
  /**
   * Tensors, of the output's type and shape, into whose arrays the outputs are written; they are what run returns.
   * onnxruntime-node copies each output all the same, for the garbage collector: this saves work, not memory.
   */
  readonly into?: Readonly<Record<string, RuntimeTensor>> | undefined;
}

/** Inputs in the memory of a device. Dispose it before its session. */
export interface BoundRun extends AsyncDisposable {
  /** Runs the model once: neither inputs nor outputs are copied, and it is waited until the outputs are computed. */
  run(): Promise<void>;
}

/** A model that is ready to run. Dispose it, or declare it with `await using`; runs that are under way are waited for. */
export interface Session extends AsyncDisposable {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  /** What it was opened on, the preferred one first. */
  readonly providers: readonly ExecutionProvider[];
  /** What 'auto' would have preferred, and why that does not load. */
  readonly passedOver: readonly ProviderFailure[];
  /** True where bfloat16 is computed in float32, since the provider has no kernels for it. */
  readonly widened?: boolean | undefined;
  /**
   * Which provider ran which node in the runs so far; ends the profile.
   *
   * @throws ModelError unless the session was opened with `profile`, and where it did not run yet
   */
  placement(): Promise<Placement>;
  /**
   * Runs the model once. The thread is blocked while it works.
   *
   * @param feeds one tensor for each input, by name
   * @returns the outputs, by name
   * @throws ModelError for a feed that is missing, unknown or of another type or shape, for outputs that are no
   *   tensors, and for whatever onnxruntime refuses
   */
  run(
    feeds: Readonly<Record<string, RuntimeTensor>>,
    options?: RunOptions,
  ): Promise<Record<string, RuntimeTensor>>;
  /**
   * Copies inputs to the memory of the device, to run on them again and again.
   *
   * @throws ModelError unless the session was opened with `bound`, and as run does
   */
  bind(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<BoundRun>;
}
