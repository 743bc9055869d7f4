import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Ort from 'onnxruntime-node';
import {
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  type Dimension,
  Model,
  ModelError,
  messageOf,
  modelToBytes,
  type NativeArray,
  readModel,
  saveModel,
  Tensor,
  tensorProtos,
} from '../graph/index.js';
import { type Bridge, bridge, fromBridge, toBridge } from './bridge.js';
import { onnxruntime, readable } from './onnxruntime.js';

/** What a model runs on. Only the CPU is supported so far. */
export const EXECUTION_PROVIDERS = ['cpu', 'cuda', 'webgpu', 'tensorrt', 'dml', 'coreml'] as const;
export type ExecutionProvider = (typeof EXECUTION_PROVIDERS)[number];

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
  /** Default 'cpu'. */
  readonly provider?: ExecutionProvider | undefined;
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

/** A model that is ready to run. Dispose it, or declare it with `await using`; runs that are under way are waited for. */
export interface Session extends AsyncDisposable {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
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
}

/**
 * Loads a model into onnxruntime. One that was not changed since it was read is loaded from its file; a changed one
 * from bytes or, where it has external data or passes 2 GiB, from a temporary copy that goes away with the session.
 *
 * @throws ModelError when onnxruntime refuses the model, or for a provider that is not supported
 * @example
 * await using session = await openSession('model.onnx');
 * const { y } = await session.run({ x: { type: 'float32', shape: [1, 3], data: new Float32Array(3) } });
 */
export async function openSession(
  model: Model | string | Uint8Array,
  options: SessionOptions = {},
): Promise<Session> {
  const provider = options.provider ?? 'cpu';
  if (provider !== 'cpu')
    throw new ModelError(`the execution provider '${provider}' is not supported yet; use 'cpu'`);
  const { threads } = options;
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1)) {
    throw new ModelError(`threads must be a whole number of at least 1, not ${threads}`);
  }
  const ort = await onnxruntime();
  const file = fileOf(model);
  const settings: Ort.InferenceSession.SessionOptions = {
    executionProviders: [provider],
    graphOptimizationLevel: options.optimization ?? 'all',
    enableCpuMemArena: options.arena ?? true,
    enableMemPattern: options.arena ?? true,
    // Fatal only: errors are thrown, and warnings are not for the user of a model.
    logSeverityLevel: 4,
    ...(threads !== undefined && { intraOpNumThreads: threads }),
  };
  const open = async (source: Model | string | Uint8Array, bridged: Bridge): Promise<Session> => {
    const placed = await place(source);
    try {
      const native = await ort.InferenceSession.create(placed.source as string, settings);
      return new OrtSession(ort, native, { file, model, bridge: bridged, dispose: placed.dispose });
    } catch (error) {
      await placed.dispose();
      throw error;
    }
  };
  try {
    return await open(model, { inputs: new Map(), outputs: new Map() });
  } catch (error) {
    const code = /^Unsupported data type: (\d+)$/.exec(messageOf(error))?.[1];
    if (code === undefined) throw wrap(error, file);
    // onnxruntime computes with more types than its Node binding passes.
    const bridged = bridge(model instanceof Model ? model : await readModel(model), file);
    try {
      return await open(bridged.model, bridged);
    } catch (again) {
      throw wrap(again, file);
    }
  }
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
  if (!(model instanceof Model)) return { source: model, dispose: nothing };
  if (!model.changed && model.path !== undefined) return { source: model.path, dispose: nothing };
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
  if (!(model instanceof Model) || model.path === undefined) return undefined;
  return model.changed ? `${model.path} (edited)` : model.path;
}

function wrap(error: unknown, file: string | undefined): ModelError {
  if (error instanceof ModelError) return error;
  return new ModelError(`onnxruntime: ${readable(messageOf(error))}`, { file }, { cause: error });
}

interface Origin {
  readonly file: string | undefined;
  readonly model: Model | string | Uint8Array;
  readonly bridge: Bridge;
  dispose(): Promise<void>;
}

