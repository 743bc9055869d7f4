import { lstatSync, realpathSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ModelError } from '../errors.js';
import { tensorProtos } from '../model.js';
import { OptionError, shown } from '../option-descriptors.js';
import { copyUnknownFields, createMessage, encodeMessage } from '../proto/codec.js';
import type { TensorProto } from '../proto/schema.js';
import { dataTypeOf } from '../tensor/data-type.js';
import { Tensor } from '../tensor/tensor.js';
import type { Model } from '../types.js';
import {
  assertWritable,
  atomicWrite,
  type FileIdentity,
  NameTaken,
  removeSame,
  type WriteOptions,
} from './atomic.js';
import { dataFilesOf, externalLocation, isSameFile } from './external.js';
import { putFileForm } from './file-form.js';
import { inflate } from './inflate.js';
import { type Payload, payloadsOf } from './payload.js';
import { readModel } from './read.js';
import {
  type ByteSource,
  ConcatSource,
  FileSource,
  MemorySource,
  RangeSource,
  ZeroSource,
} from './source.js';

/** Options of saveModel. */
export interface SaveOptions extends WriteOptions {
  /**
   * Put weights beside the model: 'auto' (default) where the model has external data already or the file would
   * pass 2 GiB, 'always', or 'never'.
   */
  readonly external?: 'auto' | 'always' | 'never';
  /**
   * Put weights into a file of this name beside the model, which must not be there yet. Default: `<target>.data`, or
   * `<target>.1.data` where that exists.
   */
  readonly dataFile?: string | undefined;
}

/** protobuf's limit for one message. */
const MESSAGE_LIMIT = 2 ** 31 - 1;
/** As onnx.save_model: smaller tensors stay in the model file. */
const EXTERNAL_FROM = 1024;
/** A page: what memory-mapping runtimes need. */
const ALIGNMENT = 4096;

/** What a save left. */
export interface Saved {
  /** The file with weights that was written beside the model. */
  readonly data: string | undefined;
  /** Data files that the replaced model read and that stay, because others may read them. */
  readonly kept: readonly string[];
}

/**
 * Writes a model. The model itself is not changed; the target is replaced in one step or not at all.
 *
 * External weights stay external. They go to one new file, `<target>.data` (`<target>.1.data` where that exists), new
 * ones on 4 KiB boundaries: no name in the model decides what is written. Only a model that replaces its own file goes
 * on reading the files that it read, and what of `<target>.data` it reads no more is removed.
 *
 * @throws ModelError when the target exists (without `overwrite`), is a data file of the model, or cannot be written; OptionError for a
 *   `dataFile` with a folder
 * @example
 * await saveModel(model, 'out.onnx', { overwrite: true });
 */
export async function saveModel(model: Model, target: string, options: SaveOptions = {}): Promise<Saved> {
  const { dataFile } = options;
  if (dataFile !== undefined) assertDataFile(target, dataFile);
  await assertWritable(target, options);
  const existing = await stat(target).catch(() => undefined);
  if (existing !== undefined && dataFilesOf(model).some((file) => isSameFile(file, target))) {
    throw new ModelError('holds weights of the model itself; name another file', { file: target });
  }
  if (existing !== undefined && !existing.isFile()) {
    // Beside a device or a pipe no file can lie.
    await atomicWrite(target, withinLimit(serialize(model, new Map()), target), options);
    return { data: undefined, kept: [] };
  }
  // Through a link the file it leads to is replaced, and external data goes beside that one.
  const path = existing === undefined ? target : realpathSync(target);
  const replaced = existing === undefined ? [] : await replacedFiles(path);
  // Another process may take the name of the data file while it is being written.
  for (let attempts = 5; ; attempts -= 1) {
    const mode = options.external ?? (dataFile === undefined ? 'auto' : 'always');
    const plan = planExternal(model, path, mode, dataFile);
    const content = withinLimit(serialize(model, plan.placed), path);
    const data = plan.file && { ...plan.file, path: join(dirname(path), plan.file.location) };
    let written: FileIdentity | undefined;
    try {
      if (data !== undefined) {
        written = await atomicWrite(data.path, data.source, { signal: options.signal });
      }
      await atomicWrite(path, content, options);
    } catch (error) {
      if (data !== undefined && written !== undefined) await removeSame(data.path, written);
      const isRetried = dataFile === undefined && written === undefined && attempts > 1;
      if (error instanceof NameTaken && isRetried) continue;
      throw error;
    }
    const unread = replaced.filter(({ path: old }) => !plan.kept.has(old) && old !== data?.path);
    for (const { path: old, file, isOurs } of unread) if (isOurs) await removeSame(old, file);
    return { data: data?.path, kept: unread.filter(({ isOurs }) => !isOurs).map(({ path: old }) => old) };
  }
}

