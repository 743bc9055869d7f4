import { expect, test } from 'vitest';
import { openSession, randomInputs } from '../../../src/runtime/index.js';
import { buildModel, floats, ints } from '../../support/build.js';

/** A layer of grouped-query attention with a cache, as exporters of decoders write it. */
const decoder = (names: { readonly mask: string; readonly ids: string }) =>
  buildModel({
    opset: { '': 17, 'com.microsoft': 1 },
    inputs: [
      [names.ids, 'int64', ['batch', 'new']],
      [names.mask, 'int64', ['batch', 'all']],
      ['k', 'float32', ['batch', 2, 'cached', 8]],
      ['v', 'float32', ['batch', 2, 'cached', 8]],
    ],
    outputs: [
      ['y', 'float32'],
      ['k2', 'float32'],
      ['v2', 'float32'],
    ],
    nodes: [
      { opType: 'Gather', inputs: ['table', names.ids], outputs: ['q'] },
      { opType: 'MatMul', inputs: ['q', 'w'], outputs: ['kv'] },
      {
        opType: 'ReduceSum',
        inputs: [names.mask, 'axes'],
        outputs: ['sum'],
        attributes: { keepdims: { int: 0 } },
      },
      { opType: 'Sub', inputs: ['sum', 'one'], outputs: ['less'] },
      { opType: 'Cast', inputs: ['less'], outputs: ['lengths'], attributes: { to: { int: 6 } } },
      { opType: 'Shape', inputs: [names.mask], outputs: ['shape'] },
      { opType: 'Gather', inputs: ['shape', 'second'], outputs: ['size'] },
      { opType: 'Cast', inputs: ['size'], outputs: ['total'], attributes: { to: { int: 6 } } },
      {
        opType: 'GroupQueryAttention',
        domain: 'com.microsoft',
        inputs: ['q', 'kv', 'kv', 'k', 'v', 'lengths', 'total'],
        outputs: ['y', 'k2', 'v2'],
        attributes: { num_heads: { int: 4 }, kv_num_heads: { int: 2 } },
      },
    ],
    initializers: [
      floats('table', [11, 32], (i) => Math.sin(i)),
      floats('w', [32, 16], (i) => Math.cos(i) / 6),
      ints('axes', [1]),
      ints('one', [1]),
      ints('second', [1]),
    ],
  });

test.each([
  { dims: {}, total: 2 },
  { dims: { cached: 0 }, total: 1 },
  { dims: { cached: 0, new: 5 }, total: 5 },
  { dims: { cached: 7, new: 1, batch: 3 }, total: 8 },
])('a decoder runs on $dims', async ({ dims, total }) => {
  for (const names of [
    { mask: 'attention_mask', ids: 'input_ids' },
    { mask: 'a', ids: 'b' },
  ]) {
    const model = decoder(names);
    await using session = await openSession(model);
    for (let seed = 0; seed < 4; seed += 1) {
      const inputs = randomInputs(model, { seed, dims });
      expect(inputs[names.mask]!.shape.at(-1)).toBe(total);
      const { y, k2 } = await session.run(inputs);
      expect(y!.shape.slice(0, 2)).toEqual(inputs[names.ids]!.shape);
      expect(k2!.shape[2]).toBe(total);
      expect((y!.data as Float32Array).every(Number.isFinite)).toBe(true);
    }
  }
});

test('a size that is asked for is kept', () => {
  const model = decoder({ mask: 'mask', ids: 'ids' });
  expect(randomInputs(model, { dims: { all: 9 } }).mask!.shape).toEqual([1, 9]);
});

test('operators that generate text get lengths beyond their prompt, and penalties above 0', () => {
  const model = buildModel({
    opset: { '': 17, 'com.microsoft': 1 },
    inputs: [
      ['ids', 'int32', ['batch', 'prompt']],
      ['longest', 'int32', [1]],
      ['least', 'int32', [1]],
      ['penalty', 'float32', [1]],
    ],
    outputs: [['sequences', 'int32']],
    nodes: [
      {
        opType: 'GreedySearch',
        domain: 'com.microsoft',
        inputs: ['ids', 'longest', 'least', 'penalty'],
        outputs: ['sequences'],
        attributes: { vocab_size: { int: 3 } },
      },
    ],
  });
  for (let seed = 0; seed < 5; seed += 1) {
    const { ids, longest, least, penalty } = randomInputs(model, { seed, dims: { prompt: 40 } });
    const tokens = [...(ids!.data as Int32Array)];
    expect(Math.max(...tokens)).toBeLessThan(3);
    expect((longest!.data as Int32Array)[0]).toBeGreaterThan(40);
    expect((least!.data as Int32Array)[0]).toBeLessThan((longest!.data as Int32Array)[0]!);
    expect((penalty!.data as Float32Array)[0]).toBeGreaterThan(0);
  }
});
