import { sha256 } from '../../graph/io/digest.js';
import type { ProductPlace } from '../../linalg/index.js';
import { singularValues } from '../../linalg/kernels/index.js';
import { PRODUCT_ORDER, RUNTIME_ORDER } from './weight-spectrum.js';

/** Sizes that reach every path of the kernels but the one by way of a band, which is made of the same pieces. */
const KERNEL_SIZE = [70, 90] as const;
/** More than one tile and, by its depth, more than one block of onnxruntime's product. */
const PRODUCT_SIZE = [520, 600] as const;

/**
 * What computes spectra here, as far as it shows in their last bits: a digest of what the kernels make of a fixed matrix and, where a
 * matrix is so large that onnxruntime multiplies it, one of such a product. Processors and versions that give the same bits have the same.
 *
 * @param orders min(rows, columns) of all matrices
 */
export async function kernelIdentity(
  orders: readonly number[],
  place: ProductPlace | undefined,
): Promise<Record<string, string>> {
  const [m, n] = KERNEL_SIZE;
  const kernels = digestOf(singularValues(fixed(m * n), m, n));
  const least = place === undefined ? RUNTIME_ORDER : PRODUCT_ORDER;
  if (!orders.some((order) => order >= least)) return { kernels };
  const { gram } = await import('../../linalg/gram.js');
  const [rows, columns] = PRODUCT_SIZE;
  const product = await gram({ rows, columns, data: fixed(rows * columns) }, 'rows', { place });
  return { kernels, products: digestOf(product) };
}

/** Elements that are the same everywhere, of all signs and many magnitudes. */
function fixed(length: number): Float32Array {
  const data = new Float32Array(length);
  let state = 1;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    data[i] = state / 2 ** 31 - 1;
  }
  return data;
}

function digestOf(values: Float64Array): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return sha256().update(bytes).digest('hex').slice(0, 16);
}
