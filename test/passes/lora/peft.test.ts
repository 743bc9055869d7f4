import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Model, readModel } from '../../../src/graph/index.js';
import { collapse } from '../../../src/passes/collapse/collapse.js';
import { addAdapters } from '../../../src/passes/lora/add-adapters.js';
import { readAdapters } from '../../../src/passes/lora/read-adapter.js';
import { openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { runModel } from '../../../src/runtime/index.js';

/** Made by test/reference/peft_adapters.py. */
const FOLDER = 'test/reference/peft-adapters';

interface Figures {
  readonly ids: readonly (readonly number[])[];
  readonly base: readonly number[];
  readonly adapted: readonly number[];
}

/** Largest difference of a model's logits from PEFT's, relative to the largest of those. */
async function distance(model: Model, { ids }: Figures, wanted: readonly number[]): Promise<number> {
  const shape = [ids.length, ids[0]?.length ?? 0];
  const data = BigInt64Array.from(ids.flat(), BigInt);
  const { outputs } = await runModel(model, {
    input_ids: { type: 'int64', shape, data },
    attention_mask: { type: 'int64', shape, data: data.map(() => 1n) },
  });
  const values = outputs.logits?.data as Float32Array;
  expect(values.length).toBe(wanted.length);
  const largest = Math.max(...wanted.map(Math.abs));
  return Math.max(...wanted.map((value, i) => Math.abs(value - (values[i] as number)))) / largest;
}

test.each([
  'llama-torchscript',
  'llama-dynamo',
  'gpt2-torchscript',
])("an adapter of PEFT gives PEFT's logits, beside the layers and merged: %s", async (name) => {
  const figures: Figures = JSON.parse(readFileSync(join(FOLDER, `${name}.json`), 'utf8'));
  const source = await openCheckpoint(join(FOLDER, name));
  if ('onnx' in source) throw new Error('no checkpoint');
  using checkpoint = source;
  const { adapters, skipped } = await readAdapters(checkpoint);
  expect(skipped).toEqual([]);
  const model = await readModel(join(FOLDER, `${name}.onnx`));
  expect(await distance(model, figures, figures.base)).toBeLessThan(2e-6);
  expect(await distance(model, figures, figures.adapted)).toBeGreaterThan(0.1);
  const [{ rewritten, unapplied }] = await model.apply(addAdapters({ adapters }));
  expect(unapplied).toEqual([]);
  expect(rewritten.map(({ module }) => module).sort()).toEqual(adapters.map(({ module }) => module).sort());
  expect(await distance(model, figures, figures.adapted)).toBeLessThan(2e-6);
  const [account] = await model.apply(collapse({ chainsOnly: true }));
  expect(account.rewritten.length).toBe(rewritten.length);
  expect(await distance(model, figures, figures.adapted)).toBeLessThan(2e-6);
});
