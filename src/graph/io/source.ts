import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { ModelError, messageOf } from '../errors.js';

/** Bytes that can be read by range. */
export interface ByteSource {
  readonly length: number;
  /** Exactly `length` bytes from `offset`. Throws ModelError when they are not there. */
  read(offset: number, length: number): Uint8Array;
  /** Where these bytes stand in one file; undefined where they do not, or the method is missing. */
  inFile?(offset: number, length: number): FileRange | undefined;
}

/** Bytes of an open file, for another thread to read. */
export interface FileRange {
  readonly descriptor: number;
  readonly offset: number;
  readonly length: number;
  /** To be called once they are read, and to keep the file open until then. Throws ModelError where the file changed since it was opened. */
  check(): void;
}

/**
 * Bytes in memory as a source. They are not copied.
 *
 * @example
 * const source = new MemorySource(Uint8Array.of(1, 2, 3));
 * source.read(1, 2); // Uint8Array [2, 3]
 */
export class MemorySource implements ByteSource {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get length(): number {
    return this.#bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length, 'memory');
    return this.#bytes.subarray(offset, offset + length);
  }
}

/** For those that nobody closes. */
export const openDescriptors = new FinalizationRegistry<number>((descriptor) => {
  try {
    closeSync(descriptor);
  } catch {
    // It was closed explicitly.
  }
});

/**
 * A file, read by range through one descriptor that stays open: a save that replaces the path by another
 * file (see atomicWrite) does not disturb a model that still reads from the old one.
 *
 * @throws ModelError where the file cannot be opened, is a folder, a pipe or a device
 * @example
 * using file = new FileSource('weights.bin');
 * const tensor = Tensor.of('w', 'float32', [file.length / 4], file); // no element is read yet
 */
export class FileSource implements ByteSource, Disposable {
  readonly path: string;
  readonly length: number;
  readonly #modified: number;
  #open: number | undefined;

  constructor(path: string) {
    this.path = path;
    try {
      const status = statSync(path);
      if (!status.isFile() && !status.isDirectory()) {
        throw new ModelError(`is a ${status.isFIFO() ? 'pipe' : 'device'}, not a file`, { file: path });
      }
      this.#open = openSync(path, 'r');
    } catch (error) {
      if (error instanceof ModelError) throw error;
      throw new ModelError(openErrorText(error), { file: path }, { cause: error });
    }
    openDescriptors.register(this, this.#open, this);
    const status = fstatSync(this.#open);
    if (status.isDirectory()) {
      this[Symbol.dispose]();
      throw new ModelError('is a directory, not a file', { file: path });
    }
    this.length = status.size;
    this.#modified = status.mtimeMs;
  }

  /** Closes it: it can be read no more. */
  [Symbol.dispose](): void {
    if (this.#open === undefined) return;
    openDescriptors.unregister(this);
    closeSync(this.#open);
    this.#open = undefined;
  }

  get #descriptor(): number {
    if (this.#open !== undefined) return this.#open;
    throw new ModelError('was closed with the model that it is of, and can be read no more', {
      file: this.path,
    });
  }

  /** True while the path still leads to the file that was opened, unchanged. */
  get isCurrent(): boolean {
    if (this.#open === undefined) return false;
    const now = statSync(this.path, { throwIfNoEntry: false });
    const opened = fstatSync(this.#descriptor);
    return now?.ino === opened.ino && now.dev === opened.dev && now.mtimeMs === this.#modified;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length, this.path);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      // One read takes at most 2^31 - 1 bytes.
      const count = readSync(this.#descriptor, bytes, done, Math.min(length - done, 2 ** 30), offset + done);
      if (count === 0) {
        throw new ModelError('the file became shorter while it was being read', { file: this.path });
      }
      done += count;
    }
    this.#checkUnchanged();
    return bytes;
  }

  inFile(offset: number, length: number): FileRange {
    checkRange(this, offset, length, this.path);
    return { descriptor: this.#descriptor, offset, length, check: () => this.#checkUnchanged() };
  }

  #checkUnchanged(): void {
    if (fstatSync(this.#descriptor).mtimeMs !== this.#modified) {
      throw new ModelError('the file was changed while the model was in use; read it again', {
        file: this.path,
      });
    }
  }
}

/** A range of another source. */
export class RangeSource implements ByteSource {
  readonly base: ByteSource;
  readonly offset: number;
  readonly length: number;

  constructor(base: ByteSource, offset: number, length: number) {
    this.base = base;
    this.offset = offset;
    this.length = length;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length, 'range');
    return this.base.read(this.offset + offset, length);
  }

  inFile(offset: number, length: number): FileRange | undefined {
    checkRange(this, offset, length, 'range');
    return this.base.inFile?.(this.offset + offset, length);
  }
}

/** Zeros: gaps between tensors. */
export class ZeroSource implements ByteSource {
  readonly length: number;

  constructor(length: number) {
    this.length = length;
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length, 'zeros');
    return new Uint8Array(length);
  }
}

/** Several sources, one after the other. */
export class ConcatSource implements ByteSource {
  readonly parts: readonly ByteSource[];
  readonly length: number;

  constructor(parts: readonly ByteSource[]) {
    this.parts = parts;
    this.length = parts.reduce((sum, part) => sum + part.length, 0);
  }

  read(offset: number, length: number): Uint8Array {
    checkRange(this, offset, length, 'parts');
    const bytes = new Uint8Array(length);
    let position = 0;
    for (const part of this.parts) {
      const from = Math.max(offset, position);
      const to = Math.min(offset + length, position + part.length);
      if (from < to) bytes.set(part.read(from - position, to - from), from - offset);
      position += part.length;
    }
    return bytes;
  }
}

function checkRange(source: ByteSource, offset: number, length: number, what: string): void {
  if (offset < 0 || length < 0 || offset + length > source.length) {
    throw new ModelError(
      `bytes ${offset} to ${offset + length} were asked for, but there are ${source.length}`,
      {
        file: what,
      },
    );
  }
}

/** Why a file cannot be opened, in words. */
export function openErrorText(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
      return 'no such file';
    case 'EACCES':
      return 'permission denied';
    case 'EISDIR':
      return 'is a directory, not a file';
    default:
      return messageOf(error);
  }
}
