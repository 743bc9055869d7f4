import fc from 'fast-check';
import { Matrix as Dense, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { type Model, Tensor } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand.js';
import { rankRecipe } from '../../src/passes/rank-recipe.js';
import { Random, type RuntimeTensor } from '../../src/runtime/index.js';
import { nuclearSubgradient, trainedRankPruning } from '../../src/training/low-rank.js';
import { expectSameFunction } from '../passes/laws.js';
import { buildModel } from '../support/build.js';

/** Random numbers whose matrix has singular values that fall off. */
function falling(rows: number, columns: number, seed: string, decay = 0.7): Float32Array {
  const random = new Random(1, seed);
  const inner = Math.min(rows, columns);
  const [left, right] = [rows * inner, inner * columns].map((size) =>
    random.fillNormal(new Float64Array(size)),
  );
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < inner; k += 1) sum += left![i * inner + k]! * decay ** k * right![k * columns + j]!;
    return sum;
  });
}

function singularValues(data: ArrayLike<number>, rows: number, columns: number): number[] {
  const matrix = Dense.from1DArray(rows, columns, Array.from(data));
  return new SingularValueDecomposition(matrix, { autoTranspose: true }).diagonal;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

function network(): Model {
  const weight = (name: string, shape: readonly number[], rows: number): Tensor => {
    const size = shape.reduce((a, b) => a * b, 1);
    return Tensor.of(name, 'float32', shape, falling(rows, size / rows, name));
  };
  return buildModel({
    inputs: [['x', 'float32', [2, 4, 6, 6]]],
    outputs: [['y', 'float32', [2, 5]]],
    opset: 18,
    nodes: [
      { opType: 'Conv', inputs: ['x', 'conv'], outputs: ['a'], attributes: { group: { int: 2 } } },
      { opType: 'Relu', inputs: ['a'], outputs: ['b'] },
      { opType: 'ConvTranspose', inputs: ['b', 'up'], outputs: ['c'] },
      { opType: 'Conv', inputs: ['c', 'depthwise'], outputs: ['d'], attributes: { group: { int: 16 } } },
      { opType: 'GlobalAveragePool', inputs: ['d'], outputs: ['e'] },
      { opType: 'Flatten', inputs: ['e'], outputs: ['f'] },
      { opType: 'Transpose', inputs: ['turned'], outputs: ['t'], attributes: { perm: { ints: [1, 0] } } },
      { opType: 'MatMul', inputs: ['f', 't'], outputs: ['g'] },
      { opType: 'Gemm', inputs: ['g', 'head', 'bias'], outputs: ['y'] },
    ],
    initializers: [
      weight('conv', [16, 2, 3, 3], 16),
      weight('up', [16, 16, 2, 2], 64),
      weight('depthwise', [16, 1, 3, 3], 16),
      weight('turned', [24, 16], 24),
      weight('head', [24, 5], 24),
      weight('bias', [5], 1),
    ],
  });
}

const tensorsOf = (model: Model): Map<string, RuntimeTensor> =>
  new Map(
    [...model.graph.initializers].map(([name, tensor]) => [
      name,
      { type: 'float32', shape: tensor.shape, data: tensor.floats() as Float32Array },
    ]),
  );

/** The model with other weights. */
function withWeights(model: Model, weights: ReadonlyMap<string, RuntimeTensor>): Model {
  for (const [name, { shape, data }] of weights) {
    model.graph.edit({ setInitializers: [Tensor.of(name, 'float32', shape, data as Float32Array)] });
  }
  return model;
}

describe('trained rank pruning', () => {
  test('a weight comes to the lowest rank that the energy allows, and to its best approximation', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 2, max: 40 }),
        fc.integer({ min: 2, max: 40 }),
        fc.double({ min: 0, max: 0.5, noNaN: true }),
        fc.nat(100),
        async (rows, columns, energy, seed) => {
          const data = falling(rows, columns, `${seed}`);
          const model = buildModel({
            inputs: [['x', 'float32', [1, rows]]],
            outputs: [['y', 'float32', [1, columns]]],
            nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
            initializers: [Tensor.of('w', 'float32', [rows, columns], data)],
          });
          const before = singularValues(data, rows, columns);
          const squares = before.map((value) => value * value);
          let rank = before.length;
          while (rank > 1 && sum(squares.slice(rank - 1)) <= energy * sum(squares)) rank -= 1;
          const { prune } = trainedRankPruning(model, ['w'], { energy, nuclear: 0 });
          const { weights, pruned } = await prune(tensorsOf(model), 1);
          const [account] = pruned;
          const next = weights.get('w')!.data as Float32Array;
          const after = singularValues(next, rows, columns);
          // Of the rank and energies at the very limit rounding decides.
          fc.pre(Math.abs(sum(squares.slice(rank - 1)) / sum(squares) - energy) > 1e-6);
          expect(account).toMatchObject({ weight: 'w', rank, of: Math.min(rows, columns) });
          expect(after.filter((value) => value > 1e-5 * before[0]!)).toHaveLength(
            before.slice(0, rank).filter((value) => value > 1e-5 * before[0]!).length,
          );
          const distance = Math.sqrt(sum(Array.from(next, (x, i) => (x - data[i]!) ** 2)));
          const best = Math.sqrt(sum(squares.slice(rank)));
          expect(Math.abs(distance - best)).toBeLessThan(1e-5 * before[0]!);
          expect(account!.dropped).toBeCloseTo(sum(squares.slice(rank)) / sum(squares), 6);
        },
      ),
      { seed: 5, numRuns: 40 },
    );
  });

  test('the penalty takes the same off every singular value, down to zero', async () => {
    const [rows, columns, nuclear, rate] = [12, 20, 0.05, 8];
    const data = falling(rows, columns, 'penalty');
    const model = buildModel({
      inputs: [['x', 'float32', [1, columns]]],
      outputs: [['y', 'float32', [1, rows]]],
      nodes: [{ opType: 'Gemm', inputs: ['x', 'w'], outputs: ['y'], attributes: { transB: { int: 1 } } }],
      initializers: [Tensor.of('w', 'float32', [rows, columns], data)],
    });
    const { prune } = trainedRankPruning(model, ['w'], { energy: 0, nuclear });
    const { weights, pruned } = await prune(tensorsOf(model), rate);
    const expected = singularValues(data, rows, columns).map((value) => Math.max(0, value - rate * nuclear));
    const after = singularValues(weights.get('w')!.data as Float32Array, rows, columns);
    for (const [i, value] of after.entries()) expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-4);
    expect(pruned[0]!.nuclearNorm).toBeCloseTo(sum(expected), 4);
    expect(expected.at(-1)).toBe(0);
    // To the first order it is a step along the sub-gradient.
    const small = await trainedRankPruning(model, ['w'], { energy: 0, nuclear: 1e-3 }).prune(
      tensorsOf(model),
      1,
    );
    const slope = (await nuclearSubgradient({ rows, columns, data })).data;
    const moved = small.weights.get('w')!.data as Float32Array;
    for (const [i, x] of moved.entries())
      expect(Math.abs(data[i]! - 1e-3 * slope[i]! - x)).toBeLessThan(2e-6);
  });

  test('convolutions by their groups, transposes and products; what has no rank to lose is named', async () => {
    const model = network();
    const pruning = trainedRankPruning(model, model.graph.initializers.keys(), { energy: 0.05, nuclear: 0 });
    expect(pruning.weights).toEqual(['conv', 'up', 'turned', 'head']);
    expect(pruning.skipped).toEqual([
      { weight: 'depthwise', reason: 'its matrix has one row or one column' },
    ]);
    const { weights, pruned } = await pruning.prune(tensorsOf(model), 0);
    expect([...weights.keys()]).toEqual(pruning.weights);
    for (const { rank, of, dropped } of pruned) {
      expect(rank).toBeLessThan(of);
      expect(dropped).toBeLessThanOrEqual(0.05);
      expect(dropped).toBeGreaterThan(0);
    }
  });

  test('what is pruned factorizes without loss, into fewer parameters', async () => {
    const model = network();
    const { prune } = trainedRankPruning(model, model.graph.initializers.keys(), { energy: 0.2, nuclear: 0 });
    const { weights, pruned } = await prune(tensorsOf(model), 0);
    const trained = withWeights(network(), weights);
    const ranks = new Map(pruned.map(({ weight, rank }) => [weight, rank]));
    const { recipe, skipped } = await rankRecipe(trained);
    const low = withWeights(network(), weights);
    const [account] = await low.apply(expand({ recipe }));
    expect(account.rewritten.length).toBeGreaterThan(1);
    expect(account.rewritten.length + skipped.length).toBe(5);
    for (const row of account.rewritten) {
      expect(row.error).toBeUndefined();
      expect(row.rank).toBe(row.weight === 't' ? ranks.get('turned') : ranks.get(row.weight));
      expect(row.parametersAfter).toBeLessThan(row.parametersBefore);
    }
    await expectSameFunction(trained, low);
  });

  test('steps to prune after are the multiples of the interval', () => {
    const { next } = trainedRankPruning(network(), ['head'], { interval: 20 });
    expect([0, 19, 20, 39].map(next)).toEqual([20, 20, 40, 40]);
  });

  test.each([
    [{ interval: 0 }, 'the interval of rank pruning'],
    [{ energy: 1 }, 'the energy that rank pruning may drop'],
    [{ nuclear: -1 }, 'the coefficient of the nuclear norm'],
  ])('%j is refused', (options, message) => {
    expect(() => trainedRankPruning(network(), ['head'], options)).toThrow(message);
  });

  test('training that touches no matrix has nothing to prune', () => {
    expect(() => trainedRankPruning(network(), ['bias', 'depthwise'])).toThrow('no rank can be pruned');
  });
});

