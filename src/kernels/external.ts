/**
 * A float64 matrix product from elsewhere: C = A B for dense row-major A (m x k) and B (k x n), C a new m x n array.
 * It must not keep or change its operands.
 */
export type Gemm = (
  a: Float64Array,
  b: Float64Array,
  m: number,
  k: number,
  n: number,
) => Promise<Float64Array>;

/** A product that an algorithm, written as a generator, asks its driver for. */
export interface Product {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly m: number;
  readonly k: number;
  readonly n: number;
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
    const { a, b, m, k, n } = step.value;
    let c: Float64Array;
    try {
      c = await gemm(a, b, m, k, n);
      if (c.length !== m * n)
        throw new RangeError(`the given gemm returned ${c.length} values for a ${m} x ${n} product`);
    } catch (error) {
      // Lets the algorithm give its memory back.
      step = steps.throw(error);
      continue;
    }
    step = steps.next(c);
  }
  return step.value;
}
