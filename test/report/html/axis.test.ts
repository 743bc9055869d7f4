import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Axis, axisAround, axisFromZero, scaleOf, ticksOf } from '../../../src/report/html/axis.js';

const label = 'x';
const most = fc.integer({ min: 2, max: 12 });
/** Axes from 1e-9 to 1e9, of spans from a hundredth of a value to eighteen decades. */
const axes = fc
  .record({
    log: fc.boolean(),
    start: fc.double({ min: -9, max: 9, noNaN: true }),
    decades: fc.double({ min: 0.005, max: 18, noNaN: true }),
  })
  .map(({ log, start, decades }): Axis => ({ log, from: 10 ** start, to: 10 ** (start + decades), label }));

describe('a scale', () => {
  it('takes the ends of the axis to the ends of the plot, and pixels back to values', () => {
    fc.assert(
      fc.property(axes, fc.double({ min: 0, max: 1, noNaN: true }), (axis, share) => {
        const scale = scaleOf(axis, 40, 640);
        expect(scale(axis.from)).toBeCloseTo(40, 6);
        expect(scale(axis.to)).toBeCloseTo(640, 6);
        const pixel = 40 + 600 * share;
        expect(scale(scale.invert(pixel))).toBeCloseTo(pixel, 4);
      }),
    );
  });
});

describe('marks', () => {
  it('rise along the axis, inside it, and no two have one text', () => {
    fc.assert(
      fc.property(axes, most, (axis, count) => {
        const ticks = ticksOf(axis, count);
        const slack = 1e-9 * axis.to;
        for (const { at } of ticks) expect(at >= axis.from - slack && at <= axis.to + slack).toBe(true);
        expect(ticks.map(({ at }) => at)).toEqual(ticks.map(({ at }) => at).sort((a, b) => a - b));
        const texts = ticks.map(({ text }) => text).filter((text) => text !== '');
        expect(new Set(texts).size).toBe(texts.length);
        // A decade has nine.
        expect(texts.length).toBeLessThanOrEqual(Math.max(9, 3 * count + 1));
      }),
    );
  });

  it('say at least two values of a logarithmic axis that spans a tenth of a decade', () => {
    fc.assert(
      fc.property(axes, most, (axis, count) => {
        fc.pre(axis.log && axis.to / axis.from > 10 ** 0.1);
        expect(ticksOf(axis, count).filter(({ text }) => text !== '').length).toBeGreaterThanOrEqual(2);
      }),
    );
  });

  it.each([
    [{ log: false, from: 0, to: 1, label, unit: 'percent' }, 5, ['0%', '20%', '40%', '60%', '80%', '100%']],
    [{ log: false, from: 0, to: 0.01, label, unit: 'percent' }, 2, ['0%', '0.5%', '1%']],
    [{ log: false, from: -1, to: 1, label }, 2, ['−1', '0', '1']],
    [{ log: false, from: 0, to: 2.5e5, label }, 3, ['0', '1e5', '2e5']],
    [{ log: false, from: 0, to: 3, label, isWhole: true }, 12, ['0', '1', '2', '3']],
    [{ log: true, from: 1, to: 1000, label }, 5, ['1', '10', '100', '1000']],
    [{ log: true, from: 1e-6, to: 1e-3, label }, 3, ['10⁻⁶', '10⁻⁵', '10⁻⁴', '10⁻³']],
  ] as const)('of %o', (axis, count, texts) => {
    const found = ticksOf(axis, count).map(({ text }) => text);
    expect(found.filter((text) => text !== '')).toEqual(texts);
  });
});

describe('an axis for values', () => {
  const values = fc.array(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

  it('holds all of them', () => {
    fc.assert(
      fc.property(values, fc.boolean(), (all, log) => {
        for (const axis of [axisAround(all, label, { log }), axisFromZero(all, label, false)]) {
          expect(axis.from).toBeLessThan(axis.to);
          for (const value of all) expect(value >= axis.from && value <= axis.to * (1 + 1e-9)).toBe(true);
        }
      }),
    );
  });

  it('is one of more values than a call takes arguments', () => {
    const many = Array.from({ length: 300_000 }, (_, k) => k + 1);
    expect(axisAround(many, label)).toMatchObject({ from: 0, to: expect.closeTo(318_000, -1) });
  });

  it('ends at 0 and 100% for shares, and has room where all values are equal or missing', () => {
    expect(axisAround([0.01, 0.99], label, { unit: 'percent' })).toMatchObject({ from: 0, to: 1 });
    for (const all of [[], [0], [3, 3], [-2]]) {
      const { from, to } = axisAround(all, label);
      expect(from).toBeLessThan(to);
      expect(axisFromZero(all, label, false).from).toBeLessThan(axisFromZero(all, label, false).to);
    }
  });
});
