import { deflateSync } from 'node:zlib';
import { crc32 } from '../../runtime/io/zip.js';
import type { Picture } from '../../study/study.js';

/** Colours from near to far, of equal steps in lightness (after matplotlib's viridis). */
const ANCHORS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
] as const;

/** 256 colours, three bytes each. */
const PALETTE = Uint8Array.from({ length: 3 * 256 }, (_, at) => {
  const place = (Math.floor(at / 3) / 255) * (ANCHORS.length - 1);
  const low = Math.min(ANCHORS.length - 2, Math.floor(place));
  const [from, to] = [ANCHORS[low]?.[at % 3] ?? 0, ANCHORS[low + 1]?.[at % 3] ?? 0];
  return Math.round(from + (to - from) * (place - low));
});

/** The colour of a share from 0 to 1, as CSS has it. */
export function shade(share: number): string {
  const at = 3 * Math.round(255 * Math.max(0, Math.min(1, share)));
  return `#${[...PALETTE.subarray(at, at + 3)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** A picture as PNG (ISO/IEC 15948), of 256 colours. */
export function pngOf({ size, bytes }: Picture): Buffer {
  const pixels = Buffer.from(bytes, 'base64');
  const rows = Buffer.alloc(size * (size + 1));
  for (let row = 0; row < size; row += 1)
    pixels.copy(rows, row * (size + 1) + 1, row * size, (row + 1) * size);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  // 8 bits a pixel, indices into the palette.
  header.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('PLTE', Buffer.from(PALETTE)),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body) >>> 0);
  return Buffer.concat([length, body, sum]);
}
