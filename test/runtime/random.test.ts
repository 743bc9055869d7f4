import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Random } from '../../src/runtime/index.js';

describe('Random', () => {
  it('gives the same numbers for the same seed and key, and others for others', () => {
    const first = (seed: number | string, key?: string): number => new Random(seed, key).bits();
    expect(first(0)).toBe(first('0'));
    expect(first(0, 'w')).toBe(first(0, 'w'));
    const all = [first(0), first(1), first(-1), first(2 ** 40), first(0, 'a'), first(0, 'b'), first(1, 'a')];
    expect(new Set(all).size).toBe(all.length);
  });

  it('is pinned: a change of these numbers changes what every seed makes', () => {
    const random = new Random(0, 'pinned');
    const bits = [random.bits(), random.bits(), random.bits()];
    expect([...bits, random.uniform(), random.normal(), random.normal()]).toMatchInlineSnapshot(`
      [
        2819042488,
        3967621496,
        2501848070,
        0.40241392910621565,
        0.4327993722332298,
        -0.13818148326161733,
      ]
    `);
  });

  it('is uniform in [0, 1), by its moments and by chi-square over 64 cells', () => {
    const random = new Random(5);
    const count = 1 << 17;
    const cells = new Float64Array(64);
    let sum = 0;
    let outside = 0;
    for (let i = 0; i < count; i += 1) {
      const x = random.uniform();
      outside += Number(!(x >= 0 && x < 1));
      sum += x;
      cells[Math.floor(x * 64)]! += 1;
    }
    expect(outside).toBe(0);
    expect(Math.abs(sum / count - 0.5)).toBeLessThan(0.004);
    const mean = count / 64;
    const chiSquare = cells.reduce((total, cell) => total + (cell - mean) ** 2 / mean, 0);
    // 63 degrees of freedom: mean 63, standard deviation 11.
    expect(chiSquare).toBeGreaterThan(25);
    expect(chiSquare).toBeLessThan(115);
  });

  it('fills arrays of any length with the numbers that single calls give, times a deviation', () => {
    const lengths = fc.array(fc.integer({ min: 0, max: 1300 }), { maxLength: 4 });
    fc.assert(
      fc.property(lengths, fc.constantFrom(1, 0.5, 3), fc.boolean(), (counts, deviation, isDouble) => {
        const [filled, single] = [new Random(3, 'fill'), new Random(3, 'fill')];
        for (const count of counts) {
          const made = isDouble ? new Float64Array(count) : new Float32Array(count);
          const expected = made.slice().map(() => deviation * single.normal());
          expect(filled.fillNormal(made, deviation)).toEqual(expected);
        }
        expect(filled.bits()).toBe(single.bits());
      }),
      { seed: 5, numRuns: 40 },
    );
  });

  it('is normal, by its first four moments', () => {
    const values = new Random(7).fillNormal(new Float64Array(200_000));
    const moment = (power: number): number => values.reduce((sum, x) => sum + x ** power, 0) / values.length;
    expect(moment(1)).toBeCloseTo(0, 1.5);
    expect(moment(2)).toBeCloseTo(1, 1.5);
    expect(moment(3)).toBeCloseTo(0, 1);
    expect(moment(4)).toBeCloseTo(3, 0.8);
    expect(values.every(Number.isFinite)).toBe(true);
  });

  it('has an exact enough logarithm: the tails are where Box and Muller would have them', () => {
    const values = new Random(11).fillNormal(new Float64Array(1_000_000));
    const beyond = (limit: number): number =>
      values.filter((x) => Math.abs(x) > limit).length / values.length;
    expect(beyond(1)).toBeCloseTo(0.3173, 2);
    expect(beyond(3)).toBeCloseTo(0.0027, 3);
    expect(beyond(4)).toBeGreaterThan(3e-5);
    expect(beyond(4)).toBeLessThan(1e-4);
  });

  it('gives every whole number below a bound, and refuses a bound that is none', () => {
    const random = new Random(1);
    const seen = new Set(Array.from({ length: 500 }, () => random.integer(7)));
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(random.integer(1)).toBe(0);
    for (const bound of [0, -1, 1.5, Number.NaN]) expect(() => random.integer(bound)).toThrow(RangeError);
  });
});
