import type * as Ort from 'onnxruntime-node';
import {
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  isModel,
  type Model,
  ModelError,
  messageOf,
  type NativeArray,
  readModel,
} from '../../graph/index.js';
import { emptyRecord } from '../../graph/record.js';
import { release } from '../garbage.js';
import { explainFailure, ProviderError, type ProviderFailure } from '../providers/provider-failure.js';
import type { ExecutionProvider } from '../providers/providers.js';
import type { BoundRun, RunOptions, RuntimeTensor, Session, SessionValue } from '../types.js';
import { type CreateSession, DeviceMemory } from './binding.js';
import { type Bridge, fromBridge, toBridge } from './bridge.js';
import { readable } from './onnxruntime.js';
import { type Placement, unknownPlacement } from './placement.js';
import { type ProfilePlace, readProfile } from './profile.js';

/** What onnxruntime holds of tensors that stayed on the device. */
const resident = new WeakMap<RuntimeTensor, Ort.Tensor>();

/** Frees a tensor that stayed on the device; does nothing to others. */
export function releaseTensor(tensor: RuntimeTensor): void {
  resident.get(tensor)?.dispose();
  resident.delete(tensor);
}

export function isResident(tensor: RuntimeTensor): boolean {
  return resident.has(tensor);
}

/** An error of onnxruntime in our words. */
export function wrap(error: unknown, file: string | undefined): ModelError {
  if (error instanceof ModelError) return error;
  return new ModelError(`onnxruntime: ${readable(messageOf(error))}`, { file }, { cause: error });
}

/** What a session was made from. */
interface Origin {
  readonly file: string | undefined;
  readonly model: Model | string | Uint8Array;
  readonly bridge: Bridge;
  /** True where it computes bfloat16 in float32. */
  readonly widened: boolean;
  readonly providers: readonly ExecutionProvider[];
  readonly passedOver: readonly ProviderFailure[];
  readonly device?: number | undefined;
  /** Where the profile goes; undefined where none was asked for. */
  readonly profile: ProfilePlace | undefined;
  /** Makes sessions beside it, where its outputs stay on the device. */
  readonly binding: CreateSession | undefined;
  dispose(): Promise<void>;
}

