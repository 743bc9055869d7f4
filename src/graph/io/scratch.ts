import { closeSync, openSync, readSync, unlinkSync, write, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ModelError, messageOf } from '../errors.js';
import { randomHex } from './digest.js';
import { type ByteSource, ConcatSource, MemorySource, openDescriptors, ZeroSource } from './source.js';

/** Smaller pieces stay in memory. */
const SPILL_FROM = 1 << 20;
/** One call reads or writes at most 2^31 - 1 bytes. */
const MOST_BYTES = 2 ** 30;

const writeLater = promisify(write);

/**
 * A temporary file for large new weights, so that a pass over a model of many gigabytes needs the memory of
 * one weight. The file has no name in the file system while it is open, so it vanishes with the process
 * (on Windows, where an open file cannot be unlinked, on dispose).
 *
 * @example
 * using scratch = new Scratch();
 * const source = scratch.put(new Uint8Array(4 << 20));
 * const weight = Tensor.of('w', 'float32', [1024, 1024], source);
 */
export class Scratch implements Disposable {
  readonly directory: string;
  #descriptor: number | undefined;
  #path: string | undefined;
  #end = 0;

  constructor(directory: string = tmpdir()) {
    this.directory = directory;
  }

  /** Keeps bytes; large ones in the file. The array must not be changed afterwards. */
  put(bytes: Uint8Array): ByteSource {
    if (bytes.length < SPILL_FROM) return new MemorySource(bytes);
    const writer = this.writer(bytes.length);
    writer.write(bytes);
    return writer.finish();
  }

  /**
   * Keeps bytes, and zeros behind them that take no room; large ones are written on another thread. They can be read when
   * `written` has resolved, and until then the array must not be changed. Where it is undefined the array is what is kept.
   */
  write(bytes: Uint8Array, zeros = 0): { readonly source: ByteSource; readonly written?: Promise<void> } {
    const withZeros = (source: ByteSource): ByteSource =>
      zeros === 0 ? source : new ConcatSource([source, new ZeroSource(zeros)]);
    if (bytes.length < SPILL_FROM) return { source: withZeros(new MemorySource(bytes)) };
    const { source, descriptor, start } = this.#reserve(bytes.length);
    const writeAll = async (): Promise<void> => {
      for (let done = 0; done < bytes.length; ) {
        const count = Math.min(bytes.length - done, MOST_BYTES);
        done += (await writeLater(descriptor, bytes, done, count, start + done)).bytesWritten;
      }
    };
    const written = writeAll().catch((error: unknown) => {
      throw this.#unwritten(error);
    });
    return { source: withZeros(source), written };
  }

  /** For bytes that come in pieces. Few are collected in memory. */
  writer(length: number): { write(bytes: Uint8Array): void; finish(): ByteSource } {
    const sink = length < SPILL_FROM ? memorySink(length) : this.#fileSink(length);
    let position = 0;
    return {
      write: (bytes) => {
        if (position + bytes.length > length) throw new RangeError('more bytes than were announced');
        sink.write(bytes, position);
        position += bytes.length;
      },
      finish: () => {
        if (position !== length) throw new RangeError('fewer bytes than were announced');
        return sink.source;
      },
    };
  }

  #fileSink(length: number): Sink {
    const { source, descriptor, start } = this.#reserve(length);
    return {
      source,
      write: (bytes, position) => {
        try {
          for (let done = 0; done < bytes.length; ) {
            const count = Math.min(bytes.length - done, MOST_BYTES);
            done += writeSync(descriptor, bytes, done, count, start + position + done);
          }
        } catch (error) {
          throw this.#unwritten(error);
        }
      },
    };
  }

  #reserve(length: number): {
    readonly source: ByteSource;
    readonly descriptor: number;
    readonly start: number;
  } {
    const descriptor = this.#open();
    const start = this.#end;
    this.#end += length;
    return { source: new ScratchSource(this, descriptor, start, length), descriptor, start };
  }

  #unwritten(error: unknown): ModelError {
    return new ModelError(
      `no temporary file could be written: ${messageOf(error)}; set TMPDIR to a directory with room`,
      { file: this.directory },
      { cause: error },
    );
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    openDescriptors.unregister(this);
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    if (this.#path !== undefined) unlinkSync(this.#path);
  }

  #open(): number {
    if (this.#descriptor !== undefined) return this.#descriptor;
    const path = join(this.directory, `onnx-overparam-${process.pid}-${randomHex(6)}.tmp`);
    try {
      this.#descriptor = openSync(path, 'wx+', 0o600);
      openDescriptors.register(this, this.#descriptor, this);
    } catch (error) {
      throw new ModelError(
        `no temporary file could be made: ${messageOf(error)}; set TMPDIR to a directory with room`,
        { file: this.directory },
        { cause: error },
      );
    }
    try {
      unlinkSync(path);
    } catch {
      this.#path = path;
    }
    return this.#descriptor;
  }
}

interface Sink {
  readonly source: ByteSource;
  write(bytes: Uint8Array, position: number): void;
}

function memorySink(length: number): Sink {
  const all = new Uint8Array(length);
  return { source: new MemorySource(all), write: (bytes, position) => all.set(bytes, position) };
}

class ScratchSource implements ByteSource {
  readonly length: number;
  /** Held so that the file lives as long as what is read from it. */
  readonly scratch: Scratch;
  readonly #descriptor: number;
  readonly #start: number;

  constructor(scratch: Scratch, descriptor: number, start: number, length: number) {
    this.scratch = scratch;
    this.#descriptor = descriptor;
    this.#start = start;
    this.length = length;
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const count = readSync(
        this.#descriptor,
        bytes,
        done,
        Math.min(length - done, MOST_BYTES),
        this.#start + offset + done,
      );
      if (count === 0)
        throw new ModelError('the temporary file ended early', { file: this.scratch.directory });
      done += count;
    }
    return bytes;
  }
}
