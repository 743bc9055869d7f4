import {
  asArray,
  assertFits,
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  ModelError,
  type NativeArray,
  widen,
} from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';
import { plain } from './zip.js';

/** NumPy's name of each element type that has one. */
const CODES = {
  float16: 'f2',
  float32: 'f4',
  float64: 'f8',
  int8: 'i1',
  int16: 'i2',
  int32: 'i4',
  int64: 'i8',
  uint8: 'u1',
  uint16: 'u2',
  uint32: 'u4',
  uint64: 'u8',
  bool: 'b1',
} as const satisfies Partial<Record<DataType, string>>;

const MAGIC = '\u0093NUMPY';

/**
 * A tensor from a NumPy file (.npy, versions 1 to 3), of either byte order, in C or Fortran order. Texts ('<U5', '|S5')
 * become strings; bfloat16, which NumPy itself does not have, is read as the ml_dtypes package writes it.
 *
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 * @throws ModelError for what is no such file, is cut short, or holds what no tensor holds: complex numbers, dates,
 *   records, Python objects
 * @example
 * const { type, shape, data } = readNpy(await readFile('x.npy'));
 */
export function readNpy(bytes: Uint8Array): RuntimeTensor {
  const { type, text, isFortran, isBigEndian, shape, start } = readNpyHead(bytes);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const body = plain(bytes).subarray(start);
  if (text !== undefined) {
    assertFits(8 * size, `its ${size} texts`);
    const units = text.width * (text.code === 'U' ? 4 : 1);
    const data = texts(need(body, units * size), size, text.code, text.width, isBigEndian);
    return { type, shape, data: isFortran ? reordered(data, shape) : data };
  }
  // A copy: the place in the file need not be a multiple of the element's size.
  const raw = need(body, byteLengthOf(type, size)).slice();
  if (isBigEndian) swapBytes(raw, DATA_TYPES[type].bits / 8);
  const data = asArray(type, raw);
  return { type, shape, data: isFortran ? reordered(data, shape) : data };
}

/** What the head of a NumPy file says. */
export interface NpyHead {
  readonly type: DataType;
  /** Of strings: units of 4 bytes ('U') or 1 byte ('S') that each takes. */
  readonly text: { readonly code: 'U' | 'S'; readonly width: number } | undefined;
  readonly shape: readonly number[];
  /** Whether the first index runs fastest. */
  readonly isFortran: boolean;
  readonly isBigEndian: boolean;
  /** Where the elements begin. */
  readonly start: number;
}

/**
 * The head of a NumPy file; of a large file, its first 64 KiB do.
 *
 * @throws ModelError as readNpy does
 */
export function readNpyHead(bytes: Uint8Array): NpyHead {
  const { descr, isFortran, shape, start } = readHeader(bytes);
  const [, order, code = '', width = ''] = /^([<>|=])?(bfloat16|V(?=2$)|[a-zA-Z])(\d*)$/.exec(descr) ?? [];
  const common = { isFortran, isBigEndian: order === '>', shape, start };
  if (code === 'U' || code === 'S') {
    return { type: 'string', text: { code, width: Number(width) }, ...common };
  }
  const type =
    code === 'bfloat16' || (code === 'V' && width === '2')
      ? 'bfloat16'
      : (Object.keys(CODES) as (keyof typeof CODES)[]).find((key) => CODES[key] === code + width);
  if (type === undefined) throw new ModelError(`a NumPy array of type '${descr}' is no tensor`);
  return { type, text: undefined, ...common };
}

interface Header {
  readonly descr: string;
  readonly isFortran: boolean;
  readonly shape: number[];
  /** Where the elements begin. */
  readonly start: number;
}

function readHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 10 || !isNpy(bytes)) {
    throw new ModelError('this is not a NumPy file');
  }
  const version = view.getUint8(6);
  if (version < 1 || version > 3) throw new ModelError(`NumPy files of version ${version} are not known`);
  const at = version === 1 ? 10 : 12;
  if (bytes.length < at) throw new ModelError('the NumPy file is cut short');
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = at + length;
  if (start > bytes.length) throw new ModelError('the NumPy file is cut short');
  const text = Buffer.from(bytes.subarray(at, start)).toString(version === 3 ? 'utf8' : 'latin1');
  const [, descr] = /['"]descr['"]\s*:\s*['"]([^'"]*)['"]/.exec(text) ?? [];
  const [, order] = /['"]fortran_order['"]\s*:\s*(True|False)/.exec(text) ?? [];
  const [, dims] = /['"]shape['"]\s*:\s*\(([^)]*)\)/.exec(text) ?? [];
  if (descr === undefined && /['"]descr['"]\s*:\s*\[/.test(text)) {
    throw new ModelError('the NumPy file holds records; only plain arrays are tensors');
  }
  if (descr === undefined || order === undefined || dims === undefined) {
    throw new ModelError('the header of the NumPy file is damaged');
  }
  const shape = dims
    .split(',')
    .map((dim) => dim.trim().replace(/L$/, ''))
    .filter((dim) => dim !== '')
    .map(Number);
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    throw new ModelError('the header of the NumPy file is damaged');
  }
  return { descr, isFortran: order === 'True', shape, start };
}

/** Whether a file begins as NumPy's do. */
export function isNpy(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, MAGIC.length)).toString('latin1') === MAGIC;
}

function need(body: Uint8Array, length: number): Uint8Array {
  if (body.length >= length) return body.subarray(0, length);
  throw new ModelError(`the NumPy file is cut short: it has ${body.length} of ${length} bytes`);
}

function texts(
  bytes: Uint8Array,
  size: number,
  code: 'U' | 'S',
  width: number,
  isBigEndian: boolean,
): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: size }, (_, index) => {
    let text = '';
    if (code === 'S') {
      text = new TextDecoder().decode(bytes.subarray(index * width, (index + 1) * width));
    } else {
      for (let unit = 0; unit < width; unit += 1) {
        const point = view.getUint32(4 * (index * width + unit), !isBigEndian);
        if (point > 0x10ffff) throw new ModelError('the NumPy file is damaged: it holds no text');
        text += String.fromCodePoint(point);
      }
    }
    // Shorter ones are filled up with zeros.
    return text.replace(/\0+$/, '');
  });
}

/** Turns the bytes of each element around, in place. */
export function swapBytes(bytes: Uint8Array, itemSize: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (itemSize === 2) buffer.swap16();
  else if (itemSize === 4) buffer.swap32();
  else if (itemSize === 8) buffer.swap64();
}

/** Elements in row-major order, from an array whose first index runs fastest. */
function reordered<A extends NativeArray | string[]>(data: A, shape: readonly number[]): A {
  const result = data.slice() as A;
  const strides: number[] = [];
  let stride = 1;
  for (const dim of shape) {
    strides.push(stride);
    stride *= dim;
  }
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < data.length; to += 1) {
    result[to] = data[from] as never;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      const [dim = 1, step = 0] = [shape[axis], strides[axis]];
      const next = (index[axis] as number) + 1;
      if (next < dim) {
        index[axis] = next;
        from += step;
        break;
      }
      from -= step * (dim - 1);
      index[axis] = 0;
    }
  }
  return result;
}

/**
 * A NumPy file (version 1, C order, little-endian), byte for byte what numpy.save writes. bfloat16, which NumPy does
 * not have, is written as float32, which holds it exactly; strings as fixed-width text.
 *
 * @throws ModelError for a type that NumPy has no name for
 * @example
 * await writeFile('x.npy', writeNpy({ type: 'float32', shape: [2], data: Float32Array.of(1, 2) }));
 */
export function writeNpy(tensor: RuntimeTensor): Uint8Array {
  const { type, shape, data } = tensor;
  if (type === 'bfloat16') {
    return writeNpy({ type: 'float32', shape, data: widen('bfloat16', data as Uint16Array) });
  }
  if (type === 'string') {
    const points = (data as string[]).map((text) => [...text].map((c) => c.codePointAt(0) as number));
    const width = points.reduce((most, { length }) => Math.max(most, length), 1);
    const units = new Uint32Array(width * points.length);
    for (const [index, text] of points.entries()) units.set(text, index * width);
    return join(`<U${width}`, shape, new Uint8Array(units.buffer));
  }
  const code = Object.hasOwn(CODES, type) ? CODES[type as keyof typeof CODES] : undefined;
  if (code === undefined) throw new ModelError(`NumPy has no arrays of type ${type}`);
  const { buffer, byteOffset, byteLength } = data as NativeArray;
  const order = code.endsWith('1') ? '|' : '<';
  return join(order + code, shape, new Uint8Array(buffer, byteOffset, byteLength));
}

function join(descr: string, shape: readonly number[], body: Uint8Array): Uint8Array {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const [first] = shape;
  // NumPy leaves room for the first dimension to grow to 21 digits in place.
  const room = first === undefined ? '' : ' '.repeat(21 - String(first).length);
  const dictionary = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims}), }${room}`;
  // The elements begin at a multiple of 64.
  const length = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10;
  const head = Buffer.alloc(10 + length, ' ');
  head.write(MAGIC, 'latin1');
  head.writeUInt8(1, 6);
  head.writeUInt8(0, 7);
  head.writeUInt16LE(length, 8);
  head.write(dictionary, 10, 'latin1');
  head.write('\n', 9 + length, 'latin1');
  return plain(Buffer.concat([head, body]));
}
