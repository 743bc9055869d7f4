import type { Argv } from 'yargs';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Io } from './io.js';

/** One command. Its handler returns the exit code. */
export interface Command<Arguments> {
  readonly options: OptionDescriptors;
  /** Positionals and examples. */
  readonly builder: (parser: Argv) => Argv<unknown>;
  /** Gets positionals and options; an OptionError that it throws is told by the option's name on the command line. */
  readonly handler: (args: Arguments, io: Io) => Promise<number>;
}
