import { type Model, ModelError, type NodeSpec, ValueInfo } from '../graph/index.js';
import { countGarbage, release } from '../runtime/garbage.js';
import { kernel } from '../runtime/session/run-graph.js';
import { buildModel } from '../runtime/session/small-model.js';
import type { Session } from '../runtime/types.js';
import type { Floats } from './floats.js';
import {
  BLOCK_BYTES,
  checkFilled,
  float64,
  gemmKernel,
  LOOP_LIMIT,
  type Matrix,
  productSession,
  Widener,
} from './matrix.js';

export { disposeKernels, evaluate, runGraph } from '../runtime/session/run-graph.js';
export { gram, gramInto, type Square } from './gram.js';
export type { Matrix } from './matrix.js';

/** Matrices of one shape, consecutive. */
export interface MatrixBatch extends Matrix {
  readonly batch: number;
}

export interface MatmulOptions {
  /** Multiply the transpose of a (of each matrix of a). */
  readonly transposeA?: boolean | undefined;
  readonly transposeB?: boolean | undefined;
  /** Element type of the product, which is computed in float64 and rounded once; default 'float64'. */
  readonly out?: 'float32' | 'float64' | undefined;
  /** Bytes that temporaries may take, the float64 copy of the smaller operand aside; default 8 MiB. */
  readonly blockBytes?: number | undefined;
}

export interface ScaledMatmulOptions extends MatmulOptions {
  /** Factors of the rows of the product, multiplied in before it is rounded. */
  readonly scaleRows?: Float64Array | undefined;
  readonly scaleColumns?: Float64Array | undefined;
}

/**
 * The product of two matrices, computed in float64 by onnxruntime's Gemm.
 *
 * float32 operands are widened block by block: of the larger one, and of the product where it is float32, only
 * a block of some 8 MiB exists in float64 at a time. Widening and rounding by TypedArray.set are faster (3e9 elements
 * a second) than a Cast in the graph and let the blocks reuse one buffer.
 *
 * @returns rows of op(a) x columns of op(b)
 * @throws ModelError when the inner dimensions differ, or data does not fill its shape
 * @example
 * const product = await matmul({ rows: 2, columns: 3, data: a }, { rows: 2, columns: 3, data: b }, { transposeB: true });
 */
export async function matmul(a: Matrix, b: Matrix, options: ScaledMatmulOptions = {}): Promise<Matrix> {
  const { m, n } = dimensions(a, b, options);
  const data = newArray(options.out, m * n);
  await matmulInto(data, a, b, options);
  return { rows: m, columns: n, data };
}

/** The same product in a given array, as its type has it. */
export async function matmulInto(
  into: Floats,
  a: Matrix,
  b: Matrix,
  options: Omit<ScaledMatmulOptions, 'out'> = {},
): Promise<void> {
  const { m, k, n } = dimensions(a, b, options);
  checkFilled('a', a, 1);
  checkFilled('b', b, 1);
  checkFilled('the product', { rows: m, columns: n, data: into }, 1);
  if (k === 0) into.fill(0);
  await multiplyInto(into, a, b, options);
}

/**
 * A B or C - A B in float64, of matrices that are small enough to be taken as a whole, into a given array.
 *
 * @throws ModelError when dimensions differ
 */
export async function gemmInto(into: Float64Array, a: Matrix, b: Matrix, c?: Float64Array): Promise<void> {
  const { m, n } = dimensions(a, b, {});
  const session = await gemmKernel(false, false, c !== undefined);
  const tensor = (data: Matrix['data'], rows: number, columns: number) =>
    ({ type: 'float64', shape: [rows, columns], data }) as const;
  const feeds = { a: tensor(a.data, m, a.columns), b: tensor(b.data, b.rows, n) };
  await session.run(c === undefined ? feeds : { ...feeds, c: tensor(c, m, n) }, {
    into: { y: tensor(into, m, n) },
  });
}

/**
 * The products of two batches of matrices, pair by pair, in float64 as matmul. A batch of one matrix is multiplied
 * with every one of the other.
 *
 * @throws ModelError when the batches differ and neither is one, and as matmul
 * @example
 * // Products of grouped weights: 32 groups, 4x9 times 9x16.
 * const products = await batchedMatmul(
 *   { batch: 32, rows: 4, columns: 9, data: a },
 *   { batch: 32, rows: 9, columns: 16, data: b },
 * );
 */
