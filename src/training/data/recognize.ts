import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { constants, gunzipSync } from 'node:zlib';
import { FileSource, ModelError } from '../../graph/index.js';
import { isImageName } from '../../runtime/index.js';
import type { CifarKind } from './cifar.js';
import { imagesIn, subfolders } from './folder.js';
import { isIdx } from './idx.js';
import { headOf, isGzip } from './inflate.js';
import type { Split } from './options.js';
import { type FormatDefinition, ownFormatOf } from './own-formats.js';

/** Files of one format. */
export type Found =
  | { readonly format: 'idx'; readonly images: string; readonly labels: string | undefined }
  | { readonly format: 'cifar'; readonly kind: CifarKind; readonly files: readonly string[] }
  | { readonly format: 'npy'; readonly files: readonly string[] }
  | { readonly format: 'npz'; readonly file: string }
  | { readonly format: 'csv'; readonly file: string }
  | { readonly format: 'images'; readonly folder: string }
  | { readonly format: 'own'; readonly path: string; readonly definition: FormatDefinition };

/** Data in one piece, or in parts. */
export type Recognized =
  | Found
  | { readonly format: 'parts'; readonly parts: Readonly<Partial<Record<Split, Found>>> };

/** What parts are called in names of files and folders. */
const SPLIT_NAMES: Readonly<Record<string, Split>> = {
  train: 'train',
  training: 'train',
  val: 'validation',
  valid: 'validation',
  validation: 'validation',
  test: 'test',
  testing: 'test',
  t10k: 'test',
};

/**
 * Tells by content and by names which format the data at a path has.
 *
 * @throws ModelError for what is no data, or more than one kind
 */
export function recognize(path: string): Recognized {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) throw new ModelError('no such file or folder', { file: path });
  const own = ownFormatOf(path, () => (status.isDirectory() ? new Uint8Array() : firstBytes(path)));
  if (own !== undefined) return { format: 'own', path, definition: own.format };
  return status.isDirectory() ? recognizeFolder(path, 0) : recognizeFile(path);
}

function firstBytes(path: string): Uint8Array {
  using source = new FileSource(path);
  return headOf(source, 4096);
}

/**
 * The files that the data at a path is read from.
 *
 * @throws ModelError as recognize does
 */
export function dataSources(
  path: string,
  options: { readonly tokens?: number | undefined } = {},
): readonly string[] {
  if (options.tokens !== undefined) return [tokenFile(path)];
  const data = recognize(path);
  const parts = data.format === 'parts' ? Object.values(data.parts) : [data];
  return parts.flatMap(filesOf);
}

/**
 * A path that holds token numbers.
 *
 * @throws ModelError where it is no file
 */
export function tokenFile(path: string): string {
  if (!isFile(path))
    throw new ModelError('no such file; token numbers are in one file, .npy or .bin', { file: path });
  return path;
}

function filesOf(found: Found): readonly string[] {
  switch (found.format) {
    case 'idx':
      return [found.images, ...(found.labels === undefined ? [] : [found.labels])];
    case 'own':
      return found.definition.files?.(found.path) ?? [found.path];
    case 'images':
      return imagesIn(found.folder);
    case 'npz':
    case 'csv':
      return [found.file];
    case 'npy':
    case 'cifar':
      return found.files;
  }
}

function recognizeFile(path: string): Found {
  using source = new FileSource(path);
  let head = headOf(source, 4096);
  const isPacked = isGzip(head);
  if (isPacked) head = unpackedHead(head);
  if (isIdx(head)) return { format: 'idx', images: path, labels: labelsBeside(path) };
  const latin = Buffer.from(head.subarray(0, 16)).toString('latin1');
  if (latin.startsWith('\x93NUMPY')) return { format: 'npy', files: [path] };
  if (latin.startsWith('PK')) return { format: 'npz', file: path };
  if (isImageName(path))
    throw new ModelError('is a single image; name a folder with one folder of images a class', {
      file: path,
    });
  if (path.endsWith('.bin')) {
    const kind = (
      [
        ['CIFAR-10', 3073],
        ['CIFAR-100', 3074],
      ] as const
    ).find(([, record]) => source.length % record === 0);
    if (kind !== undefined) return { format: 'cifar', kind: kind[0], files: [path] };
  }
  // Tables are text, which has no byte 0.
  if (head.length > 0 && !head.includes(0)) return { format: 'csv', file: path };
  throw new ModelError(`${head.length === 0 ? 'is empty' : 'is of no format that is read'}: ${FORMATS}`, {
    file: path,
  });
}

const FORMATS =
  'IDX (MNIST), CIFAR-10 and CIFAR-100 binary, .npy, .npz, CSV, or a folder with one folder of images a class';

function unpackedHead(packed: Uint8Array): Uint8Array {
  try {
    return gunzipSync(packed, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, 4096);
  } catch {
    // What is wrong with it is said when it is read.
    return new Uint8Array();
  }
}

const IDX_IMAGES = /^(.*?)(images)([-.]idx\d-ubyte)(?:\.gz)?$/;

