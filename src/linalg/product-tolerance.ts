/**
 * How far a row or column of a product of factors may be from that of the weight, relative to its norm. Each factor of a balanced
 * chain brings some epsilon / 4, whatever the condition of the weight. float32 leaves room for what turns hidden units or
 * takes identities off, which is rounding to the large rows and more to the small ones. The half types have no room for that:
 * 8 epsilon are 0.8% in float16 and 6% in bfloat16, and more would not be the same function to anyone. In float64 the rounding of the
 * decomposition counts.
 *
 * @param epsilon machine epsilon of the weight's type
 */
export function productTolerance(epsilon: number): number {
  if (epsilon < 1e-10) return 2 ** -36;
  return (epsilon < 1e-5 ? 64 : 8) * epsilon;
}

/**
 * How many times the largest row may be the smallest for the rounding of turned hidden units to be within productTolerance. A row w
 * of a chain of k layers is made of a first factor's row of the size of |w|^(1/k) and of the others', where turning spreads the
 * sizes of all rows: its error is some (mean / |w|)^(1 - 1/k) times the epsilon / 2 of rows that are all alike.
 */
export function mostTurned(epsilon: number, depth: number): number {
  return mostMixed(epsilon) ** (depth / (depth - 1));
}

/** The same where rows are turned together with others that are all of one size. */
export function mostMixed(epsilon: number): number {
  return (2 * productTolerance(epsilon)) / epsilon;
}
