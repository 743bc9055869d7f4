import { Readable, Writable } from 'node:stream';
import { run } from '../../src/cli/run.js';

/** What a command line leaves: its exit code, and what it printed. */
export interface Printed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command line in this process, without a terminal and with nothing on standard input. */
export async function runCli(
  words: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Printed> {
  const texts = { out: '', err: '' };
  const sink = (to: keyof typeof texts): Writable =>
    new Writable({
      write: (chunk: Buffer, _, done) => {
        texts[to] += chunk.toString();
        done();
      },
    });
  const stdin = Object.assign(Readable.from([]), { isTTY: false });
  const code = await run(words, { stdin, stdout: sink('out'), stderr: sink('err'), env });
  return { code, ...texts };
}
