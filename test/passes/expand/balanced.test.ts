import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Model, modelToBytes, narrow, Tensor } from '../../../src/graph/index.js';
import { type ExpandOptions, expand } from '../../../src/passes/expand/expand.js';
import { openSession } from '../../../src/runtime/session/session.js';
import { expanded, expectSameFunction } from '../laws.js';
import { copyOf, lowRank, oneLayer, relativeError, valuesOf, weight } from '../models.js';

const runs = { numRuns: 40, seed: 20260102 };

type Rows = number[][];

/** Per factor in the order of application, the matrix (out x in) of one group. */
function factorsOf(model: Model, depth: number, isInOut: boolean, groups = 1, group = 0): Rows[] {
  return Array.from({ length: depth }, (_, i) => {
    const name = `w/overparam/${i}`;
    const values = valuesOf(model, name);
    const { shape } = model.graph.initializers.get(name)!;
    const columns = shape.slice(1).reduce((a, b) => a * b, 1);
    const rows = shape[0]! / groups;
    const at = (row: number, column: number): number => values[(group * rows + row) * columns + column]!;
    return isInOut
      ? Array.from({ length: columns }, (_row, o) => Array.from({ length: rows }, (_column, c) => at(c, o)))
      : Array.from({ length: rows }, (_row, o) => Array.from({ length: columns }, (_column, c) => at(o, c)));
  });
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** The first `rank` rows and columns of W_{i+1}^T W_{i+1} - W_i W_i^T, and W_i W_i^T. */
function imbalance(before: Rows, after: Rows, rank: number): { largest: number; norm: number } {
  const column = (matrix: Rows, j: number): number[] => matrix.map((row) => row[j]!);
  let largest = 0;
  let norm = 0;
  for (let i = 0; i < rank; i += 1) {
    for (let j = 0; j < rank; j += 1) {
      const left = dot(column(after, i), column(after, j));
      const right = dot(before[i]!, before[j]!);
      largest = Math.max(largest, Math.abs(left - right));
      norm = Math.max(norm, Math.abs(right));
    }
  }
  return { largest, norm };
}

/** Neighbours are balanced on the rank; units beyond it read something and tell it only to one another. */
function expectBalanced(factors: readonly Rows[], rank: number, tolerance: number): void {
  for (let i = 0; i + 1 < factors.length; i += 1) {
    const [before, after] = [factors[i]!, factors[i + 1]!];
    const { largest, norm } = imbalance(before, after, rank);
    expect(largest).toBeLessThanOrEqual(tolerance * norm);
    for (let unit = rank; unit < before.length; unit += 1) {
      expect(before[unit]!.some((value) => value !== 0)).toBe(true);
      const within = i + 2 === factors.length ? after : after.slice(0, rank);
      expect(within.every((row) => row[unit] === 0)).toBe(true);
    }
  }
}

describe('balanced factors', () => {
  test('of matrices of any rank and orientation', async () => {
    const cases = fc.record({
      rows: fc.integer({ min: 1, max: 10 }),
      columns: fc.integer({ min: 1, max: 10 }),
      rank: fc.integer({ min: 0, max: 10 }),
      depth: fc.integer({ min: 2, max: 5 }),
      width: fc.constantFrom(1, 1.5, 3),
      isWeightLeft: fc.boolean(),
      type: fc.constantFrom('float32' as const, 'float64' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, columns, rank, depth, width, isWeightLeft, type }) => {
        const truly = Math.min(rank, rows, columns);
        const w = lowRank('w', rows, columns, truly, type);
        const model = oneLayer({
          opType: 'MatMul',
          x: isWeightLeft ? [columns, 2] : [2, rows],
          y: isWeightLeft ? [rows, 2] : [2, columns],
          weight: w,
          isWeightLeft,
        });
        const { model: after, account } = await expanded(model, { depth, width });
        // A width of 1 can be below the rank of nothing.
        expect(account.rewritten[0]?.rank).toBe(truly);
        expectBalanced(factorsOf(after, depth, !isWeightLeft), truly, type === 'float32' ? 1e-6 : 1e-12);
      }),
      runs,
    );
  });

  test('of each group of a convolution', async () => {
    const groups = 3;
    for (const [perGroup, outputs, depth] of [
      [2, 4, 2],
      [1, 1, 3],
      [1, 2, 4],
      [4, 2, 3],
    ] as const) {
      const w = weight('w', [groups * outputs, perGroup, 2, 2]);
      const model = oneLayer({
        opType: 'Conv',
        x: [1, groups * perGroup, 3, 3],
        y: [1, groups * outputs, 2, 2],
        weight: w,
        attributes: { group: { int: groups } },
      });
      const { model: after, account } = await expanded(model, { depth, width: 2 });
      for (let group = 0; group < groups; group += 1) {
        expectBalanced(factorsOf(after, depth, false, groups, group), account.rewritten[0]!.rank!, 1e-6);
      }
    }
  });

  test('of matrices that are large, and of spectra that fall by ten orders of magnitude', async () => {
    const [rows, columns] = [72, 60];
    // Orthogonal columns by cosines, so that the spectrum is known.
    const basis = (n: number, i: number, j: number): number =>
      Math.sqrt((j === 0 ? 1 : 2) / n) * Math.cos((Math.PI * (i + 0.5) * j) / n);
    for (const fall of [0, 2, 4, 6, 7, 10]) {
      const data = Float64Array.from({ length: rows * columns }, (_, at) => {
        const [i, l] = [Math.floor(at / columns), at % columns];
        let sum = 0;
        for (let j = 0; j < columns; j += 1)
          sum += basis(rows, i, j) * 10 ** ((-fall * j) / (columns - 1)) * basis(columns, l, j);
        return sum;
      });
      for (const type of ['float32', 'float64'] as const) {
        const w =
          type === 'float32'
            ? Tensor.of('w', type, [rows, columns], Float32Array.from(data))
            : Tensor.of('w', type, [rows, columns], data);
        for (const depth of [2, 3, 5]) {
          const model = oneLayer({ opType: 'MatMul', x: [2, rows], y: [2, columns], weight: w });
          const { model: after, account } = await expanded(model, { depth, width: 1.5 });
          // A leading vector is known to eps, and brings that much of itself into the smallest, which is scaled by its
          // singular value to the power 1 - 1/depth: beyond a condition of 1e5 that is more than 1e-12.
          const rounding = 2 * 2 ** -52 * (10 ** fall) ** (1 - 1 / depth);
          const tolerance = type === 'float32' ? 1e-6 : Math.max(1e-12, rounding);
          expectBalanced(factorsOf(after, depth, true), account.rewritten[0]!.rank!, tolerance);
        }
      }
    }
  });
});

