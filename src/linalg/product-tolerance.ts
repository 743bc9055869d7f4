/**
 * How far a row or column of a product of factors may be from that of the weight, relative to its norm, for it to be the
 * rounding of the factors. Each factor of a balanced chain brings some epsilon / 4, those turned by rotations up to some 30
 * times as much where singular values differ 1e3 times; in float64 the rounding of the decomposition counts.
 *
 * @param epsilon machine epsilon of the weight's type
 */
export function productTolerance(epsilon: number): number {
  if (epsilon < 1e-10) return 2 ** -36;
  return (epsilon < 1e-5 ? 64 : 16) * epsilon;
}
