import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import {
  type DataType,
  type Dimension,
  isModel,
  type Model,
  ModelError,
  messageOf,
  modelToBytes,
  type NativeArray,
  readModel,
  saveModel,
  Tensor,
  tensorProtos,
} from '../../graph/index.js';
import {
  explainFailure,
  notOnThisPlatform,
  ProviderError,
  type ProviderFailure,
} from '../providers/provider-failure.js';
import {
  candidates,
  type ExecutionProvider,
  nativeProviders,
  type ProviderChoice,
} from '../providers/providers.js';
import { mendedForWebGpu } from '../providers/webgpu-defects.js';
import type { CreateSession } from './binding.js';
import { type Bridge, bridge } from './bridge.js';
import { onnxruntime } from './onnxruntime.js';
import { OrtSession, wrap } from './ort-session.js';
import type { Placement } from './placement.js';

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
  /** Note which provider runs which node, for Session.placement; costs a few µs a node. Default false. */
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

/**
 * Loads a model into onnxruntime. One that was not changed since it was read is loaded from its file; a changed one
 * from bytes or, where it has external data or passes 2 GiB, from a temporary copy that goes away with the session.
 *
 * @throws ProviderError for a provider that does not load here, saying what is missing and what mends it; ModelError
 *   when onnxruntime refuses the model
 * @example
 * await using session = await openSession('model.onnx', { providers: ['cuda'] });
 * const { y } = await session.run({ x: { type: 'float32', shape: [1, 3], data: new Float32Array(3) } });
 */
export async function openSession(
  model: Model | string | Uint8Array,
  options: SessionOptions = {},
): Promise<Session> {
  const { threads, device } = options;
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1)) {
    throw new ModelError(`threads must be a whole number of at least 1, not ${threads}`);
  }
  const tries = candidates(options.providers ?? 'cpu', options);
  const passedOver: ProviderFailure[] = [];
  for (const [index, providers] of tries.entries()) {
    try {
      return await openOn(model, { ...options, providers, passedOver, device });
    } catch (error) {
      if (!(error instanceof ProviderError) || index === tries.length - 1) throw error;
      passedOver.push(error.failure);
    }
  }
  throw new ModelError('no execution provider loads here');
}

interface OpenOptions extends SessionOptions {
  readonly providers: readonly ExecutionProvider[];
  readonly passedOver: readonly ProviderFailure[];
}

/** Opens a session on given providers. */
async function openOn(model: Model | string | Uint8Array, options: OpenOptions): Promise<Session> {
  const { providers, device, threads } = options;
  const file = fileOf(model);
  for (const provider of providers) {
    const failure = await notOnThisPlatform(provider);
    if (failure !== undefined) throw new ProviderError(failure);
  }
  if (options.bound && providers[0] !== 'webgpu') {
    throw new ModelError(
      `memory of ${providers[0]} can not be bound: onnxruntime-node binds that of webgpu alone`,
      { file },
    );
  }
  const ort = await onnxruntime();
  const directory = options.profile ? await mkdtemp(join(tmpdir(), 'onnx-overparam-profile-')) : undefined;
  const settings: Ort.InferenceSession.SessionOptions = {
    executionProviders: nativeProviders(providers, device),
    graphOptimizationLevel: options.optimization ?? 'all',
    enableCpuMemArena: options.arena ?? true,
    enableMemPattern: options.arena ?? true,
    // Fatal only: errors are thrown, and warnings are not for the user of a model.
    logSeverityLevel: 4,
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    ...(options.resident && {
      preferredOutputLocation: Object.fromEntries(
        options.resident.map((name) => [name, 'gpu-buffer' as const]),
      ),
    }),
    ...(options.bound && { preferredOutputLocation: 'gpu-buffer' }),
    ...(directory !== undefined && { enableProfiling: true, profileFilePrefix: join(directory, 'profile') }),
    extra: {
      session: {
        ...(options.strict && { disable_cpu_ep_fallback: '1' }),
        ...(options.yielding && { force_spinning_stop: '1' }),
      },
    },
  };
  const create: CreateSession = (bytes, preferredOutputLocation) =>
    ort.InferenceSession.create(bytes, {
      executionProviders: nativeProviders(providers, device),
      logSeverityLevel: 4,
      preferredOutputLocation,
    });
  const binding = options.bound ? create : undefined;
  const open = async (source: Model | string | Uint8Array, bridged: Bridge): Promise<Session> => {
    const placed = await place(providers.includes('webgpu') ? await mended(source) : source);
    const dispose = async (): Promise<void> => {
      await placed.dispose();
      if (directory !== undefined) await rm(directory, { recursive: true, force: true });
    };
    try {
      const restore = quieten(providers);
      const native = await ort.InferenceSession.create(placed.source as string, settings).finally(restore);
      return new OrtSession(ort, native, {
        ...options,
        file,
        model,
        bridge: bridged,
        directory,
        dispose,
        binding,
      });
    } catch (error) {
      await placed.dispose();
      throw error;
    }
  };
  const fail = async (error: unknown): Promise<Error> => {
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
    const failure = await explainFailure(providers, messageOf(error), { device });
    return failure === undefined ? wrap(error, file) : new ProviderError(failure, { cause: error });
  };
  try {
    return await open(model, { inputs: new Map(), outputs: new Map() });
  } catch (error) {
    const code = /^Unsupported data type: (\d+)$/.exec(messageOf(error))?.[1];
    if (code === undefined) throw await fail(error);
    // onnxruntime computes with more types than its Node binding passes.
    try {
      const bridged = bridge(isModel(model) ? model : await readModel(model), file);
      return await open(bridged.model, bridged);
    } catch (again) {
      throw await fail(again);
    }
  }
}

