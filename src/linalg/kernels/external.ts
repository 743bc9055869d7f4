/** A product that an algorithm, written as a generator, asks its driver for. */
export interface Product {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly c?: Float64Array;
  /** Where the product goes: the same memory again and again, so that it does not pile up. */
  readonly into: Float64Array;
}

/**
 * A float64 matrix product from elsewhere: A B for dense row-major A (m x k) and B (k x n), or C - A B where C (m x n) is
 * given. It writes the m x n values to `into`, and must not keep or change its operands.
 */
export type Gemm = (product: Product) => Promise<void>;

/** Rows of a product at a time: enough for the gemm to run at full speed, few enough for the copies to stay small. */
export function externalBlock(n: number): number {
  return Math.min(384, (n + 3) & ~3);
}

/** Runs an algorithm that was told to do all products itself. */
export function runInside<T>(steps: Generator<Product, T, void>): T {
  const { done, value } = steps.next();
  if (done === true) return value;
  throw new Error('a product was asked for where there is nobody to compute it');
}

/** Runs an algorithm whose large products `gemm` computes. */
export async function runWith<T>(steps: Generator<Product, T, void>, gemm: Gemm): Promise<T> {
  let step = steps.next();
  while (step.done !== true) {
    await gemm(step.value);
    step = steps.next();
  }
  return step.value;
}
