import { ModelError } from '../errors.js';
import { MAX_DEPTH, nestedTooDeep } from '../proto/codec.js';
import type { ByteSource } from './source.js';

/** What is read at a time: little behind a payload, where the next may follow soon; of structure more and more. */
const LEAST_AHEAD = 4096;
const MOST_AHEAD = 65536;

/** Reads a source through a window, so that large skipped fields are never fetched. */
export class WireReader {
  readonly source: ByteSource;
  /** Behind the varint read last. */
  next = 0;
  #window: Uint8Array = new Uint8Array(0);
  #start = 0;
  #ahead = LEAST_AHEAD;

  constructor(source: ByteSource) {
    this.source = source;
  }

  byte(offset: number): number {
    const index = offset - this.#start;
    if (index < 0 || index >= this.#window.length) return this.#look(offset);
    return this.#window[index] as number;
  }

  /** Moves the window. */
  #look(offset: number): number {
    if (offset >= this.source.length) throw truncated(offset);
    const isNext = offset === this.#start + this.#window.length;
    this.#ahead = isNext ? Math.min(2 * this.#ahead, MOST_AHEAD) : LEAST_AHEAD;
    this.#start = offset;
    this.#window = this.source.read(offset, Math.min(this.#ahead, this.source.length - offset));
    return this.#window[0] as number;
  }

  /** The varint at `offset`; `next` is then the offset behind it. Values beyond 2^53 lose precision. */
  varint(offset: number): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = this.byte(offset + count);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        this.next = offset + count + 1;
        return value;
      }
      scale *= 128;
    }
    throw new Error(`a varint at byte ${offset} does not end`);
  }

  bytes(start: number, end: number): Uint8Array {
    if (start >= this.#start && end <= this.#start + this.#window.length) {
      return this.#window.subarray(start - this.#start, end - this.#start);
    }
    return this.source.read(start, end - start);
  }
}

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
const START_GROUP = 3;
const END_GROUP = 4;
export const FIXED32 = 5;

export interface WireField {
  readonly number: number;
  readonly wireType: number;
  /** Where the field's tag starts. */
  readonly start: number;
  /** Where its content starts (behind tag and length) and ends. */
  readonly contentStart: number;
  readonly contentEnd: number;
}

/** The field at `offset` of a message that ends at `end`. Throws ModelError on malformed or truncated bytes. */
export function readField(reader: WireReader, offset: number, end: number): WireField {
  const tag = reader.varint(offset);
  const { next } = reader;
  const number = Math.floor(tag / 8);
  const wireType = tag % 8;
  if (number === 0 || tag > 0xffffffff) throw new Error(`byte ${offset} does not start a protobuf field`);
  let contentStart = next;
  let contentEnd: number;
  switch (wireType) {
    case VARINT:
      reader.varint(next);
      contentEnd = reader.next;
      break;
    case FIXED64:
      contentEnd = next + 8;
      break;
    case FIXED32:
      contentEnd = next + 4;
      break;
    case LENGTH_DELIMITED: {
      const length = reader.varint(next);
      contentStart = reader.next;
      contentEnd = contentStart + length;
      break;
    }
    case START_GROUP:
      contentEnd = endOfGroup(reader, next, end, number);
      break;
    default:
      throw new Error(`byte ${offset} has the wire type ${wireType}, which protobuf does not have`);
  }
  if (contentEnd > end) throw truncated(end);
  return { number, wireType, start: offset, contentStart, contentEnd };
}

/** Not recursive: groups may be nested deeper than the stack. */
function endOfGroup(reader: WireReader, offset: number, end: number, group: number): number {
  const open = [group];
  for (let position = offset; position < end; ) {
    const tag = reader.varint(position);
    const number = Math.floor(tag / 8);
    if (tag % 8 === START_GROUP) {
      if (open.length === MAX_DEPTH) throw nestedTooDeep();
      open.push(number);
      position = reader.next;
    } else if (tag % 8 === END_GROUP) {
      if (open.pop() !== number) break;
      if (open.length === 0) return reader.next;
      position = reader.next;
    } else position = readField(reader, position, end).contentEnd;
  }
  throw new Error(`a protobuf group that starts at byte ${offset} does not end`);
}

function truncated(offset: number): ModelError {
  return new ModelError(
    `the file is truncated or not an ONNX model: it ends within a field, at byte ${offset}`,
  );
}

/** The bytes of a varint. */
export function varintBytes(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  bytes.push(value);
  return bytes;
}

export function tagBytes(number: number, wireType: number): number[] {
  return varintBytes(number * 8 + wireType);
}