export async function batchedMatmul(
  a: MatrixBatch,
  b: MatrixBatch,
  options: MatmulOptions = {},
): Promise<MatrixBatch> {
  const { m, k, n } = dimensions(a, b, options);
  checkFilled('a', a, a.batch);
  checkFilled('b', b, b.batch);
  if (a.batch !== b.batch && a.batch !== 1 && b.batch !== 1) {
    throw new ModelError(`batches of ${a.batch} and ${b.batch} matrices cannot be multiplied pair by pair`);
  }
  const batch = a.batch === 0 || b.batch === 0 ? 0 : Math.max(a.batch, b.batch);
  const data = newArray(options.out, batch * m * n);
  const product: MatrixBatch = { batch, rows: m, columns: n, data };
  if (data.length === 0 || k === 0) return product;
  if (b.batch === 1 && !options.transposeA) {
    // The matrices of a stand one above the other: that is one tall matrix.
    await multiplyInto(data, { rows: a.batch * a.rows, columns: a.columns, data: a.data }, b, options);
    return product;
  }
  const itemOf = (matrices: MatrixBatch, index: number): Matrix => ({
    ...matrices,
    data: batchSlice(matrices, matrices.batch === 1 ? 0 : index, 1),
  });
  const multiplyAdds = m * k * n;
  const blockBytes = options.blockBytes ?? BLOCK_BYTES;
  const itemBytes = 16 * (m * k + k * n) + 8 * m * n;
  const perBlock = Math.floor(blockBytes / itemBytes);
  if (batch * multiplyAdds <= LOOP_LIMIT || perBlock < 2) {
    for (let i = 0; i < batch; i += 1) {
      await multiplyInto(data.subarray(i * m * n, (i + 1) * m * n), itemOf(a, i), itemOf(b, i), options);
    }
    return product;
  }
  const session = await batchKernel(options);
  using wideA = new Widener();
  using wideB = new Widener();
  const buffer =
    data instanceof Float64Array ? undefined : new Float64Array(Math.min(perBlock, batch) * m * n);
  for (let start = 0; start < batch; start += perBlock) {
    const count = Math.min(perBlock, batch - start);
    const [countA, countB] = [a.batch === 1 ? 1 : count, b.batch === 1 ? 1 : count];
    const panelA = wideA.widen(batchSlice(a, a.batch === 1 ? 0 : start, countA));
    const panelB = wideB.widen(batchSlice(b, b.batch === 1 ? 0 : start, countB));
    const target = data.subarray(start * m * n, (start + count) * m * n);
    const block =
      target instanceof Float64Array ? target : (buffer as Float64Array).subarray(0, target.length);
    await session.run(
      {
        a: { type: 'float64', shape: [countA, a.rows, a.columns], data: panelA },
        b: { type: 'float64', shape: [countB, b.rows, b.columns], data: panelB },
      },
      { into: { y: { type: 'float64', shape: [count, m, n], data: block } } },
    );
    if (block !== target) target.set(block);
  }
  release(buffer);
  return product;
}

function batchSlice(matrices: MatrixBatch, start: number, count: number): Float32Array | Float64Array {
  const size = matrices.rows * matrices.columns;
  return matrices.data.subarray(start * size, (start + count) * size);
}

