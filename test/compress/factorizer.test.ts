import { describe, expect, test } from 'vitest';
import type { Moments } from '../../src/compress/calibration/metric.js';
import { Factorizer } from '../../src/compress/factors/factorizer.js';
import { type Cut, FORMS, formsOf, type LayerSize, parametersOf } from '../../src/compress/factors/forms.js';
import { gram, matmul } from '../../src/linalg/index.js';
import { Random } from '../../src/runtime/random.js';

const random = new Random(3, 'factorizer');
const normal = (rows: number, columns: number) => ({
  rows,
  columns,
  data: random.fillNormal(new Float64Array(rows * columns)),
});

/** Moments of vectors with some strong and some weak directions. */
async function moments(size: number, count: number, shift = 0): Promise<Moments> {
  const mixed = await matmul(normal(size, size), normal(size, count));
  for (let i = 0; i < size; i += 1)
    for (let j = 0; j < count; j += 1)
      mixed.data[i * count + j] = (mixed.data[i * count + j] as number) / (1 + i) + shift;
  const mean = Float64Array.from({ length: size }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < count; j += 1) sum += mixed.data[i * count + j] as number;
    return sum / count;
  });
  const all = await gram(mixed, 'rows');
  return { size, gram: all.map((value) => value / count), mean, count };
}

/** ½ tr(H D G Dᵀ), by plain sums. */
function lossOf(
  h: Float64Array,
  d: { rows: number; columns: number; data: ArrayLike<number> },
  g: Float64Array,
): number {
  const { rows, columns, data } = d;
  let sum = 0;
  for (let a = 0; a < rows; a += 1)
    for (let b = 0; b < rows; b += 1) {
      const weight = h[a * rows + b] as number;
      for (let i = 0; i < columns; i += 1)
        for (let j = 0; j < columns; j += 1)
          sum +=
            weight *
            (data[b * columns + i] as number) *
            (g[i * columns + j] as number) *
            (data[a * columns + j] as number);
    }
  return sum / 2;
}

const DENSE: LayerSize = { inputs: 12, outputs: 9, kernel: [], inputPlaces: [1], outputPlaces: [1] };
const CONV: LayerSize = { inputs: 4, outputs: 6, kernel: [3, 3], inputPlaces: [5, 5], outputPlaces: [5, 5] };

describe('the cut of a matrix', () => {
  test('has the error that its singular values say, up to the damping', async () => {
    const [input, output] = [await moments(12, 500), await moments(9, 500)];
    const weight = normal(9, 12);
    const factorizer = await Factorizer.of(DENSE, weight, { input, output, isCentred: false });
    for (const { cut, error } of await factorizer.curve(1)) {
      const product = await factorizer.product(cut);
      const difference = {
        ...weight,
        data: weight.data.map((value, i) => value - (product.data[i] as number)),
      };
      const exact = lossOf(output.gram, difference, input.gram);
      expect(exact).toBeLessThan(error * 1.0001);
      expect(await factorizer.errorOf(product)).toBeCloseTo(error, 8);
    }
  });

  test('is better than the plain truncation and than random factors of its rank', async () => {
    const [input, output] = [await moments(12, 500), await moments(9, 500)];
    const weight = normal(9, 12);
    const factorizer = await Factorizer.of(DENSE, weight, { input, output, isCentred: false });
    const plain = await Factorizer.of(DENSE, weight, { isCentred: false });
    for (const rank of [1, 2, 3, 5]) {
      const cut: Cut = { form: 'matrices', ranks: [rank] };
      const own = await factorizer.errorOf(await factorizer.product(cut));
      expect(own).toBeLessThan(await factorizer.errorOf(await plain.product(cut)));
    }
  });

  test('about the mean takes no account of a constant input', async () => {
    const input = await moments(12, 400, 50);
    const weight = normal(9, 12);
    const cut: Cut = { form: 'matrices', ranks: [3] };
    const centred = await Factorizer.of(DENSE, weight, { input, isCentred: true });
    const whole = await Factorizer.of(DENSE, weight, { input, isCentred: false });
    expect(await centred.errorOf(await centred.product(cut))).toBeLessThan(
      await centred.errorOf(await whole.product(cut)),
    );
  });

  test('with inputs that span less than all is free where no sample is', async () => {
    // Three directions of twelve.
    const few = await matmul(normal(12, 3), normal(3, 200));
    const all = await gram(few, 'rows');
    const input = { size: 12, gram: all.map((value) => value / 200), mean: new Float64Array(12), count: 200 };
    const weight = normal(9, 12);
    const factorizer = await Factorizer.of(DENSE, weight, { input, isCentred: false });
    expect(factorizer.conditioning?.missing).toBe(9);
    const product = await factorizer.product({ form: 'matrices', ranks: [3] });
    const difference = {
      ...weight,
      data: weight.data.map((value, i) => value - (product.data[i] as number)),
    };
    const outputs = await matmul(difference, few);
    const before = await matmul(weight, few);
    const norm = (data: ArrayLike<number>): number =>
      Math.sqrt(Array.from(data).reduce((sum, value) => sum + value * value, 0));
    expect(norm(outputs.data) / norm(before.data)).toBeLessThan(1e-2);
  });
});

describe.each(FORMS.filter((form) => formsOf(CONV).includes(form)))('a convolution cut by %s', (form) => {
  const weight = normal(6, 36);
  test('is the weight itself at full rank', async () => {
    const [input, output] = [await moments(36, 900), await moments(6, 300)];
    const factorizer = await Factorizer.of(CONV, weight, { input, output, isCentred: false });
    const ranks = { matrices: [6], channel: [6], spatial: [12], tucker: [4, 6] }[form];
    const product = await factorizer.product({ form, ranks });
    const largest = Math.max(...weight.data.map(Math.abs));
    for (const [i, value] of product.data.entries())
      expect(Math.abs(value - (weight.data[i] as number))).toBeLessThan(1e-5 * largest);
  });

  test('errs less with more, and its curve says by how much', async () => {
    const [input, output] = [await moments(36, 900), await moments(6, 300)];
    const factorizer = await Factorizer.of(CONV, weight, { input, output, isCentred: false });
    const points = (await factorizer.curve(1)).filter(({ cut }) => cut.form === form);
    expect(points.length).toBeGreaterThan(1);
    for (const { cut, error } of points) {
      expect(parametersOf(CONV, cut)).toBeLessThan(parametersOf(CONV, undefined));
      const product = await factorizer.product(cut);
      const difference = {
        ...weight,
        data: weight.data.map((value, i) => value - (product.data[i] as number)),
      };
      expect(lossOf(output.gram, difference, input.gram)).toBeLessThan(error * 1.0001);
    }
    const sorted = points
      .filter(({ cut }) => cut.ranks.length === 1)
      .sort((a, b) => (a.cut.ranks[0] ?? 0) - (b.cut.ranks[0] ?? 0));
    for (const [i, { error }] of sorted.entries())
      expect(error).toBeLessThanOrEqual((sorted[i - 1]?.error ?? Number.POSITIVE_INFINITY) * 1.0001);
  });
});
