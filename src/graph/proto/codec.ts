import protobuf from 'protobufjs/minimal.js';
import { ModelError, messageOf } from '../errors.js';
import { type Int64, isMessageName, type Message, type MessageName, SCHEMA, type Scalars } from './schema.js';

// protobufjs reads and writes scalars; messages are read and written here, by the schema. Its own reflection does it with
// classes that it writes and compiles for each: 0.2 MB of code, and a third of the start of every program.

type Fields = Record<string, unknown>;

interface Scalar<T> {
  /** The wire type of one element. */
  readonly wire: number;
  read(reader: protobuf.Reader): T;
  /** Elements that stand together, which a field may have though it is written otherwise. */
  readPacked?(reader: protobuf.Reader, elements: T[]): void;
  write(writer: protobuf.Writer, value: T): void;
}

const SCALARS: { readonly [T in keyof Scalars]: Scalar<Scalars[T]> } = {
  int64: {
    wire: 0,
    read: (reader) => reader.int64() as Int64,
    readPacked: (reader, elements) => reader.int64s(elements as []),
    write: (writer, value) => writer.int64(value as Parameters<protobuf.Writer['int64']>[0]),
  },
  int32: {
    wire: 0,
    read: (reader) => reader.int32(),
    readPacked: (reader, elements) => reader.int32s(elements),
    write: (writer, value) => writer.int32(value),
  },
  uint32: {
    wire: 0,
    read: (reader) => reader.uint32(),
    readPacked: (reader, elements) => reader.uint32s(elements),
    write: (writer, value) => writer.uint32(value),
  },
  float: {
    wire: 5,
    read: (reader) => reader.float(),
    readPacked: (reader, elements) => reader.floats(elements),
    write: (writer, value) => writer.float(value),
  },
  // A name that is not UTF-8 would be read lossily: it is refused.
  string: {
    wire: 2,
    read: (reader) => reader.stringVerify(),
    write: (writer, value) => writer.string(value),
  },
  bytes: { wire: 2, read: (reader) => reader.bytes(), write: (writer, value) => writer.bytes(value) },
};

const LENGTH_DELIMITED = 2;

interface Field {
  readonly name: string;
  readonly type: MessageName | Scalar<unknown>;
  readonly isRepeated: boolean;
  /** What stands before a value: the field's number, and the wire type in its last three bits. */
  readonly tag: number;
}

/** The fields of a message in the order in which they are written, by their numbers. */
const layouts = new Map<MessageName, ReadonlyMap<number, Field>>();

function layoutOf(message: MessageName): ReadonlyMap<number, Field> {
  const known = layouts.get(message);
  if (known !== undefined) return known;
  const specs = Object.entries(
    SCHEMA[message] as Record<string, readonly [number, MessageName | keyof Scalars, string?]>,
  );
  const layout = new Map(
    specs
      .sort(([, [a]], [, [b]]) => a - b)
      .map(([name, [id, typeName, label]]) => {
        const type = isMessageName(typeName) ? typeName : (SCALARS[typeName] as Scalar<unknown>);
        const wire = typeof type === 'string' ? LENGTH_DELIMITED : type.wire;
        return [id, { name, type, isRepeated: label !== undefined, tag: ((id << 3) | wire) >>> 0 }];
      }),
  );
  layouts.set(message, layout);
  return layout;
}

/** How deep messages may be nested: readers of protobuf refuse more. */
export const MAX_DEPTH = 100;

export function nestedTooDeep(): ModelError {
  return new ModelError(
    `its messages are nested more than ${MAX_DEPTH} deep, more than protobuf allows; graphs of nodes take 3 levels each: make functions of the inner ones`,
  );
}

/** @throws ModelError where protobufjs finds groups nested too deep */
function withinDepth<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw /^max depth exceeded$/.test(messageOf(error)) ? nestedTooDeep() : error;
  }
}

/** Decodes a message and keeps the fields that the schema does not know. Throws on malformed bytes. */
export function decodeMessage<M extends MessageName>(name: M, bytes: Uint8Array): Message<M> {
  const reader = protobuf.Reader.create(bytes);
  return withinDepth(() => decoded(name, reader, bytes.length, 0, {}) as Message<M>);
}

