import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  learningRates,
  SCHEDULE_KINDS,
  type ScheduleOptions,
  type ScheduleShape,
  schedule,
} from '../../../src/training/optimizers/schedule.js';
import { reference } from '../reference.js';

const CASES: Readonly<Record<string, Omit<ScheduleOptions, 'learningRate'>>> = {
  constant: { shape: { kind: 'constant' }, steps: 20 },
  step: { shape: { kind: 'step', every: 6, factor: 0.5 }, steps: 20 },
  milestones: { shape: { kind: 'step', every: [3, 11, 15] }, steps: 20 },
  cosine: { shape: { kind: 'cosine' }, steps: 20 },
  'cosine final': { shape: { kind: 'cosine', final: 0.1 }, steps: 20 },
  'one-cycle': { shape: { kind: 'one-cycle' }, steps: 21 },
  'one-cycle linear': {
    shape: { kind: 'one-cycle', rise: 0.45, initialDivisor: 10, finalDivisor: 100, annealing: 'linear' },
    steps: 21,
  },
  'warm cosine': { shape: { kind: 'cosine' }, steps: 20, warmup: 5 },
  'warm step': { shape: { kind: 'step', every: 6, factor: 0.5 }, steps: 20, warmup: 4 },
};

describe('learning rates are those of PyTorch', () => {
  test.each(Object.entries(reference.schedules))('%s', (name, expected) => {
    const rate = schedule({ ...CASES[name]!, learningRate: 0.5 });
    for (const [step, wanted] of expected.entries())
      expect(Math.abs(rate(step) - wanted), `step ${step}`).toBeLessThan(1e-12);
  });
});

const shapes: fc.Arbitrary<ScheduleShape> = fc
  .constantFrom(...SCHEDULE_KINDS)
  .map((kind) => (kind === 'step' ? { kind, every: 7 } : { kind }) as ScheduleShape);

test('a rate lies between 0 and the learning rate, and a chunk has the rates of its steps', () => {
  fc.assert(
    fc.property(
      shapes,
      fc.integer({ min: 1, max: 300 }),
      fc.nat(20),
      fc.nat(400),
      (shape, steps, wanted, first) => {
        const warmup = shape.kind === 'one-cycle' ? 0 : Math.min(wanted, steps - 1);
        const rate = schedule({ shape, learningRate: 0.1, steps, warmup });
        const chunk = learningRates(rate, first, 5);
        for (const [i, found] of chunk.entries()) {
          expect(found).toBe(Math.fround(rate(first + i)));
          expect(found).toBeGreaterThan(0);
          expect(found).toBeLessThanOrEqual(Math.fround(0.1));
        }
        expect(rate(steps + 5)).toBe(rate(steps - 1));
      },
    ),
    { seed: 1 },
  );
});

test.each([
  [{ shape: { kind: 'constant' }, learningRate: -1, steps: 5 }, 'learningRate must be a number ≥ 0'],
  [{ shape: { kind: 'constant' }, learningRate: 1, steps: 0 }, 'steps must be an integer ≥ 1'],
  [{ shape: { kind: 'step', every: 0 }, learningRate: 1, steps: 5 }, 'schedule.every must be'],
  [{ shape: { kind: 'cosine' }, learningRate: 1, steps: 5, warmup: 5 }, 'leaves nothing of the 5 steps'],
  [{ shape: { kind: 'one-cycle' }, learningRate: 1, steps: 5, warmup: 2 }, 'warms up by itself'],
  [{ shape: { kind: 'one-cycle', rise: 1 }, learningRate: 1, steps: 5 }, 'schedule.rise must be'],
  [{ shape: { kind: 'sawtooth' }, learningRate: 1, steps: 5 }, 'schedule.kind must be one of constant, step'],
] as const)('%j is refused', (options, message) => {
  expect(() => schedule(options as ScheduleOptions)).toThrow(message);
});
