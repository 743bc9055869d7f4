/**
 * A protobuf encoder and decoder of its own for ONNX messages, so that the library's reading and writing is not
 * tested against itself, and so that encodings that no library writes can be made.
 */
import { isDeepStrictEqual } from 'node:util';
import { SCHEMA } from '../../src/graph/proto/schema.js';

/** A message by field name; repeated fields are arrays; int64 and uint64 are bigints. */
export interface Tree {
  [field: string]: Value | readonly Value[] | undefined;
}
export type Value = Tree | number | bigint | string | Uint8Array;

/** Fields that the schema does not know, as encoded fields, under this key. */
export const UNKNOWN = '$unknown';

type Spec = readonly [number: number, type: string, label?: string];

const { payload_ids: _payload, ...tensorFields } = SCHEMA.TensorProto;

export const FULL_SCHEMA: Readonly<Record<string, Readonly<Record<string, Spec>>>> = {
  ...SCHEMA,
  TensorProto: {
    ...tensorFields,
    float_data: [4, 'float', 'packed'],
    int32_data: [5, 'int32', 'packed'],
    int64_data: [7, 'int64', 'packed'],
    raw_data: [9, 'bytes'],
    double_data: [10, 'double', 'packed'],
    uint64_data: [11, 'uint64', 'packed'],
  },
};

export interface Encoding {
  /** Draws an integer below `limit`. Absent: the canonical encoding. */
  readonly random?: ((limit: number) => number) | undefined;
}

export function encodeTree(message: string, tree: Tree, encoding: Encoding = {}): Uint8Array {
  const { random } = encoding;
  const fields: Uint8Array[][] = [];
  const specs = Object.entries(FULL_SCHEMA[message] ?? {}).sort((a, b) => a[1][0] - b[1][0]);
  for (const [name, [number, type, label]] of specs) {
    const value = tree[name];
    if (value === undefined) continue;
    const parts: Uint8Array[] = [];
    if (label === undefined) parts.push(encodeField(number, type, value as Value, encoding));
    else {
      const list = value as readonly Value[];
      const isPackable = SCALARS.has(type);
      const isPacked = isPackable && (random === undefined ? label === 'packed' : random(2) === 0);
      if (!isPacked) for (const one of list) parts.push(encodeField(number, type, one, encoding));
      else {
        const cut = random !== undefined && list.length > 1 && random(3) === 0 ? random(list.length) : 0;
        for (const chunk of [list.slice(0, cut), list.slice(cut)]) {
          if (chunk.length > 0)
            parts.push(delimited(number, join(chunk.map((one) => scalarBytes(type, one)))));
        }
      }
    }
    fields.push(parts);
  }
  for (const one of (tree[UNKNOWN] as readonly Uint8Array[] | undefined) ?? []) fields.push([one]);
  if (random !== undefined) interleave(fields, random);
  return join(fields.flat());
}

/** Mixes fields of different kinds; those of one kind keep their order. */
function interleave(fields: Uint8Array[][], random: (limit: number) => number): void {
  const unknown = fields.filter((_, index) => index >= 0);
  const out: Uint8Array[] = [];
  // Unknown fields keep their order among each other: they are the single-element tail, drawn first in, first out.
  while (unknown.some((list) => list.length > 0)) {
    const left = unknown.filter((list) => list.length > 0);
    out.push((left[random(Math.min(left.length, 3))] as Uint8Array[]).shift() as Uint8Array);
  }
  fields.length = 0;
  fields.push(out);
}

const SCALARS = new Set(['int32', 'int64', 'uint32', 'uint64', 'float', 'double']);

