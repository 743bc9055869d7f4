import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FileSource, ModelError } from '../../graph/index.js';
import { fetchText, HttpReader, type RemoteOptions } from './http.js';
import { onnxAdapterTensors } from './onnx-adapter.js';
import { pytorchTensors } from './pytorch.js';
import { ADAPTER_IDENTIFIER, isCheckpointFile, isFolder } from './recognize.js';
import { safetensorsTensors } from './safetensors-file.js';
import type { Checkpoint, Config, RangeReader, StoredTensor } from './types.js';

/** Options of openCheckpoint. */
export interface OpenOptions {
  /** Where `hf://` leads. Default https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** For the host of `endpoint`, and no other. */
  readonly token?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const HUB = 'https://huggingface.co';
const MOST_JSON = 64 << 20;

/** Files of a folder that hold its tensors, the first that is there. An index names the files of a model in parts. */
const FOLDER_FILES = [
  'model.safetensors.index.json',
  'model.safetensors',
  'adapter_model.safetensors',
  'diffusion_pytorch_model.safetensors.index.json',
  'diffusion_pytorch_model.safetensors',
  'pytorch_model.bin.index.json',
  'pytorch_model.bin',
  'adapter_model.bin',
];
const FOLDER_MODELS = ['model.onnx', 'onnx/model.onnx'];

/** Where the files of a checkpoint lie. */
interface Place {
  /** As messages name a file of it. */
  nameOf(file: string): string;
  text(file: string): Promise<string | undefined>;
  open(file: string): Promise<RangeReader & Partial<Disposable>>;
  readonly isLocal: boolean;
}

/**
 * Opens a checkpoint: a safetensors file, an index of several, a Hugging Face folder, a PEFT adapter, an `.onnx_adapter`, or a ZIP
 * checkpoint of PyTorch; `https://` and `hf://organization/name@revision` too, by range requests. What it is, its content tells. No
 * tensor is read yet.
 *
 * @param path a file, a folder, or a URL
 * @returns the checkpoint or, where the path leads to an ONNX file (also by the genai_config.json of a folder), that file
 * @throws ModelError for what cannot be opened or is damaged
 * @example
 * const source = await openCheckpoint('model.safetensors');
 * if ('tensors' in source) console.log([...source.tensors.keys()]);
 */
export async function openCheckpoint(
  path: string,
  options: OpenOptions = {},
): Promise<Checkpoint | { readonly onnx: string }> {
  if (/^https?:\/\//i.test(path)) {
    const url = new URL(path);
    const file = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
    return load(path, remotePlace(new URL('.', url).href, options, url.search), file, undefined);
  }
  if (path.startsWith('hf://')) return openHub(path, options);
  if (isFolder(path)) return openFolder(path);
  if (!isCheckpointFile(path)) return { onnx: path };
  const place = localPlace(dirname(path));
  return load(path, place, basename(path), undefined);
}

function openFolder(
  path: string,
): Promise<Checkpoint | { readonly onnx: string }> | { readonly onnx: string } {
  const place = localPlace(path);
  if (existsSync(join(path, 'genai_config.json'))) return { onnx: join(path, genaiModel(path)) };
  const has = (file: string): boolean => existsSync(join(path, file));
  const parts = readdirSync(path).filter((file) => file.endsWith('.safetensors'));
  const file = FOLDER_FILES.find(has) ?? (parts.length === 1 ? parts[0] : undefined);
  if (file !== undefined) return load(path, place, file, undefined);
  const onnx = FOLDER_MODELS.find(has);
  if (onnx !== undefined) return { onnx: join(path, onnx) };
  throw new ModelError(
    `is a folder with none of ${FOLDER_FILES.slice(0, 3).join(', ')}, ${FOLDER_MODELS[0]}, genai_config.json; name a file in it`,
    { file: path },
  );
}

/** The file that onnxruntime-genai's configuration names: its decoder. */
function genaiModel(path: string): string {
  const file = join(path, 'genai_config.json');
  const config = parsed(readFileSync(file, 'utf8'), file);
  const model = config.model as { readonly decoder?: { readonly filename?: unknown } } | undefined;
  return plainName(model?.decoder?.filename ?? 'model.onnx', file);
}

async function openHub(path: string, options: OpenOptions): Promise<Checkpoint | { readonly onnx: string }> {
  const [, repository, revision = 'main', inner] =
    /^hf:\/\/([\w.-]+\/[\w.-]+)(?:@([^/]+))?(?:\/(.+))?$/.exec(path) ?? [];
  if (repository === undefined) {
    throw new ModelError(
      'expected hf://organization/name, hf://organization/name@revision, or a file behind it',
      {
        file: path,
      },
    );
  }
  const base = (options.endpoint ?? HUB).replace(/\/+$/, '');
  const folder = inner?.includes('/') ? `${inner.slice(0, inner.lastIndexOf('/'))}/` : '';
  const place = remotePlace(
    `${base}/${repository}/resolve/${encodeURIComponent(revision)}/${folder}`,
    options,
  );
  if (inner !== undefined) return load(path, place, inner.slice(inner.lastIndexOf('/') + 1), undefined);
  const index = await place.text('model.safetensors.index.json');
  if (index !== undefined) return load(path, place, 'model.safetensors.index.json', index);
  const adapter = await place.text('adapter_config.json');
  return load(
    path,
    place,
    adapter === undefined ? 'model.safetensors' : 'adapter_model.safetensors',
    undefined,
  );
}

function localPlace(directory: string): Place {
  return {
    isLocal: true,
    nameOf: (file) => join(directory, file),
    text: async (file) => {
      const path = join(directory, file);
      const status = statSync(path, { throwIfNoEntry: false });
      if (status === undefined) return undefined;
      if (status.size > MOST_JSON) throw new ModelError('is too large for a JSON file', { file: path });
      return readFileSync(path, 'utf8');
    },
    open: async (file) => new FileSource(join(directory, file)),
  };
}

function remotePlace(base: string, { endpoint = HUB, token, signal }: OpenOptions, search = ''): Place {
  const options: RemoteOptions = { token, tokenHost: new URL(endpoint).origin, signal };
  const urlOf = (file: string): string =>
    `${base}${file.split('/').map(encodeURIComponent).join('/')}${search}`;
  return {
    isLocal: false,
    nameOf: (file) => `${base}${file}`,
    text: (file) => fetchText(urlOf(file), MOST_JSON, options),
    open: (file) => HttpReader.open(urlOf(file), options),
  };
}

/** @param text of the file, where it was read already */
async function load(path: string, place: Place, file: string, text: string | undefined): Promise<Checkpoint> {
  const opened: Partial<Disposable>[] = [];
  const close = (): void => {
    for (const one of opened) one[Symbol.dispose]?.();
  };
  try {
    const [config, adapter] = await Promise.all([
      configOf(place, path, 'config.json'),
      configOf(place, path, 'adapter_config.json'),
    ]);
    const found = file.endsWith('.json')
      ? await ofIndex(place, file, text, opened)
      : await ofFile(place, file, opened);
    const files = opened.flatMap((one) => (one instanceof FileSource ? [one.path] : []));
    return { path, config, adapter, ...found, files, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Of a URL of a single file only that file is asked for. */
async function configOf(place: Place, path: string, file: string): Promise<Config | undefined> {
  if (/^https?:/i.test(path)) return undefined;
  const text = await place.text(file);
  return text === undefined ? undefined : parsed(text, place.nameOf(file));
}

type Contents = Pick<Checkpoint, 'format' | 'tensors' | 'notes'>;

async function ofFile(place: Place, file: string, opened: Partial<Disposable>[]): Promise<Contents> {
  const name = place.nameOf(file);
  return inFile(name, async () => {
    const reader = await place.open(file);
    opened.push(reader);
    if (reader.length < 9) throw new ModelError('the file is cut short');
    const head = Buffer.from(file.endsWith('.safetensors') ? '' : await reader.read(0, 9)).toString('latin1');
    const isLocal = (what: string): FileSource => {
      if (reader instanceof FileSource) return reader;
      throw new ModelError(`is ${what}; over HTTP only safetensors files are read: download it first`);
    };
    if (head.startsWith('PK\x03\x04')) {
      return { format: 'pytorch', ...pytorchTensors(isLocal('a ZIP checkpoint')) };
    }
    if (head.startsWith('\x80')) {
      throw new ModelError(
        'is a pickle without a ZIP archive (PyTorch before 1.6), which is not read; load it in PyTorch and save it anew',
      );
    }
    if (head.startsWith(ADAPTER_IDENTIFIER, 4)) {
      return { format: 'onnx_adapter', tensors: onnxAdapterTensors(isLocal('an adapter')), notes: [] };
    }
    return { format: 'safetensors', tensors: await safetensorsTensors(reader), notes: [] };
  });
}

/** The parts that an index names, each opened once. */
async function ofIndex(
  place: Place,
  file: string,
  given: string | undefined,
  opened: Partial<Disposable>[],
): Promise<Contents> {
  const name = place.nameOf(file);
  const text = given ?? (await place.text(file));
  if (text === undefined) throw new ModelError('no such file', { file: name });
  const { weight_map: map } = parsed(text, name);
  if (typeof map !== 'object' || map === null) {
    throw new ModelError('is JSON without a weight_map, so no index of tensors', { file: name });
  }
  const parts = new Map<string, Contents>();
  const tensors = new Map<string, StoredTensor>();
  for (const [tensor, where] of Object.entries(map)) {
    const part = plainName(where, name);
    const contents = parts.get(part) ?? (await ofFile(place, part, opened));
    parts.set(part, contents);
    const found = contents.tensors.get(tensor);
    if (found === undefined) {
      throw new ModelError(`the index says it is in ${part}, which has none of that name`, {
        file: name,
        tensor,
      });
    }
    tensors.set(tensor, found);
  }
  const all = [...parts.values()];
  return { format: all[0]?.format ?? 'safetensors', tensors, notes: all.flatMap(({ notes }) => notes) };
}

/** A file's name as JSON has it: one in the same folder. */
function plainName(value: unknown, file: string): string {
  if (typeof value === 'string' && /^[^/\\]+$/.test(value) && value !== '..' && value !== '.') return value;
  throw new ModelError(`names the file ${JSON.stringify(value)}, which is no plain name in its folder`, {
    file,
  });
}

function parsed(text: string, file: string): Config {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Config;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ModelError(`is not JSON: ${error.message}`, { file }, { cause: error });
  }
  throw new ModelError('is not a JSON object', { file });
}

/** Errors of a file's content name the file. */
async function inFile<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ModelError) || error.where.file !== undefined) throw error;
    throw new ModelError(error.what, { ...error.where, file }, { cause: error });
  }
}
