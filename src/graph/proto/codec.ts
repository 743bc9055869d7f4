import protobuf from 'protobufjs/light.js';
import { ModelError, messageOf } from '../errors.js';
import { type Int64, type Message, type MessageName, SCHEMA } from './schema.js';

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(SCHEMA).map(([message, fields]) => [
      message,
      {
        // Explicit presence and unpacked repeated fields, as ONNX has them (protobufjs defaults to proto3).
        edition: 'proto2',
        // A name that is not UTF-8 would be decoded lossily: refuse it instead.
        options: { features: { utf8_validation: 'VERIFY' } },
        fields: Object.fromEntries(
          Object.entries(fields as Record<string, readonly [number, string, string?]>).map(
            ([name, [id, type, label]]) => [
              name,
              { id, type, ...(label === 'repeated' && { rule: 'repeated' }) },
            ],
          ),
        ),
      },
    ]),
  ),
} as protobuf.INamespace);

// protobufjs puts a default for each absent field on the prototype (0, '', null): then "absent" and "zero" read the
// same, and a symbolic dimension looks like 0. Without them an absent field is undefined, as the types say.
for (const [message, fields] of Object.entries(SCHEMA)) {
  const { prototype } = root.lookupType(message).ctor as unknown as { prototype: Record<string, unknown> };
  for (const field of root.lookupType(message).fieldsArray) field.resolve();
  for (const field of Object.keys(fields)) delete prototype[field];
}

/** How deep messages may be nested: readers of protobuf refuse more. */
export const MAX_DEPTH = 100;

export function nestedTooDeep(): ModelError {
  return new ModelError(
    `its messages are nested more than ${MAX_DEPTH} deep, more than protobuf allows; graphs of nodes take 3 levels each: make functions of the inner ones`,
  );
}

/** @throws ModelError where protobufjs finds messages nested too deep */
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
  reader.discardUnknown = false;
  return withinDepth(() => root.lookupType(name).decode(reader) as Message<M>);
}

/** Encodes a message in field order, unknown fields last. */
export function encodeMessage<M extends MessageName>(name: M, message: Message<M>): Uint8Array {
  return withinDepth(() => root.lookupType(name).encode(message).finish());
}

/** A message with the given fields set. */
export function createMessage<M extends MessageName>(name: M, fields: Message<M>): Message<M> {
  return root.lookupType(name).create(fields) as Message<M>;
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
