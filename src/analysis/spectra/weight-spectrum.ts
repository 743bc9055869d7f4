import { EPSILON } from '../../graph/index.js';
import type { ProductPlace } from '../../linalg/index.js';
import type { KernelPool } from '../../linalg/kernels/index.js';
import type { ThinFactor } from '../../linalg/thin-product.js';
import type { ConvView } from '../report/options.js';
import type { StoredUse } from '../weights/types.js';
import type { Elements, WeightMatrix } from '../weights/weights.js';
import { convOperatorSpectrum, convSlices, sliceElements } from './conv-spectrum.js';
import { RESOLUTION } from './metrics.js';

/** How convolutions are looked at. */
export { CONV_VIEWS, type ConvView } from '../report/options.js';

/** How the singular values of a weight are computed. */
export interface SpectrumOptions {
  /**
   * Of a convolution: 'matricized', the matrix out x (in/group * kernel) (the default); 'slices', the out x in/group
   * matrices of all offsets of the kernel, pooled (WeightWatcher's view); 'operator', the linear map from input to
   * output on periodic inputs of `inputSize` (Sedghi, Gupta & Long 2019).
   */
  readonly convView?: ConvView | undefined;
  /** Extent of the inputs along each axis, for the operator. */
  readonly inputSize?: number | undefined;
  /** Where the Gram matrices of large weights are computed; default in the pool. */
  readonly products?: ProductPlace | undefined;
  /** Work on other weights that is still to be asked of the pool, as its PoolJobOptions have it. */
  readonly later?: number | undefined;
}

/** The singular values of a weight. */
export interface WeightSpectrum {
  /** Descending. */
  readonly values: Float64Array;
  /** Of the matrix, or of each of several. */
  readonly rows: number;
  readonly columns: number;
  readonly copies: number;
  /** Values below this share of the largest are not known. */
  readonly resolution: number;
}

/** Smaller weights are not worth the way to another processor, */
export const PRODUCT_ORDER = 512;
/** or to onnxruntime on this one: its Gram matrix of 4096 x 9216 takes half the time of the kernels', on two cores each. */
export const RUNTIME_ORDER = 2048;

/** Jacobi rotations take the place of the Gram matrix where they are cheap ... */
const JACOBI_ORDER = 64;
const JACOBI_SIZE = 1 << 18;
/** ... and tell something: below this share of the largest, a value of the Gram way starts to lose digits. */
const JACOBI_BELOW = 1e-3;

/**
 * The spectrum of a weight from its elements, which are handed to a thread, or read by it.
 *
 * @throws RangeError where the view does not fit the convolution (a stride that does not divide the size)
 */
export async function weightSpectrum(
  weight: WeightMatrix<StoredUse>,
  elements: Elements,
  pool: KernelPool,
  options: SpectrumOptions,
): Promise<WeightSpectrum> {
  const { convView = 'matricized' } = options;
  const { products, later = 0 } = options;
  const { factors } = weight.uses[0].data;
  if (factors !== undefined) return ofFactors(weight, await factors());
  if (weight.uses[0].conv === undefined || convView === 'matricized') {
    const least = products === undefined ? RUNTIME_ORDER : PRODUCT_ORDER;
    // By the matrix alone: what else there is to do, or how many processors, must not show in the bits.
    return Math.min(weight.rows, weight.columns) >= least
      ? ofProduct(weight, elements, pool, { products, later })
      : ofMatrix(weight, elements, pool, later);
  }
  return convView === 'slices'
    ? ofSlices(weight, elements, pool)
    : ofOperator(weight, elements, pool, options);
}

async function ofMatrix(
  { rows, columns }: WeightMatrix<StoredUse>,
  { m, n, read, stored }: Elements,
  pool: KernelPool,
  later: number,
): Promise<WeightSpectrum> {
  // A small matrix may be needed once more, for the full decomposition.
  const isSmall = Math.min(rows, columns) <= JACOBI_ORDER && rows * columns <= JACOBI_SIZE;
  let resolution = RESOLUTION;
  if (stored !== undefined && !isSmall) {
    const { file, type } = stored;
    const matrix = { descriptor: file.descriptor, offset: file.offset, type };
    // Where the file has shrunk, that is the error.
    const values = await pool.singularValues(matrix, m, n, { later }).finally(() => file.check());
    return { values, rows, columns, copies: 1, resolution };
  }
  const { data, isOwn } = await read();
  let values = await pool.singularValues(data, m, n, { transfer: isOwn && !isSmall, later });
  if (isSmall && (values.at(-1) ?? 0) < JACOBI_BELOW * (values[0] ?? 0)) {
    const { smallSingularValues } = await import('../../linalg/kernels/eigen/jacobi.js');
    values = smallSingularValues(data, m, n);
    // The usual bound on the error of a computed singular value, relative to the largest.
    resolution = Math.max(rows, columns) * EPSILON.float64;
  }
  return { values, rows, columns, copies: 1, resolution };
}

