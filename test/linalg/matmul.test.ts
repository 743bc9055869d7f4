import fc from 'fast-check';
import { Matrix as Peer } from 'ml-matrix';
import { afterAll, describe, expect, it } from 'vitest';
import {
  batchedMatmul,
  gram,
  type MatmulOptions,
  type Matrix,
  matmul,
  withProducts,
} from '../../src/linalg/index.js';
import { disposeKernels, Random, runGraph } from '../../src/runtime/index.js';

afterAll(disposeKernels);

function randomMatrix(rows: number, columns: number, isDouble: boolean, seed: number): Matrix {
  const length = rows * columns;
  const data = isDouble ? new Float64Array(length) : new Float32Array(length);
  return { rows, columns, data: new Random(seed).fillNormal(data) };
}

/** By a library of its own where it can; it has no matrices without rows or columns. */
function expected(a: Matrix, b: Matrix, { transposeA, transposeB }: MatmulOptions): Float64Array {
  const [m, k] = transposeA ? [a.columns, a.rows] : [a.rows, a.columns];
  const n = transposeB ? b.rows : b.columns;
  if (m * k * n === 0) return new Float64Array(m * n);
  const peer = (matrix: Matrix): Peer =>
    Peer.from1DArray(matrix.rows, matrix.columns, Array.from(matrix.data));
  const left = transposeA ? peer(a).transpose() : peer(a);
  const right = transposeB ? peer(b).transpose() : peer(b);
  return Float64Array.from(left.mmul(right).to1DArray());
}

function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, relative: number): void {
  expect(actual.length).toBe(wanted.length);
  const largest = Array.from(wanted).reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  for (let i = 0; i < wanted.length; i += 1) {
    const error = Math.abs(actual[i]! - wanted[i]!);
    // NaN must fail as well.
    if (!(error <= relative * largest)) expect.fail(`element ${i}: ${actual[i]} is not ${wanted[i]}`);
  }
}

const shapes = fc.record({
  m: fc.integer({ min: 0, max: 40 }),
  k: fc.integer({ min: 0, max: 40 }),
  n: fc.integer({ min: 0, max: 40 }),
  doubleA: fc.boolean(),
  doubleB: fc.boolean(),
  transposeA: fc.boolean(),
  transposeB: fc.boolean(),
  out: fc.constantFrom('float32' as const, 'float64' as const),
  // Undefined takes the plain loop where it is small; small blocks take many runs of onnxruntime.
  blockBytes: fc.constantFrom(undefined, 100, 2000, 1 << 20),
  seed: fc.integer({ min: 0, max: 1000 }),
});

describe('matmul', () => {
  it('agrees with ml-matrix on any shape, type, transposition and block', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async ({ m, k, n, doubleA, doubleB, seed, ...options }) => {
        const a = options.transposeA ? randomMatrix(k, m, doubleA, seed) : randomMatrix(m, k, doubleA, seed);
        const b = options.transposeB
          ? randomMatrix(n, k, doubleB, seed + 1)
          : randomMatrix(k, n, doubleB, seed + 1);
        const product = await matmul(a, b, options);
        expect([product.rows, product.columns]).toEqual([m, n]);
        expect(product.data).toBeInstanceOf(options.out === 'float32' ? Float32Array : Float64Array);
        expectClose(product.data, expected(a, b, options), options.out === 'float32' ? 2 ** -23 : 1e-13);
      }),
      { seed: 1, numRuns: 150 },
    );
  });

  it('computes in float64 what cancels in float32', async () => {
    const size = 40;
    const a = { rows: size, columns: size, data: new Float32Array(size * size) };
    const b = { rows: size, columns: size, data: new Float32Array(size * size) };
    a.data.set([1e8, 1, -1e8]);
    for (const row of [0, 1, 2]) b.data[row * size] = 1;
    expect((await matmul(a, b, { out: 'float32' })).data[0]).toBe(1);
  });

  it('refuses shapes that do not fit', async () => {
    const a = randomMatrix(2, 3, false, 0);
    await expect(matmul(a, a)).rejects.toThrow('a matrix of 2x3 cannot be multiplied with one of 2x3');
    await expect(matmul({ ...a, rows: 3 }, a, { transposeA: true })).rejects.toThrow();
    await expect(matmul({ ...a, rows: 4 }, { ...a, rows: 3, columns: 2 })).rejects.toThrow(
      'a has 6 elements, but its shape 4x3 needs 12',
    );
  });
});

