import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matmul } from '../../src/linalg/index.js';
import { semiOrthogonal } from '../../src/linalg/orthogonal.js';
import { Random } from '../../src/runtime/index.js';
import { collageSamples } from '../../src/study/simplicity/collage.js';
import { areaUnderCurve, randomized } from '../../src/study/simplicity/randomized.js';
import {
  COORDINATES,
  type Coordinate,
  drawCoordinate,
  SLAB_DATA,
  slabSamples,
} from '../../src/study/simplicity/slabs.js';
import { scratchDirectory } from '../support/scratch-directory.js';

/** Slabs of each class by their ends, on the side of positive values, and how often values lie in them. */
const SLABS: Readonly<
  Record<Coordinate, readonly [label: 0 | 1, low: number, high: number, share: number][]>
> = {
  linear: [[1, 0.1, 1, 1]],
  'noisy-linear': [
    [1, 0, 0.1, 0.1],
    [1, 0.1, 1, 0.9],
  ],
  'slabs-5': [
    [0, 0, 0.12, 0.75],
    [1, 0.32, 0.56, 1],
    [0, 0.76, 1, 0.25],
  ],
  'slabs-7': [
    [0, 0, 0.4 / 7, 0.5],
    [1, 0.2 + 0.4 / 7, 0.2 + 1.2 / 7, 7 / 8],
    [0, 0.4 + 1.2 / 7, 0.4 + 2 / 7, 0.5],
    [1, 0.6 + 2 / 7, 1, 1 / 8],
  ],
};

describe('coordinates lie in the slabs of their class, as often as the paper has them', () => {
  test.each(COORDINATES)('%s', (kind) => {
    const random = new Random(0, kind);
    const count = 4000;
    for (const label of [0, 1] as const) {
      const values = Array.from({ length: count }, () => drawCoordinate(kind, label, random));
      const isLinear = kind.endsWith('linear');
      if (kind === 'linear') expect(values.every((value) => value > 0 === (label === 1))).toBe(true);
      const slabs = SLABS[kind].filter(([of]) => isLinear || of === label);
      let inside = 0;
      for (const [, low, high, share] of slabs) {
        const found = values.filter((value) => Math.abs(value) >= low && Math.abs(value) <= high).length;
        inside += found;
        expect(Math.abs(found / count - share), `${label}: ${low} to ${high}`).toBeLessThan(0.03);
      }
      expect(inside).toBe(count);
      // The two classes are 2 m apart.
      if (!isLinear) {
        const ends = SLABS[kind].map(([, low, high]) => [low, high] as const);
        for (const [i, [low]] of ends.slice(1).entries()) expect(low - ends[i]![1]).toBeCloseTo(0.2, 12);
      }
      if (!isLinear)
        expect(Math.abs(values.filter((value) => value > 0).length / count - 0.5)).toBeLessThan(0.03);
    }
  });
});

test('samples are their coordinates behind one rotation, which a seed decides', async () => {
  for (const name of Object.keys(SLAB_DATA) as (keyof typeof SLAB_DATA)[]) {
    const options = { samples: 30, tests: 20, seed: 3, width: 6 };
    const { train, test: tests } = await slabSamples(name, options);
    const inputs = await tests.inputs(tests.blocks);
    const rotation = await semiOrthogonal(6, 6, true, new Random(3, 'rotation'));
    const back = await matmul({ rows: 20, columns: 6, data: Float64Array.from(inputs) }, rotation);
    for (const [i, value] of back.data.entries()) expect(value).toBeCloseTo(tests.blocks[i]!, 5);
    const again = await slabSamples(name, options);
    expect(again.train).toEqual(train);
    const other = await slabSamples(name, { ...options, seed: 4 });
    expect(other.train.inputs.data).not.toEqual(train.inputs.data);
  }
});

test('a randomized block keeps its marginals and its rows, and the other block stays', () => {
  fc.assert(
    fc.property(
      fc.record({
        count: fc.integer({ min: 1, max: 30 }),
        width: fc.integer({ min: 1, max: 5 }),
        seed: fc.nat(),
      }),
      fc.boolean(),
      ({ count, width, seed }, isSimple) => {
        const random = new Random(seed, 'samples');
        const blocks = random.fillNormal(new Float32Array(count * width));
        const split = random.integer(width + 1);
        const samples = {
          blocks,
          width,
          isSimple: (column: number) => column < split,
          labels: Uint8Array.from({ length: count }, () => random.integer(2)),
          inputs: async (given: Float32Array) => given,
        };
        const made = randomized(samples, isSimple ? 'simple' : 'complex', random);
        const part = (of: Float32Array, simple: boolean) =>
          Array.from({ length: count }, (_, i) =>
            [...of.subarray(i * width, (i + 1) * width)]
              .filter((_v, column) => column < split === simple)
              .join(),
          );
        expect(part(made, isSimple).sort()).toEqual(part(blocks, isSimple).sort());
        expect(part(made, !isSimple)).toEqual(part(blocks, !isSimple));
      },
    ),
  );
});