function labelsBeside(images: string): string | undefined {
  const [, before, , after] = IDX_IMAGES.exec(basename(images)) ?? [];
  if (before === undefined) return undefined;
  const name = `${before}labels${(after ?? '').replace(/\d/, '1')}`;
  return [name, `${name}.gz`].map((file) => join(dirname(images), file)).find((file) => isFile(file));
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Folders within folders that are looked through for data. */
const DEPTH = 3;

function recognizeFolder(path: string, depth: number): Recognized {
  const files = readdirSync(path)
    .filter((name) => isFile(join(path, name)))
    .sort();
  const found = idxIn(path, files) ?? cifarIn(path, files) ?? arraysIn(path, files) ?? tablesIn(path, files);
  if (found !== undefined) return found;
  const folders = subfolders(path);
  const parts: Partial<Record<Split, Found>> = {};
  for (const folder of folders) {
    const split = SPLIT_NAMES[folder.toLowerCase()];
    if (split === undefined) continue;
    const part = recognizeFolder(join(path, folder), depth + 1);
    if (part.format !== 'parts') parts[split] = part;
  }
  if (parts.train !== undefined) return { format: 'parts', parts };
  if (files.some(isImageName) || folders.filter((name) => hasImages(join(path, name))).length > 1) {
    return { format: 'images', folder: path };
  }
  const [only] = folders;
  if (only !== undefined && folders.length === 1 && depth < DEPTH) {
    const inside = recognizeFolderOrNothing(join(path, only), depth + 1);
    if (inside !== undefined) return inside;
  }
  if (folders.some((name) => hasImages(join(path, name)))) return { format: 'images', folder: path };
  throw new ModelError(`holds no data that is read: ${FORMATS}`, { file: path });
}

/** A folder that leads to data of another format than images of one class. */
function recognizeFolderOrNothing(path: string, depth: number): Recognized | undefined {
  if (readdirSync(path).some(isImageName)) return undefined;
  return recognizeFolder(path, depth);
}

function hasImages(path: string): boolean {
  return imagesIn(path).length > 0;
}

function idxIn(path: string, files: readonly string[]): Recognized | undefined {
  const parts: Partial<Record<Split, Found>> = {};
  const prefixes = new Set<string>();
  for (const name of files) {
    const [, before] = IDX_IMAGES.exec(name) ?? [];
    // Where a file is there unpacked too, that one is read.
    if (before === undefined || (name.endsWith('.gz') && files.includes(name.slice(0, -3)))) continue;
    const word = before.split('-').filter(Boolean).at(-1) ?? '';
    const split = SPLIT_NAMES[word.toLowerCase()];
    if (split === undefined) continue;
    prefixes.add(before.slice(0, before.lastIndexOf(word)));
    const images = join(path, name);
    const labels = labelsBeside(images);
    if (labels === undefined) {
      throw new ModelError('has no file of labels beside it; its name is the same with labels-idx1', {
        file: images,
      });
    }
    parts[split] = { format: 'idx', images, labels };
  }
  if (prefixes.size > 1) {
    throw new ModelError(
      `holds several data sets (${[...prefixes].sort().join(', ')}); give each a folder of its own`,
      { file: path },
    );
  }
  return Object.keys(parts).length > 0 ? { format: 'parts', parts } : undefined;
}

function cifarIn(path: string, files: readonly string[]): Recognized | undefined {
  const batches = files.filter((name) => /^data_batch_\d+\.bin$/.test(name));
  const parts: Partial<Record<Split, Found>> = {};
  const part = (kind: CifarKind, names: readonly string[]): Found => ({
    format: 'cifar',
    kind,
    files: names.map((name) => join(path, name)),
  });
  if (batches.length > 0) {
    parts.train = part('CIFAR-10', batches);
    if (files.includes('test_batch.bin')) parts.test = part('CIFAR-10', ['test_batch.bin']);
  } else if (files.includes('train.bin')) {
    parts.train = part('CIFAR-100', ['train.bin']);
    if (files.includes('test.bin')) parts.test = part('CIFAR-100', ['test.bin']);
  }
  return Object.keys(parts).length > 0 ? { format: 'parts', parts } : undefined;
}

function arraysIn(path: string, files: readonly string[]): Recognized | undefined {
  const own = files.filter((name) => name.endsWith('.npy'));
  return own.length > 0 ? { format: 'npy', files: own.map((name) => join(path, name)) } : undefined;
}

const TABLE = /^(.*)\.(npz|csv|tsv|csv\.gz|tsv\.gz)$/i;

function tablesIn(path: string, files: readonly string[]): Recognized | undefined {
  const tables = files.filter((name) => TABLE.test(name));
  const found = (name: string): Found => {
    const file = join(path, name);
    return name.toLowerCase().endsWith('.npz') ? { format: 'npz', file } : { format: 'csv', file };
  };
  const [only] = tables;
  if (only === undefined) return undefined;
  const parts: Partial<Record<Split, Found>> = {};
  for (const name of tables) {
    const split = SPLIT_NAMES[(TABLE.exec(name)?.[1] ?? '').toLowerCase()];
    if (split === undefined) continue;
    if (parts[split] !== undefined)
      throw new ModelError(`holds more than one ${split} file: ${tables.join(', ')}`, { file: path });
    parts[split] = found(name);
  }
  if (parts.train !== undefined) return { format: 'parts', parts };
  if (tables.length === 1) return found(only);
  throw new ModelError(`holds several tables (${tables.join(', ')}); name one, or call them train and test`, {
    file: path,
  });
}
