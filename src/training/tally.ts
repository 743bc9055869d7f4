import type { Tally } from './checkpoint.js';
import type { ChunkResult } from './types.js';

/** Points that the loss of an epoch is drawn by. */
const PARTS = 20;

/** Sums of the figures of an epoch's steps, in their order: the same whatever the chunks were. */
export class RunningTally {
  readonly epoch: number;
  readonly #steps: number;
  #step: number;
  #loss: number;
  #correct: number;
  #hasClasses = false;
  #gradientNorm: number;
  #parts: [number, number][];
  seconds: number;

  constructor(steps: number, start: Tally) {
    this.#steps = steps;
    this.epoch = start.epoch;
    this.#step = start.step;
    this.#loss = start.loss;
    this.#correct = start.correct;
    this.#hasClasses = start.hasClasses;
    this.#gradientNorm = start.gradientNorm;
    this.#parts = start.parts.map(([sum, count]) => [sum, count]);
    this.seconds = start.seconds;
  }

  static begin(epoch: number): Tally {
    return { epoch, step: 0, loss: 0, correct: 0, hasClasses: false, gradientNorm: 0, parts: [], seconds: 0 };
  }

  add({ losses, correct, gradientNorms }: ChunkResult): void {
    for (let index = 0; index < losses.length; index += 1) {
      const loss = losses[index] as number;
      this.#loss += loss;
      this.#correct += correct?.[index] ?? 0;
      this.#gradientNorm += gradientNorms[index] as number;
      const part = Math.floor((this.#step * Math.min(PARTS, this.#steps)) / this.#steps);
      const [sum, count] = this.#parts[part] ?? [0, 0];
      this.#parts[part] = [sum + loss, count + 1];
      this.#step += 1;
    }
    this.#hasClasses ||= correct !== undefined;
  }

  get step(): number {
    return this.#step;
  }

  get loss(): number {
    return this.#loss / this.#step;
  }

  accuracy(batch: number): number | undefined {
    return this.#hasClasses ? this.#correct / (this.#step * batch) : undefined;
  }

  get gradientNorm(): number {
    return this.#gradientNorm / this.#step;
  }

  /** Mean losses of equal parts of the epoch. */
  get curve(): number[] {
    return this.#parts.map(([sum, count]) => sum / count);
  }

  /** As a checkpoint keeps it. */
  get saved(): Tally {
    return {
      epoch: this.epoch,
      step: this.#step,
      loss: this.#loss,
      correct: this.#correct,
      hasClasses: this.#hasClasses,
      gradientNorm: this.#gradientNorm,
      parts: this.#parts,
      seconds: this.seconds,
    };
  }
}

/** Long enough that what a run costs by itself is little, short enough for progress and signals. */
const RUN_SECONDS = 0.5;
const MOST_STEPS = 100;
/** The first runs are slower than all others. */
const FIRST_STEPS = 2;
const GROWTH = 4;

/** How many steps go into one run. The result does not depend on it. */
export class Pace {
  #steps = FIRST_STEPS;

  get steps(): number {
    return this.#steps;
  }

  /** After a run: so many steps took so many seconds. */
  took(steps: number, seconds: number): void {
    const wanted = Math.round((RUN_SECONDS * steps) / Math.max(seconds, 1e-6));
    this.#steps = Math.max(1, Math.min(wanted, MOST_STEPS, GROWTH * this.#steps));
  }
}
