import type { Argv } from 'yargs';
import type { Io } from './io.js';

/** One command. Its handler returns the exit code. */
export interface Command<Arguments> {
  readonly builder: (parser: Argv) => Argv<Arguments>;
  readonly handler: (args: Arguments, io: Io) => Promise<number>;
}
