import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareRankReports } from '../../../src/analysis/report/compare-reports.js';
import { type RankReport, rankReport } from '../../../src/analysis/report/rank-report.js';
import { atomicWrite, narrow, readModel, widen } from '../../../src/graph/index.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { Random, type RuntimeTensor, safetensors } from '../../../src/runtime/index.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('checkpoints');

/** What test/reference/checkpoints.py makes: checkpoints of PyTorch's libraries, and NumPy's singular values. */
const FILES = 'test/reference/checkpoints';
type Figures = Readonly<Record<string, readonly number[]>>;
const figures = JSON.parse(readFileSync(join(FILES, 'figures.json'), 'utf8')) as Readonly<
  Record<'llama' | 'gpt2' | 'types' | 'train' | 'adapter', Figures>
> & { readonly onnxAdapter: readonly number[] };

async function reportOf(file: string): Promise<RankReport> {
  const source = await openCheckpoint(join(FILES, file));
  if ('onnx' in source) return rankReport(await readModel(source.onnx), { spectra: true });
  using checkpoint = source;
  return await rankReport(checkpoint, { spectra: true });
}

/** Largest difference of two spectra, relative to the largest value; the shorter one has zeros behind it. */
function difference(found: readonly number[] = [], expected: readonly number[] = []): number {
  const [first = 0] = expected;
  const length = Math.max(found.length, expected.length);
  return Math.max(
    ...Array.from({ length }, (_, i) => Math.abs((found[i] ?? 0) - (expected[i] ?? 0)) / first),
  );
}

function spectra(report: RankReport): Record<string, readonly number[] | undefined> {
  return Object.fromEntries(report.rows.map(({ weight, singularValues }) => [weight, singularValues]));
}

function agrees(report: RankReport, expected: Figures, tolerance: number): void {
  const found = spectra(report);
  expect(Object.keys(found).sort()).toEqual(Object.keys(expected).sort());
  for (const [name, values] of Object.entries(expected))
    expect(difference(found[name], values), name).toBeLessThan(tolerance);
}

describe('the spectra of a checkpoint are those that NumPy finds', () => {
  test.each([
    ['a Hugging Face folder in several files', 'llama', 'llama'],
    ['its index', 'llama/model.safetensors.index.json', 'llama'],
    [
      'every type, and integers with scales as GPTQ, AWQ, DeepSeek and gpt-oss write them',
      'types.safetensors',
      'types',
    ],
    ["PyTorch's ZIP, with shared, transposed and cut tensors", 'train.pt', 'train'],
  ] as const)('%s', async (_, file, key) => {
    const expected = { ...figures[key] };
    // Two names of one storage are one weight.
    delete (expected as Record<string, unknown>)['tied.weight'];
    agrees(await reportOf(file), expected, 1e-10);
  });

  test('of GPT-2, whose output embedding is its input embedding', async () => {
    const { 'lm_head.weight': tied, ...rest } = figures.gpt2;
    expect(tied).toBeDefined();
    agrees(await reportOf('gpt2'), rest, 1e-10);
  });

  test('of the products of an adapter, by their factors and with their scales', async () => {
    const found = spectra(await reportOf('adapter'));
    for (const [name, values] of Object.entries(figures.adapter))
      expect(difference(found[name], values), name).toBeLessThan(1e-7);
    expect(
      difference(spectra(await reportOf('q.onnx_adapter'))['q.weight'], figures.onnxAdapter),
    ).toBeLessThan(1e-7);
  });
});

test('figures equal those of the export', async () => {
  const [checkpoint, exported] = [await reportOf('llama'), await reportOf('llama.onnx')];
  const renamed = exported.rows.map((row) => ({ ...row, weight: row.weight.replace('inner.', '') }));
  const { rows, onlyInA, onlyInB } = compareRankReports(checkpoint, { ...exported, rows: renamed });
  expect([onlyInA, onlyInB]).toEqual([[], []]);
  expect(rows).toHaveLength(16);
  for (const { weight, change, a } of rows) {
    for (const key of ['effectiveRank', 'stableRank', 'frobeniusNorm', 'spectralNorm'] as const)
      expect(Math.abs(change?.[key] ?? 1) / (a.metrics?.[key] ?? 1), `${key} of ${weight}`).toBeLessThan(
        1e-12,
      );
  }
});

test.each([
  'float16',
  'bfloat16',
] as const)('a large tensor of %s is read by the threads, from its file', async (type) => {
  const path = join(directory, `${type}.safetensors`);
  const values = new Random(7);
  const bits = narrow(
    type,
    Float32Array.from({ length: 700 * 600 }, () => values.normal()),
  );
  const tensor: RuntimeTensor = { type, shape: [700, 600], data: bits };
  await atomicWrite(path, safetensors(new Map([['w.weight', tensor]])));
  const source = await openCheckpoint(path);
  if ('onnx' in source) throw new Error('no checkpoint');
  using checkpoint = source;
  const { rows } = await rankReport(checkpoint, { spectra: true });
  expect(difference(rows[0]?.singularValues, [...singularValues(widen(type, bits), 700, 600)])).toBeLessThan(
    1e-13,
  );
});
