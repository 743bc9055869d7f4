import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  orderedBatches,
  shuffledBatches,
  shuffledOrder,
  splitDataset,
  tensorDataset,
} from '../../../src/training/data/index.js';
import type { Batch, Dataset } from '../../../src/training/types.js';
import { pattern } from './files.js';

/** Sample i has the value i. */
function counting(size: number): Dataset {
  return tensorDataset({
    x: { type: 'float32', shape: [size, 1], data: Float32Array.from({ length: size }, (_, i) => i) },
    y: { type: 'int64', shape: [size], data: BigInt64Array.from({ length: size }, (_, i) => BigInt(i)) },
  });
}

async function valuesOf(batches: AsyncIterable<Batch>): Promise<number[][]> {
  const all: number[][] = [];
  for await (const { inputs } of batches) all.push(Array.from(inputs.x?.data as Float32Array));
  return all;
}

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

describe('batches', () => {
  test('an epoch has each sample once; its order depends on the seed and the epoch alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 0, max: 4 }),
        async (size, batch, seed, prefetch) => {
          const data = counting(size);
          const epoch = await valuesOf(shuffledBatches(data, { batch, seed, epoch: 2, prefetch }));
          expect(sorted(epoch.flat())).toEqual(Array.from({ length: size }, (_, i) => i));
          expect(
            epoch
              .map(({ length }) => length)
              .slice(0, -1)
              .every((length) => length === batch),
          ).toBe(true);
          expect(epoch.flat()).toEqual(Array.from(shuffledOrder(size, seed, 2)));
          const again = await valuesOf(shuffledBatches(counting(size), { batch: batch + 1, seed, epoch: 2 }));
          expect(again.flat()).toEqual(epoch.flat());
          const rest = await valuesOf(shuffledBatches(data, { batch, seed, epoch: 2, start: 1 }));
          expect(rest).toEqual(epoch.slice(1));
        },
      ),
      { seed: 1, numRuns: 60 },
    );
    expect(shuffledOrder(50, 0, 0)).not.toEqual(shuffledOrder(50, 0, 1));
    expect(shuffledOrder(50, 0, 0)).not.toEqual(shuffledOrder(50, 1, 0));
  });

  test('the order of an epoch is the same everywhere', () => {
    expect(Array.from(shuffledOrder(10, 0, 0))).toMatchInlineSnapshot(`
      [
        4,
        0,
        3,
        5,
        6,
        1,
        9,
        7,
        8,
        2,
      ]
    `);
  });

  test('every order is as likely as any other', () => {
    const counts = new Map<string, number>();
    for (let seed = 0; seed < 2400; seed += 1) {
      const order = shuffledOrder(4, seed, 0).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    // Chi-squared with 23 degrees of freedom: above 49.7 once in 1000.
    expect(counts.size).toBe(24);
    expect([...counts.values()].reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0)).toBeLessThan(49.7);
  });

  test('the last, smaller batch can be left out', async () => {
    const data = counting(10);
    expect((await valuesOf(orderedBatches(data, { batch: 4 }))).map(({ length }) => length)).toEqual([
      4, 4, 2,
    ]);
    expect(await valuesOf(orderedBatches(data, { batch: 4, dropLast: true }))).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
    await expect(valuesOf(orderedBatches(data, { batch: 11, dropLast: true }))).rejects.toThrow(
      /a batch of 11 is more than the 10 samples/,
    );
  });

  test('no more is made ahead than asked for, and an error comes in its turn', async () => {
    let [made, used] = [0, 0];
    const data = counting(20);
    const watched: Dataset = {
      ...data,
      inputs: data.inputs,
      target: data.target,
      size: 20,
      batch: async (indices) => {
        made += 1;
        expect(made - used).toBeLessThanOrEqual(4);
        if (indices[0] === 14) throw new Error('broken');
        return await data.batch(indices);
      },
      [Symbol.asyncDispose]: async () => undefined,
    };
    const run = async (): Promise<void> => {
      for await (const _ of orderedBatches(watched, { batch: 2, prefetch: 3 })) used += 1;
    };
    await expect(run()).rejects.toThrow('broken');
    expect(used).toBe(7);
  });
});

