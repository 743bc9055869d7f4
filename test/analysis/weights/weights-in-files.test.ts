import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { type Model, ModelError, readModel, saveModel, Tensor } from '../../../src/graph/index.js';
import { buildModel, floats } from '../../support/build.js';

/** Weights of both types, as they stand and transposed, alone and as parts of a tensor, with one that is not finite. */
function example(): Model {
  const broken = new Float32Array(80 * 70);
  broken[5] = Number.NaN;
  const wide = (i: number): number => Math.sin(i * i);
  return buildModel({
    inputs: [['x', 'float32', [1, 80]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'tall'], outputs: ['a'] },
      { opType: 'Transpose', inputs: ['wide'], outputs: ['t'] },
      { opType: 'MatMul', inputs: ['x', 't'], outputs: ['b'] },
      { opType: 'Cast', inputs: ['x'], outputs: ['d'], attributes: { to: { int: 11 } } },
      { opType: 'MatMul', inputs: ['d', 'double'], outputs: ['e'] },
      { opType: 'MatMul', inputs: ['x', 'batch'], outputs: ['f'] },
      { opType: 'MatMul', inputs: ['x', 'broken'], outputs: ['y'] },
    ],
    initializers: [
      floats('tall', [80, 70], wide),
      floats('wide', [90, 80], wide),
      Tensor.of(
        'double',
        'float64',
        [80, 75],
        Float64Array.from({ length: 6000 }, (_, i) => wide(i)),
      ),
      floats('batch', [2, 80, 66], wide),
      Tensor.of('broken', 'float32', [80, 70], broken),
    ],
  });
}

describe('weights that threads read from the file', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'weights-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([
    ['within the model', { external: 'never' }],
    ['beside it', { external: 'always' }],
  ] as const)('have the spectra that they have in memory: %s', async (name, options) => {
    const path = join(folder, `${name}.onnx`);
    await saveModel(example(), path, options);
    const expected = await rankReport(example(), { spectra: true, randomized: true });
    const { rows, total } = await rankReport(await readModel(path), { spectra: true, randomized: true });
    expect(rows).toEqual(expected.rows);
    expect(total).toEqual(expected.total);
    expect(rows.map(({ problem }) => problem).filter(Boolean)).toEqual(['1 NaN of 5600 elements']);
    expect(rows.filter(({ metrics }) => metrics !== undefined)).toHaveLength(5);
  });

  test('a file that changes meanwhile is an error', async () => {
    const path = join(folder, 'changes.onnx');
    await saveModel(example(), path);
    const model = await readModel(path);
    appendFileSync(path, readFileSync(path).subarray(0, 1));
    const failure = await rankReport(model).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ModelError);
    expect(String(failure)).toContain('the file was changed while the model was in use');
  });
});
