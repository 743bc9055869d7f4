import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { ModelError, messageOf } from '../graph/errors.js';
import { sha256 } from '../graph/io/digest.js';
import { isObject } from '../graph/option-descriptors.js';

/** The first line of a part file. All parts of one result have the same, but for the shard. */
export interface PartHeader {
  readonly format: 'onnx-overparam part';
  readonly schema: 1;
  /** Version of this package. */
  readonly tool: string;
  readonly command: string;
  /** What was asked for, as far as it shows in the result. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What computed it, as far as it shows in the bits. */
  readonly kernels: Readonly<Record<string, string>>;
  /** What was read, without the numbers in it: all that the result says beside the pieces. */
  readonly input: unknown;
  /** SHA-256 of the input's headers and sizes. */
  readonly digest: string;
  /** Names of all pieces, of all shards. */
  readonly pieces: readonly string[];
  readonly shard: string;
}

/** One piece of work, done. */
export interface Piece {
  /** Its number among the names of the header. */
  readonly piece: number;
  /** SHA-256 of the numbers that were read for it. */
  readonly digest: string;
  readonly result: unknown;
}

const SCHEMA = 1;
const READ_BYTES = 1 << 20;
const NEWLINE = 10;

/** Where a line lies in its file. */
interface Place {
  readonly offset: number;
  readonly length: number;
}

/** Of a JSON value. */
export function digestOf(value: unknown): string {
  return sha256().update(JSON.stringify(value)).digest('hex');
}

/** Why two headers are not of one result; undefined where they are. */
export function whyForeign(found: PartHeader, wanted: PartHeader): string | undefined {
  const differing = (key: 'options' | 'kernels'): string | undefined => {
    const [a, b]: [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>] = [
      found[key],
      wanted[key],
    ];
    const name = [...new Set([...Object.keys(a), ...Object.keys(b)])].find(
      (one) => JSON.stringify(a[one]) !== JSON.stringify(b[one]),
    );
    if (name === undefined) return undefined;
    const text = (value: unknown): string => JSON.stringify(value) ?? 'not set';
    return `${key === 'options' ? 'other options' : 'other kernels'}: ${name} is ${text(a[name])}, not ${text(b[name])}`;
  };
  if (found.command !== wanted.command) return `another command, ${found.command}, not ${wanted.command}`;
  if (found.tool !== wanted.tool) return `another version, ${found.tool}, not ${wanted.tool}`;
  const options = differing('options');
  if (options !== undefined) return options;
  if (found.digest !== wanted.digest) return 'another input: its header or size differs';
  return differing('kernels');
}

/** Reads a part file: its header, and where its pieces lie. A last line without its end, which a process left that was killed while it wrote, is none. */
export class PartFile implements Disposable {
  readonly path: string;
  readonly header: PartHeader;
  /** By number. */
  readonly digests = new Map<number, string>();
  /** Bytes of whole lines. */
  readonly end: number;
  readonly #places = new Map<number, Place>();
  #descriptor: number | undefined;

