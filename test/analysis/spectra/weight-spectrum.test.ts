import { expect, test } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import {
  convOperatorSpectrum,
  convSlices,
  sliceElements,
} from '../../../src/analysis/spectra/conv-spectrum.js';
import { type Model, readModel, Tensor } from '../../../src/graph/index.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { float64Providers, ProviderError } from '../../../src/runtime/index.js';
import { buildModel, floats } from '../../support/build.js';

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

test('Gram matrices of large weights on a provider of onnxruntime: the same spectra', async () => {
  const tiny = Tensor.of(
    'tiny',
    'float64',
    [512, 513],
    Float64Array.from({ length: 512 * 513 }, (_, i) => 1e-200 * Math.sin(i * i)),
  );
  const model = buildModel({
    inputs: [
      ['x', 'float32'],
      ['z', 'float64'],
    ],
    outputs: [],
    nodes: [
      { opType: 'MatMul', name: 'wide', inputs: ['x', 'w'], outputs: ['y'] },
      { opType: 'MatMul', name: 'small', inputs: ['y', 'v'], outputs: ['u'] },
      { opType: 'MatMul', name: 'tiny', inputs: ['z', 'tiny'], outputs: ['t'] },
    ],
    initializers: [
      floats('w', [512, 520], (i) => Math.cos(i * i)),
      floats('v', [520, 9], (i) => Math.cos(i)),
      tiny,
    ],
  });
  const here = await rankReport(model, { spectra: true });
  const there = await rankReport(model, { spectra: true, products: { providers: ['cpu'] } });
  for (const [index, row] of there.rows.entries()) {
    const wanted = here.rows[index]!.singularValues!;
    for (const [i, value] of row.singularValues!.entries()) {
      expect(Math.abs(value - wanted[i]!) / wanted[0]!).toBeLessThan(1e-7);
    }
    expect(row.metrics!.effectiveRank).toBeCloseTo(here.rows[index]!.metrics!.effectiveRank, 6);
  }
});

test('a provider without float64 is refused, and one that does not load is an error before any work', async () => {
  expect(() => float64Providers('webgpu')).toThrow(/^WebGPU multiplies no float64 matrices/);
  expect(() => float64Providers(['coreml', 'cpu'])).toThrow('Core ML');
  expect(float64Providers(['cuda', 'cpu'])).toEqual(['cuda', 'cpu']);
  expect(float64Providers('auto')).toBe('auto');
  const missing = (['directml', 'coreml'] as const).find(
    (name) => name !== (process.platform === 'win32' ? 'directml' : 'coreml'),
  );
  const report = rankReport(conv(), { products: { providers: [missing ?? 'directml'] } });
  await expect(report).rejects.toBeInstanceOf(ProviderError);
});
