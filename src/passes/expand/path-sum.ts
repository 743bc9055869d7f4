import type { Skip } from './chain-extras.js';

/** A polynomial with coefficients of at least 0, by rising powers. */
export type Polynomial = readonly number[];

/**
 * The sum over the paths from one value of a chain to a later one, in which each layer counts as a factor a and each connection
 * as 1.
 */
export function pathSum(from: number, to: number, skips: readonly Skip[]): Polynomial {
  const sums = new Map<number, Polynomial>([[from, [1]]]);
  for (let value = from + 1; value <= to; value += 1) {
    const sum = [0, ...(sums.get(value - 1) ?? [])];
    for (const skip of skips) {
      if (skip.to !== value) continue;
      for (const [power, count] of (sums.get(skip.from) ?? []).entries()) {
        sum[power] = (sum[power] ?? 0) + count;
      }
    }
    sums.set(value, sum);
  }
  return sums.get(to) ?? [];
}

export function evaluated(polynomial: Polynomial, a: number): number {
  return polynomial.reduceRight((sum, coefficient) => sum * a + coefficient, 0);
}

/**
 * The a > 0 for which a^layers times the polynomial is `value` > 0, in front of which stand so many layers without a
 * connection. As a function of ln a its logarithm is convex and grows, so that Newton's steps from above converge from
 * above.
 */
export function layerWeight(polynomial: Polynomial, layers: number, value: number): number {
  const degree = layers + polynomial.length - 1;
  // The path through all layers alone would need this much.
  let a = value ** (1 / degree);
  for (let step = 0; step < 100; step += 1) {
    const sum = evaluated(polynomial, a);
    const slope = layers + (a * evaluated(derivative(polynomial), a)) / sum;
    const excess = layers * Math.log(a) + Math.log(sum / value);
    const next = a * Math.exp(-excess / slope);
    if (!(next < a)) return a;
    a = next;
  }
  return a;
}

function derivative(polynomial: Polynomial): Polynomial {
  return polynomial.slice(1).map((coefficient, i) => coefficient * (i + 1));
}
