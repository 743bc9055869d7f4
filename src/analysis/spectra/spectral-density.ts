/**
 * Jensen-Shannon distance √((KL(p‖m) + KL(q‖m)) / 2), m = (p + q) / 2, in nats: from 0 to √ln 2. Both are divided by
 * their sums first.
 *
 * Source: Lin 1991; Endres & Schindelin, A new metric for probability distributions, IEEE Trans. Inf. Theory 49 (2003).
 *
 * @param p at least 0, not all 0
 * @param q as many
 * @example
 * jensenShannonDistance([1, 0], [0, 1]); // 0.8326
 */
export function jensenShannonDistance(p: ArrayLike<number>, q: ArrayLike<number>): number {
  if (p.length !== q.length) {
    throw new RangeError(`distributions over ${p.length} and ${q.length} events cannot be compared`);
  }
  const [sumP, sumQ] = [sumOf(p), sumOf(q)];
  let divergence = 0;
  for (let i = 0; i < p.length; i += 1) {
    const [a, b] = [(p[i] as number) / sumP, (q[i] as number) / sumQ];
    if (a > 0) divergence += a * Math.log((2 * a) / (a + b));
    if (b > 0) divergence += b * Math.log((2 * b) / (a + b));
  }
  // Rounding leaves some -1e-17 of two equal ones.
  return Math.sqrt(Math.max(0, divergence / 2));
}

function sumOf(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 1) {
    const value = values[i] as number;
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY))
      throw new RangeError(`${value} is not a frequency`);
    sum += value;
  }
  if (!(sum > 0)) throw new RangeError('a distribution of zeros cannot be compared');
  return sum;
}

/**
 * Two spectra counted in common bins of equal width in the logarithm: 2 n^(1/3) bins (Rice's rule) over the range of
 * both, after a first one for the values that are zero.
 */
export function logDensities(a: Float64Array, b: Float64Array): [Float64Array, Float64Array] {
  const bins = Math.ceil(2 * Math.cbrt(Math.max(a.length, b.length)));
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  for (const s of [a, b]) {
    for (const value of s) {
      if (value > 0) low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  const width = Math.log(high / low) / bins;
  const count = (s: Float64Array): Float64Array => {
    const counts = new Float64Array(bins + 1);
    for (const value of s) {
      const bin = width > 0 ? Math.min(bins - 1, Math.max(0, Math.floor(Math.log(value / low) / width))) : 0;
      const at = value > 0 ? bin + 1 : 0;
      counts[at] = (counts[at] as number) + 1;
    }
    return counts;
  };
  return [count(a), count(b)];
}
