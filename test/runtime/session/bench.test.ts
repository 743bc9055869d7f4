import { expect, test } from 'vitest';
import { benchDocument } from '../../../src/report/inference.js';
import { render } from '../../../src/report/text/render.js';
import { randomInputs } from '../../../src/runtime/inputs/random-inputs.js';
import { diagnose } from '../../../src/runtime/providers/doctor.js';
import { benchModels } from '../../../src/runtime/session/bench.js';
import { modelOf } from '../helpers.js';

const open = () =>
  modelOf(
    [{ opType: 'Relu', inputs: ['x'], outputs: ['y'], name: 'relu' }],
    [['x', 'float32', ['n', 'm']]],
    [['y', 'float32', ['n', 'm']]],
  );
const fixed = () =>
  modelOf(
    [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
    [['x', 'float32', [2, 3]]],
    [['y', 'float32', [2, 3]]],
  );

test('a row for each model and batch; its figures are in order, and consistent', async () => {
  const models = [
    { name: 'a', model: open() },
    { name: 'b', model: open() },
  ];
  const steps: string[] = [];
  const report = await benchModels(models, {
    batches: [1, 4],
    runs: 7,
    warmup: 1,
    dims: { m: 5 },
    onProgress: ({ what }) => steps.push(what),
  });
  expect(report.rows.map(({ model, batch }) => [model, batch])).toEqual([
    ['a', 1],
    ['b', 1],
    ['a', 4],
    ['b', 4],
  ]);
  for (const row of report.rows) {
    expect(row.least > 0 && row.least <= row.p50 && row.p50 <= row.p90 && row.p90 <= row.p99).toBe(true);
    expect(row.throughput).toBeCloseTo((1000 * row.batch!) / row.mean, 9);
    const base = report.rows.find(({ model, batch }) => model === 'a' && batch === row.batch)!;
    if (row === base) expect(row.ratio).toBe(1);
    else expect(row.ratio > 0 && Number.isFinite(row.ratio)).toBe(true);
    expect(row.uses).toMatchObject([{ provider: 'cpu', nodes: 1 }]);
    expect([row.memory >= 0, row.fallen]).toEqual([true, 0]);
  }
  expect(steps).toHaveLength(4);
  const text = render(benchDocument(report), { width: 80 });
  for (const line of text.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
  expect(text).toContain('7 runs each after a first one and 1 to warm up, the models taking turns');
});

test('a model that fixes its batch takes no other, and has none in its row', async () => {
  await expect(benchModels([{ name: 'f.onnx', model: fixed() }], { batches: [1] })).rejects.toThrow(
    'f.onnx: it takes no other batch than 2',
  );
  const { rows } = await benchModels([{ name: 'f', model: fixed() }], { runs: 1, warmup: 0, batches: [2] });
  expect(rows[0]?.batch).toBeUndefined();
  for (const options of [{ runs: 0 }, { warmup: -1 }, { batches: [0] }]) {
    await expect(benchModels([{ name: 'f', model: fixed() }], options)).rejects.toThrow(
      'must be an integer ≥',
    );
  }
});

test('batch is the size of open first dimensions that dims does not name', () => {
  expect(randomInputs(open(), { batch: 3 }).x?.shape).toEqual([3, 1]);
  expect(randomInputs(open(), { batch: 3, dims: { n: 2, m: 7 } }).x?.shape).toEqual([2, 7]);
  expect(randomInputs(fixed(), { batch: 5 }).x?.shape).toEqual([2, 3]);
});

test('doctor: the CPU works, and what does not says why', async () => {
  const seen: string[] = [];
  const { providers, versions, cpu } = await diagnose({
    providers: ['cpu', 'directml', 'coreml'],
    onProgress: ({ what }) => seen.push(what),
  });
  expect(seen).toEqual(['cpu', 'directml', 'coreml']);
  expect(providers[0]).toMatchObject({ provider: 'cpu', loads: true });
  expect(providers[0]?.proof?.error).toBeLessThan(1e-3);
  for (const { loads, failure } of providers) expect(loads).toBe(failure === undefined);
  expect(versions.onnxruntime).toMatch(/^\d+\.\d+\.\d+/);
  expect(cpu.cores).toBeGreaterThan(0);
});
