import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Model, Tensor } from '../../../src/graph/index.js';
import { trainableWeights } from '../../../src/passes/gradient/index.js';
import { Random } from '../../../src/runtime/index.js';
import { writeNpy } from '../../../src/runtime/io/npy.js';
import { datasetSplits, inputSpecs, openDataset, splitDataset } from '../../../src/training/data/index.js';
import { train } from '../../../src/training/train.js';
import type { Dataset } from '../../../src/training/types.js';
import { buildModel } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('tokens');
const at = (name: string): string => join(directory, name);
const numbers = (data: unknown): number[] => Array.from(data as BigInt64Array, Number);

function save(name: string, data: readonly number[], shape: readonly number[]): string {
  writeFileSync(at(name), writeNpy({ type: 'int32', shape, data: Int32Array.from(data) }));
  return at(name);
}

async function all(dataset: Dataset): Promise<{ ids: number[]; next: number[] }> {
  const { inputs, target } = await dataset.batch(Array.from({ length: dataset.size }, (_, i) => i));
  return { ids: numbers(inputs[dataset.inputs[0]?.name ?? '']?.data), next: numbers(target?.data) };
}

const TEXT = Array.from({ length: 23 }, (_, i) => (i * 7) % 11);

describe('token numbers', () => {
  test.each(['npy', 'bin'])('of one text: each but the first is a target once, in .%s', async (format) => {
    const path = format === 'npy' ? save('text.npy', TEXT, [TEXT.length]) : at('text.bin');
    if (format === 'bin') writeFileSync(path, new Uint8Array(Uint16Array.from(TEXT).buffer));
    await using data = await openDataset(path, { tokens: 4 });
    expect([data.size, data.classAxis, data.inputs.map(({ name }) => name)]).toEqual([5, -1, ['input_ids']]);
    const { ids, next } = await all(data);
    expect(ids).toEqual(TEXT.slice(0, 20));
    expect(next).toEqual(TEXT.slice(1, 21));
    expect(datasetSplits(path, { tokens: 4 })).toEqual([]);
    const [a, b] = splitDataset(data, 0.4, 0);
    expect([a.classAxis, b.size]).toEqual([-1, 2]);
  });

  test('of one text a row, beside masks and positions', async () => {
    const path = save('rows.npy', TEXT.slice(0, 20), [4, 5]);
    const inputs = ['input_ids', 'attention_mask', 'position_ids'].map((name) => ({
      name,
      type: 'int64' as const,
      shape: [undefined],
    }));
    await using data = await openDataset(path, { tokens: 4, inputs });
    const { inputs: made, target } = await data.batch([1]);
    expect(numbers(made.input_ids?.data)).toEqual(TEXT.slice(5, 9));
    expect(numbers(target?.data)).toEqual(TEXT.slice(6, 10));
    expect(numbers(made.attention_mask?.data)).toEqual([1, 1, 1, 1]);
    expect(numbers(made.position_ids?.data)).toEqual([0, 1, 2, 3]);
  });

  test('that are none are refused, with what is wanted', async () => {
    const open = (path: string, tokens: number, name = 'ids') =>
      openDataset(path, { tokens, inputs: [{ name, type: 'int64', shape: [undefined] }] });
    const path = save('few.npy', [1, 2, 3], [3]);
    await expect(open(path, 4)).rejects.toThrow(/fewer than 5 tokens/);
    await expect(open(path, 2, 'past_key_values.0.key')).rejects.toThrow(/nothing is fed/);
    await expect(open(save('rows2.npy', [1, 2, 3, 4], [2, 2]), 4)).rejects.toThrow(/2 tokens a row/);
    await expect(open(at('missing.npy'), 4)).rejects.toThrow(/no such file/);
    writeFileSync(at('odd.bin'), new Uint8Array(5));
    await expect(open(at('odd.bin'), 1)).rejects.toThrow(/odd number of bytes/);
    writeFileSync(at('floats.npy'), writeNpy({ type: 'float32', shape: [9], data: new Float32Array(9) }));
    await expect(open(at('floats.npy'), 2)).rejects.toThrow(/integers/);
    await using negative = await open(save('negative.npy', [1, -2, 3, 4], [4]), 2);
    await expect(negative.batch([0])).rejects.toThrow(/token -2/);
  });
});

/** Logits of the next token from the one before alone. */
function bigrams(size: number): Model {
  const normals = new Random(1).fillNormal(new Float32Array(size * size)) as Float32Array;
  return buildModel({
    inputs: [['ids', 'int64', ['batch', 'tokens']]],
    outputs: [['logits', 'float32', ['batch', 'tokens', size]]],
    nodes: [{ opType: 'Gather', name: 'table', inputs: ['table.weight', 'ids'], outputs: ['logits'] }],
    initializers: [
      Tensor.of('table.weight', 'float32', [size, size], normals.map((value) => value / 10) as Float32Array),
    ],
  });
}

test('a model of bigrams reaches the entropy of its text, and its perplexity is told', async () => {
  const size = 6;
  const random = new Random(2);
  // Each token is followed by one of two, evenly: a perplexity of 2.
  const text = [0];
  while (text.length < 4001) text.push(((text.at(-1) as number) * 2 + random.integer(2)) % size);
  const path = save('chain.npy', text, [text.length]);
  const model = bigrams(size);
  await using data = await openDataset(path, { tokens: 8, inputs: inputSpecs(model) });
  const [training, validation] = splitDataset(data, 0.2, 0);
  const { last } = await train(model, training, {
    validation,
    epochs: 6,
    batch: 16,
    learningRate: 0.1,
    optimizer: 'adam',
  }).result();
  const { loss, perplexity } = last?.validation ?? {};
  expect(perplexity).toBe(Math.exp(loss ?? Number.NaN));
  expect(perplexity).toBeGreaterThan(1.9);
  expect(perplexity).toBeLessThan(2.1);
});

test('tables of cosines and sines are no weights', () => {
  const angles = Float32Array.from({ length: 24 }, (_, i) => Math.floor(i / 6) / 3 ** (i % 6));
  const table = (name: string, of: (angle: number) => number): Tensor =>
    Tensor.of(name, 'float32', [4, 6], angles.map(of));
  const model = buildModel({
    inputs: [['x', 'float32', [2, 4, 6]]],
    outputs: [['y', 'float32', [2, 4, 6]]],
    nodes: [
      { opType: 'Mul', name: 'a', inputs: ['x', 'cos'], outputs: ['p'] },
      { opType: 'Neg', name: 'n', inputs: ['x'], outputs: ['r'] },
      { opType: 'Mul', name: 'b', inputs: ['r', 'sin'], outputs: ['q'] },
      { opType: 'Add', name: 'c', inputs: ['p', 'q'], outputs: ['s'] },
      { opType: 'Mul', name: 'd', inputs: ['s', 'scale'], outputs: ['y'] },
    ],
    initializers: [
      table('cos', Math.cos),
      table('sin', Math.sin),
      Tensor.of('scale', 'float32', [4, 6], new Float32Array(24).fill(1)),
    ],
  });
  expect(trainableWeights(model.graph, 'y')).toEqual(['scale']);
});
