import type { Argv } from 'yargs';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { FORMATS, type Format } from '../../report/text/render.js';
import { UsageError } from './errors.js';

/** Switches, off unless given. */
export const SWITCHES = {
  quiet: false,
  verbose: false,
  overwrite: false,
  dryRun: false,
  spectra: false,
} as const;

/** What every command takes. */
export const COMMON_OPTIONS = {
  format: { kind: 'choice', choices: FORMATS, help: 'how to print the result', defaultHelp: 'table' },
  quiet: {
    kind: 'flag',
    default: false,
    alias: 'q',
    help: 'no notes, no progress, and no summary unless --format asks for it',
  },
  verbose: { kind: 'flag', default: false, help: 'list everything; stack traces of errors' },
} as const satisfies OptionDescriptors;

/** Where a command writes. */
export const FILE_OPTIONS = {
  output: { kind: 'text', alias: 'o', help: 'file to write, - for standard output' },
  overwrite: { kind: 'flag', default: false, help: 'replace the output file if it exists' },
} as const satisfies OptionDescriptors;

/** What a command that writes a model takes. */
export const OUTPUT_OPTIONS = {
  ...FILE_OPTIONS,
  dryRun: { kind: 'flag', default: false, help: 'say what would be done, write nothing' },
} as const satisfies OptionDescriptors;

/** What a command takes that needs weights to be constant. */
export const FIX_INPUTS_OPTIONS = {
  fixInputs: {
    kind: 'flag',
    help: 'make constants of weights that are also inputs, and remove those inputs',
  },
} as const satisfies OptionDescriptors;

export interface CommonArguments {
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly format: Format | undefined;
}

export function commonOptions<T>(
  parser: Argv<T>,
  formats: readonly Format[] = FORMATS,
): Argv<T & CommonArguments> {
  return parser
    .option('format', {
      describe: 'how to print the result (default: table)',
      choices: formats,
      requiresArg: true,
    })
    .option('quiet', {
      alias: 'q',
      type: 'boolean',
      describe: 'no summary, no notes, no progress',
    })
    .option('verbose', {
      type: 'boolean',
      describe: 'list everything; stack traces of errors',
    }) as Argv<T & CommonArguments>;
}

/** What a command that writes a model takes. */
export interface OutputArguments {
  readonly output: string | undefined;
  readonly overwrite: boolean;
  readonly dryRun: boolean;
}

/** Where a command writes. */
export function fileOptions<T>(parser: Argv<T>): Argv<T & Pick<OutputArguments, 'output' | 'overwrite'>> {
  return parser
    .option('output', {
      alias: 'o',
      type: 'string',
      requiresArg: true,
      describe: 'file to write, - for standard output',
    })
    .option('overwrite', {
      type: 'boolean',
      describe: 'replace the output file if it exists',
    }) as unknown as Argv<T & Pick<OutputArguments, 'output' | 'overwrite'>>;
}

export function outputOptions<T>(parser: Argv<T>): Argv<T & OutputArguments> {
  return fileOptions(parser).option('dry-run', {
    type: 'boolean',
    describe: 'say what would be done, write nothing',
  }) as unknown as Argv<T & OutputArguments>;
}

/** What a command takes that needs weights to be constant. */
export interface FixInputsArguments {
  readonly fixInputs: boolean | undefined;
}

export function fixInputsOption<T>(parser: Argv<T>): Argv<T & FixInputsArguments> {
  return parser.option('fix-inputs', {
    type: 'boolean',
    describe: 'make constants of weights that are inputs too, and take them off the inputs',
  }) as unknown as Argv<T & FixInputsArguments>;
}

/** An option that may be given once. */
export function once<T>(value: T | readonly T[] | undefined, name: string): T | undefined {
  if (Array.isArray(value)) throw new UsageError(`${name} is given more than once`);
  return value as T | undefined;
}

interface Range {
  readonly min: number;
  /** The minimum itself is too small. */
  readonly above?: boolean;
  readonly whole?: boolean;
}

/** A number in its range, or UsageError. */
export function number(value: number | undefined, name: string, range: Range): number | undefined {
  const given = once(value, name);
  if (given === undefined) return undefined;
  const { min, above = false, whole = false } = range;
  const fits =
    Number.isFinite(given) && (above ? given > min : given >= min) && (!whole || Number.isSafeInteger(given));
  if (fits) return given;
  const kind = whole ? 'a whole number' : 'a number';
  throw new UsageError(`${name} must be ${kind} ${above ? `above ${min}` : `of at least ${min}`}`);
}

/** `name=size` pairs, or UsageError. */
export function dimensions(values: string | readonly string[] | undefined): Record<string, number> {
  const dims: Record<string, number> = {};
  for (const pair of values === undefined ? [] : [values].flat()) {
    const at = pair.lastIndexOf('=');
    const size = Number(pair.slice(at + 1));
    if (at < 1 || pair.slice(at + 1).trim() === '' || !Number.isSafeInteger(size) || size < 1) {
      throw new UsageError(`--dim must be name=size with a size of at least 1, not '${pair}'`);
    }
    dims[pair.slice(0, at)] = size;
  }
  return dims;
}
