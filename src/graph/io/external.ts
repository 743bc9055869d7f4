import { realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, resolve, sep } from 'node:path';
import { ModelError } from '../errors.js';
import { tensorProtos } from '../model.js';
import type { TensorProto } from '../proto/schema.js';
import { Tensor } from '../tensor/tensor.js';
import type { Model } from '../types.js';
import { OpenFiles } from './open-files.js';
import { type ByteSource, FileSource, RangeSource } from './source.js';

/** The parts of TensorProto.external_data. */
export interface ExternalLocation {
  readonly location: string;
  readonly offset: number;
  /** Absent: as many as the shape needs. */
  readonly length: number | undefined;
}

export function externalLocation(tensor: TensorProto): ExternalLocation {
  const entries = new Map((tensor.external_data ?? []).map(({ key, value }) => [key, value ?? '']));
  const where = { tensor: tensor.name };
  const location = entries.get('location');
  if (!location) throw new ModelError('is external, but names no file', where);
  const number = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined || text === '') return undefined;
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
      throw new ModelError(`its external ${key} '${text}' is not a byte count`, where);
    }
    return value;
  };
  return { location, offset: number('offset') ?? 0, length: number('length') };
}

/** Opens the external files of one model, each once. */
export class ExternalFiles {
  readonly directory: string;
  readonly #open = new Map<string, FileSource>();
  readonly #files: OpenFiles;
  /** Other folders in which links to data may end. */
  readonly #homes: readonly string[];

  /**
   * @param modelPath the model's file: where that is a link, its data may lie beside the file that it leads to
   * @param files what closes them
   */
  constructor(directory: string, modelPath?: string, files = new OpenFiles()) {
    this.directory = directory;
    this.#files = files;
    this.#homes = modelPath === undefined ? [] : homesOf(modelPath);
  }

  /**
   * The bytes of an external tensor.
   *
   * @throws ModelError when the file is missing, too short, or outside of the model's directory
   *   (an absolute path, one with '..', or a symbolic link that leads out)
   */
  source(tensor: TensorProto): ByteSource {
    const { location, offset, length } = externalLocation(tensor);
    const where = { tensor: tensor.name };
    const file = this.#file(location, where);
    // Without a length it is the shape that says it: several tensors may follow each other.
    const needed = length ?? Math.min(new Tensor(tensor).byteLength, Math.max(0, file.length - offset));
    if (offset + needed > file.length) {
      throw new ModelError(
        `its data should be bytes ${offset} to ${offset + needed} of '${location}', but that file has ${file.length}; fetch or write that file again`,
        where,
      );
    }
    return new RangeSource(file, offset, needed);
  }

  /** The real path of a location. Throws ModelError when it escapes the model's directory or does not exist. */
  path(location: string, where: { tensor?: string | undefined } = {}): string {
    checkLocation(location, where);
    let path: string;
    try {
      path = realpathSync(resolve(this.directory, location));
    } catch (error) {
      throw new ModelError(
        `its data is in '${location}', which is not in ${this.directory}; put that file beside the model`,
        where,
        { cause: error },
      );
    }
    if (![this.directory, ...this.#homes].some((home) => isWithin(path, realpathSync(home)))) {
      throw new ModelError(
        `its external file '${location}' is a link that leads out of the model's directory, and is not followed; put the file itself beside the model`,
        where,
      );
    }
    return path;
  }

  #file(location: string, where: { tensor?: string | undefined }): FileSource {
    let file = this.#open.get(location);
    if (file === undefined) {
      file = this.#files.add(new FileSource(this.path(location, where)));
      this.#open.set(location, file);
    }
    return file;
  }
}

/** Throws ModelError for a location that is absolute or climbs out of the model's directory. */
function checkLocation(location: string, where: { tensor?: string | undefined } = {}): void {
  const isOutside =
    isAbsolute(location) || /^[a-zA-Z]:/.test(location) || climbsOut(location) || location.includes('\0');
  if (isOutside) {
    throw new ModelError(
      `its external file '${location}' is outside of the model's directory, and is not read; put it beside the model, and name it so in the model`,
      where,
    );
  }
}

/** Does a relative path leave, on its way or at its end, the folder that it starts in? */
function climbsOut(location: string): boolean {
  let depth = 0;
  for (const part of location.split(/[\\/]/)) {
    if (part === '..') depth -= 1;
    else if (part !== '' && part !== '.') depth += 1;
    if (depth < 0) return true;
  }
  return false;
}

function isWithin(path: string, home: string): boolean {
  return path.startsWith(home.endsWith(sep) ? home : home + sep);
}

/**
 * Folders in which the data of a model may lie that is reached by a link, as in the cache of Hugging Face: `snapshots/<commit>/m.onnx`
 * leads to `blobs/<digest>`, and so do the links of its data beside it.
 */
function homesOf(modelPath: string): string[] {
  try {
    return [dirname(realpathSync(modelPath))];
  } catch {
    // Reading it says why.
    return [];
  }
}

/** The real paths of the files that hold external weights of a model which was read from a file. */
export function dataFilesOf(model: Model): readonly string[] {
  if (model.path === undefined) return [];
  const files = new ExternalFiles(externalDirectory(model.path), model.path);
  const paths = new Set<string>();
  for (const tensor of tensorProtos(model.proto)) {
    if (tensor.data_location !== 1) continue;
    try {
      paths.add(files.path(externalLocation(tensor).location));
    } catch {
      // What cannot be read is no file of the model; reading it says why.
    }
  }
  return [...paths];
}

/** Do two paths lead to one regular file, under whatever names? */
export function isSameFile(a: string, b: string): boolean {
  const [first, second] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }));
  return (
    first?.isFile() === true &&
    second?.isFile() === true &&
    first.ino === second.ino &&
    first.dev === second.dev
  );
}

export function externalDirectory(modelPath: string): string {
  return dirname(resolve(modelPath));
}
