import type { LinearSite } from '../../affine/linear-site.js';
import { type Floats, joined, swapped, transposed } from '../../linalg/floats.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';
import { columnsOf, type Slot } from './slots.js';

/** Matrices out x (in * kernel) of the groups, consecutive, in the order of application. */
export type OutInFactors = readonly Floats[];

/** The product of an adapter's factors, out x (in * kernel) of each group, in float64. */
export async function adapterProduct(slot: Slot, factors: OutInFactors, rank: number): Promise<Matrix[]> {
  const { groups, outputs } = slot;
  const products: Matrix[] = [];
  for (let group = 0; group < groups; group += 1) {
    let product: Matrix | undefined;
    for (const [i, factor] of factors.entries()) {
      const length = factor.length / groups;
      const data = factor.subarray(group * length, (group + 1) * length);
      const columns = i === 0 ? columnsOf(slot) : rank;
      const rows = i === factors.length - 1 ? outputs : rank;
      const matrix: Matrix = { rows, columns, data };
      product = product === undefined ? matrix : await matmul(matrix, product);
    }
    if (product !== undefined) products.push(product);
  }
  return products;
}

/** W + scale * (the product of an adapter's factors), laid out as the site's weight, in float64. */
export async function addedWeight(
  site: LinearSite,
  slot: Slot,
  factors: OutInFactors,
  { rank, scale }: { readonly rank: number; readonly scale: number },
): Promise<Floats> {
  const products = await adapterProduct(slot, factors, rank);
  const { matrices } = await site.matrices();
  const { groups, inputs, outputs, kernel } = site;
  const blocks = matrices.map((source, group): Matrix => {
    const { rows, columns, data: old } = source.load();
    const { data: product } = products[group] as Matrix;
    // Rows are outputs in both, or in x out here.
    const change = site.orientation === 'out-in' ? product : transposed(product, outputs);
    const data = new Float64Array(old.length);
    for (let i = 0; i < data.length; i += 1) data[i] = (old[i] as number) + scale * (change[i] as number);
    source.letGo?.();
    return { rows, columns, data };
  });
  const data = joined(blocks.map((block) => block.data));
  if (site.op !== 'ConvTranspose') return data;
  return swapped(
    data,
    groups * inputs,
    kernel.reduce((a, b) => a * b, 1),
    outputs,
  );
}