/** A session of onnxruntime-node. */
export class OrtSession implements Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  readonly #ort: typeof Ort;
  readonly #native: Ort.InferenceSession;
  readonly #origin: Origin;
  readonly #running = new Set<Promise<unknown>>();
  #isOpen = true;
  #hasRun = false;
  #placement: Promise<Placement> | undefined;

  constructor(ort: typeof Ort, native: Ort.InferenceSession, origin: Origin) {
    this.#ort = ort;
    this.#native = native;
    this.#origin = origin;
    this.inputs = native.inputMetadata.map((meta) => describe(meta, origin.bridge.inputs));
    this.outputs = native.outputMetadata.map((meta) => describe(meta, origin.bridge.outputs));
  }

  get providers(): readonly ExecutionProvider[] {
    return this.#origin.providers;
  }

  get passedOver(): readonly ProviderFailure[] {
    return this.#origin.passedOver;
  }

  get widened(): boolean {
    return this.#origin.widened;
  }

  async placement(): Promise<Placement> {
    const { profile } = this.#origin;
    if (profile === undefined) {
      throw this.#error('the session was opened without a profile, so it knows no placement');
    }
    if (!this.#hasRun) throw this.#error('the session did not run yet, so no node has a place');
    const { directory, problem } = profile;
    if (directory === undefined) return unknownPlacement(problem);
    this.#placement ??= (async () => {
      await Promise.allSettled(this.#running);
      try {
        this.#native.endProfiling();
      } catch (error) {
        return unknownPlacement(`onnxruntime wrote no profile: ${readable(messageOf(error))}`);
      }
      return await readProfile(directory);
    })();
    return await this.#placement;
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

  async bind(feeds: Readonly<Record<string, RuntimeTensor>>): Promise<BoundRun> {
    const { binding, bridge: bridged, file } = this.#origin;
    if (binding === undefined) throw this.#error('the session was not opened to be bound');
    if (bridged.inputs.size + bridged.outputs.size > 0) {
      throw this.#error('bfloat16 cannot be bound: onnxruntime-node takes it as float32');
    }
    await this.#checkFeeds(feeds);
    const outputs = await this.#wantedOutputs(undefined);
    const memory = new DeviceMemory(binding);
    try {
      const inputs = emptyRecord<Ort.Tensor>();
      for (const { name } of this.inputs) {
        inputs[name] = await memory.upload(this.#tensor(feeds[name] as RuntimeTensor));
      }
      return {
        run: async () => {
          try {
            const results = await this.#native.run(inputs, outputs, { logSeverityLevel: 4 });
            const tensors = Object.values(results) as Ort.Tensor[];
            // The device works off its queue in order: the last output is there when all are.
            const [first] = tensors.filter(({ location }) => location === 'gpu-buffer');
            if (first !== undefined) await memory.wait(first);
            for (const tensor of tensors) tensor.dispose();
          } catch (error) {
            throw wrap(error, file);
          }
        },
        [Symbol.asyncDispose]: () => memory.release(),
      };
    } catch (error) {
      await memory.release();
      throw wrap(error, file);
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
      const ortFeeds = emptyRecord<Ort.Tensor>();
      for (const { name } of this.inputs) {
        const feed = feeds[name] as RuntimeTensor;
        const alias = [...bridged.inputs].find(([, original]) => original === name)?.[0];
        ortFeeds[alias ?? name] = this.#tensor(alias === undefined ? feed : toBridge(feed));
      }
      const fetches = emptyRecord<Ort.Tensor | null>();
      const given = emptyRecord<RuntimeTensor>();
      for (const name of wanted) {
        const alias = [...bridged.outputs].find(([, original]) => original === name)?.[0];
        const target = Object.hasOwn(into, name) ? into[name] : undefined;
        if (target !== undefined && alias !== undefined) {
          throw this.#error(`output '${name}' is bfloat16, which cannot be written into a given array`);
        }
        fetches[alias ?? name] = target === undefined ? null : this.#tensor(target);
        if (target !== undefined) given[name] = target;
      }
      // Its log is silent here as well: a node that fails would print what is thrown.
      const results = await this.#native.run(ortFeeds, fetches, { logSeverityLevel: 4 });
      this.#hasRun = true;
      const outputs = emptyRecord<RuntimeTensor>();
      for (const [key, value] of Object.entries(results)) {
        const original = bridged.outputs.get(key);
        const tensor = fromOrt(value as Ort.Tensor);
        if (value.location === 'gpu-buffer') resident.set(tensor, value as Ort.Tensor);
        // The tensor is a copy of what was given.
        if (given[key] !== undefined && ArrayBuffer.isView(tensor.data)) release(tensor.data);
        outputs[original ?? key] = original === undefined ? (given[key] ?? tensor) : fromBridge(tensor);
      }
      return outputs;
    } catch (error) {
      const { providers, device, file } = this.#origin;
      const failure = await explainFailure(providers, messageOf(error), { device });
      throw failure === undefined ? wrap(error, file) : new ProviderError(failure, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await Promise.allSettled(this.#running);
    await this.#native.release();
    await this.#origin.dispose();
  }

  #tensor(tensor: RuntimeTensor): Ort.Tensor {
    const { type, data, shape } = tensor;
    const kept = resident.get(tensor);
    if (kept !== undefined) return kept;
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
      if (feed.data.length !== needed && !resident.has(feed)) {
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
      using read = isModel(model) ? undefined : await readModel(model);
      const { graph } = isModel(model) ? model : (read as Model);
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
  if (tensor.location === 'gpu-buffer') return { type, shape: tensor.dims, data: new Uint8Array(0) };
  const data = tensor.data as NativeArray | string[];
  if (type === 'float16' && !(data instanceof Uint16Array) && !Array.isArray(data)) {
    return { type, shape: tensor.dims, data: new Uint16Array(data.buffer, data.byteOffset, data.length) };
  }
  return { type, shape: tensor.dims, data };
}

function typeText(value: SessionValue): string {
  return `${value.type}[${value.shape.map((dim) => (typeof dim === 'number' && dim > Number.MAX_SAFE_INTEGER ? 'more than 2^53' : (dim ?? '?'))).join(', ')}]`;
}

function article(word: string): string {
  return /^[aeiou]/.test(word) ? 'an' : 'a';
}

function list(names: Iterable<string>): string {
  return [...names].map((name) => `'${name}'`).join(', ') || '(none)';
}