test('the identity chain is the weight and identities', async () => {
  const w = weight('w', [5, 3]);
  const model = oneLayer({ opType: 'MatMul', x: [2, 5], y: [2, 3], weight: w });
  const { model: after } = await expanded(model, { depth: 4, width: 2, init: 'identity' });
  const [first, ...rest] = factorsOf(after, 4, true);
  expect(first!.slice(0, 3).flat()).toEqual(
    Array.from({ length: 15 }, (_, at) => w.floats()[(at % 5) * 3 + Math.floor(at / 5)]),
  );
  for (const factor of rest) {
    for (let i = 0; i < 3; i += 1) for (let j = 0; j < 6; j += 1) expect(factor[i]![j]).toBe(i === j ? 1 : 0);
  }
  for (const factor of [first!, ...rest.slice(0, -1)])
    expect(factor.slice(3).every((row) => row.some(Boolean))).toBe(true);
});

test('units beyond the rank are not dead: their outgoing weights have a gradient', async () => {
  const settings: [Tensor, number, number][] = [
    [lowRank('w', 6, 4, 2), 2, 1],
    [lowRank('w', 6, 4, 2), 4, 1.5],
    [lowRank('w', 6, 4, 0), 2, 1],
    [lowRank('w', 6, 4, 0), 4, 1],
  ];
  for (const [w, depth, width] of settings) {
    const model = oneLayer({ opType: 'MatMul', x: [3, 6], y: [3, 4], weight: w });
    const { model: after, account } = await expanded(model, { depth, width });
    const { rank, hidden } = account.rewritten[0]!;
    const x = Float32Array.from({ length: 18 }, (_, i) => Math.sin(i + 1));
    const loss = async (changed: Model): Promise<number> => {
      await using session = await openSession(changed);
      const { y } = await session.run({ x: { type: 'float32', shape: [3, 6], data: x } });
      return (y!.data as Float32Array).reduce((sum, value, i) => sum + value * Math.cos(i), 0);
    };
    const before = await loss(after);
    for (let unit = rank!; unit < hidden; unit += 1) {
      const name = `w/overparam/${depth - 1}`;
      const values = Float32Array.from(valuesOf(after, name));
      expect(values[unit * 4]).toBe(0);
      values[unit * 4] = 1;
      const changed = await copyOf(after);
      changed.graph.setInitializer(Tensor.of(name, 'float32', [hidden, 4], values));
      expect(Math.abs((await loss(changed)) - before)).toBeGreaterThan(1e-3);
    }
  }
});

