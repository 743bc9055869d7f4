import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { OptionError, Tensor } from '../../../src/graph/index.js';
import type { RuntimeTensor } from '../../../src/runtime/index.js';
import { search } from '../../../src/training/search/index.js';
import { openSearchEngine } from '../../../src/training/search/search-engine.js';
import type { Objective, Position, SearchRule } from '../../../src/training/search/search-rule.js';
import type { Chunk } from '../../../src/training/types.js';
import { wave } from '../../passes/gradient/networks.js';
import { buildModel } from '../../support/build.js';

interface Point {
  readonly loss: number;
  readonly weight: readonly number[];
}

/** What test/reference/searches.py recorded of PyTorch, SciPy and pycma. */
const reference = JSON.parse(
  readFileSync(new URL('../../reference/searches.json', import.meta.url), 'utf8'),
) as {
  readonly lbfgs: readonly Point[];
  readonly optimum: Point;
  readonly 'cma-es': Readonly<
    Record<string, { readonly n: number; readonly least: number; readonly most: number }>
  >;
};

const [SAMPLES, FEATURES, CLASSES, DECAY] = [40, 4, 3, 0.125];
type Type = 'float32' | 'float64';

function numbers(type: Type, values: Float64Array) {
  return type === 'float64' ? values : Float32Array.from(values);
}

/** Softmax regression, as the script has it. */
function regression(type: Type) {
  const tensor = (name: string, shape: number[], values: Float64Array) =>
    Tensor.of(name, type, shape, numbers(type, values));
  return buildModel({
    inputs: [['x', type, ['batch', FEATURES]]],
    outputs: [['y', type, ['batch', CLASSES]]],
    nodes: [{ opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['y'], attributes: { transB: { int: 1 } } }],
    initializers: [
      tensor('w', [CLASSES, FEATURES], wave(2, [CLASSES, FEATURES])),
      tensor('b', [CLASSES], new Float64Array(CLASSES)),
    ],
  });
}

function chunkOf(type: Type, steps: number, rate = 1): Chunk {
  const x = numbers(type, wave(1, [SAMPLES, FEATURES], 2, 0.3));
  const repeated =
    type === 'float64' ? new Float64Array(steps * x.length) : new Float32Array(steps * x.length);
  for (let i = 0; i < steps; i += 1) repeated.set(x, i * x.length);
  const labels = BigInt64Array.from({ length: steps * SAMPLES }, (_, k) => {
    const i = k % SAMPLES;
    return BigInt((5 * i + ((i * i) % 7)) % CLASSES);
  });
  return {
    steps,
    inputs: { x: { type, shape: [steps, SAMPLES, FEATURES], data: repeated } },
    target: { type: 'int64', shape: [steps, SAMPLES], data: labels },
    learningRates: new Float32Array(steps).fill(rate),
  };
}

const options = (rule: SearchRule) =>
  ({
    loss: 'cross-entropy',
    batch: SAMPLES,
    wrt: ['w', 'b'],
    search: rule,
    weightDecayOf: (name: string) => (name === 'w' ? DECAY : 0),
  }) as const;

function distance(found: ArrayLike<number>, expected: readonly number[]): number {
  return Math.hypot(...expected.map((x, i) => x - found[i]!)) / Math.hypot(...expected);
}

describe('L-BFGS', () => {
  test("goes PyTorch's way on softmax regression, step by step, and ends where SciPy does", async () => {
    await using engine = await openSearchEngine(
      regression('float64'),
      options(search('lbfgs', { history: 5 })),
    );
    for (const [step, expected] of reference.lbfgs.entries()) {
      await engine.run(chunkOf('float64', 1));
      const { weights } = await engine.state();
      const w = weights.get('w')!.data as Float64Array;
      expect(distance(w, expected.weight), `step ${step + 1}`).toBeLessThan(1e-7);
    }
    await engine.run(chunkOf('float64', 40));
    const { weights } = await engine.state();
    expect(distance(weights.get('w')!.data as Float64Array, reference.optimum.weight)).toBeLessThan(1e-6);
  });

  test('reaches the minimum in float32, to the rounding of the loss', async () => {
    await using engine = await openSearchEngine(regression('float32'), options(search('lbfgs')));
    const { losses } = await engine.run(chunkOf('float32', 60));
    const { weights } = await engine.state();
    expect(distance(weights.get('w')!.data as Float32Array, reference.optimum.weight)).toBeLessThan(3e-3);
    // The reported loss is without the penalty.
    const squares = reference.optimum.weight.reduce((sum, w) => sum + w * w, 0);
    expect(Math.abs(losses.at(-1)! + (DECAY / 2) * squares - reference.optimum.loss)).toBeLessThan(3e-6);
  });
});

/** A function of a point as a search sees it. */
function objectiveOf(size: number, value: (x: Float64Array) => number): Objective {
  return {
    size,
    parts: [{ start: 0, end: size }],
    rounded: (x) => x,
    value: async (x) => value(x),
    slope: () => Promise.reject(new Error('asked for a gradient')),
  };
}

function startOf(rule: SearchRule, x: Float64Array, objective: Objective): Position {
  const zeros = Object.entries(rule.slots(x.length)).map(([key, shape]) => [
    key,
    new Float64Array(shape.reduce((size, dim) => size * dim, 1)),
  ]);
  return { x, slots: { ...Object.fromEntries(zeros), ...rule.start?.(x, objective.parts) } };
}

const FUNCTIONS: Readonly<Record<string, (x: Float64Array) => number>> = {
  ellipsoid: (x) => x.reduce((sum, v, i) => sum + 10 ** ((4 * i) / (x.length - 1)) * v * v, 0),
  rosenbrock: (x) =>
    x.slice(1).reduce((sum, next, i) => sum + 100 * (next - x[i]! ** 2) ** 2 + (1 - x[i]!) ** 2, 0),
};

