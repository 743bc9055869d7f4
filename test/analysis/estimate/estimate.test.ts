import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ESTIMATED, estimateSpectrum, smoothedShare } from '../../../src/analysis/estimate/estimate.js';
import { estimateReport } from '../../../src/analysis/estimate/estimate-report.js';
import { regressedMeans } from '../../../src/analysis/estimate/regression.js';
import { spectrumMetrics } from '../../../src/analysis/spectra/metrics.js';
import { saveModel } from '../../../src/graph/index.js';
import type { Matrix } from '../../../src/linalg/index.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { Random } from '../../../src/runtime/random.js';
import { buildModel, floats } from '../../support/build.js';
import { runCli } from '../../support/run-cli.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

// How often intervals hold at 200 matrices is measured by bench/estimate-coverage.ts; docs/scale.md has the figures.

function normal(rows: number, columns: number, seed: number): Matrix {
  return { rows, columns, data: new Random(seed).fillNormal(new Float32Array(rows * columns)) };
}

/** Rows that fall off by a power of their number: singular values of about that law. */
function falling(rows: number, columns: number, seed: number): Matrix {
  const { data } = normal(rows, columns, seed);
  return { rows, columns, data: data.map((value, at) => value / (Math.floor(at / columns) + 1) ** 0.7) };
}

describe('intervals of 95 %', () => {
  test('hold the exact figures of most matrices, tall, wide and square, and are as narrow as asked for', async () => {
    const sizes = [
      [150, 120],
      [90, 200],
      [128, 128],
    ] as const;
    const misses = new Map<string, number>();
    for (let seed = 0; seed < 12; seed += 1) {
      const [rows, columns] = sizes[seed % 3]!;
      const matrix = seed % 2 === 0 ? normal(rows, columns, seed) : falling(rows, columns, seed);
      const found = await estimateSpectrum(matrix, { tolerance: 0.03, seed });
      const exact = singularValues(matrix.data, rows, columns);
      const metrics = spectrumMetrics(exact, matrix);
      expect(found.reached).toBe(true);
      const miss = (key: string, truth: number, low: number, high: number): void => {
        if (!(low <= truth && truth <= high)) misses.set(key, (misses.get(key) ?? 0) + 1);
      };
      for (const key of ESTIMATED) {
        const { value, low, high } = found.figures[key];
        expect(low).toBeLessThanOrEqual(value);
        expect(high).toBeGreaterThanOrEqual(value);
        expect((high - low) / 2 / value, key).toBeLessThan(0.05);
        miss(key, metrics[key], low, high);
      }
      for (const { at, low, high } of found.density) {
        const shares = exact.reduce((sum, s) => sum + smoothedShare(at, s / exact[0]!), 0);
        miss(`density ${at}`, shares / exact.length, low, high);
      }
      for (const [index, { low, high }] of found.leading.entries())
        if (index === 0) miss('leading', exact[0]!, low, high);
    }
    for (const [key, count] of misses) expect(count, key).toBeLessThanOrEqual(3);
  });

  test('have no width but rounding where the basis and the steps reach the whole spectrum', async () => {
    const matrix = normal(30, 20, 7);
    const { figures, reached } = await estimateSpectrum(matrix);
    const metrics = spectrumMetrics(singularValues(matrix.data, 30, 20), matrix);
    expect(reached).toBe(true);
    for (const key of ESTIMATED)
      expect(Math.abs(figures[key].value / metrics[key] - 1), key).toBeLessThan(0.02);
  });

  test('follow from matrix, seed and key alone', async () => {
    const matrix = falling(80, 100, 1);
    const one = await estimateSpectrum(matrix, { seed: 3, key: 'a' });
    expect(await estimateSpectrum(matrix, { seed: 3, key: 'a' })).toEqual(one);
    expect(await estimateSpectrum(matrix, { seed: 4, key: 'a' })).not.toEqual(one);
    expect(await estimateSpectrum(matrix, { seed: 3, key: 'b' })).not.toEqual(one);
  });

  test('scale with the matrix, also beyond the range of float32', async () => {
    const matrix = falling(80, 100, 2);
    const plain = await estimateSpectrum(matrix);
    for (const power of [-90, 60, 400]) {
      const data = Float64Array.from(matrix.data, (value) => value * 2 ** power);
      const { figures } = await estimateSpectrum({ ...matrix, data });
      expect(figures.effectiveRank.value / plain.figures.effectiveRank.value).toBeCloseTo(1, 5);
      expect(figures.nuclearNorm.high / plain.figures.nuclearNorm.high / 2 ** power).toBeCloseTo(1, 5);
    }
  });

  test.each([
    ['one row', normal(1, 50, 1), 1],
    ['one element', normal(1, 1, 1), 1],
    [
      'rank one',
      {
        rows: 40,
        columns: 30,
        data: Float32Array.from({ length: 1200 }, (_, i) => ((i % 30) + 1) * (Math.floor(i / 30) + 1)),
      },
      1,
    ],
    [
      'the identity',
      { rows: 40, columns: 40, data: Float32Array.from({ length: 1600 }, (_, i) => Number(i % 41 === 0)) },
      40,
    ],
  ] as const)('%s', async (_, matrix, rank) => {
    const { figures } = await estimateSpectrum(matrix);
    expect(figures.effectiveRank.value).toBeCloseTo(rank, 2);
    expect(figures.effectiveRank.low).toBeLessThanOrEqual(rank);
    expect(figures.effectiveRank.high * (1 + 1e-9)).toBeGreaterThanOrEqual(rank);
  });

  test('are refused for what has no spectrum', async () => {
    const data = new Float32Array(100);
    await expect(estimateSpectrum({ rows: 10, columns: 10, data })).rejects.toThrow(
      'every singular value is zero',
    );
    data[3] = Number.NaN;
    await expect(estimateSpectrum({ rows: 10, columns: 10, data })).rejects.toThrow(RangeError);
  });
});

