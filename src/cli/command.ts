import type { Argv } from 'yargs';
import type { Io } from './io.js';

/** One command. Its handler returns the exit code. */
export interface Command<Arguments> {
  /** Name and positionals, as yargs writes them: 'expand <model>'. */
  readonly usage: string;
  readonly describe: string;
  readonly builder: (parser: Argv) => Argv<Arguments>;
  readonly handler: (args: Arguments, io: Io) => Promise<number>;
}
