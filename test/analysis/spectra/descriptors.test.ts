import { expect, test } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import {
  ALL_METRICS,
  descriptorOf,
  figureOf,
  findMetric,
  RANDOMIZED_METRICS,
  reasonOf,
} from '../../../src/analysis/spectra/descriptors.js';
import { METRICS } from '../../../src/analysis/spectra/metrics.js';
import { EXTRA_METRICS } from '../../../src/analysis/spectra/spectral-descriptors.js';
import { rankDistance, spectralExtras } from '../../../src/analysis/spectra/spectral-extras.js';
import { readModel } from '../../../src/graph/index.js';

const SHAPES = 'fixtures/shapes.onnx';

test('one table describes every metric once, and finds each by key and header', () => {
  const keys = ALL_METRICS.map(({ key }) => key);
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys).toEqual([...METRICS, ...EXTRA_METRICS].map(({ key }) => key as string).concat('rankDistance'));
  for (const metric of ALL_METRICS) {
    expect(findMetric(metric.key)).toBe(metric);
    expect(findMetric(metric.header.toUpperCase())).toBe(metric);
    expect(descriptorOf(metric.key)).toBe(metric);
    expect(metric.definition.length).toBeGreaterThan(1);
  }
});

test('rows have only what was asked for', async () => {
  const model = await readModel(SHAPES);
  const plain = await rankReport(model, { only: ['hidden*'] });
  expect(plain.rows.map((row) => row.weight)).toEqual(['hidden.weight']);
  expect(plain.rows[0]!.extras).toBeUndefined();
  expect(reasonOf(plain.rows[0]!, 'alpha')).toBe('not asked for');
  const full = await rankReport(model, { spectra: true, extras: true, rank: 5, only: ['hidden*'] });
  const [row] = full.rows;
  expect(row!.metrics).toEqual(plain.rows[0]!.metrics);
  const values = row!.singularValues!;
  const expected = spectralExtras(values, { rows: 96, columns: 576 });
  for (const { key } of EXTRA_METRICS) expect(figureOf(row!, key)).toBe(expected.figures[key]);
  expect(figureOf(row!, 'rankDistance')).toBe(rankDistance(values, 5));
  expect(reasonOf(row!, 'randDistance')).toBe('asked for by `randomized`');
});

test('by the node that uses it, too; of globs that match nothing, nothing', async () => {
  const model = await readModel(SHAPES);
  const all = await rankReport(model);
  const { weight, nodes } = all.rows[3]!;
  expect((await rankReport(model, { only: [nodes[0]!] })).rows.map((row) => row.weight)).toEqual([weight]);
  expect((await rankReport(model, { only: ['none'] })).rows).toEqual([]);
});

test('randomized matrices: seeded, and further from the weight than a second permutation', async () => {
  const model = await readModel(SHAPES);
  const of = async (seed: number) => (await rankReport(model, { randomized: true, seed })).rows;
  const [first, again, other] = [await of(0), await of(0), await of(1)];
  expect(again).toEqual(first);
  expect(other).not.toEqual(first);
  for (const row of first) {
    if (Math.min(row.rows, row.columns) < 5) continue;
    for (const key of RANDOMIZED_METRICS)
      expect(figureOf(row, key), `${row.weight} ${key}`).toBeGreaterThan(0);
  }
});

test('a rank that is none is refused', async () => {
  const model = await readModel(SHAPES);
  await expect(rankReport(model, { rank: -1 })).rejects.toThrow(RangeError);
  await expect(rankReport(model, { rank: 1.5 })).rejects.toThrow('rank must be an integer ≥ 0, is 1.5');
});
