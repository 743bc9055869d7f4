/**
 * A float64 matrix product from elsewhere: A B for dense row-major A (m x k) and B (k x n), or C - A B where C (m x n) is
 * given; a new m x n array. It must not keep or change its operands.
 */
export type Gemm = (product: Product) => Promise<Float64Array>;

/** A product that an algorithm, written as a generator, asks its driver for. */
export interface Product {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly c?: Float64Array;
}

/** Rows of a product at a time: enough for the gemm to run at full speed, few enough for the copies to stay small. */
export function externalBlock(n: number): number {
  return Math.min(384, (n + 3) & ~3);
}

/** Runs an algorithm that was told to do all products itself. */
export function runInside<T>(steps: Generator<Product, T, Float64Array>): T {
  const { done, value } = steps.next();
  if (done === true) return value;
  throw new Error('a product was asked for where there is nobody to compute it');
}

/** Runs an algorithm whose large products `gemm` computes. */
export async function runWith<T>(steps: Generator<Product, T, Float64Array>, gemm: Gemm): Promise<T> {
  let step = steps.next();
  while (step.done !== true) {
    const { m, n } = step.value;
    let made: Float64Array;
    try {
      made = await gemm(step.value);
      if (made.length !== m * n)
        throw new RangeError(`the given gemm returned ${made.length} values for a ${m} x ${n} product`);
    } catch (error) {
      // Lets the algorithm give its memory back.
      step = steps.throw(error);
      continue;
    }
    step = steps.next(made);
  }
  return step.value;
}
