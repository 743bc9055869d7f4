import { ModelError } from '../errors.js';
import type { ByteSource } from './source.js';

/** Reads a source through a window, so that large skipped fields are never fetched. */
export class WireReader {
  readonly source: ByteSource;
  #window: Uint8Array = new Uint8Array(0);
  #start = 0;

  constructor(source: ByteSource) {
    this.source = source;
  }

  byte(offset: number): number {
    const index = offset - this.#start;
    const value = this.#window[index];
    if (index >= 0 && value !== undefined) return value;
    if (offset >= this.source.length) throw truncated(offset);
    this.#start = offset;
    this.#window = this.source.read(offset, Math.min(WINDOW, this.source.length - offset));
    return this.byte(offset);
  }

  /** The varint at `offset` as [value, offset behind it]. Values beyond 2^53 lose precision. */
  varint(offset: number): [value: number, next: number] {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = this.byte(offset + count);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return [value, offset + count + 1];
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

/** 64 KiB: structure between two payloads fits into it, and a skipped payload costs at most one window. */
const WINDOW = 65536;

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
const START_GROUP = 3;
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
  const [tag, next] = reader.varint(offset);
  const number = Math.floor(tag / 8);
  const wireType = tag % 8;
  if (number === 0 || tag > 0xffffffff) throw new Error(`byte ${offset} does not start a protobuf field`);
  let contentStart = next;
  let contentEnd: number;
  switch (wireType) {
    case VARINT:
      contentEnd = reader.varint(next)[1];
      break;
    case FIXED64:
      contentEnd = next + 8;
      break;
    case FIXED32:
      contentEnd = next + 4;
      break;
    case LENGTH_DELIMITED: {
      const [length, behind] = reader.varint(next);
      contentStart = behind;
      contentEnd = behind + length;
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

function endOfGroup(reader: WireReader, offset: number, end: number, group: number): number {
  for (let position = offset; position < end; ) {
    const [tag, behind] = reader.varint(position);
    if (tag % 8 === 4) {
      if (Math.floor(tag / 8) !== group) break;
      return behind;
    }
    position = readField(reader, position, end).contentEnd;
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