/** Through the core of its factors; the rest of its singular values are zero. */
async function ofFactors(
  { rows, columns }: WeightMatrix<StoredUse>,
  [left, right]: readonly [ThinFactor, ThinFactor],
): Promise<WeightSpectrum> {
  const { thinSingularValues } = await import('../../linalg/thin-product.js');
  const values = new Float64Array(Math.min(rows, columns));
  values.set((await thinSingularValues(left, right)).subarray(0, values.length));
  return { values, rows, columns, copies: 1, resolution: RESOLUTION };
}

/** The Gram matrix in onnxruntime, maybe on another processor; its eigenvalues in the pool. */
async function ofProduct(
  { rows, columns }: WeightMatrix<StoredUse>,
  { m, n, read }: Elements,
  pool: KernelPool,
  { products: place, later }: { products: ProductPlace | undefined; later: number },
): Promise<WeightSpectrum> {
  const [{ SymmetricMatrix }, { gramInto }, { countGarbage }] = await Promise.all([
    import('../../linalg/kernels/eigen/eigen.js'),
    import('../../linalg/gram.js'),
    import('../../runtime/garbage.js'),
  ]);
  const order = Math.min(m, n);
  // One after the other, reading included: of large weights only one is in memory.
  const { products, unit } = await inTurn(async () => {
    const { data } = await read();
    // No square of a float32 leaves the range of float64; those of float64 weights may.
    const exponent = exponentOf(data);
    const scaled = exponent === 0 ? data : data.map((value) => value / 2 ** exponent);
    const matrix = { rows: m, columns: n, data: scaled };
    countGarbage(8 * order ** 2);
    const target = new SymmetricMatrix(order);
    await gramInto({ data: target.lower, stride: target.stride }, matrix, m <= n ? 'rows' : 'columns', {
      place,
    });
    return { products: target, unit: 2 ** exponent };
  });
  const eigenvalues = await pool.eigenvalues(products, { later });
  const values = eigenvalues.map((value) => Math.sqrt(Math.max(0, value)) * unit).reverse();
  return { values, rows, columns, copies: 1, resolution: RESOLUTION };
}

let turn: Promise<unknown> = Promise.resolve();

/** One product after the other: each has all cores, and a thread can begin with the first. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const result = turn.then(work);
  turn = result.catch(() => undefined);
  return result;
}

function exponentOf(data: Float32Array | Float64Array): number {
  if (data instanceof Float32Array) return 0;
  const most = data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return most === 0 ? 0 : Math.max(-1000, Math.min(1000, Math.round(Math.log2(most))));
}

async function ofSlices(
  { shape }: WeightMatrix<StoredUse>,
  { read }: Elements,
  pool: KernelPool,
): Promise<WeightSpectrum> {
  const { data } = await read();
  const slices = convSlices(shape);
  const [rows = 0, columns = 0] = shape;
  const order = Math.min(rows, columns);
  const values = new Float64Array(order * slices.length);
  const work = slices.map(async (slice, index) => {
    const own = sliceElements(data, slice);
    values.set(await pool.singularValues(own, rows, columns, { transfer: true }), index * order);
  });
  await Promise.all(work);
  return { values: values.sort().reverse(), rows, columns, copies: slices.length, resolution: RESOLUTION };
}

async function ofOperator(
  { shape, uses }: WeightMatrix<StoredUse>,
  { read }: Elements,
  pool: KernelPool,
  { inputSize }: SpectrumOptions,
): Promise<WeightSpectrum> {
  if (inputSize === undefined)
    throw new RangeError('the operator of a convolution needs the size of its inputs');
  const { data } = await read();
  const { groups, strides, dilations } = uses[0].conv ?? {
    groups: 1,
    strides: undefined,
    dilations: undefined,
  };
  const options = { size: inputSize, strides, dilations, pool };
  const { values, rows, columns } = await convOperatorSpectrum({ data, shape, groups }, options);
  return { values, rows, columns, copies: 1, resolution: RESOLUTION };
}
