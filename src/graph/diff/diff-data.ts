import { ModelError } from '../errors.js';
import { payloadsOf } from '../io/payload.js';
import { type ByteSource, ConcatSource, MemorySource } from '../io/source.js';
import { entryText, floatText } from '../print.js';
import type { TensorProto } from '../proto/schema.js';
import { DATA_TYPES, type DataType, dataTypeOf } from '../tensor/data-type.js';
import { asArray, type NativeArrays, Tensor, widen } from '../tensor/tensor.js';

/** The pieces in which data is read and compared. */
const CHUNK = 4 << 20;

/** How the elements of two tensors differ, whatever fields or files hold them; undefined where they do not. */
export function compareData(a: TensorProto, b: TensorProto): { before: string; after: string } | undefined {
  const [left, right] = [dataOf(a), dataOf(b)];
  if (left.note !== right.note) return { before: left.note, after: right.note };
  const [first, second] = [left.source, right.source];
  if (first.length !== second.length)
    return { before: `${first.length} bytes`, after: `${second.length} bytes` };
  const type = a.data_type === b.data_type ? dataTypeOf(a.data_type ?? 0) : undefined;
  const width = type === undefined ? 1 : Math.max(1, DATA_TYPES[type].bits / 8);
  let count = 0;
  let found: { index: number; before: string; after: string } | undefined;
  for (let offset = 0; offset < first.length; offset += CHUNK) {
    const length = Math.min(CHUNK, first.length - offset);
    const [x, y] = [first.read(offset, length), second.read(offset, length)];
    if (Buffer.compare(x, y) === 0) continue;
    for (let at = 0; at < length; at += width) {
      if (isEqual(x, y, at, width)) continue;
      count += 1;
      found ??= {
        index: (offset + at) / width,
        before: elementText(type, x.slice(at, at + width)),
        after: elementText(type, y.slice(at, at + width)),
      };
    }
  }
  if (found === undefined) return undefined;
  const total = `${count} of ${Math.ceil(first.length / width)} ${width === 1 ? 'bytes' : 'elements'} differ`;
  return { before: `[${found.index}] = ${found.before}`, after: `${found.after} (${total})` };
}

/** The elements in raw_data form or, where they cannot be had, what stands in the tensor's fields. */
function dataOf(proto: TensorProto): { source: ByteSource; note: string } {
  try {
    const type = dataTypeOf(proto.data_type ?? 0);
    if (type !== undefined && type !== 'string' && type !== 'undefined') {
      const tensor = new Tensor(proto);
      return { source: tensor.rawSource ?? new MemorySource(tensor.bytes()), note: '' };
    }
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
  }
  const payloads = [...payloadsOf(proto).values()].sort((x, y) => (x.field < y.field ? -1 : 1));
  const parts = [
    ...payloads.map(({ field, source }) => `${field} of ${source.length} bytes`),
    ...(proto.data_location === undefined ? [] : [`data_location ${proto.data_location}`]),
    ...(proto.external_data ?? []).map(entryText),
  ];
  return { source: new ConcatSource(payloads.map(({ source }) => source)), note: parts.join(', ') };
}

function isEqual(x: Uint8Array, y: Uint8Array, at: number, width: number): boolean {
  for (let i = at; i < at + width; i += 1) if (x[i] !== y[i]) return false;
  return true;
}

function elementText(type: DataType | undefined, bytes: Uint8Array): string {
  if (type === undefined || DATA_TYPES[type].bits < 8 || type.startsWith('float8')) {
    return `0x${(bytes[0] ?? 0).toString(16).padStart(2, '0')}`;
  }
  const array = asArray(type, bytes);
  if (type === 'float16' || type === 'bfloat16')
    return floatText(widen(type, array as NativeArrays['float16'])[0] ?? 0);
  return Array.from(array as ArrayLike<number | bigint>, (value) =>
    typeof value === 'bigint' || type === 'float64' ? String(value) : floatText(value),
  ).join(' + i ');
}