/** The model without the convolutions that WebGPU computes wrong. */
async function mended(source: Model | string | Uint8Array): Promise<Model | string | Uint8Array> {
  let model: Model;
  try {
    model = isModel(source) ? source : await readModel(source);
  } catch {
    // What is no model is for onnxruntime to say.
    return source;
  }
  const right = mendedForWebGpu(model);
  return right === model ? source : right;
}

/**
 * Vulkan's loader asks Wayland's library, which complains to stderr of a server without XDG_RUNTIME_DIR; it is content
 * with any folder. Returns what takes the folder away again.
 */
function quieten(providers: readonly ExecutionProvider[]): () => void {
  if (!providers.includes('webgpu') || process.platform !== 'linux' || process.env.XDG_RUNTIME_DIR) {
    return () => undefined;
  }
  process.env.XDG_RUNTIME_DIR = tmpdir();
  return () => {
    delete process.env.XDG_RUNTIME_DIR;
  };
}

/** protobuf's limit for one message, less what the graph around the weights may take. */
const BYTES_LIMIT = 2 ** 31 - (64 << 20);

interface Placed {
  readonly source: string | Uint8Array;
  dispose(): Promise<void>;
}

/** The model as onnxruntime takes it: a path or bytes. */
async function place(model: Model | string | Uint8Array): Promise<Placed> {
  const nothing = async (): Promise<void> => {};
  if (!isModel(model)) return { source: model, dispose: nothing };
  if (model.isOnDisk && model.path !== undefined) return { source: model.path, dispose: nothing };
  const tensors = [...tensorProtos(model.proto)].map((proto) => new Tensor(proto));
  const inline = tensors.reduce((sum, tensor) => sum + (tensor.isExternal ? 0 : tensor.byteLength), 0);
  if (inline <= BYTES_LIMIT && !tensors.some((tensor) => tensor.isExternal)) {
    return { source: modelToBytes(model), dispose: nothing };
  }
  // Bytes would let onnxruntime look for external data in the current directory.
  const directory = await mkdtemp(join(tmpdir(), 'onnx-overparam-'));
  const dispose = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const path = join(directory, 'model.onnx');
    await saveModel(model, path);
    return { source: path, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function fileOf(model: Model | string | Uint8Array): string | undefined {
  if (typeof model === 'string') return model;
  if (!isModel(model) || model.path === undefined) return undefined;
  return model.changed ? `${model.path} (edited)` : model.path;
}
