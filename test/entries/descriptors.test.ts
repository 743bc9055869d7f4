import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { type Model, readModel, saveModel, Tensor, ValueInfo } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import { openSession } from '../../src/runtime/index.js';
import { writeNpz } from '../../src/runtime/io/npz.js';
import { openDataset } from '../../src/training/data/index.js';
import { buildModel } from '../support/build.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('descriptors');

/** What the process holds open of the files of this test, and of temporary ones. */
function open(): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${descriptor}`);
      return path.startsWith(directory) || /onnx-overparam-\d+-\w+\.tmp/.test(path) ? [path] : [];
    } catch {
      return [];
    }
  });
}

/** A model whose weight is large enough to be external; from 512 on, its factors go into a temporary file. */
function linear(size = 64): Model {
  const weight = Float32Array.from({ length: size * size }, (_, i) => Math.sin(i * 1.7));
  return buildModel({
    nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    inputs: [ValueInfo.tensor('x', 'float32', [1, size])],
    outputs: [ValueInfo.tensor('y', 'float32', [1, size])],
    initializers: [Tensor.of('w', 'float32', [size, size], weight)],
  });
}

describe.runIf(process.platform === 'linux')('files are closed with what opened them', () => {
  test.each([
    ['small, in one file', 64, 'never', 200],
    ['small, external', 64, 'always', 200],
    ['with a temporary file', 512, 'always', 2],
  ] as const)('models: %s', { timeout: 240_000 }, async (_, size, external, rounds) => {
    const path = join(directory, `${external}-${size}.onnx`);
    await saveModel(linear(size), path, { external });
    const most = { open: 0 };
    for (let count = 0; count < rounds; count += 1) {
      using model = await readModel(path);
      using copy = model.clone();
      await copy.apply(expand({ init: 'orthogonal', allowLossy: true }));
      await saveModel(copy, join(directory, 'out.onnx'), { overwrite: true });
      most.open = Math.max(most.open, open().length);
      if (count % 20 > 0) continue;
      await rankReport(model);
      await using session = await openSession(path);
      const x = { type: 'float32', shape: [1, size], data: new Float32Array(size) } as const;
      await session.run({ x });
    }
    expect(most.open).toBeGreaterThan(0);
    expect(most.open).toBeLessThan(4);
    expect(open()).toEqual([]);
  });

  test('what is no model', async () => {
    const broken = join(directory, 'broken.onnx');
    writeFileSync(broken, Buffer.alloc(100, 0x0b));
    for (let count = 0; count < 200; count += 1) {
      await expect(readModel(broken)).rejects.toThrow('broken.onnx');
      await expect(openSession(broken)).rejects.toThrow('broken.onnx');
    }
    expect(open()).toEqual([]);
  });

  test('datasets', async () => {
    const path = join(directory, 'rows.csv');
    writeFileSync(path, 'a,b,label\n1,2,0\n3,4,1\n');
    const array = join(directory, 'rows.npz');
    writeFileSync(
      array,
      writeNpz({
        x: { type: 'float32', shape: [2, 3], data: new Float32Array(6) },
        y: { type: 'int64', shape: [2], data: new BigInt64Array(2) },
      }),
    );
    for (let count = 0; count < 100; count += 1) {
      await using data = await openDataset(path);
      await data.batch([0, 1]);
      await using arrays = await openDataset(array);
      await arrays.batch([0, 1]);
    }
    expect(open()).toEqual([]);
  });
});

test('a clone reads on when the model that it was made of is disposed of, and not after its own end', async () => {
  const path = join(directory, 'cloned.onnx');
  await saveModel(linear(), path, { external: 'always' });
  const model = await readModel(path);
  const copy = model.clone();
  model[Symbol.dispose]();
  model[Symbol.dispose]();
  const weight = copy.graph.initializers.get('w');
  expect(weight?.bytes().length).toBe(weight?.byteLength);
  copy[Symbol.dispose]();
  expect(() => weight?.bytes()).toThrow(/was closed with the model/);
});
