import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import { inSingle, usesType } from '../../graph/edit/single-precision.js';
import {
  assertConstantsFit,
  assertFunctionsFit,
  DATA_TYPES,
  type Graph,
  isModel,
  type Model,
  ModelError,
  messageOf,
  modelToBytes,
  type Node,
  readModel,
  saveModel,
  Tensor,
  tensorProtos,
} from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import {
  explainFailure,
  notOnThisPlatform,
  ProviderError,
  type ProviderFailure,
} from '../providers/provider-failure.js';
import { candidates, type ExecutionProvider, nativeProviders } from '../providers/providers.js';
import { mendedForWebGpu } from '../providers/webgpu-defects.js';
import type { Session, SessionOptions } from '../types.js';
import type { CreateSession } from './binding.js';
import { type Bridge, bridge } from './bridge.js';
import { onnxruntime } from './onnxruntime.js';
import { SESSION_OPTIONS } from './options.js';
import { OrtSession, wrap } from './ort-session.js';
import { placeProfile, temporaryDirectory } from './profile.js';

/**
 * Loads a model into onnxruntime. One that was not changed since it was read is loaded from its file; a changed one
 * from bytes or, where it has external data or passes 2 GiB, from a temporary copy that goes away with the session.
 *
 * @throws OptionError for `threads` or `device` out of range; ProviderError for a provider that does not load here, saying what is
 *   missing and what mends it; ModelError for providers that do not go together, and when onnxruntime refuses the model
 * @example
 * await using session = await openSession('model.onnx', { providers: ['cuda'] });
 * const { y } = await session.run({ x: { type: 'float32', shape: [1, 3], data: new Float32Array(3) } });
 */
export async function openSession(
  model: Model | string | Uint8Array,
  options: SessionOptions = {},
): Promise<Session> {
  const { device } = options;
  checkOptions(SESSION_OPTIONS, options);
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
      `memory of ${providers[0]} cannot be bound: onnxruntime-node binds that of webgpu alone`,
      { file },
    );
  }
  const ort = await onnxruntime();
  // Of a model by its path or bytes, for as long as it takes to open it.
  using read = isModel(model) ? undefined : await readModel(model).catch(() => undefined);
  // What is no model is for onnxruntime to say.
  const known = isModel(model) ? model : read;
  if (known !== undefined) {
    assertFunctionsFit(known);
    assertConstantsFit(known.nodes(), known);
  }
  const profile = options.profile ? await placeProfile(known) : undefined;
  const directory = profile?.directory;
  const { optimization = known !== undefined && holdsFloat16(known) ? 'extended' : 'all' } = options;
  const settings: Ort.InferenceSession.SessionOptions = {
    executionProviders: nativeProviders(providers, device),
    graphOptimizationLevel: optimization,
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
  const open = async (
    source: Model | string | Uint8Array,
    bridged: Bridge,
    widened = false,
  ): Promise<Session> => {
    const placed = await place(providers.includes('webgpu') ? mended(source, known) : source);
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
        widened,
        bridge: bridged,
        profile,
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
  const openBridged = async (source: Model | string | Uint8Array, widened = false): Promise<Session> => {
    try {
      return await open(source, { inputs: new Map(), outputs: new Map() }, widened);
    } catch (error) {
      const code = /^Unsupported data type: (\d+)$/.exec(messageOf(error))?.[1];
      const own = isModel(source) ? source : known;
      if (code === undefined || own === undefined) throw error;
      // onnxruntime computes with more types than its Node binding passes.
      const bridged = bridge(own, file);
      return await open(bridged.model, bridged, widened);
    }
  };
  try {
    return await openBridged(model);
  } catch (error) {
    const isLacking = /Could not find an implementation|NOT_IMPLEMENTED/.test(messageOf(error));
    if (!isLacking || known === undefined || !usesType(known, 'bfloat16')) throw await fail(error);
    // float32 holds all numbers of bfloat16, for which the CPU has next to no kernels.
    try {
      return await openBridged(inSingle(known, true, ['bfloat16']).model, true);
    } catch {
      throw await fail(error);
    }
  }
}

/** The model without the convolutions that WebGPU computes wrong. */
function mended(source: Model | string | Uint8Array, known: Model | undefined): Model | string | Uint8Array {
  const model = isModel(source) ? source : known;
  if (model === undefined) return source;
  const right = mendedForWebGpu(model);
  return right === model ? source : right;
}

/**
 * Whether float16 is computed with. onnxruntime 1.30 ends the process while it rewrites some such graphs (a Transpose before two MatMul
 * in a row) at its last levels, which are of little use for float16 anyway.
 */
function holdsFloat16(model: Model): boolean {
  const { code } = DATA_TYPES.float16;
  const graphs = (graph: Graph): Graph[] => [
    graph,
    ...graph.nodes.flatMap((node) => node.subgraphs.flatMap(graphs)),
  ];
  const isCast = (node: Node): boolean =>
    node.proto.attribute?.some(
      ({ name, i }) => ['to', 'dtype'].includes(name ?? '') && Number(i) === code,
    ) === true;
  if ([...tensorProtos(model.proto)].some(({ data_type }) => data_type === code)) return true;
  return [model.graph, ...model.functions]
    .flatMap(graphs)
    .some(
      (graph) =>
        [...graph.inputs, ...graph.outputs, ...graph.valueInfo].some(
          ({ dataType }) => dataType === 'float16',
        ) || graph.nodes.some(isCast),
    );
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
  const directory = await temporaryDirectory('model');
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