test('a mean is found exactly where covariates of known means explain the samples', () => {
  const random = new Random(0);
  const covariates = Array.from({ length: 20 }, () => [random.normal(), random.normal()] as const);
  const samples = covariates.map(([a, b]) => [5 + 2 * a - b, random.normal()]);
  const { means, covariance, freedom } = regressedMeans(samples, covariates);
  expect(means[0]).toBeCloseTo(5, 12);
  expect(covariance[0]).toBeLessThan(1e-20);
  expect(covariance[3]).toBeGreaterThan(0.01);
  expect(freedom).toBe(17);
});

test('a report estimates large weights, computes small ones, and names what it cannot', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 90]]],
    outputs: [['y', 'float32', ['n', 8]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'large'], outputs: ['h'] },
      { opType: 'MatMul', inputs: ['h', 'small'], outputs: ['g'] },
      { opType: 'MatMul', inputs: ['g', 'broken'], outputs: ['y'] },
    ],
    initializers: [
      floats('large', [90, 70], (i) => Math.sin(i * i)),
      floats('small', [70, 60], (i) => Math.cos(i * i)),
      floats('broken', [60, 8], () => Number.NaN),
    ],
  });
  const { rows, without } = await estimateReport(model, { exactBelow: 65, seed: 1 });
  const [large, small, broken] = rows;
  expect(large?.isExact).toBe(false);
  expect(large?.estimate?.probes).toBeGreaterThan(0);
  expect(small?.isExact).toBe(true);
  const { low, high } = small!.estimate!.figures.effectiveRank;
  expect(low).toBe(high);
  expect(broken?.problem).toContain('480 NaN');
  expect(without).toContain('alpha');
  expect(without).not.toContain('effectiveRank');
});

describe('the command', () => {
  const directory = scratchDirectory('estimate');
  const path = join(directory, 'm.onnx');

  test('writes figures with intervals in all forms, and says what has no estimate', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', ['n', 30]]],
      outputs: [['y', 'float32', ['n', 20]]],
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [floats('w', [30, 20], (i) => Math.sin(i * i))],
    });
    await saveModel(model, path);
    const json = await runCli(['rank-report', path, '--estimate', '1%', '--format', 'json']);
    expect([json.code, json.err]).toEqual([0, '']);
    const { tolerance, weights, without } = JSON.parse(json.out);
    expect([tolerance, weights[0].isExact]).toEqual([0.01, true]);
    expect(without).toContain('rank90');
    const table = await runCli(['rank-report', path, '--estimate', '1%', '--metrics', 'effectiveRank,alpha']);
    expect(table.out).toContain('No estimate of alpha.');
    expect(table.out).not.toContain('numericalRank');
  });

  test.each([
    [['--estimate', '1'], 'percentage'],
    [['--estimate', '90%'], 'percentage'],
    [['--estimate', '1%', '--randomized'], '--randomized'],
    [['--estimate', '1%', '--format', 'html'], 'no page'],
    [['--estimate', '1%', '--shard', '1/2', '-o', 'parts'], '--estimate'],
  ])('%j', async (words, said) => {
    const { code, out, err } = await runCli(['rank-report', path, ...words]);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(said);
  });
});