describe('gram', () => {
  it('is A A^T or A^T A, exactly symmetric', async () => {
    const cases = fc.record({
      rows: fc.integer({ min: 0, max: 50 }),
      columns: fc.integer({ min: 0, max: 50 }),
      isDouble: fc.boolean(),
      side: fc.constantFrom('rows' as const, 'columns' as const),
      blockBytes: fc.constantFrom(undefined, 3000, 20_000, 1 << 20),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, columns, isDouble, side, blockBytes }) => {
        const a = randomMatrix(rows, columns, isDouble, rows);
        const n = side === 'rows' ? rows : columns;
        const g = await gram(a, side, { blockBytes });
        expectClose(g, expected(a, a, side === 'rows' ? { transposeB: true } : { transposeA: true }), 1e-13);
        expect(g).toEqual(g.map((_, at) => g[(at % n) * n + Math.floor(at / n)]!));
      }),
      { seed: 2, numRuns: 60 },
    );
  });

  it('joins tiles of more than one block', async () => {
    const a = randomMatrix(700, 33, false, 3);
    expectClose(await gram(a, 'rows'), (await matmul(a, a, { transposeB: true })).data, 1e-13);
  });
});

describe('batchedMatmul', () => {
  it('is matmul of each pair, with a batch of one for all', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.constantFrom([1, 1], [3, 3], [1, 4], [4, 1], [0, 1]),
        async ({ m, k, n, doubleA, doubleB, seed, ...options }, batches) => {
          const [batchA, batchB] = batches as [number, number];
          const batch = batchA === 0 ? 0 : Math.max(batchA, batchB);
          const [rowsA, columnsA] = options.transposeA ? [k, m] : [m, k];
          const [rowsB, columnsB] = options.transposeB ? [n, k] : [k, n];
          const stacked = (
            count: number,
            rows: number,
            columns: number,
            isDouble: boolean,
            from: number,
          ) => ({
            batch: count,
            rows,
            columns,
            data: randomMatrix(count * rows, columns, isDouble, from).data,
          });
          const a = stacked(batchA, rowsA, columnsA, doubleA, seed);
          const b = stacked(batchB, rowsB, columnsB, doubleB, seed + 1);
          const product = await batchedMatmul(a, b, options);
          expect([product.batch, product.rows, product.columns]).toEqual([batch, m, n]);
          const item = (matrices: typeof a, index: number): Matrix => {
            const size = matrices.rows * matrices.columns;
            const at = matrices.batch === 1 ? 0 : index;
            return { ...matrices, data: matrices.data.subarray(at * size, (at + 1) * size) };
          };
          for (let i = 0; i < batch; i += 1) {
            const wanted = expected(item(a, i), item(b, i), options);
            const actual = product.data.subarray(i * m * n, (i + 1) * m * n);
            expectClose(actual, wanted, options.out === 'float32' ? 2 ** -23 : 1e-13);
          }
        },
      ),
      { seed: 3, numRuns: 150 },
    );
  });

  it('refuses batches that do not pair up', async () => {
    const batch = (count: number) => ({ batch: count, rows: 1, columns: 1, data: new Float32Array(count) });
    await expect(batchedMatmul(batch(2), batch(3))).rejects.toThrow('batches of 2 and 3');
  });
});

describe('runGraph', () => {
  it('computes operators on tensors of any size, and again after disposeKernels', async () => {
    const nodes = [{ opType: 'Mul', inputs: ['x', 's'], outputs: ['y'] }];
    for (const length of [2, 5]) {
      const x = { type: 'float32', shape: [length], data: new Float32Array(length).fill(3) } as const;
      const s = { type: 'float32', shape: [], data: Float32Array.of(2) } as const;
      const { y } = await runGraph(nodes, { x, s }, ['y']);
      expect(y).toEqual({ type: 'float32', shape: [length], data: new Float32Array(length).fill(6) });
      await disposeKernels();
    }
  });

  it('tells what onnxruntime refuses, each time', async () => {
    for (let time = 0; time < 2; time += 1) {
      await expect(runGraph([{ opType: 'Foo', inputs: [], outputs: ['y'] }], {}, ['y'])).rejects.toThrow(
        /Foo/,
      );
    }
  });
});

describe('a place for products', () => {
  const a = { rows: 40, columns: 50, data: Float32Array.from({ length: 2000 }, (_, i) => Math.sin(i)) };
  const many = { ...a, batch: 8, rows: 5, columns: 50 };
  const other = {
    batch: 8,
    rows: 50,
    columns: 90,
    data: Float32Array.from({ length: 36_000 }, (_, i) => Math.cos(i)),
  };

  it('reaches the products of the work, and no other', async () => {
    const work = async () => [await matmul(a, a, { transposeB: true }), await batchedMatmul(many, other)];
    const expected = await work();
    expect(await withProducts({ providers: ['cpu'] }, work)).toEqual(expected);
    expect(await withProducts(undefined, work)).toEqual(expected);
  });

  it('a provider that does not load is said before the work', async () => {
    const providers = [process.platform === 'win32' ? 'coreml' : 'directml'] as const;
    let isDone = false;
    const work = withProducts({ providers }, async () => {
      isDone = true;
    });
    await expect(work).rejects.toThrow(/does not load/);
    expect(isDone).toBe(false);
    // Outside of it, all is as before.
    expect((await matmul(a, a, { transposeB: true })).rows).toBe(40);
  });
});
