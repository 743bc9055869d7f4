import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Blocks, PROBES, probe } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/random.js';

function blocksOf(data: Float32Array | Float64Array, count: number, rows: number, columns: number): Blocks {
  const element = data instanceof Float32Array ? 4 : 8;
  const read: Blocks['read'] = (into, row) =>
    into.set(data.subarray(row * columns, row * columns + into.length));
  return { count, rows, columns, element, read };
}

describe('products of a block-diagonal matrix with vectors', () => {
  const sizes = fc.record({
    count: fc.integer({ min: 1, max: 4 }),
    rows: fc.integer({ min: 1, max: 9 }),
    columns: fc.integer({ min: 1, max: 9 }),
    groups: fc.integer({ min: 1, max: 3 }),
    isDouble: fc.boolean(),
    seed: fc.nat(1e6),
  });

  test('are those of loops', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ count, rows, columns, groups, isDouble, seed }) => {
        const random = new Random(seed);
        const size = count * rows * columns;
        const data = random.fillNormal(isDouble ? new Float64Array(size) : new Float32Array(size));
        const [height, width] = [count * rows, count * columns];
        const x = random.fillNormal(new Float64Array(PROBES * groups * width));
        const y = random.fillNormal(new Float64Array(PROBES * height));
        const wanted = {
          ax: new Float64Array(PROBES * groups * height),
          aty: new Float64Array(PROBES * width),
          rows: new Float64Array(height),
          columns: new Float64Array(width),
        };
        for (let i = 0; i < height; i += 1) {
          for (let j = 0; j < columns; j += 1) {
            const value = data[i * columns + j]!;
            const column = Math.floor(i / rows) * columns + j;
            wanted.rows[i]! += value ** 2;
            wanted.columns[column]! += value ** 2;
            for (let p = 0; p < PROBES * groups; p += 1)
              wanted.ax[p * height + i]! += value * x[p * width + column]!;
            for (let p = 0; p < PROBES; p += 1) wanted.aty[p * width + column]! += value * y[p * height + i]!;
          }
        }
        const { ax, aty, squares } = await probe(blocksOf(data, count, rows, columns), {
          x,
          y,
          hasSquares: true,
        });
        const near = (a: Float64Array, b: Float64Array): void => {
          expect(a).toHaveLength(b.length);
          for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i]!, 12);
        };
        near(ax, wanted.ax);
        near(aty, wanted.aty);
        near(squares.rows, wanted.rows);
        near(squares.columns, wanted.columns);
        expect(squares.largest).toBe(Math.max(...data.map(Math.abs)));
      }),
      { numRuns: 100 },
    );
  });

  test('of a matrix that is read in several parts', async () => {
    const [rows, columns] = [301, 1001];
    const data = new Random(1).fillNormal(new Float32Array(rows * columns));
    const x = new Float64Array(PROBES * columns).fill(1);
    const { ax } = await probe(blocksOf(data, 1, rows, columns), { x });
    for (const i of [0, 129, 130, 300])
      expect(ax[2 * rows + i]).toBeCloseTo(
        data.subarray(i * columns, (i + 1) * columns).reduce((sum, value) => sum + value, 0),
        9,
      );
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('tell of %d anywhere', async (value) => {
    for (const at of [0, 3, 4, 14]) {
      const data = new Float32Array(15).fill(1);
      data[at] = value;
      const { squares } = await probe(blocksOf(data, 1, 3, 5), { hasSquares: true });
      expect(Number.isFinite(squares.largest)).toBe(false);
    }
  });
});
