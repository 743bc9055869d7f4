import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EMBEDDING_METRICS, embeddingMetrics } from '../../../src/analysis/embeddings/embedding-metrics.js';
import type { SampleSource } from '../../../src/analysis/embeddings/embedding-source.js';
import { embeddingReport } from '../../../src/analysis/embeddings/embeddings.js';
import { type NodeSpec, Tensor } from '../../../src/graph/index.js';
import type { Matrix } from '../../../src/linalg/matrix.js';
import { Random } from '../../../src/runtime/random.js';
import { buildModel, floats, type ValueSpec } from '../../support/build.js';

interface Case {
  readonly n: number;
  readonly d: number;
  readonly k: number;
  readonly spread: number;
  readonly mean: number;
  readonly skew: number;
}

const REFERENCE = JSON.parse(readFileSync('test/reference/embeddings.json', 'utf8')) as Record<
  string,
  { readonly case: Case; readonly figures: Record<string, number> }
>;

/** The embeddings of test/reference/embeddings.py. */
function embeddingsOf({ n, d, k, spread, mean, skew }: Case): { h: Float64Array; labels: number[] } {
  const labels = Array.from({ length: n }, (_, i) => (i % skew === 0 ? Math.floor(i / skew) % k : 0));
  const h = Float64Array.from({ length: n * d }, (_, at) => {
    const [i, j] = [Math.floor(at / d), at % d];
    return spread * Math.sin(0.7 * i * j + i + 0.3 * j) + Math.sin(1.3 * labels[i]! * (j + 1)) + mean;
  });
  return { h, labels };
}

function gramOf(h: ArrayLike<number>, n: number, d: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, at) => {
    let sum = 0;
    for (let j = 0; j < d; j += 1) sum += h[Math.floor(at / n) * d + j]! * h[(at % n) * d + j]!;
    return sum;
  });
}

describe('figures of embeddings are those of NumPy, from their definitions', () => {
  test.each(Object.keys(REFERENCE))('%s', async (name) => {
    const { case: one, figures } = REFERENCE[name]!;
    const { h, labels } = embeddingsOf(one);
    const found = await embeddingMetrics(gramOf(h, one.n, one.d), one.n, one.d, { of: labels, count: one.k });
    for (const { key } of EMBEDDING_METRICS) {
      // The Gram matrix squares what is far from the origin; RankMe takes roots of its smallest eigenvalues.
      const tolerance = name.startsWith('nearly') ? (key === 'rankMe' ? 1e-5 : 1e-6) : 1e-9;
      expect(Math.abs(found[key]! / figures[key]! - 1), key).toBeLessThan(tolerance);
    }
  });
});

test.each([
  [1, 2.15],
  [2, 2.0],
  [4, 1.82],
  [8, 1.6],
  [16, 1.39],
])('the cosine entropy of random linear networks of depth %i is %d, as in observation 1', async (depth, published) => {
  // Huh et al., arXiv 2103.10427: width 32, 128 Gaussian inputs, W ~ N(0, 1/32).
  const [n, width, seeds] = [128, 32, 24];
  const { matmul } = await import('../../../src/linalg/matmul.js');
  let mean = 0;
  for (let seed = 0; seed < seeds; seed += 1) {
    const random = new Random(seed);
    const drawn = (rows: number, scale: number) =>
      random.fillNormal(new Float64Array(rows * width)).map((value) => scale * value);
    let h: Matrix = { rows: n, columns: width, data: drawn(n, 1) };
    for (let layer = 0; layer < depth; layer += 1) {
      h = await matmul(h, { rows: width, columns: width, data: drawn(width, 1 / Math.sqrt(width)) });
    }
    const found = await embeddingMetrics(gramOf(h.data, n, width), n, width);
    mean += found.cosineEntropy / seeds;
  }
  expect(Math.abs(mean - published)).toBeLessThan(0.05);
});

