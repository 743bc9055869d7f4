import { formatCount, printable, shorten } from '../../report/text/text.js';
import { type Io, writeLive } from './io.js';

const SHOW_AFTER = 1000;
const EVERY = 200;
/** A share of the work below this tells nothing of the rest. */
const LEAST_SHARE = 0.02;

export interface ProgressState {
  readonly done: number;
  readonly total: number;
  readonly what: string;
  /** How much of the work is done, 0 to 1, where that is known better than by counting. */
  readonly share?: number | undefined;
}

/** One line on a terminal's stderr, for work that takes over a second: how far it is, at what, and the time left. */
export class ProgressLine {
  readonly #io: Io;
  readonly #isOn: boolean;
  readonly #start = Date.now();
  #state: ProgressState | undefined;
  /** When all should be done, by what was done so far. */
  #end: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #last = 0;
  #isShown = false;

  constructor(io: Io, options: { readonly quiet: boolean }) {
    this.#io = io;
    this.#isOn = !options.quiet && io.stderr.isTTY === true;
  }

  readonly update = (state: ProgressState): void => {
    if (!this.#isOn) return;
    const now = Date.now();
    const share = state.share ?? state.done / state.total;
    const isNew = this.#state === undefined || state.done !== this.#state.done;
    this.#state = state;
    if (isNew && share >= LEAST_SHARE) this.#end = this.#start + (now - this.#start) / share;
    // The seconds go on between the steps, where the thread is free.
    this.#timer ??= setInterval(this.#draw, EVERY).unref();
    if (now - this.#last >= EVERY) this.#draw();
  };

  readonly #draw = (): void => {
    const now = Date.now();
    if (this.#state === undefined || now - this.#start < SHOW_AFTER) return;
    this.#last = now;
    const { done, total, what } = this.#state;
    const counter = `${formatCount(done).padStart(formatCount(total).length)}/${formatCount(total)}`;
    const left = this.#end === undefined ? '' : `  ${timeLeft(this.#end - now)}`;
    const width = (this.#io.stderr.columns ?? 80) - 1;
    const text = `${shorten(`${counter}  ${printable(what)}`, Math.max(20, width - left.length))}${left}`;
    writeLive(this.#io, text);
    this.#isShown = true;
  };

  /** Takes the line away. */
  clear(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#state = undefined;
    if (this.#isShown) writeLive(this.#io);
    this.#isShown = false;
  }
}

function timeLeft(milliseconds: number): string {
  const seconds = Math.max(1, Math.round(milliseconds / 1000));
  if (seconds < 100) return `${seconds} s left`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes} min left` : `${Math.round(minutes / 60)} h left`;
}
