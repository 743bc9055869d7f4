import fc from 'fast-check';
import { expect, test } from 'vitest';
import { smallSvd } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/index.js';
import { thresholded } from '../../../src/training/low-rank/singular-threshold.js';

const shapes = fc.record({
  rows: fc.integer({ min: 2, max: 9 }),
  columns: fc.integer({ min: 2, max: 9 }),
  seed: fc.nat(1000),
  v: fc.double({ min: -5, max: 2, noNaN: true }),
});

function drawn(rows: number, columns: number, seed: number, key: string): Float64Array {
  return new Random(seed, key).fillNormal(new Float64Array(rows * columns));
}

test('singular values fall by the threshold, and those below it vanish', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, async ({ rows, columns, seed, v }) => {
      const data = drawn(rows, columns, seed, 'matrix');
      const { values } = smallSvd(data, rows, columns);
      const made = await thresholded({ rows, columns, data }, v);
      expect(made.threshold).toBeCloseTo(values[0]! / (1 + Math.exp(-v)), 8);
      const after = smallSvd(made.matrix.data, rows, columns).values;
      for (const [i, value] of values.entries())
        expect(after[i]).toBeCloseTo(Math.max(0, value - made.threshold), 6);
      expect(made.rank).toBe(values.filter((value) => value > made.threshold).length);
    }),
    { numRuns: 30 },
  );
});

test('the derivative by v is that of finite differences', async () => {
  await fc.assert(
    fc.asyncProperty(shapes, async ({ rows, columns, seed, v }) => {
      const data = drawn(rows, columns, seed, 'matrix');
      const gradient = drawn(rows, columns, seed, 'gradient');
      const value = async (at: number) => {
        const { matrix } = await thresholded({ rows, columns, data }, at);
        return gradient.reduce((sum, g, i) => sum + g * matrix.data[i]!, 0);
      };
      const h = 1e-5;
      const [before, here, after] = [v - h, v, v + h].map((at) => thresholded({ rows, columns, data }, at));
      // Where a singular value vanishes in between, there is no derivative.
      if ((await before!).rank !== (await after!).rank) return;
      const found = (await here!).slope(gradient);
      const expected = ((await value(v + h)) - (await value(v - h))) / (2 * h);
      expect(Math.abs(found - expected)).toBeLessThan(1e-6 * Math.max(1, Math.abs(expected)));
    }),
    { numRuns: 40 },
  );
});
