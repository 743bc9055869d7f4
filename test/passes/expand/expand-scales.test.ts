import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { narrow, Tensor } from '../../../src/graph/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/expand.js';
import { Random } from '../../../src/runtime/random.js';
import { expanded } from '../laws.js';
import { oneLayer, valuesOf } from '../models.js';

/** Largest error of a row or column of the product, from the factors as they are stored, in float64. */
function largestError(
  w: Float64Array,
  rows: number,
  columns: number,
  factors: Float64Array[],
  hidden: number,
): number {
  const [first, last] = factors as [Float64Array, Float64Array];
  const sums = { row: new Float64Array(rows), column: new Float64Array(columns) };
  const whole = { row: new Float64Array(rows), column: new Float64Array(columns) };
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) {
      let product = 0;
      for (let l = 0; l < hidden; l += 1) product += first[i * hidden + l]! * last[l * columns + j]!;
      const value = w[i * columns + j]!;
      for (const [to, what] of [
        [sums, product - value],
        [whole, value],
      ] as const) {
        to.row[i]! += what ** 2;
        to.column[j]! += what ** 2;
      }
    }
  }
  const ratios = (['row', 'column'] as const).flatMap((side) =>
    [...sums[side]].map((sum, i) => (sum === 0 ? 0 : Math.sqrt(sum / whole[side][i]!))),
  );
  return Math.max(...ratios);
}

const SIZES = [
  [6, 9],
  [9, 6],
  [48, 60],
  [70, 40],
] as const;
const LIMIT = { float32: 3e-5, float64: 1e-9 } as const;
const scale = (random: Random, range: number): number => 10 ** (range * (2 * random.uniform() - 1));

/** MatMul: x [2, rows] times w [rows, columns]. */
async function expectKept(
  w: Float64Array,
  [rows, columns]: readonly [number, number],
  type: 'float32' | 'float64',
  options: ExpandOptions,
): Promise<'kept' | 'skipped'> {
  const tensor = Tensor.of('w', type, [rows, columns], narrow(type, w));
  const model = oneLayer({ opType: 'MatMul', x: [2, rows], y: [2, columns], weight: tensor });
  const { model: after, account } = await expanded(model, { ...options, width: 2 });
  const [site] = account.rewritten;
  if (site === undefined) {
    expect(account.skipped[0]?.reason).toMatch(/its factors would be|out of range/);
    return 'skipped';
  }
  expect(site).toMatchObject({ isPreserved: true, error: undefined });
  const factors = [0, 1].map((i) => Float64Array.from(valuesOf(after, `w/overparam/${i}`)));
  const error = largestError(Float64Array.from(tensor.floats()), rows, columns, factors, site.hidden);
  expect(error).toBeLessThan((options.init === 'orthogonal' ? 16 : 1) * LIMIT[type]);
  // What the account tells is an estimate.
  expect(site.largestError).toBeLessThan(4 * error + 1e-15);
  expect(4 * site.largestError! + 1e-15).toBeGreaterThan(error);
  return 'kept';
}

describe('rows and columns of any size', () => {
  const cases = fc.record({
    size: fc.constantFrom(...SIZES),
    by: fc.constantFrom('row', 'column', 'both', 'element', 'outlier', 'none'),
    type: fc.constantFrom('float32' as const, 'float64' as const),
    init: fc.constantFrom('balanced' as const, 'orthogonal' as const, 'identity' as const),
    range: fc.constantFrom(3, 6, 12),
    seed: fc.integer({ min: 0, max: 1e6 }),
  });

  test('are kept, or the layer is left alone', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ size, by, type, init, range, seed }) => {
        const [rows, columns] = size;
        const random = new Random(seed);
        const has = (side: 'row' | 'column'): boolean => by === side || by === 'both';
        const ofRow = Array.from({ length: rows }, () => (has('row') ? scale(random, range) : 1));
        const ofColumn = Array.from({ length: columns }, () => (has('column') ? scale(random, range) : 1));
        const w = Float64Array.from({ length: rows * columns }, (_, at) => {
          const own = by === 'element' ? scale(random, range) : 1;
          return random.normal() * own * ofRow[Math.floor(at / columns)]! * ofColumn[at % columns]!;
        });
        if (by === 'outlier') w[random.integer(w.length)] = 10 ** range;
        const result = await expectKept(w, size, type, { init });
        // Sizes of rows and columns can be kept by factors that have them.
        if (init !== 'orthogonal' && by !== 'element' && by !== 'outlier') expect(result).toBe('kept');
      }),
      { numRuns: 60, seed: 20261129 },
    );
  });

  test.each(SIZES)('one element of 1e6 or 1e7 among others of 1, %i x %i', async (rows, columns) => {
    for (const outlier of [1e6, 1e7]) {
      const random = new Random(outlier);
      const w = random.fillNormal(new Float64Array(rows * columns));
      w[0] = outlier;
      expect(await expectKept(w, [rows, columns], 'float32', {})).toBe('kept');
    }
  });

  test.each([1e30, 1e-30])('all of the order of %d', async (size) => {
    const w = new Random(3).fillNormal(new Float64Array(54), size);
    expect(await expectKept(w, [6, 9], 'float32', {})).toBe('kept');
  });
});
