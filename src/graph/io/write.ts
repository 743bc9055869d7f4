import { existsSync, realpathSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { dataTypeOf } from '../data-type.js';
import { ModelError } from '../errors.js';
import { type Model, tensorProtos } from '../model.js';
import { copyUnknownFields, createMessage, encodeMessage } from '../proto/codec.js';
import type { ModelProto, TensorProto } from '../proto/schema.js';
import { Tensor } from '../tensor.js';
import { assertWritable, atomicWrite, type WriteOptions } from './atomic.js';
import { checkLocation, externalLocation } from './external.js';
import { inflate } from './inflate.js';
import { type Payload, payloadsOf } from './payload.js';
import { readModel } from './read.js';
import { type ByteSource, ConcatSource, MemorySource, RangeSource, ZeroSource } from './source.js';

export interface SaveOptions extends WriteOptions {
  /**
   * Put weights beside the model: 'auto' (default) where the model has external data already or the file would
   * pass 2 GiB, 'always', or 'never'.
   */
  readonly external?: 'auto' | 'always' | 'never';
}

/** protobuf's limit for one message. */
const MESSAGE_LIMIT = 2 ** 31 - 1;
/** As onnx.save_model: smaller tensors stay in the model file. */
const EXTERNAL_FROM = 1024;
/** A page: what memory-mapping runtimes need. */
const ALIGNMENT = 4096;

/**
 * Writes a model. The model itself is not changed; the target is replaced in one step or not at all. External
 * data stays external: it is copied to files beside the target, new weights are appended to the first of them
 * on 4 KiB boundaries.
 *
 * @throws ModelError when the target exists (without `overwrite`) or can not be written
 * @example
 * await saveModel(model, 'out.onnx', { overwrite: true });
 */
export async function saveModel(model: Model, target: string, options: SaveOptions = {}): Promise<void> {
  await assertWritable(target, options);
  // Through a link the file it leads to is replaced, and external data goes beside that one.
  const path = existsSync(target) ? realpathSync(target) : target;
  const plan = planExternal(model, path, options.external ?? 'auto');
  const content = serialize(model.proto, plan.placed);
  if (content.length > MESSAGE_LIMIT) {
    throw new ModelError(
      `its file would have ${content.length} bytes, past the 2 GiB that protobuf allows; save it with external data`,
      { file: path },
    );
  }
  const replaced = options.overwrite && existsSync(path) ? await ownDataFiles(path) : [];
  const written: string[] = [];
  const made: string[] = [];
  try {
    for (const [location, data] of plan.files) {
      const file = join(dirname(path), location);
      const first = await mkdir(dirname(file), { recursive: true });
      if (first !== undefined) made.push(first);
      await atomicWrite(file, data, { signal: options.signal });
      written.push(file);
    }
    await atomicWrite(path, content, options);
  } catch (error) {
    for (const file of written) await rm(file, { force: true });
    for (const directory of made) await rm(directory, { recursive: true, force: true });
    throw error;
  }
  for (const file of replaced) if (!written.includes(file)) await rm(file, { force: true });
}

/**
 * The model as bytes, up to 2 GiB. External tensors stay references to their files.
 *
 * @throws ModelError past 2 GiB
 */
export function modelToBytes(model: Model): Uint8Array {
  const content = serialize(model.proto, new Map());
  if (content.length > MESSAGE_LIMIT) {
    throw new ModelError(`has ${content.length} bytes, past the 2 GiB of one message; save it to a path`);
  }
  return content.read(0, content.length);
}

interface Placement {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A source of the serialized model in which some tensors are references to external files. */
function serialize(proto: ModelProto, placed: ReadonlyMap<TensorProto, Placement>): ByteSource {
  const payloads = new Map<number, Payload>();
  const restore: (() => void)[] = [];
  try {
    for (const tensor of tensorProtos(proto)) {
      const place = placed.get(tensor);
      if (place === undefined) {
        for (const [id, payload] of payloadsOf(tensor)) payloads.set(id, payload);
        continue;
      }
      // The encoder reads the message as it is, so it is changed for the moment of encoding.
      for (const key of ['external_data', 'data_location', 'payload_ids'] as const) {
        const own = Object.getOwnPropertyDescriptor(tensor, key);
        restore.push(() => {
          if (own === undefined) delete tensor[key];
          else Object.defineProperty(tensor, key, own);
        });
      }
      tensor.external_data = externalEntries(tensor, place);
      tensor.data_location = 1;
      delete tensor.payload_ids;
    }
    return inflate(encodeMessage('ModelProto', proto), payloads);
  } finally {
    for (const undo of restore) undo();
  }
}

function externalEntries(tensor: TensorProto, place: Placement): NonNullable<TensorProto['external_data']> {
  const known: Record<string, string> = {
    location: place.location,
    offset: String(place.offset),
    length: String(place.length),
  };
  const old = tensor.external_data ?? [];
  // A checksum or a key that we do not know stays, in its place.
  const kept = old.map((entry) => {
    const value = known[entry.key ?? ''];
    if (value === undefined) return entry;
    const changed = createMessage('StringStringEntryProto', { ...entry, value });
    copyUnknownFields(entry, changed);
    return changed;
  });
  const missing = Object.entries(known).filter(([key]) => !old.some((entry) => entry.key === key));
  return [...kept, ...missing.map(([key, value]) => createMessage('StringStringEntryProto', { key, value }))];
}

interface Plan {
  readonly placed: ReadonlyMap<TensorProto, Placement>;
  readonly files: ReadonlyMap<string, ByteSource>;
}

/** Decides which tensors go to which external file, and where in it. */
function planExternal(model: Model, path: string, mode: 'auto' | 'always' | 'never'): Plan {
  const all = [...tensorProtos(model.proto)];
  const old = all.filter((tensor) => tensor.data_location === 1);
  const inline = all.filter((tensor) => tensor.data_location !== 1);
  // By what is stored: an untouched tensor of an element type that is not known must not stop a save.
  const storedBytes = (tensor: TensorProto): number =>
    [...payloadsOf(tensor).values()].reduce((sum, { source }) => sum + source.length, 0);
  const isLarge = (tensor: TensorProto): boolean => {
    const type = dataTypeOf(tensor.data_type ?? 0);
    if (type === undefined || type === 'string' || storedBytes(tensor) === 0) return false;
    return new Tensor(tensor).byteLength >= EXTERNAL_FROM;
  };
  const inlineBytes = inline.reduce((sum, tensor) => sum + storedBytes(tensor), 0);
  const initializers = new Set(
    [...model.graphs()].flatMap((graph) => [...graph.initializers.values()].map((t) => t.proto)),
  );
  let moved: TensorProto[] = [];
  if (mode === 'always' || (mode === 'auto' && inlineBytes > MESSAGE_LIMIT - (64 << 20))) {
    moved = inline.filter((tensor) => initializers.has(tensor) && isLarge(tensor));
  } else if (mode === 'auto' && old.length > 0 && model.changed) {
    moved = inline.filter((tensor) => initializers.has(tensor) && isLarge(tensor));
  }
  if (mode === 'never' && old.length > 0) {
    throw new ModelError(
      'its weights are external; inlining them is not supported, save it with external data',
      {
        file: path,
      },
    );
  }

  const groups = new Map<string, TensorProto[]>();
  for (const tensor of old) {
    const { location } = externalLocation(tensor);
    checkLocation(location, { tensor: tensor.name });
    groups.set(location, [...(groups.get(location) ?? []), tensor]);
  }
  const firstLocation = groups.keys().next().value ?? `${basename(path)}.data`;
  if (moved.length > 0 && !groups.has(firstLocation)) groups.set(firstLocation, []);

  const placed = new Map<TensorProto, Placement>();
  const files = new Map<string, ByteSource>();
  for (const [location, tensors] of groups) {
    const name = freeLocation(location, path, files);
    const layout = new Layout();
    const added = location === firstLocation ? moved : [];
    const ordered = tensors
      .map((tensor) => ({ tensor, at: externalLocation(tensor) }))
      .sort((a, b) => a.at.offset - b.at.offset);
    for (const { tensor, at } of ordered) {
      const source = new Tensor(tensor).rawSource ?? new MemorySource(new Uint8Array(0));
      // Untouched models keep their layout; after an edit the space of removed weights is given back.
      const offset = layout.put(source, model.changed ? undefined : at.offset);
      if (name !== location || offset !== at.offset) {
        placed.set(tensor, { location: name, offset, length: source.length });
      }
    }
    for (const tensor of added) {
      const view = new Tensor(tensor);
      const source = view.rawSource ?? new MemorySource(view.bytes());
      placed.set(tensor, { location: name, offset: layout.put(source, undefined), length: source.length });
    }
    files.set(name, layout.source());
  }
  return { placed, files };
}

/** The wanted name or, where a file has it already (which may belong to another model), one made of the target's. */
function freeLocation(wanted: string, path: string, taken: ReadonlyMap<string, unknown>): string {
  const isFree = (location: string): boolean =>
    !taken.has(location) && !existsSync(join(dirname(path), location));
  if (isFree(wanted)) return wanted;
  for (let count = 0; ; count += 1) {
    const name = `${basename(path)}${count === 0 ? '' : `.${count}`}.data`;
    if (isFree(name)) return name;
  }
}

/** Two sources with the same identity have the same bytes. */
function identityOf(source: ByteSource): [base: ByteSource, range: string] {
  return source instanceof RangeSource
    ? [source.base, `${source.offset} ${source.length}`]
    : [source, `0 ${source.length}`];
}

/** Tensors one behind the other; the same range of the same file is put once. */
class Layout {
  readonly #parts: ByteSource[] = [];
  readonly #known = new Map<number, ByteSource>();
  /** Source -> its range -> offset. */
  readonly #places = new Map<ByteSource, Map<string, number>>();
  #end = 0;

  /** Puts bytes at an offset, or at the next 4 KiB boundary, and returns where. */
  put(source: ByteSource, offset: number | undefined): number {
    const known = this.#placeOf(source);
    if (known !== undefined && (offset === undefined || offset === known)) return known;
    if (offset !== undefined && offset < this.#end) {
      // Tensors may share bytes.
      const shared = this.#known.get(offset);
      if (shared !== undefined && shared.length >= source.length) return offset;
    }
    const at =
      offset !== undefined && offset >= this.#end ? offset : Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    if (at > this.#end) this.#parts.push(new ZeroSource(at - this.#end));
    this.#parts.push(source);
    this.#known.set(at, source);
    this.#rememberPlace(source, at);
    this.#end = at + source.length;
    return at;
  }

  /** Where the same bytes are already. */
  #placeOf(source: ByteSource): number | undefined {
    const [base, key] = identityOf(source);
    return this.#places.get(base)?.get(key);
  }

  #rememberPlace(source: ByteSource, at: number): void {
    const [base, key] = identityOf(source);
    const places = this.#places.get(base) ?? new Map<string, number>();
    places.set(key, at);
    this.#places.set(base, places);
  }

  source(): ByteSource {
    return new ConcatSource(this.#parts);
  }
}

/** The external files of the model at `path` that bear its own name, so that nothing else can be using them. */
async function ownDataFiles(path: string): Promise<string[]> {
  try {
    const model = await readModel(path);
    const base = basename(path);
    const isOwn = (location: string): boolean =>
      location.startsWith(`${base}.`) && /^(\d+\.)?data$/.test(location.slice(base.length + 1));
    const locations = new Set(
      [...tensorProtos(model.proto)]
        .filter((tensor) => tensor.data_location === 1)
        .map((tensor) => externalLocation(tensor).location),
    );
    const home = dirname(realpathSync(path));
    return [...locations].filter(isOwn).map((location) => resolve(home, location));
  } catch {
    // What is replaced is not a model; then it has no data files.
    return [];
  }
}
