import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compareRankReports } from '../../../src/analysis/report/compare-reports.js';
import { type RankReport, rankReport } from '../../../src/analysis/report/rank-report.js';
import { METRICS } from '../../../src/analysis/spectra/metrics.js';
import { type Model, type NodeSpec, readModel, Tensor } from '../../../src/graph/index.js';
import { KernelPool } from '../../../src/linalg/kernels/index.js';
import { buildModel } from '../../support/build.js';

const SHAPES = 'fixtures/shapes.onnx';

interface Reference {
  readonly shape: readonly number[];
  readonly singularValues: readonly number[];
  readonly [metric: string]: unknown;
}

const reference = JSON.parse(readFileSync('test/reference/spectra-shapes.json', 'utf8')) as Record<
  string,
  Reference
>;

describe('the demo fixture, against NumPy', async () => {
  const report = await rankReport(await readModel(SHAPES), { spectra: true });

  test('has every weight, in the order of the model', () => {
    expect(report.rows.map((row) => row.weight)).toEqual(Object.keys(reference));
    expect(report.notLookedAt).toEqual([]);
  });

  test.each(report.rows.map((row) => [row.weight, row] as const))('%s', (name, row) => {
    const expected = reference[name]!;
    expect([row.rows, row.columns]).toEqual(expected.shape);
    const largest = expected.singularValues[0]!;
    for (const [index, value] of row.singularValues!.entries()) {
      expect(Math.abs(value - expected.singularValues[index]!)).toBeLessThan(1e-9 * largest);
    }
    for (const { key } of METRICS) {
      const wanted = expected[key];
      if (key === 'effectiveRankRatio' || typeof wanted !== 'number') continue;
      if (Number.isInteger(wanted)) expect(row.metrics![key], key).toBe(wanted);
      else expect(Math.abs(row.metrics![key] / wanted - 1), key).toBeLessThan(1e-6);
    }
  });

  test('the total', () => {
    const { total, rows } = report;
    expect(total.weights).toBe(rows.length);
    expect(total.parameters).toBe(rows.reduce((sum, row) => sum + row.rows * row.columns, 0));
    expect(total.numericalRank).toBe(325);
    expect(total.fullRank).toBe(325);
    expect(total.effectiveRankRatio).toBeGreaterThan(0.4);
    expect(total.effectiveRankRatio).toBeLessThan(0.6);
  });

  test('progress counts up to the number of weights', async () => {
    const seen: number[] = [];
    await rankReport(await readModel(SHAPES), { onProgress: ({ done }) => seen.push(done) });
    // Each is told of as it is begun and as it is done.
    expect(seen).toHaveLength(18);
    expect([...new Set(seen)]).toEqual(Array.from({ length: 10 }, (_, index) => index));
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });
});

function dense(weights: readonly Tensor[], nodes: readonly NodeSpec[]): Model {
  return buildModel({
    inputs: [['x', 'float32', [1, 4]]],
    outputs: [['y', 'float32']],
    nodes,
    initializers: weights,
  });
}

const matmul = (weight: string, input = 'x', output = 'y', name = `use_${weight}`): NodeSpec => ({
  opType: 'MatMul',
  name,
  inputs: [input, weight],
  outputs: [output],
});

const IDENTITY = Float32Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? 1 : 0));

async function only(model: Model): Promise<RankReport['rows'][number]> {
  const { rows } = await rankReport(model);
  expect(rows).toHaveLength(1);
  return rows[0]!;
}