describe('the sub-gradient of the nuclear norm', () => {
  const [rows, columns] = [5, 7];
  const norm = (data: ArrayLike<number>): number => sum(singularValues(data, rows, columns));

  test('is the gradient where all singular values are above zero', async () => {
    const data = Float64Array.from(falling(rows, columns, 'gradient', 0.9));
    const { data: slope } = await nuclearSubgradient({ rows, columns, data });
    for (let i = 0; i < data.length; i += 1) {
      const at = (offset: number): number => norm(data.map((x, place) => (place === i ? x + offset : x)));
      expect(Math.abs(slope[i]! - (at(1e-5) - at(-1e-5)) / 2e-5)).toBeLessThan(1e-7);
    }
  });

  test('bounds the norm from below where some are zero', async () => {
    const whole = new SingularValueDecomposition(
      Dense.from1DArray(rows, columns, Array.from(falling(rows, columns, 'rank'))),
      { autoTranspose: true },
    );
    const { leftSingularVectors: u, rightSingularVectors: v, diagonal: s } = whole;
    const cut = Dense.diag(s.map((value, i) => (i < 2 ? value : 0)));
    const data = Float64Array.from(u.mmul(cut).mmul(v.transpose()).to1DArray());
    const { data: slope } = await nuclearSubgradient({ rows, columns, data });
    expect(singularValues(slope, rows, columns).map((value) => Math.round(value * 1e6) / 1e6)).toEqual([
      1, 1, 0, 0, 0,
    ]);
    const random = new Random(3, 'elsewhere');
    for (let trial = 0; trial < 20; trial += 1) {
      const other = data.map((x) => x + random.normal());
      const bound = norm(data) + sum(Array.from(other, (x, i) => slope[i]! * (x - data[i]!)));
      expect(norm(other)).toBeGreaterThanOrEqual(bound - 1e-9);
    }
  });
});