describe('CMA-ES', () => {
  test.each(
    Object.entries(reference['cma-es']),
  )('takes as many generations as pycma: %s', async (name, expected) => {
    const { n, least, most } = expected;
    const covariance = name.includes('diagonal') ? 'diagonal' : 'full';
    const value = FUNCTIONS[name.split(',')[0]!]!;
    const taken: number[] = [];
    for (const seed of [0, 1, 2, 3, 4]) {
      const rule = search('cma-es', { covariance });
      let lowest = Number.POSITIVE_INFINITY;
      const objective = objectiveOf(n, (x) => {
        const found = value(x);
        lowest = Math.min(lowest, found);
        return found;
      });
      let at = startOf(rule, new Float64Array(n).fill(0.5), objective);
      let step = 0;
      while (lowest > 1e-8 && step < 4 * most) {
        step += 1;
        at = await rule.step(objective, at, { rate: 0.3, step, seed });
      }
      taken.push(step);
    }
    const median = taken.toSorted((a, b) => a - b)[2]!;
    expect(median).toBeGreaterThan(0.85 * least);
    expect(median).toBeLessThan(1.15 * most);
  });

  test('refuses a covariance that would not fit', () => {
    expect(() => search('cma-es', { covariance: 'full' }).slots(100_000)).toThrow(OptionError);
    expect(Object.values(search('cma-es').slots(100_000)).every((shape) => shape.length === 1)).toBe(true);
  });
});

describe('random search', () => {
  test('never gets worse, keeps zeros, and draws with the variance that the weights began with', async () => {
    const size = 400;
    const x = new Float64Array(size);
    x.set(wave(3, [size / 2], 0.4));
    const drawn: Float64Array[] = [];
    const objective: Objective = {
      ...objectiveOf(size, (point) => {
        drawn.push(point);
        return point.reduce((sum, v, i) => sum + (v - i / size) ** 2, 0);
      }),
      parts: [
        { start: 0, end: size / 2 },
        { start: size / 2, end: size },
      ],
    };
    const rule = search('random-search', { population: 20 });
    let at = startOf(rule, x, objective);
    let last = await objective.value(at.x);
    for (let step = 1; step <= 5; step += 1) {
      at = await rule.step(objective, at, { rate: 1, step, seed: 0 });
      const next = await objective.value(at.x);
      expect(next).toBeLessThanOrEqual(last);
      last = next;
    }
    const meanSquare = (list: readonly Float64Array[]) =>
      list.reduce((sum, point) => sum + point.subarray(0, size / 2).reduce((s, v) => s + v * v, 0), 0) /
      (list.length * (size / 2));
    const fresh = drawn.filter((point) => point !== x);
    expect(meanSquare(fresh) / meanSquare([x])).toBeGreaterThan(0.95);
    expect(meanSquare(fresh) / meanSquare([x])).toBeLessThan(1.05);
    expect(fresh.every((point) => point.subarray(size / 2).every((v) => v === 0))).toBe(true);
  });
});

test('the state of a search goes on to the same bits', async () => {
  for (const [name, extra] of [
    ['lbfgs', { history: 3 }],
    ['cma-es', {}],
    ['random-search', { population: 5 }],
  ] as const) {
    const rule = () => search(name, extra);
    await using through = await openSearchEngine(regression('float32'), options(rule()));
    await through.run(chunkOf('float32', 8));
    await using first = await openSearchEngine(regression('float32'), options(rule()));
    await first.run(chunkOf('float32', 5));
    await using second = await openSearchEngine(regression('float32'), options(rule()));
    await second.restore(await first.state());
    await second.run(chunkOf('float32', 3));
    const [a, b] = [await through.state(), await second.state()];
    const plain = (tensors: ReadonlyMap<string, RuntimeTensor>) =>
      [...tensors].map(([key, { data }]) => [key, Array.from(data as Float32Array)]);
    expect(plain(b.weights), name).toEqual(plain(a.weights));
    expect(plain(b.slots), name).toEqual(plain(a.slots));
    await using fresh = await openSearchEngine(regression('float32'), options(rule()));
    expect((await second.evaluate(samples())).loss).toBeLessThan((await fresh.evaluate(samples())).loss);
  }
});

async function* samples() {
  const { inputs, target } = chunkOf('float32', 1);
  const row = (tensor: RuntimeTensor): RuntimeTensor => ({ ...tensor, shape: tensor.shape.slice(1) });
  yield { inputs: { x: row(inputs.x!) }, target: row(target!) };
}

test('a model whose layers follow the batch is refused, unless they do not', async () => {
  const ones = (name: string) => Tensor.of(name, 'float32', [4], new Float32Array(4).fill(1));
  const model = buildModel({
    inputs: [['x', 'float32', ['batch', 4]]],
    outputs: [['y', 'float32', ['batch', 4]]],
    nodes: [
      { opType: 'Gemm', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'BatchNormalization', inputs: ['h', 's', 'b', 'm', 'v'], outputs: ['y'] },
    ],
    initializers: [
      Tensor.of('w', 'float32', [4, 4], new Float32Array(16).fill(1)),
      ...['s', 'b', 'm', 'v'].map(ones),
    ],
    opset: 18,
  });
  const plain = { loss: 'mse', batch: 2, search: search('lbfgs'), wrt: ['w'] } as const;
  await expect(openSearchEngine(model, plain)).rejects.toThrow("batchNorm must be 'inference'");
  await using engine = await openSearchEngine(model, { ...plain, batchNorm: 'inference' });
  expect(engine.trained).toEqual(['w']);
});