describe('laws', () => {
  const sizes = fc.record({
    n: fc.integer({ min: 3, max: 30 }),
    d: fc.integer({ min: 1, max: 40 }),
    seed: fc.nat(),
  });

  test('scale changes nothing but the variations, by its square', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, fc.constantFrom(1e-18, 1e-3, 1e15), async ({ n, d, seed }, scale) => {
        const h = new Random(seed).fillNormal(new Float64Array(n * d));
        const classes = { of: Array.from({ length: n }, (_, i) => i % 2), count: 2 };
        const a = await embeddingMetrics(gramOf(h, n, d), n, d, classes);
        const b = await embeddingMetrics(
          gramOf(
            h.map((x) => x * scale),
            n,
            d,
          ),
          n,
          d,
          classes,
        );
        for (const { key, unit } of EMBEDDING_METRICS) {
          const factor = unit.endsWith('squared') ? scale * scale : 1;
          if (a[key] === undefined) expect(b[key], key).toBeUndefined();
          else expect(b[key]! / factor, key).toBeCloseTo(a[key], 6);
        }
      }),
      { seed: 1, numRuns: 25 },
    );
  });

  test('ranks lie between 1 and min(N, d); what is within classes is no more than all', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, async ({ n, d, seed }) => {
        const h = new Random(seed).fillNormal(new Float64Array(n * d));
        const classes = { of: Array.from({ length: n }, (_, i) => i % 3), count: 3 };
        const found = await embeddingMetrics(gramOf(h, n, d), n, d, classes);
        expect(found.gramEffectiveRank).toBeGreaterThanOrEqual(1);
        expect(found.gramEffectiveRank).toBeLessThanOrEqual(Math.min(n, d));
        expect(found.centredEffectiveRank).toBeLessThanOrEqual(Math.min(n - 1, d) + 1e-9);
        if (n > 3) expect(found.clusterVariation!).toBeLessThanOrEqual(found.totalVariation * (1 + 1e-12));
      }),
      { seed: 2, numRuns: 50 },
    );
  });

  test('classes that are points have no variation within', async () => {
    const h = [1, 2, 1, 2, 5, 0, 5, 0];
    const found = await embeddingMetrics(gramOf(h, 4, 2), 4, 2, { of: [0, 0, 1, 1], count: 2 });
    expect(found.nc1).toBeLessThan(1e-14);
    expect(found.clusterVariationRatio).toBeLessThan(1e-14);
  });

  test('of zeros all is zero, and there is no share or NC1', async () => {
    const found = await embeddingMetrics(new Float64Array(16), 4, 3, { of: [0, 0, 1, 1], count: 2 });
    expect(found).toEqual({
      gramEffectiveRank: 0,
      gramEffectiveRankRatio: 0,
      gramEntropy: 0,
      centredEffectiveRank: 0,
      centredParticipationRatio: 0,
      totalVariation: 0,
      cosineEntropy: 0,
      cosineEffectiveRank: 0,
      rankMe: 0,
      tunnelRank: 0,
      spectrumSlope: undefined,
      clusterVariation: 0,
      clusterVariationRatio: undefined,
      nc1: undefined,
      lidar: undefined,
    });
  });
});

const N = 12;
const D = 6;
const SAMPLES = new Random(3).fillNormal(new Float32Array(N * D));
const WEIGHT = floats('w', [D, 5], (i) => Math.sin(i * i + 1));

/** Twelve samples of two classes, in the shape that is asked for. */
function source(shape: readonly number[] = [D], labels = true): SampleSource {
  return {
    inputs: [{ name: 'features', type: 'float32', shape }],
    size: N,
    batch: async (indices) => {
      const list = Array.from(indices);
      const data = Float32Array.from(list.flatMap((i) => [...SAMPLES.subarray(i * D, (i + 1) * D)]));
      const target = {
        type: 'int64',
        shape: [list.length],
        data: BigInt64Array.from(list, (i) => BigInt(7 * (i % 2))),
      } as const;
      return {
        inputs: { features: { type: 'float32', shape: [list.length, ...shape], data } },
        target: labels ? target : undefined,
      };
    },
  };
}

