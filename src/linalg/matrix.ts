import { AsyncLocalStorage } from 'node:async_hooks';
import { type Model, ModelError, ValueInfo } from '../graph/index.js';
import { countGarbage, release } from '../runtime/garbage.js';
import type { ExecutionProvider } from '../runtime/providers/providers.js';
import { kernel } from '../runtime/session/run-graph.js';
import { buildModel } from '../runtime/session/small-model.js';
import type { Session, SessionOptions } from '../runtime/types.js';

/** A matrix, row-major: element (i, j) is data[i * columns + j]. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float32Array | Float64Array;
}

/**
 * What the blocks of a product may take together. onnxruntime-node makes a copy of each product that the garbage
 * collector gets to some runs later, so that the peak is some 40 MiB above this.
 */
export const BLOCK_BYTES = 8 << 20;

/**
 * Up to so many multiply-adds a plain loop is done before a session is entered: 30 µs a run on 2 cores, in
 * which the loop does some 20,000.
 */
export const LOOP_LIMIT = 1 << 14;

export function checkFilled(name: string, { rows, columns, data }: Matrix, batch: number): void {
  if (data.length === batch * rows * columns) return;
  const shape = batch === 1 ? `${rows}x${columns}` : `${batch} of ${rows}x${columns}`;
  throw new ModelError(
    `${name} has ${data.length} elements, but its shape ${shape} needs ${batch * rows * columns}`,
  );
}

/** A new array that is counted as what will be garbage. */
export function float64(length: number): Float64Array {
  countGarbage(8 * length);
  return new Float64Array(length);
}

/**
 * Parts of a matrix as float64, in a buffer that the next part overwrites; float64 that is contiguous is not copied. The
 * buffer is gone when the widener is disposed.
 */
export class Widener implements Disposable {
  #buffer: Float64Array = new Float64Array(0);

  widen(part: Float32Array | Float64Array): Float64Array {
    if (part instanceof Float64Array) return part;
    const buffer = this.#take(part.length);
    buffer.set(part);
    return buffer;
  }

  /** count x columns. */
  rows(matrix: Matrix, start: number, count: number): Float64Array {
    return this.widen(matrix.data.subarray(start * matrix.columns, (start + count) * matrix.columns));
  }

  /** rows x count. */
  columns(matrix: Matrix, start: number, count: number): Float64Array {
    return this.block(matrix, 0, matrix.rows, start, count);
  }

  block(matrix: Matrix, row: number, rowCount: number, column: number, columnCount: number): Float64Array {
    const { columns, data } = matrix;
    if (columnCount === columns) return this.rows(matrix, row, rowCount);
    const buffer = this.#take(rowCount * columnCount);
    for (let i = 0; i < rowCount; i += 1) {
      const from = (row + i) * columns + column;
      buffer.set(data.subarray(from, from + columnCount), i * columnCount);
    }
    return buffer;
  }

  [Symbol.dispose](): void {
    release(this.#buffer);
    this.#buffer = new Float64Array(0);
  }

  #take(length: number): Float64Array {
    if (this.#buffer.length < length) {
      release(this.#buffer);
      this.#buffer = new Float64Array(length);
    }
    return this.#buffer.subarray(0, length);
  }
}

/** Where a product runs, nowhere else: the CPU unless given. */
export interface ProductPlace {
  readonly providers: readonly ExecutionProvider[];
  readonly device?: number | undefined;
}

const current = new AsyncLocalStorage<ProductPlace>();

/**
 * Does work whose large products (matmul, batchedMatmul, gram) run at a place: a pass makes them many layers down. Products
 * so small that a session costs more than they do stay in a plain loop.
 *
 * @param place undefined: as it is outside, the CPU at first
 * @throws ProviderError before the work, for a provider that does not load
 */
export async function withProducts<T>(place: ProductPlace | undefined, work: () => Promise<T>): Promise<T> {
  if (place === undefined) return await work();
  return await current.run(place, async () => {
    await gemmKernel(false, false);
    return await work();
  });
}

/** Where products run, and what tells a kernel from one elsewhere. */
export function productSession(own?: ProductPlace): {
  readonly key: string;
  readonly options: SessionOptions;
} {
  const place = own ?? current.getStore();
  // A node that fell to the CPU would go unnoticed.
  const strict = place !== undefined && !place.providers.includes('cpu');
  return { key: JSON.stringify(place) ?? '', options: { ...place, strict } };
}

/** y = op(a) op(b), all float64; or c - op(a) op(b). */
export function gemmKernel(
  transposeA: boolean,
  transposeB: boolean,
  isMinus = false,
  place?: ProductPlace,
  threads?: number,
): Promise<Session> {
  const inputs = isMinus ? ['a', 'b', 'c'] : ['a', 'b'];
  const build = (): Model =>
    buildModel({
      nodes: [
        {
          opType: 'Gemm',
          inputs,
          outputs: ['y'],
          attributes: {
            alpha: { float: isMinus ? -1 : 1 },
            transA: { int: Number(transposeA) },
            transB: { int: Number(transposeB) },
          },
        },
      ],
      inputs: inputs.map((name) => ValueInfo.tensor(name, 'float64', [undefined, undefined])),
      outputs: [ValueInfo.tensor('y', 'float64', [undefined, undefined])],
      opset: 17,
    });
  const { key, options } = productSession(place);
  const sized = threads === undefined ? options : { ...options, threads };
  return kernel(`gemm ${transposeA} ${transposeB} ${isMinus} ${threads} ${key}`, build, sized);
}
