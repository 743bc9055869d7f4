/** Long enough that what a run costs by itself is little, short enough for progress and signals. */
const SECONDS = 0.5;
const MOST = 100;
/** The first runs are slower than all others. */
const FIRST = 2;
const GROWTH = 4;

/** How many steps go into one run. The result does not depend on it. */
export class Pace {
  #steps = FIRST;

  get steps(): number {
    return this.#steps;
  }

  /** After a run: so many steps took so many seconds. */
  took(steps: number, seconds: number): void {
    const wanted = Math.round((SECONDS * steps) / Math.max(seconds, 1e-6));
    this.#steps = Math.max(1, Math.min(wanted, MOST, GROWTH * this.#steps));
  }
}
