import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { deltaReport } from '../../../src/analysis/report/delta-report.js';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { type Model, type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { adapterFiles, writeAdapter } from '../../../src/passes/lora/adapter-file.js';
import { extractLora } from '../../../src/passes/lora/extract-lora.js';
import { openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { Random } from '../../../src/runtime/index.js';
import { buildModel } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('extract-lora');
const RANK = 3;

/** Two layers, one in x out, one out x in; after training each is more by a product of rank 3, and by noise. */
function pair(noise: number): [Model, Model] {
  const random = new Random(11);
  const normals = (length: number, size = 1) => Float64Array.from({ length }, () => size * random.normal());
  const weights = (
    [
      ['a.weight', 40, 30],
      ['b.weight', 24, 30],
    ] as const
  ).map(([name, rows, columns]) => {
    const base = Float32Array.from(normals(rows * columns));
    const [left, right] = [normals(rows * RANK, 0.3), normals(RANK * columns, 0.3)];
    const tuned = base.map((value, at) => {
      const [i, j] = [Math.floor(at / columns), at % columns];
      let sum = value + noise * random.normal();
      for (let r = 0; r < RANK; r += 1)
        sum += (left[i * RANK + r] as number) * (right[r * columns + j] as number);
      return sum;
    });
    return [base, tuned].map((data) => Tensor.of(name, 'float32', [rows, columns], data));
  });
  const nodes: NodeSpec[] = [
    { opType: 'MatMul', name: 'a', inputs: ['x', 'a.weight'], outputs: ['h'] },
    {
      opType: 'Gemm',
      name: 'b',
      inputs: ['h', 'b.weight'],
      outputs: ['y'],
      attributes: { transB: { int: 1 } },
    },
  ];
  return [0, 1].map((which) =>
    buildModel({
      inputs: [['x', 'float32', [2, 40]]],
      outputs: [['y', 'float32', [2, 24]]],
      nodes,
      initializers: weights.map((two) => two[which] as Tensor),
    }),
  ) as [Model, Model];
}

describe('what training changed', () => {
  test('its rank is found, in noise and without', async () => {
    for (const noise of [0, 1e-3]) {
      const { rows } = await deltaReport(...pair(noise));
      expect(rows.map(({ weight, spikes }) => [weight, spikes])).toEqual([
        ['a.weight', RANK],
        ['b.weight', RANK],
      ]);
    }
  });

  test('nothing where nothing changed', async () => {
    const [base] = pair(0);
    const { rows } = await deltaReport(base, base);
    expect(rows.map(({ relativeChange, overlap }) => [relativeChange, overlap])).toEqual([
      [0, undefined],
      [0, undefined],
    ]);
    const { adapters, skipped } = await extractLora(base, base);
    expect(adapters).toEqual([]);
    expect(skipped.map(({ reason }) => reason)).toEqual(['it did not change', 'it did not change']);
  });

  test('directions that were there overlap, new ones do not', async () => {
    const [base] = pair(0);
    // Twice the weight is a change along its own directions.
    const twice = base.clone();
    for (const tensor of twice.graph.initializers.values())
      twice.graph.edit({
        setInitializers: [tensor.withData(tensor.floats().map((value) => 2 * value) as Float32Array)],
      });
    const { rows } = await deltaReport(base, twice);
    for (const { overlap, newDirections, relativeChange } of rows) {
      expect(relativeChange).toBeCloseTo(1, 6);
      expect(overlap).toBeCloseTo(1, 6);
      expect(newDirections).toBe(0);
    }
  });

  test.each(['peft', 'x.onnx_adapter'])('its adapter gives it back, from a file: %s', async (name) => {
    const [base, tuned] = pair(0);
    const { adapters } = await extractLora(base, tuned);
    expect(adapters.map(({ rank, error, a, b }) => [rank, error < 1e-6, b.rows, a.columns])).toEqual([
      [RANK, true, 30, 40],
      [RANK, true, 24, 30],
    ]);
    const path = join(directory, name);
    await writeAdapter(path, adapters);
    const source = await openCheckpoint(path);
    if ('onnx' in source) throw new Error('no checkpoint');
    using checkpoint = source;
    const [before, after] = [
      await deltaReport(base, tuned, { spectra: true }),
      await rankReport(checkpoint, { spectra: true }),
    ];
    for (const [index, { weight, singularValues = [] }] of after.rows.entries()) {
      expect(weight).toBe(before.rows[index]?.weight);
      for (const [i, value] of singularValues.slice(0, RANK).entries())
        expect(value / (before.rows[index]?.singularValues?.[i] ?? 1)).toBeCloseTo(1, 6);
    }
    await expect(writeAdapter(path, adapters)).rejects.toThrow(/exists/);
    expect(adapterFiles(path).length).toBeGreaterThan(0);
  });

  test('the error of a rank is what is left of the spectrum', async () => {
    const [base, tuned] = pair(0.05);
    const { rows } = await deltaReport(base, tuned, { spectra: true });
    for (const rank of [1, 2, 5]) {
      const { adapters } = await extractLora(base, tuned, { rank });
      for (const [index, { error }] of adapters.entries()) {
        const values = rows[index]?.singularValues ?? [];
        const sum = (from: number): number =>
          values.slice(from).reduce((total, value) => total + value * value, 0);
        expect(error / Math.sqrt(sum(rank) / sum(0))).toBeCloseTo(1, 5);
      }
    }
  });

  test('options out of range are refused', async () => {
    const [base, tuned] = pair(0);
    await expect(extractLora(base, tuned, { rank: 0 })).rejects.toThrow(/auto or an integer/);
    await expect(extractLora(base, tuned, { only: ['zzz'] })).rejects.toThrow(
      /'zzz' matches no weight or node/,
    );
  });
});
