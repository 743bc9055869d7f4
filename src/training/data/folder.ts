import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { ModelError, messageOf } from '../../graph/index.js';
import { type ImageFit, isImageName, readImage } from '../../runtime/index.js';
import { type Column, type Source, skippedNotes } from './source.js';

export interface FolderOptions {
  readonly memory: number;
  readonly fit?: ImageFit | undefined;
  /** The classes in their order, where another part of the data tells them; default: the folders, by name. */
  readonly classNames?: readonly string[] | undefined;
  readonly skipBad?: boolean | undefined;
}

/** An image and its class. */
interface Sample {
  readonly file: string;
  readonly label: number;
}

/** Folders in a folder, by name. */
export function subfolders(path: string): readonly string[] {
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !entry.name.startsWith('.') && isFolder(entry, path))
    .map(({ name }) => name)
    .sort();
}

function isFolder(
  entry: { readonly name: string; isDirectory(): boolean; isSymbolicLink(): boolean },
  path: string,
): boolean {
  if (entry.isDirectory()) return true;
  if (!entry.isSymbolicLink()) return false;
  try {
    readdirSync(join(path, entry.name));
    return true;
  } catch {
    return false;
  }
}

/** Images that are not decoded: a class that has such ones would miss some, or all. */
const OTHER_IMAGES = /\.(bmp|svg|hei[cf]|p[bgpn]m|jp2|j2k|jxl|tga|ico|psd|pcx|dng|exr)$/i;

/**
 * The images in a folder and the folders in it, by name.
 *
 * @throws ModelError naming an image of a format that is not read
 */
export function imagesIn(path: string): string[] {
  const found: string[] = [];
  const walk = (folder: string): void => {
    const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      // A link to a folder may lead back to where it is.
      if (entry.isDirectory()) walk(join(folder, entry.name));
      else if (isImageName(entry.name)) found.push(join(folder, entry.name));
      else if (OTHER_IMAGES.test(entry.name))
        throw new ModelError('is an image of a format that is not read; convert it to PNG or JPEG', {
          file: join(folder, entry.name),
        });
    }
  };
  walk(path);
  return found;
}

/**
 * A folder of images: one folder a class, or images alone, which have no labels. They are decoded when they are asked for;
 * what fits into `memory` is kept.
 *
 * @throws ModelError for a folder without images, images that cannot be decoded (with `skipBad` where there are no others), and
 *   for classes that `classNames` does not have
 */
export async function openFolder(path: string, options: FolderOptions): Promise<Source> {
  const all = subfolders(path);
  const folders = all.filter((name) => imagesIn(join(path, name)).length > 0);
  const empty = all.filter((name) => !folders.includes(name));
  const loose = readdirSync(path).filter(isImageName).sort();
  if (loose.length > 0 && folders.length > 0) {
    throw new ModelError(
      `has images beside the folders of the classes (${loose[0]}, say); put each image into the folder of its class`,
      { file: path },
    );
  }
  const classes = folders.length === 0 ? undefined : (options.classNames ?? folders);
  const found: Sample[] = loose.map((name) => ({ file: join(path, name), label: -1 }));
  for (const folder of folders) {
    const label = classes?.indexOf(folder) ?? -1;
    if (label < 0) {
      throw new ModelError(`is no class of the training data, which has ${classes?.join(', ')}`, {
        file: join(path, folder),
      });
    }
    found.push(...imagesIn(join(path, folder)).map((file) => ({ file, label })));
  }
  if (found.length === 0) throw new ModelError('has no images', { file: path });
  // What cannot be decoded is found before the training, not in the midst of it.
  const bad = await badImages(found, options.skipBad ?? false);
  const samples = found.filter(({ file }) => !bad.has(file));
  const [first] = samples;
  if (first === undefined)
    throw new ModelError(`has no image that can be decoded; ${[...bad.values()][0]?.message}`, {
      file: path,
    });
  const { width, height, channels } = await readImage(first.file);
  const labels = BigInt64Array.from(samples, ({ label }) => BigInt(label));
  return {
    size: samples.length,
    inputs: [column(samples, { width, height, channels }, undefined, options)],
    target:
      classes === undefined
        ? undefined
        : {
            name: 'class',
            type: 'int64',
            shape: [],
            read: (indices) => BigInt64Array.from(indices, (index) => labels[index] as bigint),
          },
    classes,
    nameOf: (index) => relative(path, samples[index]?.file ?? ''),
    // Where it is no class, the numbers of the classes after it are other ones than with it.
    notes: [
      ...empty
        .slice(0, MOST_TOLD)
        .map((name) =>
          classes === undefined || classes.includes(name)
            ? `the folder '${name}' has no images`
            : `the folder '${name}' has no images, and is no class`,
        ),
      ...skippedNotes([...bad.values()].map(messageOf), found.length, 'images'),
    ],
  };
}

