import {
  type ByteSource,
  byteLengthOf,
  type DataType,
  ModelError,
  type OpenFiles,
  type Scratch,
} from '../../graph/index.js';
import { openContent } from './inflate.js';
import { elementsOf, readRows } from './rows.js';
import type { Column, Source } from './source.js';

/** Element types by the third byte of the magic number. */
const TYPES: Readonly<Record<number, DataType>> = {
  8: 'uint8',
  9: 'int8',
  11: 'int16',
  12: 'int32',
  13: 'float32',
  14: 'float64',
};

interface Head {
  readonly type: DataType;
  readonly shape: readonly number[];
  /** Where the elements begin. */
  readonly start: number;
}

/**
 * The head of an IDX file: two zeros, the type, the number of dimensions, and each of them in 4 bytes, big end first.
 *
 * @see http://yann.lecun.com/exdb/mnist/, "The IDX file format"
 */
function headOf(bytes: Uint8Array): Head {
  const [zero, zeroToo, code = 0, rank = 0] = bytes;
  const type = TYPES[code];
  if (zero !== 0 || zeroToo !== 0 || type === undefined || rank === 0) {
    const magic = Buffer.from(bytes.subarray(0, 4)).toString('hex');
    throw new ModelError(
      `is no IDX file: it begins with ${magic || 'nothing'}, not with 00 00, a type and the number of dimensions`,
    );
  }
  const start = 4 + 4 * rank;
  if (bytes.length < start)
    throw new ModelError(`is cut short: the head of ${rank} dimensions takes ${start} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const shape = Array.from({ length: rank }, (_, axis) => view.getUint32(4 + 4 * axis));
  return { type, shape, start };
}

/** Whether a file may be IDX: no other format begins with two zeros. */
export function isIdx(head: Uint8Array): boolean {
  return head[0] === 0 && head[1] === 0 && TYPES[head[2] ?? 0] !== undefined;
}

export interface IdxOptions {
  readonly memory: number;
  readonly scratch: Scratch;
  /** What closes them. */
  readonly files: OpenFiles;
}

/** An IDX file as a column: its first dimension counts the samples. */
async function openColumn(
  path: string,
  name: string,
  options: IdxOptions,
): Promise<Column & { readonly size: number }> {
  let head: Head | undefined;
  const source: ByteSource = await openContent(path, {
    ...options,
    lengthOf: (bytes) => {
      head = headOf(bytes);
      return head.start + byteLengthOf(head.type, elementsOf(head.shape));
    },
  });
  const {
    type,
    shape: [size = 0, ...shape],
    start,
  } = head as Head;
  const rows = { source, type, elements: elementsOf(shape), offset: start, isBigEndian: true };
  const [height, width] = shape;
  const isImage = shape.length === 2 && height !== undefined && width !== undefined;
  return {
    name,
    type,
    shape: isImage ? [1, ...shape] : shape,
    pixels: isImage ? { channels: 1, height, width, layout: 'chw' } : undefined,
    size,
    read: (indices) => readRows(rows, indices),
  };
}

/**
 * Images and their labels, as MNIST comes.
 *
 * @param labels undefined for images without
 * @throws ModelError naming the file that is damaged, and for files that do not belong together
 */
export async function openIdx(
  images: string,
  labels: string | undefined,
  options: IdxOptions,
): Promise<Source> {
  const input = await openColumn(images, 'image', options);
  if (labels === undefined) return { size: input.size, inputs: [input], target: undefined };
  const target = await openColumn(labels, 'label', options);
  if (target.size !== input.size) {
    throw new ModelError(
      `has ${target.size} labels for the ${input.size} images of ${images}; do the two belong together?`,
      {
        file: labels,
      },
    );
  }
  return { size: input.size, inputs: [input], target };
}
