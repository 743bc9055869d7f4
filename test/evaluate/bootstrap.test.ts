import { describe, expect, test } from 'vitest';
import { Bootstrap } from '../../src/evaluate/bootstrap.js';
import { Random } from '../../src/runtime/index.js';

const mean = (sums: Float64Array): number => sums[0]! / sums[1]!;

/** Numbers, each with the weight 1. */
function columns(count: number, of: (random: Random) => number, seed = 0): Float64Array {
  const random = new Random(seed, 'numbers');
  return Float64Array.from({ length: 2 * count }, (_, at) => (at % 2 === 0 ? of(random) : 1));
}

describe('intervals', () => {
  test.each([
    ['few samples', 500],
    ['samples in groups', 50_000],
  ])('of a mean are as wide as its standard error says: %s', (_, count) => {
    const rows = columns(count, (random) => 2 + 3 * random.normal());
    const { value, interval } = new Bootstrap({ width: 2, rows }, { resamples: 2000, seed: 1 }).estimate(
      mean,
    );
    const numbers = rows.filter((_, at) => at % 2 === 0);
    const own = numbers.reduce((sum, one) => sum + one, 0) / count;
    const variance = numbers.reduce((sum, one) => sum + (one - own) ** 2, 0) / count;
    expect(value).toBeCloseTo(own, 12);
    // 2 * 1.96 standard errors; percentiles of 2000 resamples are off by some 3 %.
    const width = 2 * 1.959964 * Math.sqrt(variance / count);
    expect((interval!.high - interval!.low) / width).toBeGreaterThan(0.9);
    expect((interval!.high - interval!.low) / width).toBeLessThan(1.1);
    expect(interval!.low).toBeLessThan(own);
    expect(interval!.high).toBeGreaterThan(own);
  });

  test('hold the mean of the population as often as they say', () => {
    let hits = 0;
    const ROUNDS = 300;
    for (let seed = 0; seed < ROUNDS; seed += 1) {
      const rows = columns(100, (random) => (random.uniform() < 0.3 ? 1 : 0), seed);
      const { interval } = new Bootstrap({ width: 2, rows }, { resamples: 400, seed }).estimate(mean);
      if (interval!.low <= 0.3 && interval!.high >= 0.3) hits += 1;
    }
    // 95 % of 300 is 285, with a deviation of 3.8; of a discrete count it is a little less.
    expect(hits).toBeGreaterThan(268);
    expect(hits).toBeLessThan(300);
  });

  test('are the same for the same seed, and of nothing that differs none', () => {
    const rows = columns(50, (random) => random.normal());
    const of = (seed: number) => new Bootstrap({ width: 2, rows }, { resamples: 100, seed }).estimate(mean);
    expect(of(3)).toEqual(of(3));
    expect(of(3).interval).not.toEqual(of(4).interval);
    const flat = columns(50, () => 0.5);
    const { interval } = new Bootstrap({ width: 2, rows: flat }, { resamples: 100, seed: 0 }).estimate(mean);
    expect(interval).toEqual({ low: 0.5, high: 0.5 });
  });

  test('of one sample, or without resamples, there are none', () => {
    const one = Float64Array.of(1, 1);
    expect(new Bootstrap({ width: 2, rows: one }, { resamples: 100, seed: 0 }).estimate(mean).interval).toBe(
      undefined,
    );
    const rows = columns(50, (random) => random.normal());
    expect(new Bootstrap({ width: 2, rows }, { resamples: 0, seed: 0 }).estimate(mean).interval).toBe(
      undefined,
    );
  });
});