const MOST_TOLD = 4;
/** Images that are decoded at a time. */
const AT_ONCE = 16;

/**
 * Decodes each image once, small, and keeps none.
 *
 * @returns what is wrong with those that cannot be decoded, by their files
 * @throws ModelError for the first of them, unless all are to be found
 */
async function badImages(
  samples: readonly Sample[],
  findsAll: boolean,
): Promise<ReadonlyMap<string, ModelError>> {
  const bad = new Map<string, ModelError>();
  const check = async ({ file }: Sample): Promise<readonly [string, ModelError] | undefined> => {
    try {
      // The bytes of all of it are gone through; of a JPEG file, an eighth of the pixels is computed.
      await readImage(file, isWhole(file) ? { width: 1, height: 1, fit: 'fill' } : {});
      return undefined;
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      return [file, error];
    }
  };
  for (let from = 0; from < samples.length; from += AT_ONCE) {
    for (const found of await Promise.all(samples.slice(from, from + AT_ONCE).map(check))) {
      if (found === undefined) continue;
      if (!findsAll) throw found[1];
      bad.set(...found);
    }
  }
  return bad;
}

/** What the last bytes of an image hold, by its first ones. */
const ENDS = [
  { begin: Buffer.from([0xff, 0xd8]), end: Buffer.from([0xff, 0xd9]) },
  { begin: Buffer.from('\u0089PNG', 'latin1'), end: Buffer.from('IEND') },
] as const;
/** How images of formats without such an end begin: WebP, GIF, TIFF, AVIF. */
const OTHERS = /^(RIFF|GIF8|II\*\0|MM\0\*|.{4}ftyp)/s;
const TAIL = 4096;

/** Whether an image has its end, as far as a look at a few bytes tells. */
function isWhole(file: string): boolean {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return false;
  }
  try {
    const { size } = fstatSync(descriptor);
    const bytes = Buffer.alloc(TAIL);
    const at = (from: number): Buffer =>
      bytes.subarray(0, readSync(descriptor, bytes, 0, Math.min(TAIL, size), from));
    const start = at(0);
    const format = ENDS.find(({ begin }) => start.subarray(0, begin.length).equals(begin));
    if (format === undefined) return OTHERS.test(start.toString('latin1', 0, 8));
    return at(Math.max(0, size - TAIL)).includes(format.end);
  } finally {
    closeSync(descriptor);
  }
}

interface Size {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
}

/** The images in one size: all must have it, or `fit` tells how they get it. */
function column(
  samples: readonly Sample[],
  { width, height, channels }: Size,
  fit: ImageFit | undefined,
  options: FolderOptions,
): Column {
  const elements = width * height * channels;
  const kept = new Map<number, Uint8Array>();
  const one = async (index: number): Promise<Uint8Array> => {
    const known = kept.get(index);
    if (known !== undefined) return known;
    const { file } = samples[index] as Sample;
    const size = fit === undefined ? {} : { width, height, fit };
    const image = await readImage(file, { ...size, channels: channels === 1 ? 1 : 3 });
    if (image.width !== width || image.height !== height) {
      throw new ModelError(
        `is ${image.width} x ${image.height} pixels, but ${basename(samples[0]?.file ?? '')} is ${width} x ${height}; name the shape of the model's input to bring all images to it`,
        { file },
      );
    }
    if ((kept.size + 1) * elements <= options.memory) kept.set(index, image.data);
    return image.data;
  };
  return {
    name: 'image',
    type: 'uint8',
    shape: [height, width, channels],
    pixels: { channels, height, width, layout: 'hwc' },
    read: async (indices) => {
      const images = await Promise.all(Array.from(indices, one));
      const all = new Uint8Array(elements * images.length);
      for (const [at, image] of images.entries()) all.set(image, at * elements);
      return all;
    },
    resize: (size) => column(samples, size, options.fit ?? 'cover', options),
  };
}
