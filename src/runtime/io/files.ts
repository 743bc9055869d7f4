import { atomicWrite, MemorySource, ModelError, readWhole } from '../../graph/index.js';
import type { RuntimeTensor, SessionValue } from '../types.js';
import { isImage } from './image.js';
import { readJsonTensors, writeJsonTensors } from './json.js';
import { isNpy, readNpy, writeNpy } from './npy.js';
import { readNpz, writeNpz } from './npz.js';
import { convert } from './values.js';

/** A file of tensors: by name or, where it holds a single one without a name, that one. */
export type TensorFile =
  | { readonly named: Readonly<Record<string, RuntimeTensor>> }
  | { readonly single: RuntimeTensor };

/**
 * Reads a file of tensors: NumPy's .npy and .npz, told by how they begin, or JSON.
 *
 * @throws ModelError naming the file
 * @example
 * const file = await readTensorFile('inputs.npz');
 * if ('named' in file) console.log(Object.keys(file.named));
 */
export async function readTensorFile(path: string): Promise<TensorFile> {
  const bytes = await readWhole(path);
  try {
    if (isNpy(bytes)) return { single: readNpy(bytes) };
    if (bytes[0] === 0x50 && bytes[1] === 0x4b) return { named: readNpz(bytes) };
    if (isImage(bytes)) throw new ModelError('is an image; imageTensor makes a tensor of it');
    const text = new TextDecoder().decode(bytes);
    if (!path.toLowerCase().endsWith('.json') && !/^\uFEFF?\s*[[{]/.test(text))
      throw new ModelError(`is ${unread(bytes)}; inputs are .npy, .npz or .json`);
    return { named: readJsonTensors(text) };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(error.message, { file: path }, { cause: error });
  }
}

/** What a file is that is none of those read. */
function unread(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'empty';
  const begins = (text: string): boolean =>
    Buffer.from(bytes.subarray(0, text.length)).toString('latin1') === text;
  const [, name] = OTHERS.find(([start]) => begins(start)) ?? [];
  return name === undefined ? 'no file of tensors' : `${name}, which is not read: convert it to PNG or JPEG`;
}

const OTHERS = [
  ['BM', 'a BMP image'],
  ['%PDF', 'a PDF'],
] as const;

/** The formats that writeTensorFile knows by the ending of the name. */
const TENSOR_FORMATS = ['npz', 'npy', 'json'] as const;
export type TensorFormat = (typeof TENSOR_FORMATS)[number];

/** The format that a file's name tells; undefined for none. */
export function tensorFormatOf(path: string): TensorFormat | undefined {
  return TENSOR_FORMATS.find((format) => path.toLowerCase().endsWith(`.${format}`));
}

/** Tensors in the bytes of a format. */
export function tensorBytes(
  tensors: Readonly<Record<string, RuntimeTensor>>,
  format: TensorFormat,
): Uint8Array {
  switch (format) {
    case 'npz':
      return writeNpz(tensors);
    case 'json':
      return new TextEncoder().encode(writeJsonTensors(tensors));
    case 'npy': {
      const [first, ...others] = Object.values(tensors);
      if (first === undefined || others.length > 0) {
        throw new ModelError(
          `.npy holds one tensor, but there are ${others.length + (first ? 1 : 0)}; name an .npz file, or one output`,
        );
      }
      return writeNpy(first);
    }
  }
}

/**
 * Writes tensors to .npz, .npy (a single one) or .json, in one step.
 *
 * @throws ModelError for another ending, and where the file exists (without overwrite) or cannot be written
 * @example
 * await writeTensorFile('inputs.npz', randomInputs(model), { overwrite: true });
 */
export async function writeTensorFile(
  path: string,
  tensors: Readonly<Record<string, RuntimeTensor>>,
  options: { readonly overwrite?: boolean | undefined } = {},
): Promise<void> {
  const format = tensorFormatOf(path);
  if (format === undefined) {
    throw new ModelError('its ending tells no format; name it .npz, .npy or .json', { file: path });
  }
  await atomicWrite(path, new MemorySource(tensorBytes(tensors, format)), options);
}

/** The feeds of a model, and what was done to the tensors given for them. */
export interface FittedFeeds {
  readonly feeds: Readonly<Record<string, RuntimeTensor>>;
  readonly notes: readonly string[];
}

/**
 * Makes tensors from files the feeds of a model: gives the one without a name its input, and converts element types
 * where nothing is lost but the rounding of a float.
 *
 * @throws ModelError for names that are no inputs, inputs without a tensor, and types that cannot be converted
 */
export function fitFeeds(
  given: readonly {
    readonly name?: string | undefined;
    readonly file: string;
    readonly content: TensorFile;
  }[],
  inputs: readonly SessionValue[],
): FittedFeeds {
  const feeds = new Map<string, RuntimeTensor>();
  const notes: string[] = [];
  const names = inputs.map(({ name }) => `'${name}'`).join(', ') || '(none)';
  const put = (name: string, tensor: RuntimeTensor, file: string): void => {
    const input = inputs.find((candidate) => candidate.name === name);
    if (input === undefined)
      throw new ModelError(`the model has no input '${name}'; it has ${names}`, { file });
    if (feeds.has(name)) throw new ModelError(`input '${name}' is given more than once`, { file });
    if (input.type === undefined) throw new ModelError(`input '${name}' is no tensor`, { file });
    try {
      feeds.set(name, convert(tensor, input.type));
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      throw new ModelError(`input '${name}' is ${input.type}: ${error.message}`, { file }, { cause: error });
    }
    // The numbers of JSON have no type of their own.
    if (tensor.type !== input.type && !file.toLowerCase().endsWith('.json')) {
      notes.push(`input '${name}': ${tensor.type} in ${file}, converted to ${input.type}`);
    }
  };
  for (const { name, file, content } of given) {
    if ('single' in content) {
      const only = inputs.length === 1 ? inputs[0]?.name : undefined;
      const target = name ?? only;
      if (target === undefined) {
        throw new ModelError(`which input is it for? Name it, as in <name>=${file}; there are ${names}`, {
          file,
        });
      }
      put(target, content.single, file);
    } else if (name !== undefined) {
      const tensors = Object.entries(content.named);
      const own = Object.hasOwn(content.named, name) ? content.named[name] : undefined;
      const tensor = own ?? (tensors.length === 1 ? tensors[0]?.[1] : undefined);
      if (tensor === undefined) throw new ModelError(`holds no tensor '${name}'`, { file });
      put(name, tensor, file);
    } else {
      for (const [key, tensor] of Object.entries(content.named)) put(key, tensor, file);
    }
  }
  for (const { name, type, shape } of inputs) {
    if (feeds.has(name)) continue;
    throw new ModelError(
      `input '${name}' is not given: it is ${type}[${shape.map((dim) => dim ?? '?').join(', ')}]`,
    );
  }
  return { feeds: Object.fromEntries(feeds), notes };
}