function encodeField(number: number, type: string, value: Value, encoding: Encoding): Uint8Array {
  if (type === 'float') return join([varint(BigInt(number * 8 + 5)), scalarBytes(type, value)]);
  if (type === 'double') return join([varint(BigInt(number * 8 + 1)), scalarBytes(type, value)]);
  if (SCALARS.has(type)) return join([varint(BigInt(number * 8)), scalarBytes(type, value)]);
  if (type === 'string') return delimited(number, new TextEncoder().encode(value as string));
  if (type === 'bytes') return delimited(number, value as Uint8Array);
  return delimited(number, encodeTree(type, value as Tree, encoding));
}

function scalarBytes(type: string, value: Value): Uint8Array {
  if (type === 'float') return new Uint8Array(Float32Array.of(value as number).buffer);
  if (type === 'double') return new Uint8Array(Float64Array.of(value as number).buffer);
  return varint(BigInt.asUintN(64, BigInt(value as number)));
}

export function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 0x80n; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  bytes.push(Number(value));
  return Uint8Array.from(bytes);
}

export function delimited(number: number, content: Uint8Array): Uint8Array {
  return join([varint(BigInt(number * 8 + 2)), varint(BigInt(content.length)), content]);
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Decodes all fields of a message. Throws on what is malformed. */
export function decodeTree(message: string, bytes: Uint8Array): Tree {
  const byNumber = new Map(
    Object.entries(FULL_SCHEMA[message] ?? {}).map(([name, spec]) => [spec[0], [name, spec] as const]),
  );
  const tree: Record<string, Value | Value[]> = {};
  const unknown: Uint8Array[] = [];
  let at = 0;
  const readVarint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at];
      if (byte === undefined) throw new Error('truncated');
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
  };
  while (at < bytes.length) {
    const start = at;
    const tag = Number(readVarint());
    const [number, wireType] = [Math.floor(tag / 8), tag % 8];
    const contentStart = at;
    let content = bytes.subarray(at, at);
    if (wireType === 0) readVarint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      const length = Number(readVarint());
      content = bytes.subarray(at, at + length);
      at += length;
    } else throw new Error(`wire type ${wireType}`);
    if (wireType !== 2) content = bytes.subarray(contentStart, at);
    if (at > bytes.length) throw new Error('truncated');
    const known = byNumber.get(number);
    if (known === undefined) {
      unknown.push(bytes.slice(start, at));
      continue;
    }
    const [name, [, type, label]] = known;
    const values = SCALARS.has(type) ? scalarValues(type, content) : [decodeOne(type, content)];
    if (label === undefined) tree[name] = values.at(-1) as Value;
    else tree[name] = [...((tree[name] as Value[] | undefined) ?? []), ...values];
  }
  return unknown.length > 0 ? { ...tree, [UNKNOWN]: unknown } : tree;
}

function decodeOne(type: string, content: Uint8Array): Value {
  if (type === 'string') return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  if (type === 'bytes') return content.slice();
  return decodeTree(type, content);
}

/** The elements of a packed list. */
export function scalarValues(type: string, content: Uint8Array): Value[] {
  const copy = content.slice();
  if (type === 'float') return [...new Float32Array(copy.buffer)];
  if (type === 'double') return [...new Float64Array(copy.buffer)];
  const out: Value[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of copy) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    if (type === 'int32' || type === 'uint32')
      out.push(Number(type === 'int32' ? BigInt.asIntN(32, value) : BigInt.asUintN(32, value)));
    else out.push(type === 'int64' ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value));
    [value, shift] = [0n, 0n];
  }
  return out;
}

/** The trees without empty lists, which protobuf cannot tell from absent ones; bytes as plain arrays. */
export function normal(tree: Tree): Tree {
  const out: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(tree)) {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    const one = (item: Value): unknown =>
      item instanceof Uint8Array
        ? `bytes ${Buffer.from(item).toString('hex')}`
        : typeof item === 'object'
          ? normal(item)
          : item;
    out[field] = Array.isArray(value) ? value.map(one) : one(value as Value);
  }
  return out as Tree;
}

export function sameTrees(a: Tree, b: Tree): boolean {
  return isDeepStrictEqual(normal(a), normal(b));
}
