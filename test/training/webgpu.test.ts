import { describe, expect, test } from 'vitest';
import type { Model } from '../../src/graph/index.js';
import { openEngine } from '../../src/training/engine.js';
import { optimizer } from '../../src/training/optimizers/index.js';
import { CNN, MLP } from '../passes/gradient/networks.js';
import { findWebGpu } from '../support/webgpu.js';
import { batchesOf, part, randomChunk } from './support.js';

const hasWebGpu = await findWebGpu();

const CASES: readonly [string, () => Model, number][] = [
  ['MLP', () => MLP('float32'), 5],
  ['CNN with BatchNormalization', CNN, 4],
];

describe.runIf(hasWebGpu)('on WebGPU', () => {
  test.each(CASES)(
    '%s trains as on the CPU',
    async (_, build, classes) => {
      const model = build();
      const options = {
        loss: 'cross-entropy',
        batch: 4,
        optimizer: optimizer('sgd', { momentum: 0.9 }),
        emaDecay: 0.9,
      } as const;
      await using gpu = await openEngine(model, { ...options, providers: 'webgpu' });
      await using cpu = await openEngine(model, options);
      const chunk = randomChunk(model, { steps: 4, batch: 4, classes, rate: 0.02 });
      const expected = await cpu.run(chunk);
      const first = await gpu.run(part(chunk, 0, 3));
      const state = await gpu.state();
      const last = await gpu.run(part(chunk, 3, 4));
      const losses = [...first.losses, ...last.losses];
      for (const [step, loss] of losses.entries()) {
        expect(Math.abs(loss / expected.losses[step]! - 1)).toBeLessThan(1e-4);
      }
      expect([...first.correct!, ...last.correct!]).toEqual([...expected.correct!]);
      const [own, other] = [await gpu.state(), await cpu.state()];
      for (const [name, tensor] of other.weights) {
        const numbers = tensor.data as Float32Array;
        const found = own.weights.get(name)!.data as Float32Array;
        const error = Math.hypot(...numbers.map((number, i) => number - found[i]!));
        expect(error, name).toBeLessThan(1e-4 * Math.hypot(...numbers));
      }
      // A state that was taken before the last step goes on to where that went.
      await gpu.restore(state);
      const again = await gpu.run(part(chunk, 3, 4));
      expect(again.losses[0]! / last.losses[0]!).toBeCloseTo(1, 5);
      const [evaluated, averaged] = [
        await gpu.evaluate(batchesOf(chunk, 5)),
        await gpu.evaluate(batchesOf(chunk, 5), 'ema'),
      ];
      expect(evaluated.loss / (await cpu.evaluate(batchesOf(chunk, 5))).loss).toBeCloseTo(1, 4);
      expect(averaged.loss / (await cpu.evaluate(batchesOf(chunk, 5), 'ema')).loss).toBeCloseTo(1, 4);
    },
    60_000,
  );
});
