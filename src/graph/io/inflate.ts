import {
  FIELDS_BY_NUMBER,
  HOLDS_TENSOR,
  isMessageName,
  type MessageName,
  PAYLOAD_FIELD_NUMBERS,
  PAYLOAD_ID_FIELD,
} from '../proto/schema.js';
import type { Payload } from './payload.js';
import { type ByteSource, ConcatSource, MemorySource } from './source.js';
import { LENGTH_DELIMITED, readField, tagBytes, varintBytes, WireReader } from './wire.js';

/**
 * The inverse of scanMessage: a source of the full message, each payload at the place of its field number.
 * Nothing is read until the source is.
 */
export function inflate(
  bytes: Uint8Array,
  payloads: ReadonlyMap<number, Payload>,
  message: MessageName = 'ModelProto',
): ByteSource {
  return new ConcatSource(parts(new WireReader(new MemorySource(bytes)), message, 0, bytes.length, payloads));
}

function parts(
  reader: WireReader,
  message: MessageName,
  start: number,
  end: number,
  payloads: ReadonlyMap<number, Payload>,
): ByteSource[] {
  const out: ByteSource[] = [];
  // [field number, parts] of a tensor, to be put in canonical order.
  const tensorFields: [number, ByteSource[]][] = [];
  const isTensor = message === 'TensorProto';
  const emit = (number: number, sources: ByteSource[]): void => {
    if (isTensor) tensorFields.push([number, sources]);
    else for (const source of sources) out.push(source);
  };
  for (let position = start; position < end; ) {
    const field = readField(reader, position, end);
    position = field.contentEnd;
    const type = FIELDS_BY_NUMBER[message].get(field.number)?.[1];
    if (isTensor && field.number === PAYLOAD_ID_FIELD) {
      const id = reader.varint(field.contentStart);
      const payload = payloads.get(id);
      if (payload === undefined) throw new Error(`payload ${id} is unknown`);
      const number = PAYLOAD_FIELD_NUMBERS[payload.field];
      emit(number, lengthDelimited(number, [payload.source]));
    } else if (
      field.wireType === LENGTH_DELIMITED &&
      type !== undefined &&
      isMessageName(type) &&
      HOLDS_TENSOR.has(type)
    ) {
      const inner = parts(reader, type, field.contentStart, field.contentEnd, payloads);
      emit(field.number, lengthDelimited(field.number, inner));
    } else {
      emit(field.number, [new MemorySource(reader.bytes(field.start, field.contentEnd))]);
    }
  }
  if (isTensor) {
    // Stable: repeated fields and unknown ones (which protobufjs puts last) keep their order.
    const known = FIELDS_BY_NUMBER.TensorProto;
    const numbers = new Set<number>([...known.keys(), ...Object.values(PAYLOAD_FIELD_NUMBERS)]);
    const rank = (number: number): number => (numbers.has(number) ? number : Number.POSITIVE_INFINITY);
    tensorFields.sort((a, b) => (rank(a[0]) < rank(b[0]) ? -1 : rank(a[0]) > rank(b[0]) ? 1 : 0));
    for (const [, sources] of tensorFields) out.push(...sources);
  }
  return mergeSmall(out);
}

function lengthDelimited(number: number, inner: ByteSource[]): ByteSource[] {
  const length = inner.reduce((sum, source) => sum + source.length, 0);
  const head = Uint8Array.from([...tagBytes(number, LENGTH_DELIMITED), ...varintBytes(length)]);
  return [new MemorySource(head), ...inner];
}

/** Joins neighbouring in-memory parts below 64 KiB, so that a model of many nodes is written in few pieces. */
function mergeSmall(sources: readonly ByteSource[]): ByteSource[] {
  const out: ByteSource[] = [];
  let run: Uint8Array[] = [];
  let runLength = 0;
  const flush = (): void => {
    if (run.length > 0) out.push(new MemorySource(run.length === 1 && run[0] ? run[0] : Buffer.concat(run)));
    run = [];
    runLength = 0;
  };
  for (const source of sources) {
    if (source instanceof MemorySource && runLength + source.length <= 65536) {
      run.push(source.read(0, source.length));
      runLength += source.length;
    } else {
      flush();
      out.push(source);
    }
  }
  flush();
  return out;
}
