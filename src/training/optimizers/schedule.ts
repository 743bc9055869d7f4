import { ModelError } from '../../graph/index.js';
import { checkOption } from '../../graph/option-descriptors.js';
import { SCHEDULE_KINDS } from '../choices.js';
import { checkCount, checkNotNegative, checkPositive, checkShare } from './ranges.js';

/** How the learning rate goes, from `learningRate` on. Formulas as in torch.optim.lr_scheduler. */
export type ScheduleShape =
  | { readonly kind: 'constant' }
  /** Times `factor` (default 0.1) every so many steps, or at given steps. */
  | {
      readonly kind: 'step';
      readonly every: number | readonly number[];
      readonly factor?: number | undefined;
    }
  /** Half a cosine towards `final` (a share of the learning rate, default 0), which the step after the last would have. */
  | { readonly kind: 'cosine'; readonly final?: number | undefined }
  /** Up to the learning rate and down again (Smith & Topin 2018); see OneCycle. */
  | ({ readonly kind: 'one-cycle' } & OneCycle);

/** Options of the schedule 'one-cycle' (Smith & Topin 2017). */
export interface OneCycle {
  /** Share of the steps that the rate rises in; default 0.3. */
  readonly rise?: number | undefined;
  /** The rate begins at learningRate / initialDivisor; default 25. */
  readonly initialDivisor?: number | undefined;
  /** The rate ends at the initial rate / finalDivisor; default 1e4. */
  readonly finalDivisor?: number | undefined;
  /** Default 'cosine'. */
  readonly annealing?: 'cosine' | 'linear' | undefined;
}

export { SCHEDULE_KINDS } from '../choices.js';

/** Options of schedule. */
export interface ScheduleOptions {
  readonly shape: ScheduleShape;
  /** The rate that the shape scales; of 'one-cycle' the highest. */
  readonly learningRate: number;
  /** How many steps the training has. */
  readonly steps: number;
  /**
   * Steps before the shape begins, in which the rate rises evenly from learningRate / (warmup + 1); default 0. The
   * shape has the rest of the steps.
   */
  readonly warmup?: number | undefined;
}

/** The learning rate of each step; steps count from 0. Past the last step it stays. */
export type Schedule = (step: number) => number;

/**
 * A schedule as a pure function of the step, so that training goes on from any step to the same rates.
 *
 * @throws OptionError for options out of range; ModelError for a warm-up that leaves no steps, and one of 'one-cycle', which has its own
 * @example
 * const rate = schedule({ shape: { kind: 'cosine' }, learningRate: 0.1, steps: 1000, warmup: 50 });
 * rate(0); // 0.1 / 51
 */
export function schedule({ shape, learningRate, steps, warmup = 0 }: ScheduleOptions): Schedule {
  checkOption({ kind: 'choice', choices: SCHEDULE_KINDS, help: '' }, shape.kind, 'schedule.kind');
  checkNotNegative(learningRate, 'learningRate');
  checkCount(steps, 'steps', 1);
  checkCount(warmup, 'warmup', 0);
  if (warmup > 0 && shape.kind === 'one-cycle') {
    throw new ModelError("the schedule 'one-cycle' warms up by itself; leave out the warm-up");
  }
  if (warmup >= steps) {
    throw new ModelError(`a warm-up of ${warmup} steps leaves nothing of the ${steps} steps there are`);
  }
  const factor = factorOf(shape, steps - warmup);
  return (step) => {
    const share = step < warmup ? (step + 1) / (warmup + 1) : factor(Math.min(step, steps - 1) - warmup);
    return learningRate * share;
  };
}

/**
 * The rates of `count` steps from `first` on, as a training step takes them.
 *
 * @example
 * const rate = schedule({ shape: { kind: 'constant' }, learningRate: 0.1, steps: 100 });
 * learningRates(rate, 0, 3); // Float32Array [0.1, 0.1, 0.1]
 */
export function learningRates(rate: Schedule, first: number, count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => rate(first + i));
}

function factorOf(shape: ScheduleShape, steps: number): (step: number) => number {
  switch (shape.kind) {
    case 'constant':
      return () => 1;
    case 'step': {
      const { every, factor = 0.1 } = shape;
      checkPositive(factor, 'schedule.factor');
      if (typeof every === 'number') {
        checkCount(every, 'schedule.every', 1);
        return (step) => factor ** Math.floor(step / every);
      }
      for (const place of every) checkCount(place, 'schedule.every', 0);
      return (step) => factor ** every.filter((place) => step >= place).length;
    }
    case 'cosine': {
      const { final = 0 } = shape;
      checkNotNegative(final, 'schedule.final');
      // The end itself would be the step after the last: at a rate of 0 the last step would be for nothing.
      return (step) => between(1, final, step / steps, 'cosine');
    }
    case 'one-cycle': {
      const { rise = 0.3, initialDivisor = 25, finalDivisor = 1e4, annealing = 'cosine' } = shape;
      checkShare(rise, 'schedule.rise');
      checkPositive(initialDivisor, 'schedule.initialDivisor');
      checkPositive(finalDivisor, 'schedule.finalDivisor');
      const first = 1 / initialDivisor;
      const peak = rise * steps - 1;
      const last = steps - 1;
      return (step) => {
        if (step <= peak && peak > 0) return between(first, 1, step / peak, annealing);
        const share = last > peak ? (step - peak) / (last - peak) : 1;
        return between(1, first / finalDivisor, Math.min(1, share), annealing);
      };
    }
  }
}

function between(from: number, to: number, share: number, annealing: 'cosine' | 'linear'): number {
  if (annealing === 'linear') return from + (to - from) * share;
  return to + ((from - to) / 2) * (1 + Math.cos(Math.PI * share));
}
