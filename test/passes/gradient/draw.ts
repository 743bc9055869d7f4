/** Random cases for gradient checks, seeded through fast-check. */
import fc from 'fast-check';
import { checkOp, type OpCase } from './check-gradient.js';

/** Sizes of a tensor; few and small, for every element is a run of finite differences. */
export const shapes = (least: number, most: number, largest = 4): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 1, max: largest }), { minLength: least, maxLength: most });

/** An axis, counted from the front or from the end. */
export const axisOf = (shape: readonly number[]): fc.Arbitrary<number> =>
  fc.integer({ min: -shape.length, max: shape.length - 1 });

/** Some axes, each counted from the front or from the end. */
export const axesOf = (shape: readonly number[], least = 0): fc.Arbitrary<number[]> =>
  fc
    .tuple(
      fc.shuffledSubarray([...shape.keys()], { minLength: least }),
      fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
    )
    .map(([axes, isNegative]) => axes.map((axis) => (isNegative[axis] ? axis - shape.length : axis)));

export const permutationOf = (length: number): fc.Arbitrary<number[]> =>
  fc.shuffledSubarray([...Array(length).keys()], { minLength: length });

/** So many integers. */
export const integers = (length: number, min: number, max: number): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min, max }), { minLength: length, maxLength: length });

/** Which of so many things. */
export const flags = (length: number): fc.Arbitrary<boolean[]> =>
  fc.array(fc.boolean(), { minLength: length, maxLength: length });

/**
 * The law of every rule: its gradient is what finite differences give, whatever the case; also where what arrives is
 * the same number all along an axis, which rules may get as one.
 */
export async function checkCases(cases: fc.Arbitrary<OpCase>, numRuns = 6, seed = 1): Promise<void> {
  await fc.assert(
    fc.asyncProperty(cases, fc.boolean(), fc.nat(1000), async (spec, sum, numbers) =>
      checkOp({ seed: numbers, ...spec, sum }),
    ),
    { numRuns, seed },
  );
}
