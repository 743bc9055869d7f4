import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { DEFAULT_MEMORY_LIMIT, setMemoryLimit } from '../../../src/graph/limits/memory-limit.js';
import { readImage, resizePixels } from '../../../src/runtime/io/image.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

interface Case {
  readonly name: string;
  readonly base64: string;
  readonly size: readonly [number, number];
  readonly channels: number;
  readonly rgb: string;
  readonly grey: string;
  readonly resized: readonly { readonly size: readonly [number, number]; readonly rgb: string }[];
}
const { cases } = JSON.parse(readFileSync('test/runtime/io/pillow-reference.json', 'utf8')) as {
  cases: readonly Case[];
};
const directory = scratchDirectory('onnx-overparam-images');

function difference(data: Uint8Array, base64: string): { most: number; mean: number } {
  const expected = Buffer.from(base64, 'base64');
  expect(data.length).toBe(expected.length);
  const all = Array.from(data, (value, index) => Math.abs(value - (expected[index] as number)));
  return { most: Math.max(...all), mean: all.reduce((sum, value) => sum + value, 0) / all.length };
}

describe('as Pillow has it', () => {
  test.each(cases)('$name', async ({ base64, size: [width, height], channels, rgb, grey, resized }) => {
    const bytes = Buffer.from(base64, 'base64');
    const natural = await readImage(bytes);
    expect([natural.width, natural.height, natural.channels]).toEqual([width, height, channels]);
    expect(difference((await readImage(bytes, { channels: 3 })).data, rgb).most).toBe(0);
    expect(difference((await readImage(bytes, { channels: 1 })).data, grey).most).toBeLessThanOrEqual(1);
    for (const { size, rgb: expected } of resized) {
      const options = { width: size[0], height: size[1], channels: 3, fit: 'fill' } as const;
      const { most, mean } = difference((await readImage(bytes, options)).data, expected);
      // Pillow and libvips filter a little differently where an image gets smaller.
      if (size[0] > width) expect(most).toBeLessThanOrEqual(1);
      expect(mean).toBeLessThan(2);
    }
  });
});

