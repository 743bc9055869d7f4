import type { KernelPool } from '../../linalg/kernels/index.js';
import { type Block, blocksOf, type ConvTorus } from './conv-spectrum-blocks.js';

/** The weight of a Conv, or of a ConvTranspose, whose adjoint is a Conv with the same weight. */
export interface ConvWeight {
  /** Row-major, of shape `shape`; not modified. */
  readonly data: Float32Array | Float64Array;
  /** [out, in / groups, ...kernel] (ConvTranspose: [in, out / groups, ...kernel]): 1, 2, 3 or more spatial axes. */
  readonly shape: readonly number[];
  /** Default 1; divides shape[0]. */
  readonly groups?: number | undefined;
}

/** One spatial offset of a convolution's kernel: a matrix within the weight. */
export interface ConvSlice {
  /** Position in the kernel, one number for each spatial axis. */
  readonly offset: readonly number[];
  /** Element [r, c] of the matrix is data[start + r * rowStride + c * columnStride]. */
  readonly start: number;
  readonly rows: number;
  readonly columns: number;
  readonly rowStride: number;
  readonly columnStride: number;
}

/**
 * The matrices, shape[0] x shape[1], of a convolution's weight, one for each offset of the kernel in row-major order:
 * kh * kw of them for a two-dimensional one.
 *
 * These are WeightWatcher's slices. It pools the eigenvalues of all (`pool=True`, its default; concatenate the singular
 * values here), and multiplies each slice by √(kh * kw / 2) first (`conv2d_norm=True`, its default): its log_norm and
 * log_spectral_norm are larger than those of the slices as they are by c = log10(kh * kw / 2), its alpha_weighted and
 * log_alpha_norm by alpha * c, its xmin kh * kw / 2 times as large; alpha and D are the same.
 * Groups are not told apart: a slice of a grouped convolution is shape[0] x (in / groups), as there.
 *
 * Source: Martin & Mahoney, JMLR 22 (2021), arXiv 1810.01075.
 *
 * @throws RangeError where the shape has fewer than three axes
 * @example
 * const spectra = convSlices([64, 3, 7, 7]).map((slice) =>
 *   singularValues(sliceElements(weight, slice), slice.rows, slice.columns),
 * );
 */
export function convSlices(shape: readonly number[]): ConvSlice[] {
  const { rows, columns, kernel, taps } = dimensions(shape);
  return Array.from({ length: taps }, (_, start) => ({
    offset: unravel(start, kernel),
    start,
    rows,
    columns,
    rowStride: columns * taps,
    columnStride: taps,
  }));
}

/** The elements of a slice, row-major, in an array of their own. */
export function sliceElements<A extends Float32Array | Float64Array>(data: A, slice: ConvSlice): A {
  const { start, rows, columns, rowStride, columnStride } = slice;
  if (rows * columns > 0) {
    const last = start + (rows - 1) * rowStride + (columns - 1) * columnStride;
    if (data.length <= last)
      throw new RangeError(`the slice ends at ${last}, the weight at ${data.length - 1}`);
  }
  const elements = data.slice(0, rows * columns) as A;
  for (let r = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1) {
      elements[r * columns + c] = data[start + r * rowStride + c * columnStride] as number;
    }
  }
  return elements;
}

