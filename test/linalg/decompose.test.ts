import { describe, expect, it } from 'vitest';
import { decompose } from '../../src/linalg/decompose.js';
import type { Floats } from '../../src/linalg/floats.js';
import { matmul } from '../../src/linalg/matmul.js';

const FLOAT32 = 2 ** -23;
const FLOAT64 = 2 ** -52;

/** Past what Jacobi rotations take. */
const [ROWS, COLUMNS] = [70, 90];

async function roundTrip(data: Floats, epsilon: number) {
  const source = { rows: ROWS, columns: COLUMNS, load: () => ({ rows: ROWS, columns: COLUMNS, data }) };
  const { values, left, right } = await decompose(source, epsilon);
  const root = values.map(Math.sqrt);
  const { data: product } = await matmul(await left(root), await right(root));
  let difference = 0;
  let square = 0;
  for (const [i, value] of data.entries()) {
    difference += (value - (product[i] as number)) ** 2;
    square += value * value;
  }
  return { values, error: Math.sqrt(difference / (square || 1)), norm: Math.sqrt(square) };
}

describe('decompose', () => {
  it.each([
    ['a constant fill', new Float32Array(ROWS * COLUMNS).fill(0.1), FLOAT32],
    ['rows of zero first', new Float64Array(ROWS * COLUMNS).fill(-2, 5 * COLUMNS), FLOAT64],
    [
      'an outer product',
      Float32Array.from(
        { length: ROWS * COLUMNS },
        (_, at) => Math.floor(at / COLUMNS) * ((at % COLUMNS) - 7),
      ),
      FLOAT32,
    ],
  ])('of rank one: %s', async (_, data, epsilon) => {
    const { values, error, norm } = await roundTrip(data, epsilon);
    expect(values.length).toBe(1);
    expect(Math.abs((values[0] as number) / norm - 1)).toBeLessThan(1e-13);
    expect(error).toBeLessThan(2 * epsilon);
  });

  it('of rank two, where the last row alone is another one', async () => {
    const data = new Float32Array(ROWS * COLUMNS).fill(0.1);
    data[data.length - 1] = 0.1001;
    const { values, error } = await roundTrip(data, FLOAT32);
    expect(values.length).toBe(2);
    expect(error).toBeLessThan(FLOAT32);
  });

  it('of zero has no values', async () => {
    expect((await roundTrip(new Float32Array(ROWS * COLUMNS), FLOAT32)).values.length).toBe(0);
  });

  it('of NaN is refused', async () => {
    const data = new Float32Array(ROWS * COLUMNS).fill(1);
    data[777] = Number.NaN;
    await expect(roundTrip(data, FLOAT32)).rejects.toThrow('NaN');
  });
});
