import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

/** An IDX file of bytes: 00 00, type 8, the number of dimensions, the dimensions, the elements. */
export function idx(shape: readonly number[], data: Uint8Array, type = 8): Buffer {
  const head = Buffer.alloc(4 + 4 * shape.length);
  head.set([0, 0, type, shape.length]);
  for (const [axis, dim] of shape.entries()) head.writeUInt32BE(dim, 4 + 4 * axis);
  return Buffer.concat([head, data]);
}

/** Bytes that differ from place to place. */
export function pattern(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 37 + (index >> 3) * 11 + seed * 101) % 256);
}

export function write(path: string, bytes: Uint8Array | string, packed = false): string {
  const file = packed ? `${path}.gz` : path;
  writeFileSync(file, packed ? gzipSync(bytes) : bytes);
  return file;
}