/**
 * Checks before the work that weights can go to a file of that name beside a model.
 *
 * @throws OptionError for a name with a folder; ModelError where there is a file of that name
 */
export function assertDataFile(target: string, dataFile: string): void {
  const isPlain = basename(dataFile) === dataFile && !/^\.{0,2}$|[\\\0]/.test(dataFile);
  if (!isPlain || dataFile === basename(target)) {
    throw new OptionError(
      'dataFile',
      `must be the name of another file beside the model, without a folder, is ${shown(dataFile)}`,
    );
  }
  const file = join(dirname(target), dataFile);
  if (lstatSync(file, { throwIfNoEntry: false }) !== undefined)
    throw new ModelError('exists already; name another data file', { file });
}

function withinLimit(content: ByteSource, file: string): ByteSource {
  if (content.length <= MESSAGE_LIMIT) return content;
  throw new ModelError(
    `its file would have ${content.length} bytes, past the 2 GiB that protobuf allows; save it with external data`,
    { file },
  );
}

/**
 * The model as bytes, up to 2 GiB. External tensors stay references to their files.
 *
 * @throws ModelError past 2 GiB
 * @example
 * await using session = await openSession(modelToBytes(model));
 */
export function modelToBytes(model: Model): Uint8Array {
  const content = serialize(model, new Map());
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
function serialize({ proto, changed, path }: Model, placed: ReadonlyMap<TensorProto, Placement>): ByteSource {
  const payloads = new Map<number, Payload>();
  const restore = [putFileForm(proto, changed)];
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
  } catch (error) {
    throw error instanceof ModelError && error.where.file === undefined
      ? new ModelError(error.what, { file: path }, { cause: error })
      : error;
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
    const value = Object.entries(known).find(([key]) => key === entry.key)?.[1];
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
  /** The one file that is written beside the model. */
  readonly file: { readonly location: string; readonly source: ByteSource } | undefined;
  /** Data files that stay and that the model goes on reading. */
  readonly kept: ReadonlySet<string>;
}

/** Decides which tensors go to which external file, and where in it. */
function planExternal(
  model: Model,
  path: string,
  mode: 'auto' | 'always' | 'never',
  dataFile: string | undefined,
): Plan {
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

  const kept = new Set<string>();
  const copied: TensorProto[] = [];
  for (const tensor of old) {
    const file = model.path === undefined ? undefined : fileInPlace(tensor, path);
    // After an edit the file of the model's own name is written anew, without what was removed.
    const stays = file !== undefined && isSameFile(model.path ?? '', path);
    if (stays && !(model.changed && isOwnName(basename(file), path))) kept.add(file);
    else copied.push(tensor);
  }
  const placed = new Map<TensorProto, Placement>();
  if (copied.length === 0 && moved.length === 0) return { placed, file: undefined, kept };

  const location = dataFile ?? freeLocation(path);
  const layout = new Layout();
  const ordered = copied.map((tensor) => ({ tensor, at: externalLocation(tensor) }));
  const [first] = ordered;
  // Behind each other file by file, in the order in which the model names them.
  const files = new Map(
    [...new Set(ordered.map(({ at }) => at.location))].map((name, index) => [name, index]),
  );
  const rank = (name: string): number => files.get(name) ?? 0;
  ordered.sort((a, b) => rank(a.at.location) - rank(b.at.location) || a.at.offset - b.at.offset);
  for (const { tensor, at } of ordered) {
    const source = new Tensor(tensor).rawSource ?? new MemorySource(new Uint8Array(0));
    // Untouched models keep the layout of their first file; after an edit the space of removed weights is given back.
    const keepsOffset = !model.changed && at.location === first?.at.location;
    const offset = layout.put(source, keepsOffset ? at.offset : undefined);
    placed.set(tensor, { location, offset, length: source.length });
  }
  for (const tensor of moved) {
    const view = new Tensor(tensor);
    const source = view.rawSource ?? new MemorySource(view.bytes());
    placed.set(tensor, { location, offset: layout.put(source, undefined), length: source.length });
  }
  return { placed, file: { location, source: layout.source() }, kept };
}

/** The file that an external tensor is read from, where its location names that file beside `path` too. */
function fileInPlace(tensor: TensorProto, path: string): string | undefined {
  const [base] = identityOf(new Tensor(tensor).rawSource ?? new MemorySource(new Uint8Array(0)));
  if (!(base instanceof FileSource) || !base.isCurrent) return undefined;
  const { location } = externalLocation(tensor);
  return isSameFile(base.path, join(dirname(path), location)) ? base.path : undefined;
}

/** The name of a data file that is not there yet. */
function freeLocation(path: string): string {
  for (let count = 0; ; count += 1) {
    const name = `${basename(path)}${count === 0 ? '' : `.${count}`}.data`;
    if (lstatSync(join(dirname(path), name), { throwIfNoEntry: false }) === undefined) return name;
  }
}

/** Is it a name that freeLocation gives? */
function isOwnName(name: string, path: string): boolean {
  const base = `${basename(path)}.`;
  return name.startsWith(base) && /^(\d+\.)?data$/.test(name.slice(base.length));
}

/** Two sources with the same identity have the same bytes. */
function identityOf(source: ByteSource): [base: ByteSource, range: string] {
  return source instanceof RangeSource
    ? [source.base, `${source.offset} ${source.length}`]
    : [source, `0 ${source.length}`];
}

/** Does the one range of a file begin with the other? */
function startsWith(whole: ByteSource, part: ByteSource): boolean {
  return (
    whole instanceof RangeSource &&
    part instanceof RangeSource &&
    whole.base === part.base &&
    whole.offset === part.offset &&
    whole.length >= part.length
  );
}

/** Consecutive tensors; the same range of the same file is put once. */
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
      if (shared !== undefined && startsWith(shared, source)) return offset;
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

interface ReplacedFile {
  readonly path: string;
  readonly file: FileIdentity;
  /** It bears the model's own name and no other model beside it reads it. */
  readonly isOurs: boolean;
}

/** The data files of the model at `path`, which is about to be replaced. */
async function replacedFiles(path: string): Promise<readonly ReplacedFile[]> {
  // What is replaced may be no model; then it has no data files.
  using before = await readModel(path).catch(() => undefined);
  const paths = before === undefined ? [] : dataFilesOf(before);
  const others = paths.some((file) => isOwnName(basename(file), path)) ? await filesOfOthers(path) : [];
  return paths.map((file) => {
    const isOurs =
      isOwnName(basename(file), path) &&
      dirname(file) === dirname(path) &&
      others !== undefined &&
      !others.some((other) => isSameFile(other, file));
    return { path: file, file: statSync(file), isOurs };
  });
}

/** More models than this are not searched for a file. */
const MOST_MODELS = 100;

/** The data files of the other models in the directory; undefined where these are too many to look at. */
async function filesOfOthers(path: string): Promise<readonly string[] | undefined> {
  const directory = dirname(path);
  const names = (await readdir(directory)).filter((name) => /\.onnx$/i.test(name) && name !== basename(path));
  if (names.length > MOST_MODELS) return undefined;
  const found: string[] = [];
  for (const name of names) {
    // What cannot be read as a model reads no data either.
    using model = await readModel(join(directory, name)).catch(() => undefined);
    if (model !== undefined) found.push(...dataFilesOf(model));
  }
  return found;
}
