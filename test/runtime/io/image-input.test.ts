import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import type { DataType, Dimension } from '../../../src/graph/index.js';
import { imageTensor } from '../../../src/runtime/io/image-input.js';
import { NORMALIZATIONS } from '../../../src/runtime/io/pixels.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('onnx-overparam-image-input');
const path = (name: string): string => join(directory, name);
const bytes = Uint8Array.from({ length: 4 * 6 * 3 }, (_, index) => (index * 13) % 256);

beforeAll(async () => {
  const image = sharp(bytes, { raw: { width: 6, height: 4, channels: 3 } });
  writeFileSync(path('a.png'), await image.png().toBuffer());
  writeFileSync(path('b.png'), await image.clone().negate().png().toBuffer());
  writeFileSync(
    path('other.png'),
    await sharp(bytes, { raw: { width: 4, height: 6, channels: 3 } })
      .png()
      .toBuffer(),
  );
});

const input = (shape: readonly Dimension[], type: DataType = 'float32') => ({ name: 'x', type, shape });
const value = (row: number, column: number, channel: number): number =>
  bytes[(row * 6 + column) * 3 + channel] as number;

describe('the shape of an input', () => {
  test.each([
    [[1, 3, 4, 6], undefined, [1, 3, 4, 6]],
    [['N', 3, 'H', 'W'], undefined, [1, 3, 4, 6]],
    [['N', undefined, undefined, 3], undefined, [1, 4, 6, 3]],
    [[undefined, undefined, undefined, undefined], 'hwc', [1, 4, 6, 3]],
    [[3, 4, 6], undefined, [3, 4, 6]],
    [[4, 6, 3], undefined, [4, 6, 3]],
    [['N', 4, 6], undefined, [1, 4, 6]],
    [[4, 6], undefined, [4, 6]],
    [['N', 24], undefined, [1, 24]],
    [[1, 72], undefined, [1, 72]],
    [[1, 1, 8, 9], undefined, [1, 1, 8, 9]],
  ] as const)('%j, layout %s', async (shape, layout, expected) => {
    const tensor = await imageTensor([path('a.png')], input(shape), { layout, scale: 1 });
    expect(tensor.shape).toEqual(expected);
    expect(tensor.data.length).toBe(expected.reduce<number>((a, b) => a * b, 1));
    if (expected.length === 4 && expected[1] === 3) expect(tensor.data[24 + 2 * 6 + 5]).toBe(value(2, 5, 1));
    if (expected.at(-1) === 3) expect(tensor.data[(2 * 6 + 5) * 3 + 1]).toBe(value(2, 5, 1));
  });

  test.each([
    [[1, 4, 4, 6], /takes no image: it is float32\[1, 4, 4, 6\]/],
    [['N', 10], /takes no image/],
    [[1], /takes no image/],
    [[2, 3, 4, 6], /takes 2 at a time: .* but there are 1 images/],
  ] as const)('%j is refused', async (shape, message) => {
    await expect(imageTensor([path('a.png')], input(shape))).rejects.toThrow(message);
  });
});

test('a batch, normalized as torchvision does', async () => {
  const { mean, std } = NORMALIZATIONS.imagenet;
  const tensor = await imageTensor([path('a.png'), path('b.png')], input(['N', 3, 4, 6]), { mean, std });
  expect(tensor.shape).toEqual([2, 3, 4, 6]);
  for (const [image, row, column, channel] of [
    [0, 0, 0, 0],
    [0, 3, 5, 2],
    [1, 2, 4, 1],
  ] as const) {
    const byte = image === 0 ? value(row, column, channel) : 255 - value(row, column, channel);
    const expected = (byte / 255 - mean[channel]) / std[channel];
    expect(tensor.data[((image * 3 + channel) * 4 + row) * 6 + column]).toBe(Math.fround(expected));
  }
});

test('integers get the bytes, half precision is rounded once', async () => {
  const whole = await imageTensor([path('a.png')], input([1, 4, 6, 3], 'uint8'));
  expect(whole).toEqual({ type: 'uint8', shape: [1, 4, 6, 3], data: bytes });
  const half = await imageTensor([path('a.png')], input([1, 3, 4, 6], 'float16'), { scale: 1 });
  // 13 in half precision: 1.101 x 2^3.
  expect([half.type, half.data[0], half.data[24]]).toEqual(['float16', 0, 0x4a80]);
  await expect(imageTensor([path('a.png')], input([1, 4, 6, 3], 'uint8'), { mean: 0.5 })).rejects.toThrow(
    /takes the bytes of an image as they are/,
  );
});

test('images of several sizes fit an input that says its size, and no other', async () => {
  const files = [path('a.png'), path('other.png')];
  expect((await imageTensor(files, input(['N', 3, 5, 5]))).shape).toEqual([2, 3, 5, 5]);
  await expect(imageTensor(files, input(['N', 3, 'H', 'W']))).rejects.toThrow(
    /other.png: is 4 x 6 pixels, but the first image is 6 x 4/,
  );
  await expect(imageTensor(files, input([3, 5, 5]))).rejects.toThrow(/takes 1 at a time/);
});