test('units beyond the rank read each input by weights of the size of those within', async () => {
  const sizes = [1e-4, 1e-2, 1, 30, 1e3, 0];
  const matrix = weight('w', [6, 4])
    .floats()
    .map((value, at) => value * sizes[Math.floor(at / 4)]!);
  const transposed = matrix.map((_, at) => matrix[(at % 6) * 4 + Math.floor(at / 6)]!);
  for (const init of ['balanced', 'identity'] as const) {
    for (const isInOut of [true, false]) {
      const w = Tensor.of(
        'w',
        'float32',
        isInOut ? [6, 4] : [4, 6],
        narrow('float32', isInOut ? matrix : transposed),
      );
      const { model } = await expanded(
        oneLayer({
          opType: 'Gemm',
          x: [2, 6],
          y: [2, 4],
          weight: w,
          attributes: isInOut ? {} : { transB: { int: 1 } },
        }),
        { depth: 2, width: 20, init },
      );
      const [reader] = factorsOf(model, 2, isInOut);
      const rms = (units: Rows, input: number): number =>
        Math.sqrt(units.reduce((sum, unit) => sum + unit[input]! ** 2, 0) / units.length);
      for (const [input, size] of sizes.entries()) {
        const [within, beyond] = [rms(reader!.slice(0, 4), input), rms(reader!.slice(4), input)];
        if (size === 0) expect(beyond).toBe(0);
        else expect(Math.abs(Math.log(beyond / within))).toBeLessThan(Math.log(1.5));
      }
    }
  }
});

describe('the same seed gives the same bytes', () => {
  const bytes = async (model: Model, options: ExpandOptions): Promise<Buffer> => {
    const copy = await copyOf(model);
    await copy.apply(expand(options));
    return Buffer.from(modelToBytes(copy));
  };
  const square = oneLayer({
    opType: 'Gemm',
    x: [2, 5],
    y: [2, 5],
    weight: weight('w', [5, 5]),
    bias: weight('b', [5]),
  });

  test('and another seed others, where there are random units', async () => {
    for (const init of ['balanced', 'identity'] as const) {
      for (const [width, isRandom] of [
        [1, false],
        [2, true],
      ] as const) {
        const first = await bytes(square, { width, init, seed: 1, depth: 3 });
        expect(Buffer.compare(first, await bytes(square, { width, init, seed: 1, depth: 3 }))).toBe(0);
        expect(Buffer.compare(first, await bytes(square, { width, init, seed: 2, depth: 3 })) !== 0).toBe(
          isRandom,
        );
      }
    }
  });

  test('and what is random differs from weight to weight', async () => {
    const copy = await copyOf(
      oneLayer({ opType: 'MatMul', x: [2, 4], y: [2, 2], weight: lowRank('w', 4, 2, 1) }),
    );
    const other = await copyOf(
      oneLayer({ opType: 'MatMul', x: [2, 4], y: [2, 2], weight: lowRank('w', 4, 2, 1).renamed('v') }),
    );
    await copy.apply(expand());
    await other.apply(expand());
    expect(relativeError(valuesOf(copy, 'w/overparam/1'), valuesOf(other, 'v/overparam/1'))).toBe(0);
    expect(relativeError(valuesOf(copy, 'w/overparam/0'), valuesOf(other, 'v/overparam/0'))).toBeGreaterThan(
      0.1,
    );
  });

  test('depth 1 changes nothing, and says so', async () => {
    const copy = await copyOf(square);
    const [account] = await copy.apply(expand({ depth: 1 }));
    expect(account).toEqual({
      inlined: [],
      rewritten: [],
      skipped: [
        {
          node: 'layer',
          op: 'Gemm',
          reason: 'a chain of one layer is the layer itself; use `depth: 2` or more',
        },
      ],
      recipe: [],
      unmatched: [],
    });
    expect(copy.changed).toBe(false);
    expect(Buffer.compare(Buffer.from(modelToBytes(copy)), Buffer.from(modelToBytes(square)))).toBe(0);
  });

  test('a dry run changes nothing, and tells what the run then does', async () => {
    for (const opset of [9, 13]) {
      for (const width of [0.4, 1, 2]) {
        for (const init of ['balanced', 'identity'] as const) {
          const model = oneLayer(
            { opType: 'Gemm', x: [2, 6], y: [2, 5], weight: lowRank('w', 6, 5, 3), bias: weight('b', [5]) },
            { opset },
          );
          const copy = await copyOf(model);
          const [dry] = await copy.apply(expand({ width, init, dryRun: true }));
          expect(copy.changed).toBe(false);
          const [real] = await copy.apply(expand({ width, init }));
          expect(dry).toEqual({
            ...real,
            rewritten: real.rewritten.map((site) => ({ ...site, rank: undefined, largestError: undefined })),
          });
          await expectSameFunction(model, copy);
        }
      }
    }
  });

  test('options out of range are refused early', () => {
    for (const options of [
      { depth: 0 },
      { depth: 1.5 },
      { width: 0 },
      { width: Number.NaN },
      { width: Number.POSITIVE_INFINITY },
    ]) {
      expect(() => expand(options)).toThrow(RangeError);
    }
    expect(() => expand({ init: 'random' as 'balanced' })).toThrow(/init must be one of balanced, identity/);
  });
});