/** @param into what was read of the message so far, where it stands in several parts */
function decoded(
  name: MessageName,
  reader: protobuf.Reader,
  length: number,
  depth: number,
  into: Fields,
): Fields {
  if (depth > MAX_DEPTH) throw nestedTooDeep();
  const layout = layoutOf(name);
  const outer = reader.len;
  const end = reader.pos + length;
  if (end > outer) throw new RangeError('index out of range');
  reader.len = end;
  while (reader.pos < end) {
    const start = reader.pos;
    const tag = reader.tag();
    const field = layout.get(tag >>> 3);
    if (field?.tag === tag) {
      const { name: key, type, isRepeated } = field;
      const before = isRepeated ? undefined : (into[key] as Fields | undefined);
      const value =
        typeof type === 'string'
          ? decoded(type, reader, reader.size(), depth + 1, before ?? {})
          : type.read(reader);
      if (isRepeated) elementsOf(into, key).push(value);
      else into[key] = value;
    } else if (
      field?.isRepeated === true &&
      typeof field.type === 'object' &&
      field.type.readPacked !== undefined &&
      (tag & 7) === LENGTH_DELIMITED
    ) {
      field.type.readPacked(reader, elementsOf(into, field.name));
    } else {
      reader.skipType(tag & 7, depth, tag >>> 3);
      keepUnknown(into, reader.raw(start, reader.pos));
    }
  }
  if (reader.pos !== end) throw new RangeError('index out of range');
  reader.len = outer;
  return into;
}

function elementsOf(message: Fields, name: string): unknown[] {
  const elements = (message[name] ?? []) as unknown[];
  message[name] = elements;
  return elements;
}

/** Encodes a message in field order, unknown fields last. */
export function encodeMessage<M extends MessageName>(name: M, message: Message<M>): Uint8Array {
  return encode(name, message, protobuf.Writer.create(), 0).finish();
}

function encode(name: MessageName, message: Fields, writer: protobuf.Writer, depth: number): protobuf.Writer {
  if (depth > MAX_DEPTH) throw nestedTooDeep();
  for (const { name: key, type, isRepeated, tag } of layoutOf(name).values()) {
    const value = message[key];
    if (value === undefined || value === null) continue;
    for (const element of isRepeated ? (value as unknown[]) : [value]) {
      writer.uint32(tag);
      if (typeof type === 'string') encode(type, element as Fields, writer.fork(), depth + 1).ldelim();
      else type.write(writer, element);
    }
  }
  for (const bytes of unknownFields(message)) writer.raw(bytes);
  return writer;
}

/** A message with the given fields set. */
export function createMessage<M extends MessageName>(_name: M, fields: Message<M>): Message<M> {
  const message: Fields = {};
  for (const [key, value] of Object.entries(fields))
    if (value !== undefined && value !== null) message[key] = value;
  return message as Message<M>;
}

/** The fields that the schema does not know, as they stood in the file. */
export function unknownFields(message: object): readonly Uint8Array[] {
  return (message as { $unknowns?: Uint8Array[] }).$unknowns ?? [];
}

/** Gives a copy of a message the fields that the schema does not know (a spread leaves them behind). */
export function copyUnknownFields(from: object, to: object): void {
  const unknown = unknownFields(from);
  if (unknown.length > 0)
    Object.defineProperty(to, '$unknowns', { value: [...unknown], configurable: true, writable: true });
}

function keepUnknown(message: { $unknowns?: Uint8Array[] }, field: Uint8Array): void {
  if (message.$unknowns === undefined)
    Object.defineProperty(message, '$unknowns', { value: [], configurable: true, writable: true });
  message.$unknowns?.push(field);
}

export function toBigInt(value: Int64 | undefined): bigint {
  if (value === undefined) return 0n;
  return typeof value === 'number' ? BigInt(value) : value.toBigInt();
}

/**
 * An int64 as a number. One beyond ±(2^53 - 1) becomes that: sizes, positions and versions end far before, and exporters
 * write INT64_MAX for "to the end". `toBigInt` keeps all bits.
 */
export function toNumber(value: Int64 | bigint | undefined): number {
  if (value === undefined) return 0;
  const number = typeof value === 'object' ? value.toNumber() : Number(value);
  return Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, number));
}

/** Elements as numbers, integers of 64 bits as `toNumber` has them. */
export function toNumbers(elements: ArrayLike<number | bigint>): number[] {
  return Array.from(elements, (element) => (typeof element === 'bigint' ? toNumber(element) : element));
}

/** @throws RangeError for what is no integer of 64 bits */
export function fromBigInt(value: bigint | number): Int64 {
  const integer = BigInt(value);
  const bits = BigInt.asUintN(64, integer);
  if (BigInt.asIntN(64, integer) !== integer) throw new RangeError(`${value} is no int64`);
  return protobuf.util.LongBits.from({
    low: Number(bits & 0xffffffffn) | 0,
    high: Number(bits >> 32n) | 0,
    unsigned: false,
  }).toLong(false) as unknown as Int64;
}