describe('the area under the ROC curve', () => {
  test('is the share of pairs in the right order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 6 }), fc.boolean()), { minLength: 2, maxLength: 30 }),
        (pairs) => {
          const scores = pairs.map(([score]) => score);
          const labels = pairs.map(([, label]) => Number(label));
          let [right, all] = [0, 0];
          for (const [i, a] of labels.entries())
            for (const [j, b] of labels.entries()) {
              if (a !== 1 || b !== 0) continue;
              all += 1;
              right += scores[i]! > scores[j]! ? 1 : scores[i] === scores[j] ? 0.5 : 0;
            }
          const found = areaUnderCurve(scores, labels);
          if (all === 0) expect(found).toBeNaN();
          else expect(found).toBeCloseTo(right / all, 12);
        },
      ),
    );
  });

  test('is what scikit-learn 1.7 has', () => {
    // roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    expect(areaUnderCurve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])).toBe(0.75);
  });

  test('of a simple block that was randomized is a half, of the others 1, for a score that reads it alone', async () => {
    const { test: tests } = await slabSamples('lms-5', { samples: 2, tests: 4000, seed: 0 });
    const first = (blocks: Float32Array) => blocks.filter((_, at) => at % 50 === 0);
    expect(areaUnderCurve(first(tests.blocks), tests.labels)).toBe(1);
    const random = new Random(0, 'order');
    const found = areaUnderCurve(first(randomized(tests, 'simple', random)), tests.labels);
    expect(Math.abs(found - 0.5)).toBeLessThan(0.03);
    expect(areaUnderCurve(first(randomized(tests, 'complex', random)), tests.labels)).toBe(1);
  });
});

const directory = scratchDirectory('simplicity');

/** A folder of IDX images whose pixels all are their class, and whose class i is `labels[i]`. */
function idx(name: string, labels: readonly number[], side: number): string {
  const folder = join(directory, name);
  mkdirSync(folder, { recursive: true });
  const head = (magic: number, dims: readonly number[]) => {
    const bytes = Buffer.alloc(4 + 4 * dims.length);
    bytes.writeUInt32BE(magic, 0);
    for (const [i, dim] of dims.entries()) bytes.writeUInt32BE(dim, 4 + 4 * i);
    return bytes;
  };
  for (const part of ['train', 't10k']) {
    const pixels = Buffer.from(labels.flatMap((label) => new Array<number>(side * side).fill(label * 25)));
    writeFileSync(
      join(folder, `${part}-images-idx3-ubyte`),
      Buffer.concat([head(0x803, [labels.length, side, side]), pixels]),
    );
    writeFileSync(
      join(folder, `${part}-labels-idx1-ubyte`),
      Buffer.concat([head(0x801, [labels.length]), Buffer.from(labels)]),
    );
  }
  return folder;
}

test('a collage has images of the class of its label in both blocks', async () => {
  const simple = idx('simple', [0, 1, 0, 1, 1, 5, 0], 3);
  const complex = idx('complex', [2, 2, 2, 4, 4, 1, 4], 2);
  const {
    train,
    test: tests,
    width,
  } = await collageSamples({ simple, complex, samples: 4, tests: 100, seed: 0 });
  expect(width).toBe(13);
  expect(train.inputs.shape).toEqual([4, 13]);
  expect(tests.labels).toHaveLength(6);
  for (const [i, label] of tests.labels.entries()) {
    const row = tests.blocks.subarray(13 * i, 13 * i + 13);
    const colour = (value: number) => Math.fround((25 * value) / 255);
    expect([...row]).toEqual([
      ...new Array(9).fill(colour(label)),
      ...new Array(4).fill(colour(label === 0 ? 2 : 4)),
    ]);
  }
  expect([0, 8, 9].map((column) => tests.isSimple(column))).toEqual([true, true, false]);
  await expect(
    collageSamples({ simple, complex, complexClasses: [2, 9], samples: 4, tests: 4, seed: 0 }),
  ).rejects.toThrow('has no images of class 9');
});
