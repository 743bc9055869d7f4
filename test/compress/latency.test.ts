import { expect, test } from 'vitest';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { compress } from '../../src/compress/compress.js';
import { type Model, modelToBytes, Tensor } from '../../src/graph/index.js';
import { compressDocument } from '../../src/report/compress.js';
import { render } from '../../src/report/text/render.js';
import { Random } from '../../src/runtime/random.js';
import { buildModel, floats } from '../support/build.js';

const random = new Random(9, 'latency');

/** A product of 9 million multiply-adds, and one of 33 thousand, which two products take longer for. */
function network(): Model {
  return buildModel({
    inputs: [['x', 'float32', [64, 384]]],
    outputs: [['y', 'float32', [64, 16]]],
    nodes: [
      { opType: 'MatMul', name: 'large', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Slice', name: 'some', inputs: ['h', 'from', 'to', 'axes'], outputs: ['s'] },
      { opType: 'MatMul', name: 'small', inputs: ['s', 'v'], outputs: ['y'] },
    ],
    initializers: [
      floats('w', [384, 384], () => random.normal() / 20),
      floats('v', [32, 16], () => random.normal() / 6),
      ...[
        ['from', 0],
        ['to', 32],
        ['axes', 1],
      ].map(([name, value]) => int64(String(name), Number(value))),
    ],
  });
}
const int64 = (name: string, value: number) => Tensor.of(name, 'int64', [1], BigInt64Array.of(BigInt(value)));

test('a budget of time: what is factorized is faster, what is not says why, and times are in the table', async () => {
  const model = network();
  const original = model.clone();
  const [account] = await model.apply(compress({ latency: 0.8, threads: 1 }));
  const large = account.layers.find(({ layer }) => layer === 'large');
  expect(large?.form).toBe('matrices');
  expect(large?.microsecondsAfter).toBeLessThan(0.95 * (large?.microsecondsBefore ?? 0));
  for (const { form, reason, microsecondsBefore, microsecondsAfter } of account.layers)
    if (form === 'keep') expect(microsecondsAfter).toBe(microsecondsBefore);
    else expect(reason).toBeUndefined();
  expect(account.total.latency).toBeGreaterThan(0);
  expect(account.total.multiplyAddsAfter).toBeLessThan(account.total.multiplyAddsBefore);
  const table = render(compressDocument(account), { format: 'md' });
  expect(table).toMatch(/µs before/);
  expect(table).toMatch(/time in onnxruntime ×0?\.\d+/);
  expect((await verifyModels(original, model, { tolerance: 10 })).passed).toBe(true);
});

test('times are measured where that is asked for, and stay out elsewhere', async () => {
  const plan = [{ layer: 'large', form: 'matrices', ranks: [32] }] as const;
  const [timed, plain] = [network(), network()];
  const [account] = await timed.apply(compress({ plan, timing: true, threads: 1 }));
  expect(account.layers.every(({ microsecondsBefore }) => (microsecondsBefore ?? 0) > 0)).toBe(true);
  const [untimed] = await plain.apply(compress({ plan }));
  expect(untimed.layers.every(({ microsecondsBefore }) => microsecondsBefore === undefined)).toBe(true);
  expect(untimed.total.latency).toBeUndefined();
});

test('a time that cannot be reached is refused, and nothing changes', async () => {
  const model = network();
  const before = modelToBytes(model);
  await expect(model.apply(compress({ latency: 0.0001, threads: 1 }))).rejects.toThrow(/latency/);
  expect(modelToBytes(model)).toEqual(before);
});