class OrtSession implements Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  readonly #ort: typeof Ort;
  readonly #native: Ort.InferenceSession;
  readonly #origin: Origin;
  readonly #running = new Set<Promise<unknown>>();
  #isOpen = true;

  constructor(ort: typeof Ort, native: Ort.InferenceSession, origin: Origin) {
    this.#ort = ort;
    this.#native = native;
    this.#origin = origin;
    this.inputs = native.inputMetadata.map((meta) => describe(meta, origin.bridge.inputs));
    this.outputs = native.outputMetadata.map((meta) => describe(meta, origin.bridge.outputs));
  }

  async run(
    feeds: Readonly<Record<string, RuntimeTensor>>,
    options: RunOptions = {},
  ): Promise<Record<string, RuntimeTensor>> {
    if (!this.#isOpen) throw this.#error('the session is disposed');
    const run = this.#run(feeds, options);
    this.#running.add(run);
    try {
      return await run;
    } finally {
      this.#running.delete(run);
    }
  }

  async #run(
    feeds: Readonly<Record<string, RuntimeTensor>>,
    options: RunOptions,
  ): Promise<Record<string, RuntimeTensor>> {
    const { bridge: bridged } = this.#origin;
    await this.#checkFeeds(feeds);
    const wanted = await this.#wantedOutputs(options.outputs);
    const { into = {} } = options;
    try {
      const ortFeeds: Record<string, Ort.Tensor> = {};
      for (const { name } of this.inputs) {
        const feed = feeds[name] as RuntimeTensor;
        const alias = [...bridged.inputs].find(([, original]) => original === name)?.[0];
        ortFeeds[alias ?? name] = this.#tensor(alias === undefined ? feed : toBridge(feed));
      }
      const fetches: Record<string, Ort.Tensor | null> = {};
      const given: Record<string, RuntimeTensor> = {};
      for (const name of wanted) {
        const alias = [...bridged.outputs].find(([, original]) => original === name)?.[0];
        const target = Object.hasOwn(into, name) ? into[name] : undefined;
        if (target !== undefined && alias !== undefined) {
          throw this.#error(`output '${name}' is bfloat16, which can not be written into a given array`);
        }
        fetches[alias ?? name] = target === undefined ? null : this.#tensor(target);
        if (target !== undefined) given[name] = target;
      }
      // Its log is silent here as well: a node that fails would print what is thrown.
      const results = await this.#native.run(ortFeeds, fetches, { logSeverityLevel: 4 });
      const outputs: Record<string, RuntimeTensor> = {};
      for (const [key, value] of Object.entries(results)) {
        const original = bridged.outputs.get(key);
        const tensor = fromOrt(value as Ort.Tensor);
        outputs[original ?? key] = original === undefined ? (given[key] ?? tensor) : fromBridge(tensor);
      }
      return outputs;
    } catch (error) {
      throw wrap(error, this.#origin.file);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await Promise.allSettled(this.#running);
    await this.#native.release();
    await this.#origin.dispose();
  }

  #tensor({ type, data, shape }: RuntimeTensor): Ort.Tensor {
    return new this.#ort.Tensor(type as 'float32', data as Float32Array, [...shape]);
  }

  async #checkFeeds(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<void> {
    const known = new Set(this.inputs.map((input) => input.name));
    for (const name of Object.keys(feeds)) {
      if (!known.has(name)) throw this.#error(`has no input '${name}'; its inputs are ${list(known)}`);
    }
    for (const input of this.inputs) {
      const { name } = input;
      if (input.type === undefined) {
        throw this.#error(
          `input '${name}' is ${await this.#kindOf(name)}, which onnxruntime-node does not take; only tensors can be fed`,
        );
      }
      const feed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
      if (feed === undefined) throw this.#error(`input '${name}' is not fed; it is ${typeText(input)}`);
      const fits =
        feed.type === input.type &&
        feed.shape.length === input.shape.length &&
        input.shape.every((dim, axis) => typeof dim !== 'number' || dim === feed.shape[axis]);
      // A shape of rank 0 also stands for one of which nothing is known.
      if (!fits && !(feed.type === input.type && input.shape.length === 0)) {
        throw this.#error(
          `input '${name}' is ${typeText(input)}, but ${feed.type}[${feed.shape.join(', ')}] was fed`,
        );
      }
      const size = feed.shape.reduce((product, dim) => product * dim, 1);
      const needed =
        DATA_TYPES[feed.type].bits < 8 && feed.type !== 'string' ? byteLengthOf(feed.type, size) : size;
      if (feed.data.length !== needed) {
        throw this.#error(
          `input '${name}' was fed ${feed.data.length} elements for the shape [${feed.shape.join(', ')}], which has ${needed}`,
        );
      }
    }
  }

  async #wantedOutputs(names: readonly string[] | undefined): Promise<readonly string[]> {
    const wanted = names ?? this.outputs.map((output) => output.name);
    for (const name of wanted) {
      const output = this.outputs.find((candidate) => candidate.name === name);
      if (output === undefined) {
        throw this.#error(
          `has no output '${name}'; its outputs are ${list(this.outputs.map((value) => value.name))}`,
        );
      }
      if (output.type === undefined) {
        throw this.#error(
          `output '${name}' is ${await this.#kindOf(name)}, which onnxruntime-node does not return; only tensors come out`,
        );
      }
    }
    return wanted;
  }

  /** What a value that is no tensor is, in words. onnxruntime-node does not say, so the model is asked. */
  async #kindOf(name: string): Promise<string> {
    try {
      const { model } = this.#origin;
      const { graph } = model instanceof Model ? model : await readModel(model);
      const value = [...graph.inputs, ...graph.outputs].find((candidate) => candidate.name === name);
      if (value !== undefined && value.kind !== 'unknown') return `${article(value.kind)} ${value.kind}`;
    } catch {
      // The error to report is the one that asked.
    }
    return 'a sequence, map or optional value';
  }

  #error(what: string): ModelError {
    return new ModelError(what, { file: this.#origin.file });
  }
}

function describe(
  meta: Ort.InferenceSession.ValueMetadata,
  bridged: ReadonlyMap<string, string>,
): SessionValue {
  if (!meta.isTensor) return { name: meta.name, type: undefined, shape: [] };
  const shape = meta.shape.map((dim) => (dim === '' ? undefined : dim));
  const original = bridged.get(meta.name);
  if (original !== undefined) return { name: original, type: 'bfloat16', shape };
  return { name: meta.name, type: meta.type as DataType, shape };
}

/** fp16 comes as a Float16Array where JavaScript has one, and as its bits elsewhere; here always as bits. */
function fromOrt(tensor: Ort.Tensor): RuntimeTensor {
  const type = tensor.type as DataType;
  const data = tensor.data as NativeArray | string[];
  if (type === 'float16' && !(data instanceof Uint16Array) && !Array.isArray(data)) {
    return { type, shape: tensor.dims, data: new Uint16Array(data.buffer, data.byteOffset, data.length) };
  }
  return { type, shape: tensor.dims, data };
}

function typeText(value: SessionValue): string {
  return `${value.type}[${value.shape.map((dim) => dim ?? '?').join(', ')}]`;
}

function article(word: string): string {
  return /^[aeiou]/.test(word) ? 'an' : 'a';
}

function list(names: Iterable<string>): string {
  return [...names].map((name) => `'${name}'`).join(', ') || '(none)';
}
