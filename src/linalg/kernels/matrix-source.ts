import { readSync } from 'node:fs';
import { bfloat16ToFloat32, float16ToFloat32 } from '../../graph/tensor/float16.js';

/** A matrix that stands in an open file: row-major, little-endian. */
export interface MatrixFile {
  readonly descriptor: number;
  /** Of its first byte. */
  readonly offset: number;
  readonly type: 'float32' | 'float64' | 'float16' | 'bfloat16';
}

/** Elements of 16 bits that are widened at a time. */
const WIDENED = 1 << 18;

/** A row-major matrix that is read in parts. */
export interface MatrixSource {
  /** Elements. */
  readonly length: number;
  /** Bytes of each. */
  readonly element: 4 | 8;
  /** All elements, where they are in memory. */
  readonly array?: Float32Array | Float64Array;
  /** Fills `into` with the elements from number `at` on. */
  read(into: Float32Array | Float64Array, at: number): void;
}

export function sourceOf(matrix: Float32Array | Float64Array | MatrixSource): MatrixSource {
  if (!ArrayBuffer.isView(matrix)) return matrix;
  return {
    array: matrix,
    length: matrix.length,
    element: matrix instanceof Float32Array ? 4 : 8,
    read: (into, at) => into.set(matrix.subarray(at, at + into.length)),
  };
}

/** The `length` elements of a matrix in a file. Reading throws an Error where the file ends before. */
export function fileSource({ descriptor, offset, type }: MatrixFile, length: number): MatrixSource {
  const element = type === 'float64' ? 8 : 4;
  const load = (into: ArrayBufferView, from: number): void => {
    const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
    for (let done = 0; done < bytes.length; ) {
      // One read takes at most 2^31 - 1 bytes.
      const count = readSync(descriptor, bytes, done, Math.min(bytes.length - done, 2 ** 30), from + done);
      if (count === 0) throw new Error(`the file of a matrix ends at byte ${from + done}`);
      done += count;
    }
  };
  if (type === 'float32' || type === 'float64') {
    return { length, element, read: (into, at) => load(into, offset + at * element) };
  }
  const widen = type === 'float16' ? float16ToFloat32 : bfloat16ToFloat32;
  const part = new Uint16Array(Math.min(length, WIDENED));
  const read = (into: Float32Array | Float64Array, at: number): void => {
    for (let done = 0; done < into.length; done += part.length) {
      const bits = part.subarray(0, Math.min(part.length, into.length - done));
      load(bits, offset + 2 * (at + done));
      into.set(widen(bits), done);
    }
  };
  return { length, element, read };
}

/** All elements; of a file, read for the occasion. */
export function arrayOf({ array, length, element, read }: MatrixSource): Float32Array | Float64Array {
  if (array !== undefined) return array;
  const all = element === 4 ? new Float32Array(length) : new Float64Array(length);
  read(all, 0);
  return all;
}
