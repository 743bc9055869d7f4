import { expect, test } from 'vitest';
import { errorOf } from '../../src/compress/allocation/allocation.js';
import { allocated, type Before, keptOf, neighboursOf } from '../../src/compress/allocation/budget.js';
import { compress } from '../../src/compress/compress.js';
import type { Candidate } from '../../src/compress/layers/candidate.js';
import { Random } from '../../src/runtime/random.js';
import { newNetwork } from '../../src/study/networks.js';
import { tensorDataset } from '../../src/training/data/index.js';

const samples = () => {
  const own = new Random(11, 'images');
  return tensorDataset({
    x: { type: 'float32', shape: [400, 1, 8, 8], data: own.fillNormal(new Float32Array(400 * 64)) },
    y: { type: 'int64', shape: [400], data: BigInt64Array.from({ length: 400 }, (_, i) => BigInt(i % 4)) },
  });
};

test('what is predicted is near what is measured, fitting of later layers to earlier ones included', async () => {
  const model = await newNetwork('cnn', { inputs: [1, 8, 8], outputs: 4, depth: 4, width: 12, seed: 2 });
  const dry = model.clone();
  await using data = samples();
  const [account] = await model.apply(compress({ data, params: 0.5 }));
  const { notes, measured = Number.NaN, predicted } = account;
  // The fitting matters here: a prediction that knows nothing of it is beyond the bounds below.
  const [, alone] = /make \(divergence [^,]+, (\S+) without/.exec(notes.join('\n')) ?? [];
  expect(Number(alone)).toBeGreaterThan(1.4 * measured);
  expect(predicted / measured).toBeGreaterThan(0.7);
  expect(predicted / measured).toBeLessThan(1.3);
  const [again] = await dry.apply(compress({ data, params: 0.5, dryRun: true }));
  expect(again.predicted).toBe(predicted);
});

/** Layers with choices of ever fewer parameters and ever more error. */
const layers = (count: number): Candidate[] =>
  Array.from({ length: count }, (_, layer) => ({
    choices: Array.from({ length: 40 }, (_, i) => {
      const params = 1000 * (layer + 1) * (1 - i / 40);
      return { cut: undefined, costs: [params, 3 * params, 4 * params, 0], error: (layer + 1) * i ** 2 };
    }),
  })) as unknown as Candidate[];
const before: Before = { params: 7000, macs: 20000, size: 30000, latency: 0 };

test('what a prediction is measured at are allocations on both sides, and never the one that is predicted', () => {
  const candidates = layers(3);
  const choices = candidates.map((one) => one.choices);
  for (const params of [0.95, 0.9, 0.6, 0.4, 0.25]) {
    const picks = allocated(candidates, before, { params });
    if (picks === undefined) throw new RangeError('the budget can be reached');
    const found = neighboursOf(candidates, before, picks, { params });
    expect(found.length).toBeGreaterThan(0);
    for (const other of found) expect(other).not.toEqual(picks);
    const own = keptOf(candidates, before, picks, 'params');
    const kept = found.map((other) => keptOf(candidates, before, other, 'params'));
    expect(Math.max(...kept)).toBeGreaterThan(own);
    expect(kept.filter((share) => share < own).length).toBe(found.length - 1);
    expect(Math.min(...found.map((other) => errorOf(choices, other)))).toBeLessThan(errorOf(choices, picks));
  }
});