export interface ConvOperatorOptions {
  /** Extent of the input along each spatial axis, or one number for all axes. */
  readonly size: number | readonly number[];
  /** Distance of the kernel's taps along each axis; 1 unless given. */
  readonly dilations?: readonly number[] | undefined;
  /** Step of the outputs along each axis, which divides the size; 1 unless given. */
  readonly strides?: readonly number[] | undefined;
  /** Threads to run on. Default: a pool of this call's own. */
  readonly pool?: Pick<KernelPool, 'singularValues' | 'size'> | undefined;
  /** Called now and then with the number of frequencies done. */
  readonly onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** Singular values of a convolution as a linear map from input to output. */
export interface ConvOperatorSpectrum {
  /** All min(rows, columns) singular values, descending, in the units of the weight. */
  readonly values: Float64Array;
  /** Elements of an output: channels times positions. */
  readonly rows: number;
  /** Elements of an input. */
  readonly columns: number;
}

/**
 * The singular values, exactly, of a convolution as an operator on periodic inputs of a given size.
 *
 * The Fourier transform makes the operator block-diagonal: at each of the n x n frequencies f the block, for each group
 * out/g x in/g, is the transform of the kernel over its spatial axes, sum_t W[:, :, t] exp(2πi f·t / n). A real kernel
 * has conjugate blocks at f and -f, so half of them are computed, each complex block A + iB as the real matrix
 * [[A, -B], [B, A]], which has every singular value of both. With strides, the blocks of the frequencies that
 * the coarser grid cannot tell apart stand side by side, divided by √(product of strides).
 *
 * Inputs are periodic, not padded with zeros: an approximation for the usual layer, the better the larger the input,
 * and with the same largest value in the limit. Position and direction of the kernel (padding, auto_pad, correlation or
 * convolution) do not matter; taps that reach beyond the input wrap around. Values below 1e-7 of the largest of
 * their frequency are not resolved.
 *
 * Source: Sedghi, Gupta & Long, The singular values of convolutional layers, ICLR 2019, arXiv 1805.10408, Theorem 6
 * (one group, stride 1).
 *
 * @returns rejects with a RangeError where data, shape, groups, size, dilations and strides do not fit together, or the
 *   weight holds NaN or Infinity
 * @example
 * const { values } = await convOperatorSpectrum({ data: weight, shape: [64, 64, 3, 3] }, { size: 56 });
 * console.log('Lipschitz constant', values[0]);
 */
export async function convOperatorSpectrum(
  weight: ConvWeight,
  options: ConvOperatorOptions,
): Promise<ConvOperatorSpectrum> {
  const layout = layoutOf(weight, options);
  const rows = layout.groups * layout.rows * product(layout.outputs);
  const columns = layout.groups * layout.columns * product(layout.size);
  const values = new Float64Array(Math.min(rows, columns));
  if (values.length === 0) return { values, rows, columns };
  if (!weight.data.every(Number.isFinite)) throw new RangeError('the weight holds NaN or infinite values');
  let filled = 0;
  const add = (found: ArrayLike<number>): void => {
    values.set(found, filled);
    filled += found.length;
  };
  const blocks = blocksOf(weight.data, layout, options.onProgress);
  const order = Math.min(layout.rows, layout.columns * product(layout.strides));
  // One row or column has one singular value, its norm: the depthwise convolutions, at no cost.
  if (order === 1) for (const block of blocks) add(normsOf(block));
  else if (options.pool !== undefined) await runOn(options.pool, blocks, add);
  else {
    const { KernelPool } = await import('../../linalg/kernels/index.js');
    await using pool = new KernelPool();
    await runOn(pool, blocks, add);
  }
  return { values: values.sort().reverse(), rows, columns };
}

/** One singular value of a real block, or the two equal ones of an embedded complex one. */
function normsOf({ matrix, m, n, isComplex }: Block): number[] {
  let most = 0;
  for (const value of matrix) most = Math.max(most, Math.abs(value));
  if (most === 0) return isComplex ? [0, 0] : [0];
  let sum = 0;
  // An embedding holds everything twice; its first half is the block.
  const end = isComplex ? (m * n) / 2 : m * n;
  for (let i = 0; i < end; i += 1) sum += ((matrix[i] as number) / most) ** 2;
  const norm = Math.sqrt(sum) * most;
  return isComplex ? [norm, norm] : [norm];
}

/** Feeds blocks to a pool, no more at a time than keep it busy. */
async function runOn(
  pool: Pick<KernelPool, 'singularValues' | 'size'>,
  blocks: Iterable<Block>,
  add: (values: Float64Array) => void,
): Promise<void> {
  const running = new Set<Promise<void>>();
  try {
    for (const { matrix, m, n } of blocks) {
      if (running.size >= 2 * pool.size) await Promise.race(running);
      const job: Promise<void> = pool
        .singularValues(matrix, m, n, { transfer: true })
        .then(add)
        .finally(() => running.delete(job));
      running.add(job);
    }
    await Promise.all(running);
  } catch (error) {
    // The first failure is the caller's.
    for (const job of running) job.catch(() => undefined);
    throw error;
  }
}

function dimensions(shape: readonly number[]): {
  rows: number;
  columns: number;
  kernel: readonly number[];
  taps: number;
} {
  const [rows, columns, ...kernel] = shape;
  if (rows === undefined || columns === undefined || kernel.length === 0) {
    throw new RangeError(
      `[${shape.join(', ')}] is not the shape of a convolution's weight: it has no kernel`,
    );
  }
  const bad = shape.find((extent) => !Number.isInteger(extent) || extent < 0);
  if (bad !== undefined) throw new RangeError(`${bad} is not an extent`);
  return { rows, columns, kernel, taps: product(kernel) };
}

function layoutOf({ data, shape, groups = 1 }: ConvWeight, options: ConvOperatorOptions): ConvTorus {
  const { rows, columns, kernel } = dimensions(shape);
  if (data.length !== product(shape)) {
    throw new RangeError(`a weight of shape [${shape.join(', ')}] has not ${data.length} elements`);
  }
  if (!Number.isInteger(groups) || groups < 1 || rows % groups !== 0) {
    throw new RangeError(`${rows} channels do not divide into ${groups} groups`);
  }
  const perAxis = (name: string, given: number | readonly number[] | undefined): number[] => {
    const all = typeof given === 'object' ? [...given] : kernel.map(() => given ?? 1);
    if (all.length !== kernel.length || !all.every((value) => Number.isInteger(value) && value >= 1)) {
      throw new RangeError(
        `${name}: expected ${kernel.length} whole numbers of at least 1, got [${all.join(', ')}]`,
      );
    }
    return all;
  };
  const size = perAxis('size', options.size);
  const strides = perAxis('strides', options.strides);
  const dilations = perAxis('dilations', options.dilations);
  const outputs = size.map((extent, axis) => extent / (strides[axis] as number));
  if (!outputs.every(Number.isInteger)) {
    throw new RangeError(`strides [${strides.join(', ')}] do not divide the size [${size.join(', ')}]`);
  }
  return { groups, rows: rows / groups, columns, kernel, size, strides, dilations, outputs };
}

function product(values: readonly number[]): number {
  return values.reduce((total, value) => total * value, 1);
}

/** The position of an element in row-major order. */
function unravel(index: number, shape: readonly number[]): number[] {
  const position = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const extent = shape[axis] as number;
    position[axis] = index % extent;
    index = Math.floor(index / extent);
  }
  return position;
}