describe('weights', () => {
  test('a weight that two nodes share is one row that names both, through a transposed view too', async () => {
    const model = dense(
      [Tensor.of('w', 'float32', [4, 4], IDENTITY)],
      [
        { opType: 'Transpose', name: 't', inputs: ['w'], outputs: ['wt'] },
        matmul('w', 'x', 'h', 'first'),
        matmul('wt', 'h', 'y', 'second'),
      ],
    );
    const row = await only(model);
    expect(row).toMatchObject({ weight: 'w', nodes: ['first', 'second'], ops: ['MatMul'], parameters: 16 });
    expect(row.metrics!.effectiveRank).toBeCloseTo(4, 9);
  });

  test('the report takes nothing from the model: a second one is the same', async () => {
    const model = dense(
      [
        Tensor.of(
          'w',
          'float64',
          [100, 80],
          Float64Array.from({ length: 8000 }, (_, i) => Math.sin(i * i)),
        ),
      ],
      [matmul('w')],
    );
    const [first, second] = [await rankReport(model), await rankReport(model)];
    expect(second).toEqual(first);
    expect(first.rows[0]!.metrics!.frobeniusNorm).toBeGreaterThan(60);
  });

  test('weights in half precision are widened, and have its tolerance', async () => {
    // 1 and 0.001 in float16: the second is below 4 * 2^-10.
    const bits = new Uint16Array(16);
    bits[0] = 0x3c00;
    bits[5] = 0x1419;
    const row = await only(dense([Tensor.of('w', 'float16', [4, 4], bits)], [matmul('w')]));
    expect(row.dataType).toBe('float16');
    expect(row.metrics!.spectralNorm).toBe(1);
    expect(row.metrics!.numericalRank).toBe(1);
  });

  test('weights that nodes compute are computed', async () => {
    const row = await only(
      dense(
        [Tensor.of('w', 'float32', [4, 4], IDENTITY), Tensor.of('two', 'float32', [], Float32Array.of(2))],
        [{ opType: 'Mul', name: 'scale', inputs: ['w', 'two'], outputs: ['scaled'] }, matmul('scaled')],
      ),
    );
    expect(row.weight).toBe('scaled');
    expect(row.metrics!.spectralNorm).toBeCloseTo(2, 9);
  });

  test('NaN and infinity: no figures, and why', async () => {
    const data = IDENTITY.slice();
    data[3] = Number.NaN;
    data[7] = Number.NEGATIVE_INFINITY;
    const model = dense([Tensor.of('w', 'float32', [4, 4], data)], [matmul('w')]);
    const { rows, total } = await rankReport(model);
    expect(rows[0]).toMatchObject({ metrics: undefined, problem: '1 NaN and 1 infinite of 16 elements' });
    expect(total).toMatchObject({ problems: 1, effectiveRank: 0, effectiveRankRatio: 0 });
  });

  test('zero, empty and constant weights', async () => {
    const zero = await only(dense([Tensor.of('w', 'float32', [4, 3], new Float32Array(12))], [matmul('w')]));
    expect(zero.metrics).toMatchObject({ effectiveRank: 0, conditionNumber: Number.POSITIVE_INFINITY });
    const empty = await only(dense([Tensor.of('w', 'float32', [4, 0], new Float32Array(0))], [matmul('w')]));
    expect(empty).toMatchObject({ metrics: undefined, problem: 'the weight is empty' });
    const constant = await only(
      dense([Tensor.of('w', 'float32', [4, 64], new Float32Array(256).fill(0.02))], [matmul('w')]),
    );
    expect(constant.metrics!.numericalRank).toBe(1);
    expect(constant.metrics!.effectiveRank).toBeCloseTo(1, 6);
  });

  test('a small matrix has its condition number resolved, a large one a bound', async () => {
    const diagonal = (n: number): Float32Array =>
      Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? (i === 0 ? 1e-10 : 1) : 0));
    const small = await only(dense([Tensor.of('w', 'float32', [4, 4], diagonal(4))], [matmul('w')]));
    expect(small.metrics!.conditionNumber / 1e10).toBeCloseTo(1, 5);
    expect(small.metrics!.conditionNumberIsLowerBound).toBe(false);
    const large = await only(dense([Tensor.of('w', 'float32', [80, 80], diagonal(80))], [matmul('w')]));
    expect(large.metrics).toMatchObject({
      conditionNumber: 1e7,
      conditionNumberIsLowerBound: true,
      numericalRank: 79,
    });
  });

  test('what is not looked at is named with the reason', async () => {
    const model = dense([], [{ opType: 'MatMul', name: 'square', inputs: ['x', 'x'], outputs: ['y'] }]);
    const { rows, notLookedAt } = await rankReport(model);
    expect(rows).toEqual([]);
    expect(notLookedAt).toMatchObject([{ node: 'square', op: 'MatMul' }]);
  });
});

describe('comparison', () => {
  const weight = (name: string, factor: number): Tensor =>
    Tensor.of(
      name,
      'float32',
      [4, 4],
      IDENTITY.map((value, i) => (i === 0 ? value * factor : value)),
    );

  test('pairs by name, lists the rest', async () => {
    const a = await rankReport(
      dense([weight('w', 1), weight('old', 1)], [matmul('w', 'x', 'h'), matmul('old', 'h')]),
    );
    const b = await rankReport(
      dense([weight('w', 3), weight('new', 1)], [matmul('w', 'x', 'h'), matmul('new', 'h')]),
    );
    const { rows, onlyInA, onlyInB } = compareRankReports(a, b);
    expect(rows.map((row) => row.weight)).toEqual(['w']);
    expect(rows[0]!.change!.spectralNorm).toBeCloseTo(2, 9);
    expect(rows[0]!.change!.effectiveRank).toBeLessThan(0);
    expect(onlyInA.map((row) => row.weight)).toEqual(['old']);
    expect(onlyInB.map((row) => row.weight)).toEqual(['new']);
  });

  test('a report compared with itself has no change', async () => {
    const report = await rankReport(await readModel(SHAPES));
    const { rows, onlyInA, onlyInB } = compareRankReports(report, report);
    expect(rows).toHaveLength(9);
    for (const { change } of rows) expect(Object.values(change!).every((value) => value === 0)).toBe(true);
    expect([...onlyInA, ...onlyInB]).toEqual([]);
  });
});

test('memory that is short is an error, not a weight without a spectrum', async () => {
  await using pool = new KernelPool({ size: 1 });
  const short = async (): Promise<never> => {
    throw new RangeError('WebAssembly.Memory(): could not allocate memory');
  };
  const proxy = new Proxy(pool, {
    get: (target, key) => (typeof Reflect.get(target, key) === 'function' ? short : Reflect.get(target, key)),
  });
  await expect(rankReport(await readModel(SHAPES), { pool: proxy })).rejects.toThrow(
    /^tensor '.*': there is not enough memory for its spectrum/,
  );
});
