import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import {
  type ByteSource,
  FileSource,
  MemorySource,
  ModelError,
  messageOf,
  type OpenFiles,
  type Scratch,
} from '../../graph/index.js';

/** Whether a file begins as gzip's do. */
export function isGzip(head: Uint8Array): boolean {
  return head[0] === 0x1f && head[1] === 0x8b;
}

/** The first bytes of a file, fewer where it is shorter. */
export function headOf(source: ByteSource, length: number): Uint8Array {
  return source.read(0, Math.min(length, source.length));
}

export interface ContentOptions {
  /** Bytes up to which content is held in memory. */
  readonly memory: number;
  /** For what is unpacked and larger. */
  readonly scratch: Scratch;
  /** What closes them. */
  readonly files: OpenFiles;
  /** How many bytes there must be, told by the first of them. Throws for what is of another format. */
  lengthOf(head: Uint8Array): number;
}

/**
 * The content of a file, unpacked once if it is gzip. Small content is in memory; of a large file ranges are read.
 *
 * @throws ModelError naming the file, for one that is missing, damaged, or longer or shorter than its head says
 */
export async function openContent(path: string, options: ContentOptions): Promise<ByteSource> {
  const file = options.files.add(new FileSource(path));
  if (isGzip(headOf(file, 2))) return await inflated(path, options);
  const expected = at(path, () => options.lengthOf(headOf(file, HEAD)));
  checkLength(file.length, expected, path);
  return file.length <= options.memory ? new MemorySource(file.read(0, file.length)) : file;
}

/** Bytes that a head may have. */
const HEAD = 4096;

async function inflated(path: string, options: ContentOptions): Promise<ByteSource> {
  const content = new Inflated(path, options);
  // A pipeline that is left early fails in words of its own.
  let refusal: unknown;
  try {
    await pipeline(createReadStream(path), createGunzip(), async (chunks: AsyncIterable<Buffer>) => {
      try {
        for await (const chunk of chunks) content.add(chunk);
      } catch (error) {
        refusal = error;
        throw error;
      }
    });
  } catch (error) {
    if (refusal instanceof ModelError) throw named(refusal, path);
    const what = `the gzip file is damaged or cut short: ${messageOf(error)}; fetch it again`;
    throw new ModelError(what, { file: path }, { cause: error });
  }
  return at(path, () => content.finish());
}

/** Content as it comes out of a gzip file. */
class Inflated {
  readonly #path: string;
  readonly #options: ContentOptions;
  #head: Uint8Array = new Uint8Array();
  #length = 0;
  #expected: number | undefined;
  #sink: { write(bytes: Uint8Array): void; finish(): ByteSource } | undefined;

  constructor(path: string, options: ContentOptions) {
    this.#path = path;
    this.#options = options;
  }

  add(chunk: Uint8Array): void {
    this.#length += chunk.length;
    if (this.#sink !== undefined) {
      // What is too long is not unpacked to its end: it may be a thousand times its own size.
      this.#check(this.#length > (this.#expected ?? 0));
      this.#sink.write(chunk);
      return;
    }
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length >= HEAD) this.#begin();
  }

  finish(): ByteSource {
    if (this.#sink === undefined) this.#begin();
    this.#check(true);
    return (this.#sink as { finish(): ByteSource }).finish();
  }

  #begin(): void {
    const { memory, scratch, lengthOf } = this.#options;
    const expected = lengthOf(this.#head);
    this.#expected = expected;
    this.#check(this.#length > expected);
    this.#sink = expected <= memory ? memorySink(expected) : scratch.writer(expected);
    this.#sink.write(this.#head);
  }

  #check(isDue: boolean): void {
    if (isDue) checkLength(this.#length, this.#expected ?? 0, this.#path);
  }
}

function memorySink(length: number): { write(bytes: Uint8Array): void; finish(): ByteSource } {
  const all = new Uint8Array(length);
  let position = 0;
  return {
    write: (bytes) => {
      all.set(bytes, position);
      position += bytes.length;
    },
    finish: () => new MemorySource(all),
  };
}

function checkLength(length: number, expected: number, file: string): void {
  if (length < expected) {
    throw new ModelError(`is cut short: it has ${length} bytes, but its head tells of ${expected}`, { file });
  }
  if (length > expected) {
    throw new ModelError(`is longer than its head says: byte ${expected} should be its end`, { file });
  }
}

/** Does work on a file: an error gets its name. */
export function at<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof ModelError ? named(error, file) : error;
  }
}

function named(error: ModelError, file: string): ModelError {
  return error.where.file === undefined ? new ModelError(error.message, { file }, { cause: error }) : error;
}
