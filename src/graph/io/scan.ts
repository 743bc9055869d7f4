import { ModelError } from '../errors.js';
import { MAX_DEPTH, nestedTooDeep } from '../proto/codec.js';
import {
  FIELDS_BY_NUMBER,
  HOLDS_TENSOR,
  isMessageName,
  type MessageName,
  PAYLOAD_FIELDS,
  PAYLOAD_ID_FIELD,
  type PayloadField,
} from '../proto/schema.js';
import { nextId, type Payload } from './payload.js';
import { type ByteSource, ConcatSource, RangeSource } from './source.js';
import {
  FIXED32,
  FIXED64,
  LENGTH_DELIMITED,
  readField,
  tagBytes,
  VARINT,
  varintBytes,
  type WireField,
  WireReader,
} from './wire.js';

/** A serialized message without its tensors' data, and the data by payload id. */
export interface Skeleton {
  readonly bytes: Uint8Array;
  readonly payloads: ReadonlyMap<number, Payload>;
}

/**
 * Walks the wire format of a model and replaces each tensor's data field by a reference to where it stands,
 * so that memory grows with the structure of the file and not with its weights.
 */
export function scanMessage(source: ByteSource, message: MessageName = 'ModelProto'): Skeleton {
  const payloads = new Map<number, Payload>();
  const reader = new WireReader(source);
  const bytes = scan(reader, message, 0, source.length, payloads, 0);
  return { bytes, payloads };
}

function scan(
  reader: WireReader,
  message: MessageName,
  start: number,
  end: number,
  payloads: Map<number, Payload>,
  depth: number,
): Uint8Array {
  if (depth > MAX_DEPTH) throw nestedTooDeep();
  const out: Uint8Array[] = [];
  const data = new Map<PayloadField, WireField[]>();
  // A run of fields that need no change is copied at once.
  let runStart = start;
  let position = start;
  const flush = (runEnd: number): void => {
    if (runEnd > runStart) out.push(new Uint8Array(reader.bytes(runStart, runEnd)));
  };
  while (position < end) {
    const field = readField(reader, position, end);
    position = field.contentEnd;
    const type = FIELDS_BY_NUMBER[message].get(field.number)?.[1];
    const payloadField = message === 'TensorProto' ? payloadFieldOf(field) : undefined;
    if (message === 'TensorProto' && field.number === PAYLOAD_ID_FIELD) {
      throw new ModelError(`a tensor has the field ${PAYLOAD_ID_FIELD}, which no ONNX has; it would be lost`);
    }
    if (payloadField !== undefined) {
      flush(field.start);
      runStart = position;
      const parts = data.get(payloadField);
      // A repeated field may be split; of a singular one the last value counts.
      if (parts !== undefined && payloadField !== 'raw_data') parts.push(field);
      else data.set(payloadField, [field]);
    } else if (
      field.wireType === LENGTH_DELIMITED &&
      type !== undefined &&
      isMessageName(type) &&
      HOLDS_TENSOR.has(type)
    ) {
      flush(field.start);
      runStart = position;
      const inner = scan(reader, type, field.contentStart, field.contentEnd, payloads, depth + 1);
      out.push(
        Uint8Array.from([...tagBytes(field.number, LENGTH_DELIMITED), ...varintBytes(inner.length)]),
        inner,
      );
    }
  }
  flush(end);
  for (const [payloadField, fields] of data) {
    const parts = fields.map(
      (field) => new RangeSource(reader.source, field.contentStart, field.contentEnd - field.contentStart),
    );
    const [first] = parts;
    const id = nextId();
    payloads.set(id, {
      field: payloadField,
      source: parts.length === 1 && first !== undefined ? first : new ConcatSource(parts),
    });
    out.push(Uint8Array.from([...tagBytes(PAYLOAD_ID_FIELD, VARINT), ...varintBytes(id)]));
  }
  return concat(out);
}

/** The wire type of a value where a field is not packed. */
const UNPACKED: Readonly<Record<PayloadField, number>> = {
  float_data: FIXED32,
  int32_data: VARINT,
  int64_data: VARINT,
  raw_data: LENGTH_DELIMITED,
  double_data: FIXED64,
  uint64_data: VARINT,
};

/** The data field that this is; undefined also for one of another wire type, which is kept as it is. */
function payloadFieldOf({ number, wireType }: WireField): PayloadField | undefined {
  const name = (PAYLOAD_FIELDS as Readonly<Record<number, PayloadField>>)[number];
  return name !== undefined && (wireType === LENGTH_DELIMITED || wireType === UNPACKED[name])
    ? name
    : undefined;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}
