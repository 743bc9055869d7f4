/** Means of several quantities from samples, by regression on covariates whose means are known. */
export interface RegressedMeans {
  readonly means: Float64Array;
  /** Of the means, row-major. */
  readonly covariance: Float64Array;
  readonly freedom: number;
}

/**
 * Ordinary least squares of each column of `samples` on one and the covariates, which are centred at their known means: the constant is
 * the mean, with less variance than that of the samples alone where the covariates explain some of it (control variates).
 */
export function regressedMeans(
  samples: readonly (readonly number[])[],
  covariates: readonly (readonly number[])[],
): RegressedMeans {
  const count = samples.length;
  const design = covariates.map((row) => [1, ...row]);
  const width = design[0]?.length ?? 1;
  const quantities = samples[0]?.length ?? 0;
  const normal = Array.from({ length: width }, (_, i) =>
    Array.from({ length: width }, (_, j) =>
      design.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), 0),
    ),
  );
  const inverse = inverted(normal);
  const coefficients = Array.from({ length: quantities }, (_, q) => {
    const right = Array.from({ length: width }, (_, i) =>
      design.reduce((sum, row, at) => sum + (row[i] as number) * (samples[at]?.[q] as number), 0),
    );
    return inverse.map((row) => row.reduce((sum, one, j) => sum + one * (right[j] as number), 0));
  });
  const residuals = samples.map((row, at) =>
    row.map(
      (value, q) =>
        value - (design[at] as number[]).reduce((sum, x, i) => sum + x * (coefficients[q]?.[i] as number), 0),
    ),
  );
  const freedom = count - width;
  const scale = (inverse[0]?.[0] as number) / freedom;
  const covariance = new Float64Array(quantities * quantities);
  for (let i = 0; i < quantities; i += 1)
    for (let j = 0; j < quantities; j += 1)
      covariance[i * quantities + j] =
        scale * residuals.reduce((sum, row) => sum + (row[i] as number) * (row[j] as number), 0);
  return { means: Float64Array.from(coefficients, ([constant]) => constant ?? 0), covariance, freedom };
}

/** Of a small symmetric positive matrix, scaled to ones on its diagonal first; a covariate that does not vary is left out. */
function inverted(given: readonly (readonly number[])[]): number[][] {
  const n = given.length;
  const scales = given.map((row, i) => 1 / Math.sqrt(Math.max(row[i] as number, Number.MIN_VALUE)));
  const work = given.map((row, i) => [
    ...row.map((value, j) => value * (scales[i] as number) * (scales[j] as number)),
    ...Array.from({ length: n }, (_, j) => Number(i === j)),
  ]);
  for (let column = 0; column < n; column += 1) {
    const pivot = work[column] as number[];
    const head = pivot[column] as number;
    const isDead = Math.abs(head) < 1e-10;
    for (let j = 0; j < 2 * n; j += 1) pivot[j] = isDead ? 0 : (pivot[j] as number) / head;
    for (let i = 0; i < n; i += 1) {
      if (i === column) continue;
      const row = work[i] as number[];
      const factor = row[column] as number;
      for (let j = 0; j < 2 * n; j += 1) row[j] = (row[j] as number) - factor * (pivot[j] as number);
    }
  }
  return work.map((row, i) =>
    row.slice(n).map((value, j) => value * (scales[i] as number) * (scales[j] as number)),
  );
}
