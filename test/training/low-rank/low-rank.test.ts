import fc from 'fast-check';
import { Matrix as Dense, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { compress } from '../../../src/compress/compress.js';
import { type Model, Tensor } from '../../../src/graph/index.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { rankRecipe } from '../../../src/passes/expand/rank-recipe.js';
import { Random, type RuntimeTensor } from '../../../src/runtime/index.js';
import { openEngine } from '../../../src/training/engine/engine.js';
import { trainedRankPruning } from '../../../src/training/low-rank/low-rank.js';
import {
  nuclearPenalty,
  nuclearSlot,
  nuclearSubgradient,
} from '../../../src/training/low-rank/nuclear-norm.js';
import type { TrainingState } from '../../../src/training/types.js';
import { expectSameFunction } from '../../passes/laws.js';
import { buildModel } from '../../support/build.js';
import { PLAIN, part, randomChunk } from '../support.js';

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

const stateOf = (model: Model): TrainingState => ({ step: 0, weights: tensorsOf(model), slots: new Map() });

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
          const { state, pruned } = await prune(stateOf(model));
          const [account] = pruned;
          const next = state.weights.get('w')!.data as Float32Array;
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

  test('sub-gradients are those of the rank that is left; nothing else changes where nothing is dropped', async () => {
    const model = network();
    const begun = stateOf(model);
    for (const energy of [0, 0.2]) {
      const pruning = trainedRankPruning(model, model.graph.initializers.keys(), { energy });
      expect(pruning.penalty).toEqual({ coefficient: 0.0003, weights: pruning.weights });
      const { state, pruned } = await pruning.prune(begun);
      const { slots, weights } = await pruning.begin(begun);
      expect(weights).toBe(begun.weights);
      expect(slots).toEqual(state.slots);
      for (const [i, { weight, rank, nuclearNorm }] of pruned.entries()) {
        const [slope, next] = [slots.get(nuclearSlot(weight))!, state.weights.get(weight)!];
        expect(slope.shape).toEqual(next.shape);
        if (energy === 0) expect(next).toBe(begun.weights.get(weight));
        // <U V^T, W> is the norm, and |U V^T|^2 the rank (of all groups: the largest of them is told).
        const dot = (a: RuntimeTensor): number =>
          sum(Array.from(slope.data as Float32Array, (x, at) => x * (a.data as Float32Array)[at]!));
        expect(dot(next) / nuclearNorm).toBeCloseTo(1, 4);
        if (i > 0) expect(dot(slope)).toBeCloseTo(rank, 3);
      }
    }
  });

  test('convolutions by their groups, transposes and products; what has no rank to lose is named', async () => {
    const model = network();
    const pruning = trainedRankPruning(model, model.graph.initializers.keys(), { energy: 0.05, nuclear: 0 });
    expect(pruning.weights).toEqual(['conv', 'up', 'turned', 'head']);
    expect(pruning.skipped).toEqual([
      { weight: 'depthwise', reason: 'its matrix has one row or one column' },
    ]);
    const before = stateOf(model);
    const { state, pruned } = await pruning.prune(before);
    const isSame = (name: string): boolean => state.weights.get(name) === before.weights.get(name);
    expect([...state.weights.keys()].filter((name) => !isSame(name))).toEqual(pruning.weights);
    expect([pruning.penalty, state.slots.size]).toEqual([undefined, 0]);
    for (const { rank, of, dropped } of pruned) {
      expect(rank).toBeLessThan(of);
      expect(dropped).toBeLessThanOrEqual(0.05);
      expect(dropped).toBeGreaterThan(0);
    }
  });

  test('what is pruned factorizes without loss, into fewer parameters', async () => {
    const model = network();
    const { prune } = trainedRankPruning(model, model.graph.initializers.keys(), { energy: 0.2, nuclear: 0 });
    const { state, pruned } = await prune(stateOf(model));
    const { weights } = state;
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

  test('by space a kernel comes to a low rank as (inputs, height) x (outputs, width), and is two convolutions', async () => {
    const [inputs, outputs, height, width] = [3, 8, 3, 5];
    const data = falling(outputs, inputs * height * width, 'spatial');
    const model = buildModel({
      inputs: [['x', 'float32', [1, inputs, 6, 6]]],
      outputs: [['y', 'float32', [1, outputs, 4, 2]]],
      nodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [Tensor.of('w', 'float32', [outputs, inputs, height, width], data)],
    });
    const matrix = (of: ArrayLike<number>): Float64Array =>
      Float64Array.from({ length: of.length }, (_, at) => {
        const [row, column] = [Math.floor(at / (outputs * width)), at % (outputs * width)];
        const [o, j] = [Math.floor(column / width), column % width];
        return of[(o * inputs * height + row) * width + j]!;
      });
    const [rows, columns] = [inputs * height, outputs * width];
    const before = singularValues(matrix(data), rows, columns);
    const { prune } = trainedRankPruning(model, ['w'], { energy: 0.2, form: 'spatial' });
    const { state, pruned } = await prune(stateOf(model));
    const next = state.weights.get('w')!.data as Float32Array;
    const { rank, of } = pruned[0]!;
    expect(of).toBe(rows);
    expect(rank).toBeLessThan(rows);
    const after = singularValues(matrix(next), rows, columns);
    for (const [i, value] of after.entries())
      expect(Math.abs(value - (i < rank ? before[i]! : 0))).toBeLessThan(1e-5 * before[0]!);
    // The sub-gradient U V^T lies as the weight does.
    const slope = state.slots.get(nuclearSlot('w'))!.data as Float32Array;
    expect(sum(Array.from(slope, (x, i) => x * next[i]!))).toBeCloseTo(sum(before.slice(0, rank)), 3);
    const trained = withWeights(model.clone(), state.weights);
    const cut = trained.clone();
    const plan = [{ layer: cut.graph.nodes[0]!.label, form: 'spatial' as const, ranks: [rank] }];
    await cut.apply(compress({ plan }));
    expect(cut.graph.nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Conv']);
    await expectSameFunction(trained, cut);
  });

  test('steps to prune after are the multiples of the interval', () => {
    const { next } = trainedRankPruning(network(), ['head'], { interval: 20 });
    expect([0, 19, 20, 39].map(next)).toEqual([20, 20, 40, 40]);
  });

  test.each([
    [{ interval: 0 }, 'interval must be an integer ≥ 1, is 0'],
    [{ energy: 1 }, 'energy must be a number ≥ 0 and < 1, is 1'],
    [{ nuclear: -1 }, 'nuclear must be a number ≥ 0, is -1'],
  ])('%j is refused', (options, message) => {
    expect(() => trainedRankPruning(network(), ['head'], options)).toThrow(message);
  });

  test('training that touches no matrix has nothing to prune', () => {
    expect(() => trainedRankPruning(network(), ['bias', 'depthwise'])).toThrow('no rank can be pruned');
  });
});

describe('the penalty in the steps', () => {
  test('adds the coefficient times the sub-gradient that the state holds, which stays', async () => {
    const model = network();
    const options = { loss: 'mse', batch: 2, wrt: ['turned', 'head'], optimizer: PLAIN } as const;
    const chunk = randomChunk(model, { steps: 3, batch: 2, classes: 5, rate: 1e-6 });
    const size = 3 * 2 * 5;
    const data = {
      ...chunk,
      target: { type: 'float32', shape: [3, 2, 5], data: new Float32Array(size) },
    } as const;
    await using plain = await openEngine(model, options);
    await using engine = await openEngine(model, { ...options, penalty: nuclearPenalty(1e5, ['head']) });
    const begun = await engine.state();
    expect([...begun.slots.keys()]).toEqual([nuclearSlot('head')]);
    const slope = begun.weights.get('head')!;
    const slopes = Float32Array.from(slope.data as Float32Array, (_, i) => Math.cos(i));
    await engine.restore({ ...begun, slots: new Map([[nuclearSlot('head'), { ...slope, data: slopes }]]) });
    let state = await engine.state();
    for (const [step, rate] of data.learningRates.entries()) {
      await plain.restore({ step, weights: state.weights, slots: new Map() });
      await plain.run(part(data, step, step + 1));
      const expected = (await plain.state()).weights;
      await engine.run(part(data, step, step + 1));
      state = await engine.state();
      expect(state.weights.get('turned')).toEqual(expected.get('turned'));
      for (const [i, x] of (state.weights.get('head')!.data as Float32Array).entries()) {
        const without = (expected.get('head')!.data as Float32Array)[i]!;
        expect(x).toBeCloseTo(without - rate * 1e5 * slopes[i]!, 4);
      }
      expect(state.slots.get(nuclearSlot('head'))!.data).toEqual(slopes);
    }
    // In one chunk as step by step.
    await using whole = await openEngine(model, { ...options, penalty: nuclearPenalty(1e5, ['head']) });
    await whole.restore({ ...begun, slots: state.slots });
    await whole.run(data);
    expect(await whole.state()).toEqual(state);
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
