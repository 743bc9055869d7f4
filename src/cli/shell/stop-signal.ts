/** The first SIGINT or SIGTERM ends the work in order; the second ends the process as ever. */
export class StopSignal {
  readonly #controller = new AbortController();
  #name: 'SIGINT' | 'SIGTERM' = 'SIGINT';
  readonly #stop = (name: 'SIGINT' | 'SIGTERM'): void => {
    this.#name = name;
    this.#controller.abort();
    this.release();
  };

  constructor() {
    process.on('SIGINT', this.#stop).on('SIGTERM', this.#stop);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get exitCode(): number {
    return this.#name === 'SIGINT' ? 130 : 143;
  }

  release(): void {
    process.off('SIGINT', this.#stop).off('SIGTERM', this.#stop);
  }
}
