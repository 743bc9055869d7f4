import {
  asArray,
  type ByteSource,
  byteLengthOf,
  type DataType,
  MemorySource,
  type NativeArray,
} from '../../graph/index.js';
import { swapBytes } from '../../runtime/index.js';

/** Where the samples of a column lie in bytes. */
export interface Rows {
  readonly source: ByteSource;
  readonly type: DataType;
  /** Elements of one sample. */
  readonly elements: number;
  /** Byte at which the first begins. Default 0. */
  readonly offset?: number | undefined;
  /** Bytes from one to the next; default: they touch. */
  readonly stride?: number | undefined;
  readonly isBigEndian?: boolean | undefined;
}

/** The elements of the rows at these indices, one row after the other. Reads no more than them. */
export function readRows(rows: Rows, indices: ArrayLike<number>): NativeArray {
  const { source, type, elements, offset = 0, isBigEndian = false } = rows;
  const width = byteLengthOf(type, elements);
  const stride = rows.stride ?? width;
  const bytes = new Uint8Array(width * indices.length);
  for (let at = 0; at < indices.length; ) {
    // Neighbours that touch come in one read.
    let run = 1;
    const first = indices[at] as number;
    while (stride === width && at + run < indices.length && indices[at + run] === first + run) run += 1;
    bytes.set(source.read(offset + first * stride, width * run), at * width);
    at += run;
  }
  if (isBigEndian) swapBytes(bytes, byteLengthOf(type, 1));
  return asArray(type, bytes);
}

/** The source itself where it is large, and what is in it where it is not: a read from a file costs some µs. */
export function held(source: ByteSource, memory: number): ByteSource {
  return source.length <= memory ? new MemorySource(source.read(0, source.length)) : source;
}

/** How many elements a tensor of this shape has. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