function perceptron(input: ValueSpec, more: readonly NodeSpec[] = [], outputs: readonly ValueSpec[] = []) {
  return buildModel({
    inputs: [input],
    outputs: [['y', 'float32'], ...outputs],
    nodes: [
      { opType: 'MatMul', name: 'layer', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Relu', inputs: ['h'], outputs: ['y'] },
      ...more,
    ],
    initializers: [WEIGHT],
  });
}

/** H = X W, the plain way. */
async function expected(n = N) {
  const w = WEIGHT.floats();
  const h = Float32Array.from({ length: n * 5 }, (_, at) => {
    let sum = 0;
    for (let j = 0; j < D; j += 1) sum += SAMPLES[Math.floor(at / 5) * D + j]! * w[j * 5 + (at % 5)]!;
    return sum;
  });
  return embeddingMetrics(gramOf(h, n, 5), n, 5, {
    of: Array.from({ length: n }, (_, i) => i % 2),
    count: 2,
  });
}

function expectClose(found: Record<string, unknown> | undefined, wanted: Record<string, unknown>): void {
  for (const { key } of EMBEDDING_METRICS) {
    if (wanted[key] === undefined) expect(found?.[key], key).toBeUndefined();
    else expect(found?.[key], key).toBeCloseTo(wanted[key] as number, 4);
  }
}

describe('embeddings of a model', () => {
  test.each([
    ['any batch', ['n', D]],
    ['a batch of one', [1, D]],
    ['a batch of four', [4, D]],
    ['more axes', ['n', 1, D]],
  ] as const)('it takes %s', async (_, shape) => {
    const report = await embeddingReport(perceptron(['x', 'float32', shape]), source());
    expect(report).toMatchObject({
      samples: N,
      classes: 2,
      fewest: 6,
      isRandom: false,
      of: 'outputs',
      notLookedAt: [],
    });
    expect(report.rows).toHaveLength(1);
    const [row] = report.rows;
    expect(row).toMatchObject({
      value: 'h',
      nodes: ['layer'],
      ops: ['MatMul'],
      weights: ['w'],
      features: 5,
      problem: undefined,
    });
    expectClose({ ...row?.metrics }, { ...(await expected()) });
  });

  test('samples may lie along an inner axis', async () => {
    const transposed = perceptron(
      ['x', 'float32', ['n', D]],
      [
        {
          opType: 'Transpose',
          name: 'turn',
          inputs: ['h'],
          outputs: ['t'],
          attributes: { perm: { ints: [1, 0] } },
        },
      ],
    );
    const { rows } = await embeddingReport(transposed, source(), { at: ['turn'] });
    expect(rows).toMatchObject([{ value: 't', shape: [5], weights: [] }]);
    expectClose({ ...rows[0]?.metrics }, { ...(await expected()) });
    // The whole report by way of pieces of one feature each, of either axis.
    const pieces = await embeddingReport(transposed, source(), { at: ['turn', 'layer'], memory: 4 * N });
    for (const row of pieces.rows) expectClose({ ...row.metrics }, { ...(await expected()) });
  });

  test('what a layer reads, the input of the model among it', async () => {
    const { rows, of } = await embeddingReport(perceptron(['x', 'float32', ['n', D]]), source(), {
      of: 'inputs',
    });
    expect(of).toBe('inputs');
    expect(rows).toMatchObject([{ value: 'x', nodes: ['layer'], weights: ['w'], features: D }]);
    const wanted = await embeddingMetrics(gramOf(SAMPLES, N, D), N, D, {
      of: Array.from({ length: N }, (_, i) => i % 2),
      count: 2,
    });
    expectClose({ ...rows[0]?.metrics }, { ...wanted });
  });

  test('of an integer product, what it reads and makes in floating point', async () => {
    const weight = Tensor.of(
      'w',
      'int8',
      [D, 5],
      Int8Array.from({ length: 5 * D }, (_, i) => i - 15),
    );
    const model = buildModel({
      inputs: [['x', 'float32', ['n', D]]],
      outputs: [['y', 'float32']],
      nodes: [
        { opType: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['q', 'scale', 'zero'] },
        { opType: 'MatMulInteger', inputs: ['q', 'w', 'zero'], outputs: ['product'], name: 'layer' },
        { opType: 'Cast', inputs: ['product'], outputs: ['cast'], attributes: { to: { int: 1 } } },
        { opType: 'Mul', inputs: ['scale', 's'], outputs: ['scales'] },
        { opType: 'Mul', inputs: ['cast', 'scales'], outputs: ['y'] },
      ],
      initializers: [weight, Tensor.of('s', 'float32', [1], Float32Array.of(0.1))],
    });
    const { rows } = await embeddingReport(model, source());
    expect(rows).toMatchObject([{ value: 'y', nodes: ['layer'], weights: ['w'], features: 5 }]);
    expect(rows[0]?.metrics?.gramEffectiveRank).toBeGreaterThan(1);
    const read = await embeddingReport(model, source(), { of: 'inputs' });
    expect(read.rows).toMatchObject([{ value: 'x', nodes: ['layer'], features: D }]);
  });

  test('fewer samples than there are: drawn at random, by the seed', async () => {
    const model = perceptron(['x', 'float32', ['n', D]]);
    const look = async (seed: number) => (await embeddingReport(model, source(), { samples: 5, seed })).rows;
    expect(await look(1)).toEqual(await look(1));
    expect(await look(1)).not.toEqual(await look(2));
  });

  test('without labels, and of random inputs, there are no classes', async () => {
    const model = perceptron(['x', 'float32', ['n', D]]);
    const unlabelled = await embeddingReport(model, source([D], false));
    expect(unlabelled.classes).toBeUndefined();
    expect(unlabelled.rows[0]?.metrics?.nc1).toBeUndefined();
    const random = await embeddingReport(model, { seed: 4 }, { samples: 20 });
    expect(random).toMatchObject({ samples: 20, isRandom: true, classes: undefined });
    // A sample is the same whatever the batch.
    const fixed = await embeddingReport(perceptron(['x', 'float32', [1, D]]), { seed: 4 }, { samples: 20 });
    expectClose(
      { ...fixed.rows[0]?.metrics, nc1: 0, clusterVariation: 0, clusterVariationRatio: 0 },
      {
        ...random.rows[0]?.metrics,
        nc1: 0,
        clusterVariation: 0,
        clusterVariationRatio: 0,
      },
    );
  });

  test('what has no figures says why', async () => {
    const model = perceptron(
      ['x', 'float32', ['n', D]],
      [
        { opType: 'Log', name: 'nan', inputs: ['h'], outputs: ['l'] },
        { opType: 'Cast', name: 'whole', inputs: ['h'], outputs: ['i'], attributes: { to: { int: 7 } } },
        {
          opType: 'ReduceMean',
          name: 'all',
          inputs: ['h'],
          outputs: ['m'],
          attributes: { keepdims: { int: 0 } },
        },
        { opType: 'NonZero', name: 'some', inputs: ['h'], outputs: ['z'] },
      ],
    );
    const { rows } = await embeddingReport(model, source(), { at: ['nan', 'whole', 'all', 'some'] });
    expect(rows.map(({ problem }) => problem?.replace(/\d+/g, 'n'))).toEqual([
      'it is NaN or infinite for n of n samples',
      'it is no tensor of floating-point numbers of one shape',
      'it has no axis of samples: its shape is [] and [] for one and two of them',
      expect.stringContaining('it'),
    ]);
    expect(rows.every(({ metrics }) => metrics === undefined)).toBe(true);
  });

  test('data that does not fit is refused, saying what does not', async () => {
    const model = perceptron(['x', 'float32', ['n', D]]);
    await expect(embeddingReport(model, source([D, 1]))).resolves.toBeDefined();
    await expect(embeddingReport(perceptron(['x', 'float32', ['n', 7]]), source())).rejects.toThrow(
      "input 'x' is float32[n, 7], but the samples are [6]",
    );
    await expect(embeddingReport(perceptron(['x', 'float32', ['n', 3, 2]]), source([2, 3]))).rejects.toThrow(
      'but the samples are [2, 3]',
    );
    await expect(embeddingReport(perceptron(['x', 'float32', [64, D]]), source())).rejects.toThrow(
      'takes 64 samples at a time, more than the 12',
    );
    await expect(embeddingReport(model, source(), { at: ['nothing*'] })).rejects.toThrow(
      "at: 'nothing*' matches no value or node of the main graph",
    );
    await expect(embeddingReport(model, source(), { samples: 1 })).rejects.toThrow(RangeError);
  });

  test('nodes in functions and subgraphs are listed', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', ['n', D]]],
      outputs: [['y', 'float32']],
      nodes: [{ opType: 'Block', domain: 'local', name: 'call', inputs: ['x'], outputs: ['y'] }],
      opset: { '': 17, local: 1 },
      functions: [
        {
          domain: 'local',
          name: 'Block',
          inputs: ['a'],
          outputs: ['b'],
          nodes: [
            {
              opType: 'Constant',
              inputs: [],
              outputs: ['w'],
              attributes: {
                value: { tensor: Tensor.of('w', 'float32', [D, 5], WEIGHT.floats() as Float32Array) },
              },
            },
            { opType: 'MatMul', name: 'inner', inputs: ['a', 'w'], outputs: ['b'] },
          ],
        },
      ],
    });
    const { rows, notLookedAt } = await embeddingReport(model, source());
    expect(rows).toEqual([]);
    expect(notLookedAt).toEqual([
      { node: 'inner', op: 'MatMul', reason: 'it is in a function, whose values do not come out of a run' },
    ]);
  });
});