/** Left half red, right half blue, and a white top line. */
async function flag(width: number, height: number): Promise<Buffer> {
  const data = Buffer.alloc(width * height * 3);
  for (let at = 0; at < width * height; at += 1) {
    const [row, column] = [Math.floor(at / width), at % width];
    data.set(row === 0 ? [255, 255, 255] : column < width / 2 ? [255, 0, 0] : [0, 0, 255], 3 * at);
  }
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

const pixel = (data: Uint8Array, width: number, row: number, column: number): number[] => [
  ...data.subarray(3 * (row * width + column), 3 * (row * width + column) + 3),
];

describe('fits', () => {
  test.each([
    // Cut at the sides, the same on both.
    [
      'cover',
      40,
      20,
      10,
      10,
      [
        [9, 0, 'red'],
        [9, 9, 'blue'],
      ],
    ],
    [
      'cover',
      8,
      4,
      20,
      20,
      [
        [19, 0, 'red'],
        [19, 19, 'blue'],
      ],
    ],
    [
      'contain',
      40,
      20,
      10,
      10,
      [
        [0, 0, 'black'],
        [1, 9, 'black'],
        [5, 0, 'red'],
        [5, 9, 'blue'],
        [9, 5, 'black'],
      ],
    ],
    [
      'contain',
      8,
      4,
      20,
      20,
      [
        [0, 0, 'black'],
        [4, 9, 'black'],
        [12, 0, 'red'],
        [12, 19, 'blue'],
        [16, 5, 'black'],
      ],
    ],
    [
      'fill',
      40,
      20,
      10,
      10,
      [
        [9, 0, 'red'],
        [9, 9, 'blue'],
      ],
    ],
    // One way smaller, the other way larger.
    [
      'fill',
      40,
      4,
      10,
      20,
      [
        [19, 0, 'red'],
        [19, 9, 'blue'],
      ],
    ],
  ] as const)('%s: %d x %d to %d x %d', async (fit, width, height, toWidth, toHeight, expected) => {
    const image = await readImage(await flag(width, height), { width: toWidth, height: toHeight, fit });
    expect([image.width, image.height, image.channels, image.data.length]).toEqual([
      toWidth,
      toHeight,
      3,
      toWidth * toHeight * 3,
    ]);
    const colours = { red: [255, 0, 0], blue: [0, 0, 255], black: [0, 0, 0] };
    for (const [row, column, colour] of expected) {
      expect(pixel(image.data, toWidth, row, column), `${row} ${column}`).toEqual(colours[colour]);
    }
  });

  test('cover cuts as much on the left as on the right', async () => {
    const { data } = await readImage(await flag(60, 20), { width: 20, height: 20 });
    expect(pixel(data, 20, 10, 8)).toEqual([255, 0, 0]);
    expect(pixel(data, 20, 10, 11)).toEqual([0, 0, 255]);
  });
});

test('pixels in memory are resized as those of a file', async () => {
  const bytes = await flag(30, 20);
  const whole = await readImage(bytes);
  for (const [width, height] of [
    [15, 10],
    [60, 40],
    [20, 20],
    [40, 10],
  ] as const) {
    expect(await resizePixels(whole, { width, height })).toEqual(await readImage(bytes, { width, height }));
  }
  const grey = await readImage(bytes, { channels: 1 });
  const larger = await resizePixels(grey, { width: 60, height: 40 });
  expect([larger.channels, larger.data.length]).toEqual([1, 2400]);
  expect((await resizePixels(grey, { width: 15, height: 10 })).data.length).toBe(150);
});

test('a photograph is turned upright, transparency is left out, 16 bits become 8', async () => {
  const plain = await flag(6, 4);
  const turned = await sharp(plain)
    .withMetadata({ orientation: 6 })
    .jpeg({ quality: 100, chromaSubsampling: '4:4:4' })
    .toBuffer();
  const upright = await readImage(turned);
  expect([upright.width, upright.height]).toEqual([4, 6]);
  // The white line is on the right then.
  expect(pixel(upright.data, 4, 3, 3).every((value) => value > 200)).toBe(true);
  const clear = await sharp(plain).ensureAlpha(0.5).png().toBuffer();
  expect((await readImage(clear)).data).toEqual((await readImage(plain)).data);
  const deep = await sharp(Uint16Array.of(0, 257 * 7, 65535, 257 * 100), {
    raw: { width: 2, height: 2, channels: 1 },
  })
    .toColourspace('grey16')
    .png()
    .toBuffer();
  expect(await readImage(deep)).toMatchObject({ channels: 1, data: Uint8Array.of(0, 7, 255, 100) });
});

test('says what is wrong, and where', async () => {
  const path = join(directory, 'x.jpg');
  await expect(readImage(path)).rejects.toThrow(`${path}: no such file`);
  writeFileSync(path, 'text');
  await expect(readImage(path)).rejects.toThrow(/x.jpg: is not an image that can be read/);
  const noise = Buffer.from(Array.from({ length: 12_288 }, (_, at) => (at * at) % 251));
  const whole = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
    .jpeg()
    .toBuffer();
  // In its head, which misses a marker, and in its pixels.
  for (const length of [300, whole.length / 2]) {
    writeFileSync(path, whole.subarray(0, length));
    await expect(readImage(path)).rejects.toThrow(/x.jpg: the image is damaged/);
  }
});

test('a vector image called .png is no image: a few bytes of it would fill the memory', async () => {
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="16000" height="16000"/>';
  await expect(readImage(new TextEncoder().encode(svg))).rejects.toThrow(/is not an image that can be read/);
});

test('an image of more pixels than the memory limit has room for is refused by its head', async () => {
  const png = await sharp({ create: { width: 600, height: 500, channels: 3, background: '#000' } })
    .png()
    .toBuffer();
  setMemoryLimit(1_000_000);
  try {
    await expect(readImage(png)).rejects.toThrow(
      /^an image of 600 x 500 pixels would take 2 MiB of memory, more than the limit of 1 MiB/,
    );
  } finally {
    setMemoryLimit(DEFAULT_MEMORY_LIMIT);
  }
});
