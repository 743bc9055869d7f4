import { expect, test } from 'vitest';
import { convOperatorSpectrum, convSlices, sliceElements } from '../../src/analysis/conv-spectrum.js';
import { rankReport } from '../../src/analysis/rank-report.js';
import { type Model, readModel } from '../../src/graph/index.js';
import { singularValues } from '../../src/kernels/index.js';
import { buildModel, floats } from '../support/build.js';

const SHAPES = 'fixtures/shapes.onnx';

function conv(attributes: Record<string, { ints: number[] } | { int: number }> = {}): Model {
  return buildModel({
    inputs: [['x', 'float32']],
    outputs: [],
    nodes: [
      { opType: 'Conv', name: 'c', inputs: ['x', 'k'], outputs: ['h'], attributes },
      { opType: 'MatMul', name: 'm', inputs: ['h', 'w'], outputs: ['y'] },
    ],
    initializers: [
      floats('k', [6, 4, 3, 3], (i) => Math.sin(i * i)),
      floats('w', [7, 5], (i) => Math.cos(i * i)),
    ],
  });
}

test('slices: the singular values of all offsets of the kernel, pooled', async () => {
  const [plain, report] = [
    await rankReport(conv(), { spectra: true }),
    await rankReport(conv(), { spectra: true, extras: true, convView: 'slices' }),
  ];
  const [row, other] = report.rows;
  expect(row).toMatchObject({ weight: 'k', rows: 6, columns: 4, copies: 9, parameters: 216 });
  const data = plain.rows.length > 0 ? floats('k', [6, 4, 3, 3], (i) => Math.sin(i * i)).floats() : undefined;
  const expected = convSlices([6, 4, 3, 3])
    .flatMap((slice) => [...singularValues(sliceElements(data!, slice), 6, 4)])
    .sort((a, b) => b - a);
  expect(row!.singularValues).toHaveLength(36);
  for (const [index, value] of row!.singularValues!.entries()) expect(value).toBeCloseTo(expected[index]!, 9);
  expect(row!.metrics!.frobeniusNorm).toBeCloseTo(plain.rows[0]!.metrics!.frobeniusNorm, 6);
  expect(row!.metrics!.effectiveRankRatio).toBeCloseTo(row!.metrics!.effectiveRank / 36, 12);
  expect(other!.metrics).toEqual(plain.rows[1]!.metrics);
  expect(report).toMatchObject({ convView: 'slices', total: { fullRank: 36 + 5 } });
  expect(plain.convView).toBeUndefined();
});

test('operator: that of the convolution, with its strides and dilations', async () => {
  const attributes = { strides: { ints: [2, 2] }, dilations: { ints: [1, 2] } };
  const report = await rankReport(conv(attributes), { spectra: true, convView: 'operator', inputSize: 8 });
  const [row] = report.rows;
  const data = floats('k', [6, 4, 3, 3], (i) => Math.sin(i * i)).floats();
  const expected = await convOperatorSpectrum(
    { data, shape: [6, 4, 3, 3] },
    { size: 8, strides: [2, 2], dilations: [1, 2] },
  );
  expect(row).toMatchObject({ rows: expected.rows, columns: expected.columns, parameters: 216 });
  expect(row!.singularValues).toEqual([...expected.values]);
  expect(report).toMatchObject({ convView: 'operator', inputSize: 8 });
});

test('a size that a stride does not divide is a problem of that row', async () => {
  const report = await rankReport(conv({ strides: { ints: [3, 3] } }), {
    convView: 'operator',
    inputSize: 8,
  });
  expect(report.rows[0]!.problem).toBe('strides [3, 3] do not divide the size [8, 8]');
  expect(report.rows[1]!.metrics).toBeDefined();
});

test('every kind of convolution of the fixture, and permuted ones', async () => {
  const model = await readModel(SHAPES);
  for (const options of [{ convView: 'slices' as const }, { convView: 'operator' as const, inputSize: 6 }]) {
    const { rows } = await rankReport(model, { ...options, extras: true, randomized: true });
    for (const row of rows) expect(row.problem, row.weight).toBeUndefined();
  }
});

test('the operator needs a size, and nothing else does', async () => {
  await expect(rankReport(conv(), { convView: 'operator' })).rejects.toThrow('inputSize');
  await expect(rankReport(conv(), { inputSize: 8 })).rejects.toThrow('inputSize');
});
