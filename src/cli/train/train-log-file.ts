import { appendFile, readFile } from 'node:fs/promises';
import { assertWritable, atomicWrite, MemorySource, ModelError, messageOf } from '../../graph/index.js';
import { failureLine, type LogContext, logLine, readTrainLog } from '../../report/training/log.js';
import type { TrainEvent } from '../../training/events.js';

/** The log of a training as JSONL, and the page that is drawn from it, both as the command line asks for them. */
export class TrainLogFiles {
  readonly #context: LogContext;
  readonly #log: string | undefined;
  readonly #page: string | undefined;
  /** Whether the page may take the place of a file: always when it is drawn anew. */
  #replaces = false;
  /** The log so far, for the page. */
  #lines: string[] = [];

  constructor(
    files: { readonly log: string | undefined; readonly page: string | undefined },
    context: LogContext,
  ) {
    this.#log = files.log;
    this.#page = files.page;
    this.#context = context;
  }

  /** Checks before the work that both can be written. A log that is gone on with is there already. */
  async begin(options: { readonly overwrite: boolean; readonly resume: boolean }): Promise<void> {
    const overwrite = options.overwrite || options.resume;
    this.#replaces = overwrite;
    if (this.#page !== undefined) await assertWritable(this.#page, { overwrite });
    if (this.#log === undefined) return;
    await assertWritable(this.#log, { overwrite });
    const before = options.resume ? await readFile(this.#log, 'utf8').catch(() => '') : '';
    if (before !== '') readTrainLog(before);
    // A line that an interruption cut short is not gone on with.
    const whole = before.slice(0, before.lastIndexOf('\n') + 1);
    if (whole !== before || !options.resume) {
      const content = new MemorySource(new TextEncoder().encode(whole));
      await atomicWrite(this.#log, content, { overwrite });
    }
  }

  async take(event: TrainEvent): Promise<void> {
    const text = logLine(event, this.#context);
    if (text === undefined) return;
    await this.#add(text);
    if (event.kind === 'start' && event.resumed !== undefined) {
      for (const record of event.resumed.history) {
        this.#lines.push(logLine({ kind: 'epoch', record }, this.#context) ?? '');
      }
    }
    if (event.kind === 'epoch' || event.kind === 'done') await this.#draw();
  }

  async fail(error: unknown): Promise<void> {
    if (this.#lines.length === 0) return;
    await this.#add(failureLine(messageOf(error)));
    await this.#draw();
  }

  async #add(text: string): Promise<void> {
    this.#lines.push(text);
    if (this.#log !== undefined) await this.#touch(() => appendFile(this.#log as string, text));
  }

  async #touch(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      throw new ModelError(`cannot be written: ${messageOf(error)}`, { file: this.#log }, { cause: error });
    }
  }

  async #draw(): Promise<void> {
    if (this.#page === undefined) return;
    const { renderTrainPage } = await import('../../report/training/page.js');
    const log = readTrainLog(this.#lines.join(''));
    const { model, time, tool } = this.#context;
    const text = renderTrainPage([{ name: model, log }], { date: time.slice(0, 10), version: tool });
    await atomicWrite(this.#page, new MemorySource(new TextEncoder().encode(text)), {
      overwrite: this.#replaces,
    });
    this.#replaces = true;
  }
}
