import {
  asArray,
  type ByteSource,
  byteLengthOf,
  type DataType,
  MemorySource,
  ModelError,
} from '../../graph/index.js';
import { ConcatSource } from '../../graph/io/source.js';
import type { RuntimeTensor } from '../types.js';

/** The format's name of each element type that it has one for. */
const NAMES = {
  bool: 'BOOL',
  uint8: 'U8',
  int8: 'I8',
  uint16: 'U16',
  int16: 'I16',
  float16: 'F16',
  bfloat16: 'BF16',
  uint32: 'U32',
  int32: 'I32',
  float32: 'F32',
  uint64: 'U64',
  int64: 'I64',
  float64: 'F64',
  complex64: 'C64',
  float8e4m3fn: 'F8_E4M3',
  float8e5m2: 'F8_E5M2',
  float8e4m3fnuz: 'F8_E4M3FNUZ',
  float8e5m2fnuz: 'F8_E5M2FNUZ',
  float8e8m0: 'F8_E8M0',
  float4e2m1: 'F4',
} as const satisfies Partial<Record<DataType, string>>;
type StoredType = keyof typeof NAMES;

const TYPES = new Map<string, StoredType>(
  Object.entries(NAMES).map(([type, name]) => [name, type as StoredType]),
);

/** The reference implementation's limit, so that a damaged length asks for no memory. */
const MOST_HEADER = 100_000_000;
const ALIGNMENT = 8;
const METADATA = '__metadata__';

export interface Safetensors {
  readonly tensors: ReadonlyMap<string, RuntimeTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Tensors as a safetensors file. The same tensors in the same order give the same bytes.
 *
 * @see https://github.com/huggingface/safetensors, "Format"
 * @throws ModelError for a type that the format has no name for
 * @example
 * await atomicWrite('w.safetensors', safetensors(new Map([['w', { type: 'float32', shape: [2], data: Float32Array.of(1, 2) }]])));
 */
export function safetensors(
  tensors: ReadonlyMap<string, RuntimeTensor>,
  metadata: Readonly<Record<string, string>> = {},
): ByteSource {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [[METADATA, metadata]] : [];
  const parts: ByteSource[] = [];
  let offset = 0;
  for (const [name, { type, shape, data }] of tensors) {
    const dtype = Object.hasOwn(NAMES, type) ? NAMES[type as StoredType] : undefined;
    if (dtype === undefined || Array.isArray(data)) {
      throw new ModelError(`safetensors has no tensors of type ${type}`, { tensor: name });
    }
    if (name === METADATA) throw new ModelError(`no tensor can be called ${METADATA}`);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const end = offset + bytes.length;
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    parts.push(new MemorySource(bytes));
    offset = end;
  }
  // Not an object literal: names of digits would come first.
  const json = `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const header = Buffer.from(json);
  const length = Math.ceil(header.length / ALIGNMENT) * ALIGNMENT;
  const head = Buffer.alloc(8 + length, ' ');
  head.writeBigUInt64LE(BigInt(length));
  header.copy(head, 8);
  return new ConcatSource([new MemorySource(head), ...parts]);
}

/**
 * The tensors of a safetensors file, in the order of the file. Strict: the elements of all tensors must fill the file
 * without a gap or an overlap.
 *
 * @throws ModelError for what is no such file, is cut short, or is damaged
 */
export function readSafetensors(source: ByteSource): Safetensors {
  const length = headerLength(source.read(0, Math.min(8, source.length)), source.length);
  const { entries, metadata } = safetensorsEntries(source.read(8, length), source.length);
  return {
    // A copy where the place in the file is no multiple of the element's size.
    tensors: new Map(
      entries.map(({ name, type, shape, offset, length }) => [
        name,
        { type, shape, data: asArray(type, source.read(offset, length)) } as RuntimeTensor,
      ]),
    ),
    metadata,
  };
}

/** A tensor of a safetensors file, and where its bytes stand in it. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
}

/**
 * How many bytes the header has, which begins at byte 8.
 *
 * @param begin the first 8 bytes of the file
 * @param total bytes of the file
 * @throws ModelError as readSafetensors does
 */
export function headerLength(begin: Uint8Array, total: number): number {
  if (begin.length < 8) throw damaged('it is cut short');
  const length = Number(Buffer.from(begin).readBigUInt64LE());
  if (length > MOST_HEADER) throw damaged(`its header would have ${length} bytes`);
  if (8 + length > total) throw damaged('it is cut short');
  return length;
}

/**
 * What a header says, the tensors in the order of the file. Strict: the elements of all tensors must fill the file without a
 * gap or an overlap.
 *
 * @param total bytes of the file
 * @throws ModelError as readSafetensors does
 */
export function safetensorsEntries(
  bytes: Uint8Array,
  total: number,
): { readonly entries: readonly SafetensorsEntry[]; readonly metadata: Readonly<Record<string, string>> } {
  const { [METADATA]: metadata = {}, ...rest } = headerOf(bytes);
  if (!isRecord(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw damaged('its metadata is no map of texts');
  }
  const found = Object.entries(rest).map(([name, entry]) => ({ name, ...entryOf(name, entry) }));
  found.sort((a, b) => a.from - b.from || a.to - b.to);
  const start = 8 + bytes.length;
  let end = 0;
  for (const { name, from, to } of found) {
    if (from !== end) throw damaged(`'${name}' begins at ${from}, where ${end} is expected`);
    if (start + to > total) throw damaged('it is cut short');
    end = to;
  }
  if (start + end !== total) throw damaged(`${total - start - end} bytes are of no tensor`);
  const entries = found.map(({ name, type, shape, from, to }) => ({
    name,
    type,
    shape,
    offset: start + from,
    length: to - from,
  }));
  return { entries, metadata: metadata as Record<string, string> };
}

function damaged(what: string): ModelError {
  return new ModelError(`the safetensors file is damaged: ${what}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function headerOf(bytes: Uint8Array): Record<string, unknown> {
  // Anything before the brace would be another way to write the same file.
  if (bytes[0] !== 0x7b) throw damaged('its header is not a JSON object');
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (isRecord(header)) return header;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw damaged('its header is not a JSON object');
}

function entryOf(
  name: string,
  entry: unknown,
): { readonly type: StoredType; readonly shape: number[]; readonly from: number; readonly to: number } {
  if (!isRecord(entry)) throw damaged(`'${name}' is described by no object`);
  const type = TYPES.get(String(entry.dtype));
  if (type === undefined) throw damaged(`'${name}' is of the unknown type ${String(entry.dtype)}`);
  const { shape, data_offsets: offsets } = entry;
  const isCounts = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((one) => Number.isSafeInteger(one) && one >= 0);
  if (!isCounts(shape)) throw damaged(`the shape of '${name}' is none`);
  if (!isCounts(offsets) || offsets.length !== 2) throw damaged(`'${name}' has no place`);
  const [from = 0, to = 0] = offsets;
  const needed = byteLengthOf(
    type,
    shape.reduce((product, dim) => product * dim, 1),
  );
  if (to - from !== needed) {
    throw damaged(
      `'${name}' has ${to - from} bytes, but its shape [${shape.join(', ')}] of ${entry.dtype} needs ${needed}`,
    );
  }
  return { type, shape, from, to };
}