  /** @throws ModelError where it is no part file, or damaged, naming the line */
  constructor(path: string) {
    this.path = path;
    this.#descriptor = openSync(path, 'r');
    let header: PartHeader | undefined;
    let end = 0;
    try {
      let line = 0;
      for (const { text, offset, length } of linesOf(this.#descriptor)) {
        line += 1;
        end = offset + length + 1;
        const value = this.#parsed(text, line);
        if (header === undefined) header = headerOf(value, path);
        else {
          const { piece, digest } = this.#pieceOf(value, line, header);
          // Of several lines of one piece the first counts.
          if (this.digests.has(piece)) continue;
          this.digests.set(piece, digest);
          this.#places.set(piece, { offset, length });
        }
      }
      if (header === undefined) throw new ModelError('is no part of a result: it is empty', { file: path });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.header = header;
    this.end = end;
  }

  /** The piece of a number; undefined where it is not here. */
  find(piece: number): Piece | undefined {
    const place = this.#places.get(piece);
    if (place === undefined || this.#descriptor === undefined) return undefined;
    const bytes = Buffer.alloc(place.length);
    readAt(this.#descriptor, bytes, place.offset);
    return JSON.parse(bytes.toString('utf8')) as Piece;
  }

  [Symbol.dispose](): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #parsed(text: string, line: number): Record<string, unknown> {
    try {
      const value: unknown = JSON.parse(text);
      if (isObject(value)) return value;
    } catch (error) {
      if (line === 1)
        throw new ModelError('is no part of a result: its first line is no JSON', { file: this.path });
      throw damaged(this.path, line, messageOf(error));
    }
    throw damaged(this.path, line, 'it is no object');
  }

  #pieceOf(value: Record<string, unknown>, line: number, header: PartHeader): Piece {
    const { piece, digest, result } = value;
    const isPiece =
      typeof piece === 'number' && header.pieces[piece] !== undefined && typeof digest === 'string';
    if (!isPiece || !isObject(result)) throw damaged(this.path, line, 'it is no piece of this result');
    return { piece, digest, result };
  }
}

function headerOf(value: Record<string, unknown>, file: string): PartHeader {
  const { format, schema, pieces, options, kernels } = value;
  if (format !== 'onnx-overparam part')
    throw new ModelError('is no part of a result: its first line does not say so', { file });
  if (schema !== SCHEMA)
    throw new ModelError(`is a part file of schema ${schema}; this version reads ${SCHEMA}`, { file });
  if (!Array.isArray(pieces) || !isObject(options) || !isObject(kernels))
    throw damaged(file, 1, 'the header is not complete');
  return value as unknown as PartHeader;
}

function damaged(file: string, line: number, why: string): ModelError {
  return new ModelError(`line ${line} cannot be read: ${why}; remove it, and its piece is computed again`, {
    file,
  });
}

/** Whole lines of a file, one after the other: a part may be larger than memory. */
function* linesOf(descriptor: number): Generator<Place & { readonly text: string }> {
  const { size } = fstatSync(descriptor);
  let rest: Buffer[] = [];
  let offset = 0;
  let length = 0;
  for (let at = 0; at < size; at += READ_BYTES) {
    const chunk = Buffer.alloc(Math.min(READ_BYTES, size - at));
    readAt(descriptor, chunk, at);
    let from = 0;
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
      const last = chunk.subarray(from, to);
      length += last.length;
      yield { text: Buffer.concat([...rest, last]).toString('utf8'), offset, length };
      offset += length + 1;
      [rest, length, from] = [[], 0, to + 1];
    }
    rest.push(chunk.subarray(from));
    length += chunk.length - from;
  }
}

function readAt(descriptor: number, bytes: Buffer, offset: number): void {
  for (let done = 0; done < bytes.length; ) {
    const count = readSync(descriptor, bytes, done, bytes.length - done, offset + done);
    if (count === 0) throw new Error(`the file of a part ends at byte ${offset + done}`);
    done += count;
  }
}

/** Writes a part file: each piece is there as a whole line, on the disk, or not at all. */
export class PartWriter implements Disposable {
  /** Digests of the pieces that are there. */
  readonly done: ReadonlyMap<number, string>;
  readonly #descriptor: number;

  /**
   * @param path made with the header where it does not exist; otherwise its pieces stay, and a half line at its end goes
   * @throws ModelError where the file is of another result
   */
  constructor(path: string, header: PartHeader, { overwrite }: { readonly overwrite: boolean }) {
    const isThere = existsSync(path) && !overwrite;
    if (!isThere) mkdirSync(dirname(path), { recursive: true });
    const found = isThere ? opened(path) : undefined;
    if (found === undefined) {
      this.done = new Map();
      this.#descriptor = openSync(path, 'w');
      this.#write(header);
      return;
    }
    using part = found;
    const why =
      part.header.shard === header.shard
        ? whyForeign(part.header, header)
        : `shard ${part.header.shard}, not ${header.shard}`;
    if (why !== undefined)
      throw new ModelError(
        `holds a part of another result (${why}); pass \`overwrite: true\` or name another folder`,
        {
          file: path,
        },
      );
    this.done = new Map(part.digests);
    this.#descriptor = openSync(path, 'r+');
    ftruncateSync(this.#descriptor, part.end);
    this.#position = part.end;
  }

  #position = 0;

  add(piece: Piece): void {
    this.#write(piece);
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }

  #write(line: unknown): void {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, this.#position + done);
    this.#position += bytes.length;
    fsyncSync(this.#descriptor);
  }
}

/** Undefined where a process was killed before it had written the header. */
function opened(path: string): PartFile | undefined {
  const descriptor = openSync(path, 'r');
  try {
    if (linesOf(descriptor).next().done === true) return undefined;
  } finally {
    closeSync(descriptor);
  }
  return new PartFile(path);
}
