import { formatCount, printable, shorten } from '../report/text.js';
import type { Io } from './io.js';

const SHOW_AFTER = 1000;
const EVERY = 100;

/** One line on a terminal's stderr, for work that takes over a second. */
export class ProgressLine {
  readonly #io: Io;
  readonly #isOn: boolean;
  readonly #start = Date.now();
  #last = 0;
  #isShown = false;

  constructor(io: Io, options: { readonly quiet: boolean }) {
    this.#io = io;
    this.#isOn = !options.quiet && io.stderr.isTTY === true;
  }

  readonly update = ({ done, total, what }: { done: number; total: number; what: string }): void => {
    const now = Date.now();
    if (!this.#isOn || now - this.#start < SHOW_AFTER || now - this.#last < EVERY) return;
    this.#last = now;
    const counter = `${formatCount(done).padStart(formatCount(total).length)}/${formatCount(total)}`;
    const text = shorten(`${counter}  ${printable(what)}`, (this.#io.stderr.columns ?? 80) - 1);
    this.#io.stderr.write(`\r\u001b[K${text}`);
    this.#isShown = true;
  };

  /** Takes the line away. */
  clear(): void {
    if (this.#isShown) this.#io.stderr.write('\r\u001b[K');
    this.#isShown = false;
  }
}