interface Dimensions {
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

function dimensions(a: Matrix, b: Matrix, options: MatmulOptions): Dimensions {
  const [m, k] = options.transposeA ? [a.columns, a.rows] : [a.rows, a.columns];
  const [inner, n] = options.transposeB ? [b.columns, b.rows] : [b.rows, b.columns];
  if (k !== inner)
    throw new ModelError(`a matrix of ${m}x${k} cannot be multiplied with one of ${inner}x${n}`);
  return { m, k, n };
}

function newArray(type: 'float32' | 'float64' | undefined, length: number): Float32Array | Float64Array {
  if (type !== 'float32') return float64(length);
  countGarbage(4 * length);
  return new Float32Array(length);
}

/** Writes op(a) op(b) to `out`, which is zero where there is nothing to add. */
async function multiplyInto(
  out: Float32Array | Float64Array,
  a: Matrix,
  b: Matrix,
  options: ScaledMatmulOptions,
): Promise<void> {
  const { m, k, n } = dimensions(a, b, options);
  if (m === 0 || n === 0 || k === 0) return;
  if (m * k * n <= LOOP_LIMIT && options.blockBytes === undefined) {
    multiplyLoop(out, a, b, options);
    return;
  }
  const { transposeA = false, transposeB = false } = options;
  const session = await gemmKernel(transposeA, transposeB);
  // The larger operand comes in blocks, along the dimension that it shares with the product.
  const isAMoving = a.data.length >= b.data.length;
  const [moving, fixed] = isAMoving ? [a, b] : [b, a];
  const length = isAMoving ? m : n;
  // Blocks are of whole rows of what is stored, or of some columns of each row.
  const isByRows = isAMoving ? !transposeA : transposeB;
  using wide = new Widener();
  const wideFixed = wide.widen(fixed.data);
  const thickness = blockThickness(length, 8 * (k + (isAMoving ? n : m)), options.blockBytes ?? BLOCK_BYTES);
  using widener = new Widener();
  let buffer: Float64Array | undefined;
  for (let start = 0; start < length; start += thickness) {
    const count = Math.min(thickness, length - start);
    const panel = isByRows ? widener.rows(moving, start, count) : widener.columns(moving, start, count);
    const panelShape = isByRows ? [count, k] : [k, count];
    const [rows, columns] = isAMoving ? [count, n] : [m, count];
    const isContiguous = isAMoving || count === length;
    const target = isContiguous ? out.subarray(start * columns, start * columns + rows * columns) : undefined;
    let block: Float64Array;
    if (target instanceof Float64Array) block = target;
    else {
      buffer ??= new Float64Array(Math.min(thickness, length) * (isAMoving ? n : m));
      block = buffer.subarray(0, rows * columns);
    }
    const movingTensor = { type: 'float64', shape: panelShape, data: panel } as const;
    const fixedTensor = { type: 'float64', shape: [fixed.rows, fixed.columns], data: wideFixed } as const;
    await session.run(isAMoving ? { a: movingTensor, b: fixedTensor } : { a: fixedTensor, b: movingTensor }, {
      into: { y: { type: 'float64', shape: [rows, columns], data: block } },
    });
    scale(block, columns, isAMoving ? [start, 0] : [0, start], options);
    if (block === target) continue;
    if (target !== undefined) target.set(block);
    else {
      for (let i = 0; i < rows; i += 1)
        out.set(block.subarray(i * columns, (i + 1) * columns), i * n + start);
    }
  }
  release(buffer);
}

/** How many rows or columns make a block; a multiple of 16, for the sake of Gemm's own blocks, where it can be. */
function blockThickness(length: number, bytesEach: number, blockBytes: number): number {
  const most = Math.max(1, Math.floor(blockBytes / bytesEach));
  if (most >= length) return length;
  return most >= 16 ? most - (most % 16) : most;
}

/** Multiplies a block of the product by the factors of its rows and columns; `from` is the place of its first element. */
function scale(
  block: Float64Array,
  columns: number,
  from: readonly [row: number, column: number],
  { scaleRows, scaleColumns }: ScaledMatmulOptions,
): void {
  if (scaleRows === undefined && scaleColumns === undefined) return;
  for (let at = 0, row = from[0]; at < block.length; row += 1) {
    const factor = scaleRows === undefined ? 1 : (scaleRows[row] as number);
    for (const end = at + columns, column = from[1] - at; at < end; at += 1) {
      const other = scaleColumns === undefined ? 1 : (scaleColumns[column + at] as number);
      block[at] = (block[at] as number) * factor * other;
    }
  }
}

function multiplyLoop(
  out: Float32Array | Float64Array,
  a: Matrix,
  b: Matrix,
  options: ScaledMatmulOptions,
): void {
  const { m, k, n } = dimensions(a, b, options);
  const [rowA, stepA] = options.transposeA ? [1, a.columns] : [a.columns, 1];
  const [stepB, columnB] = options.transposeB ? [1, b.columns] : [b.columns, 1];
  const [dataA, dataB] = [a.data, b.data];
  const { scaleRows, scaleColumns } = options;
  for (let i = 0; i < m; i += 1) {
    for (let j = 0; j < n; j += 1) {
      let sum = 0;
      for (let l = 0; l < k; l += 1) {
        sum += (dataA[i * rowA + l * stepA] as number) * (dataB[l * stepB + j * columnB] as number);
      }
      out[i * n + j] = sum * (scaleRows?.[i] ?? 1) * (scaleColumns?.[j] ?? 1);
    }
  }
}

/** MatMul has no transposing attributes and onnxruntime's FusedMatMul has no float64: hence Transpose nodes. */
function batchKernel({ transposeA = false, transposeB = false }: MatmulOptions): Promise<Session> {
  const transpose = (name: string): NodeSpec => ({
    opType: 'Transpose',
    inputs: [name],
    outputs: [`${name}T`],
    attributes: { perm: { ints: [0, 2, 1] } },
  });
  const build = (): Model =>
    buildModel({
      nodes: [
        ...(transposeA ? [transpose('a')] : []),
        ...(transposeB ? [transpose('b')] : []),
        { opType: 'MatMul', inputs: [transposeA ? 'aT' : 'a', transposeB ? 'bT' : 'b'], outputs: ['y'] },
      ],
      inputs: ['a', 'b'].map((name) => ValueInfo.tensor(name, 'float64', [undefined, undefined, undefined])),
      outputs: [ValueInfo.tensor('y', 'float64', [undefined, undefined, undefined])],
      opset: 17,
    });
  const { key, options } = productSession();
  return kernel(`batch ${transposeA} ${transposeB} ${key}`, build, options);
}