describe('parts', () => {
  test('are disjoint, cover the whole and depend on the seed alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 50 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer({ min: 0, max: 9 }),
        async (size, fraction, seed) => {
          const [first, second] = splitDataset(counting(size), fraction, seed);
          const [a, b] = await Promise.all(
            [first, second].map(async (data) => (await valuesOf(orderedBatches(data, { batch: 7 }))).flat()),
          );
          expect(sorted([...(a ?? []), ...(b ?? [])])).toEqual(Array.from({ length: size }, (_, i) => i));
          expect(Math.abs(second.size - size * fraction)).toBeLessThanOrEqual(1);
          const [again] = splitDataset(counting(size), fraction, seed);
          expect((await valuesOf(orderedBatches(again, { batch: 7 }))).flat()).toEqual(a);
        },
      ),
      { seed: 2, numRuns: 40 },
    );
  });

  test('a limit takes samples from everywhere', async () => {
    const size = 10;
    const x = {
      type: 'float32',
      shape: [size, 1],
      data: Float32Array.from({ length: size }, (_, i) => i),
    } as const;
    const data = tensorDataset({ x }, { limit: 4 });
    expect(await valuesOf(orderedBatches(data, { batch: 9 }))).toEqual([[0, 2, 5, 7]]);
    await expect(data.batch([4])).rejects.toThrow(RangeError);
    expect(tensorDataset({ x }, { limit: 99 }).size).toBe(10);
  });
});

describe('augmentation', () => {
  const images = (count: number): Parameters<typeof tensorDataset>[0] => ({
    image: { type: 'uint8', shape: [count, 2, 5, 6], data: pattern(count * 60) },
  });
  const layout = 'chw' as const;

  test('does not depend on the batch, and changes with the seed and the epoch', async () => {
    const data = tensorDataset(images(12), { layout, augment: { crop: 2, flip: true, shift: 1 } });
    const of = async (indices: readonly number[], seed: number, epoch: number) =>
      (await data.batch(indices, { augment: true, seed, epoch })).inputs.image?.data as Float32Array;
    const all = await of([...Array(12).keys()], 3, 1);
    for (const index of [0, 5, 11]) {
      expect(await of([index], 3, 1)).toEqual(all.subarray(index * 60, (index + 1) * 60));
    }
    expect(await of([...Array(12).keys()], 3, 2)).not.toEqual(all);
    expect(await of([...Array(12).keys()], 4, 1)).not.toEqual(all);
    const [, part] = splitDataset(data, 0.5, 0);
    const own = (await part.batch([0])).inputs.image?.data as Float32Array;
    const plain = (await data.batch([...Array(12).keys()])).inputs.image?.data as Float32Array;
    const index =
      [...Array(12).keys()].find((at) => plain[at * 60] === own[0] && plain[at * 60 + 1] === own[1]) ?? -1;
    const augmented = await part.batch([0], { augment: true, seed: 3, epoch: 1 });
    expect(augmented.inputs.image?.data).toEqual(all.subarray(index * 60, (index + 1) * 60));
  });

  test('without it, samples are as they are', async () => {
    const plain = await tensorDataset(images(3), { layout }).batch([0, 2]);
    const other = await tensorDataset(images(3), { layout, augment: { crop: 3, flip: true } }).batch([0, 2]);
    expect(other).toEqual(plain);
  });

  test('an image is moved and mirrored as a whole, and black comes in', async () => {
    const data = tensorDataset(images(1), {
      layout,
      augment: { shift: 2, flip: true },
      mean: 0.5,
      std: 0.25,
    });
    const plain = (await data.batch([0])).inputs.image?.data as Float32Array;
    const black = Math.fround(-2);
    const at = (c: number, y: number, x: number): number =>
      y < 0 || y >= 5 || x < 0 || x >= 6 ? black : (plain[(c * 5 + y) * 6 + x] as number);
    const seen = new Set<string>();
    for (let epoch = 0; epoch < 300; epoch += 1) {
      const moved = (await data.batch([0], { augment: true, epoch })).inputs.image?.data as Float32Array;
      const found: string[] = [];
      for (const flip of [false, true]) {
        for (let top = -2; top <= 2; top += 1) {
          for (let left = -2; left <= 2; left += 1) {
            const isIt = moved.every((value, index) => {
              const [c, y, x] = [Math.floor(index / 30), Math.floor((index % 30) / 6), index % 6];
              return value === at(c, y + top, (flip ? 5 - x : x) + left);
            });
            if (isIt) found.push(`${flip} ${top} ${left}`);
          }
        }
      }
      expect(found).toHaveLength(1);
      seen.add(found[0] ?? '');
    }
    // 2 x 5 x 5 ways, each of them likely to come up in 300 draws.
    expect(seen.size).toBeGreaterThan(45);
  });

  test('is for images alone', () => {
    const augment = { flip: true };
    expect(() =>
      tensorDataset({ x: { type: 'float32', shape: [2, 4], data: new Float32Array(8) } }, { augment }),
    ).toThrow(/for images, but a sample is \[4\]/);
    const masks = { ...images(2), y: { type: 'uint8', shape: [2, 5, 6], data: pattern(60) } as const };
    expect(() => tensorDataset(masks, { layout, augment })).toThrow(/but not their targets/);
    expect(() => tensorDataset(images(2), { layout, augment: { crop: -1 } })).toThrow(
      'crop must be an integer ≥ 0 and ≤ 4096, is -1',
    );
  });
});

describe('normalization', () => {
  test('by channel, in either order of an image', async () => {
    const pixels = pattern(2 * 3 * 4 * 3);
    const mean = [0.1, 0.2, 0.3];
    const std = [0.5, 0.6, 0.7];
    const data = tensorDataset(
      { x: { type: 'uint8', shape: [2, 4, 3, 3], data: pixels } },
      { layout: 'hwc', mean, std, inputs: [{ name: 'x', type: 'float32', shape: [3, 4, 3] }] },
    );
    const values = (await data.batch([1])).inputs.x?.data as Float32Array;
    for (let c = 0; c < 3; c += 1) {
      for (let at = 0; at < 12; at += 1) {
        const expected =
          ((pixels[36 + at * 3 + c] as number) / 255 - (mean[c] as number)) / (std[c] as number);
        expect(values[c * 12 + at]).toBe(Math.fround(expected));
      }
    }
  });

  test.each(['float16', 'float64', 'uint8'] as const)('a model that takes %s', async (type) => {
    const inputs = [{ name: 'x', type, shape: [1, 2, 2] }];
    const data = tensorDataset(
      { x: { type: 'uint8', shape: [1, 2, 2], data: Uint8Array.of(0, 51, 102, 255) } },
      { inputs },
    );
    const { x } = (await data.batch([0])).inputs;
    expect(x?.type).toBe(type);
    if (type === 'uint8') expect(x?.data).toEqual(Uint8Array.of(0, 51, 102, 255));
    if (type === 'float64') expect(Array.from(x?.data as Float64Array)).toEqual([0, 0.2, 0.4, 1]);
    // 1 and 0 in half precision.
    if (type === 'float16') expect([x?.data[3], x?.data[0]]).toEqual([0x3c00, 0]);
  });

  test('refuses what does not fit', () => {
    const x = { type: 'uint8', shape: [1, 3, 2, 2], data: new Uint8Array(12) } as const;
    expect(() => tensorDataset({ x }, { mean: [1, 2] })).toThrow(
      /mean has 2 values, but there are 3 channels/,
    );
    expect(() => tensorDataset({ x }, { std: 0 })).toThrow(/std must not be 0/);
    expect(() => tensorDataset({ x }, { scale: 2, inputs: [{ name: 'x', type: 'uint8' }] })).toThrow(
      /takes no scale/,
    );
    expect(() => tensorDataset({ x }, { inputs: [{ name: 'x', shape: [5] }] })).toThrow(
      /do not become \[5\]/,
    );
    expect(() => tensorDataset({ x }, { inputs: [{ name: 'x' }, { name: 'z' }] })).toThrow(
      /which array is the input/,
    );
  });
});
