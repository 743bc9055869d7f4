import type { Argv, Options } from 'yargs';
import type { PatternError } from '../../graph/names/glob.js';
import {
  checkOption,
  defaultText,
  type OptionDescriptor,
  type OptionDescriptors,
  OptionError,
  type OptionsOf,
  shown,
  takenText,
} from '../../graph/option-descriptors.js';
import { UsageError } from './errors.js';

/** What a command gets of its options: those that were given, by key. A flag that is off unless given is always there. */
export type Given<D extends OptionDescriptors> = OptionsOf<D> & {
  readonly [Key in keyof D as D[Key] extends { kind: 'flag'; default: false } ? Key : never]: boolean;
};

/** The name of an option on the command line, without its dashes: `minSize` is `min-size`. */
export function flagOf(key: string, { flag }: Pick<OptionDescriptor, 'flag'> = {}): string {
  return flag ?? key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The line of help of an option. */
function helpOf(descriptor: OptionDescriptor): string {
  const usual = defaultText(descriptor);
  const more = `${descriptor.help}${isRepeated(descriptor) ? '; may repeat' : ''}`;
  return usual === undefined ? more : `${more} (default: ${usual})`;
}

/** Tells yargs of options. */
export function declare(parser: Argv, descriptors: OptionDescriptors): Argv {
  return Object.entries(descriptors).reduce(
    (made, [key, descriptor]) => made.option(flagOf(key, descriptor), yargsOption(descriptor)),
    parser,
  );
}

function yargsOption(descriptor: OptionDescriptor): Options {
  const { kind, alias, group } = descriptor;
  const choices = 'choices' in descriptor && descriptor.anyCase !== true ? descriptor.choices : undefined;
  const bare = kind === 'choice' ? descriptor.bare : undefined;
  return {
    ...(alias !== undefined && { alias }),
    ...(group !== undefined && { group: `${group}:` }),
    describe: helpOf(descriptor),
    requiresArg: kind !== 'flag' && bare === undefined,
    ...(kind === 'flag' && { type: 'boolean' as const }),
    ...((kind === 'number' || kind === 'integer') && { type: 'number' as const }),
    ...(kind === 'lists' && { type: 'string' as const, array: true }),
    ...(choices !== undefined && bare === undefined
      ? { choices }
      : kind !== 'flag' && kind !== 'number' && kind !== 'integer' && { type: 'string' as const }),
  };
}

/** The options of a command line, checked; UsageError for what is wrong with one. */
export function givenOptions<D extends OptionDescriptors>(
  descriptors: D,
  args: Readonly<Record<string, unknown>>,
): Given<D> {
  const given: Record<string, unknown> = {};
  for (const [key, descriptor] of Object.entries(descriptors)) {
    const flag = flagOf(key, descriptor);
    const value = args[flag];
    if (value !== undefined) given[key] = valueFrom(descriptor, value, `--${flag}`);
    else if (descriptor.kind === 'flag' && descriptor.default === false) given[key] = false;
  }
  return given as Given<D>;
}

function valueFrom(descriptor: OptionDescriptor, given: unknown, flag: string): unknown {
  const isMany = Array.isArray(given) && descriptor.kind !== 'lists';
  if (isMany && !isRepeated(descriptor)) throw new UsageError(`${flag} is given more than once`);
  try {
    return checkOption(descriptor, parsed(descriptor, given, flag), flag);
  } catch (error) {
    if (!(error instanceof OptionError)) throw error;
    throw new UsageError(`${flag} ${error.problem}`, { cause: error });
  }
}

/** What words of the command line say. */
function parsed(descriptor: OptionDescriptor, given: unknown, flag: string): unknown {
  const words = [given].flat().map(String);
  switch (descriptor.kind) {
    case 'choice':
      return given === '' ? (descriptor.bare ?? given) : given;
    case 'choices':
      return words.flatMap((word) => word.split(',')).map((word) => word.trim());
    case 'numbers':
    case 'integers':
      return words.flatMap((word) => {
        const list = word.split(',').map(numberOf);
        if (!list.some(Number.isNaN)) return list;
        throw new UsageError(
          `${flag} must be ${takenText(descriptor)}, separated by commas, is ${shown(word)}`,
        );
      });
    case 'lists': {
      const { of, name } = descriptor.composed;
      return words.map((word) => {
        const [, whole, text = ''] = /^(?:(\d+)=)?([\d,]+)$/.exec(word) ?? [];
        const list = text.split(',').map(numberOf);
        if (list.some(Number.isNaN))
          throw new UsageError(`${flag} must be ${takenText(descriptor)}: 3,3 or 5=3,3, is ${shown(word)}`);
        if (whole !== undefined && Number(whole) !== of(list)) {
          throw new UsageError(
            `${flag} ${word}: these compose to a ${name} of ${of(list)}, the sum of k - 1, plus 1`,
          );
        }
        return list;
      });
    }
    case 'dims': {
      const { min = 1 } = descriptor;
      return Object.fromEntries(
        words.map((word) => {
          const at = word.lastIndexOf('=');
          const size = numberOf(word.slice(at + 1));
          if (at >= 1 && Number.isSafeInteger(size) && size >= min) return [word.slice(0, at), size];
          throw new UsageError(`${flag} must be name=size with a size ≥ ${min}, is ${shown(word)}`);
        }),
      );
    }
    default:
      return given;
  }
}

function numberOf(text: string): number {
  return text.trim() === '' ? Number.NaN : Number(text);
}

/** Whether an option may be given several times. */
export function isRepeated({ kind }: OptionDescriptor): boolean {
  return kind === 'choices' || kind === 'texts' || kind === 'patterns' || kind === 'dims';
}

/** UsageError for the first of some options that is given: `--runs goes with --bench`. */
export function refuse<D extends OptionDescriptors>(
  descriptors: D,
  given: Given<D>,
  keys: readonly (keyof D & string)[],
  why: string,
): void {
  const values: Readonly<Record<string, unknown>> = given;
  const key = keys.find((name) => values[name] !== undefined && values[name] !== false);
  if (key !== undefined) throw new UsageError(`--${flagOf(key, descriptors[key])} ${why}`);
}

/** What the library says of an option, by the option's name on the command line. */
export function usageErrorOf(error: OptionError | PatternError, descriptors: OptionDescriptors): UsageError {
  const { option } = error;
  const problem = error instanceof OptionError ? error.problem : `'${error.pattern}' ${error.reason}`;
  const descriptor = descriptors[option];
  const name = descriptor === undefined ? option : `--${flagOf(option, descriptor)}`;
  return new UsageError(inFlags(`${name} ${problem}`, descriptors), { cause: error });
}

/** A message of the library, which has options in backticks (`depth: 2`), in the words of the command line: --depth 2. */
export function inFlags(text: string, descriptors: OptionDescriptors): string {
  const known = (name: string): OptionDescriptors[string] | undefined => {
    const key = RENAMED[name] ?? name;
    return Object.hasOwn(descriptors, key) ? descriptors[key] : undefined;
  };
  // Advice of an option that the command does not have is none.
  const own = text.replace(/[;,] `(\w+)(?:: [^`]*)?`[^;,)\n]*/g, (clause, name: string) =>
    known(name) === undefined ? '' : clause,
  );
  return own.replace(/`(\w+)(?:: ([^`]*))?`/g, (all, name: string, value: string | undefined) => {
    const key = RENAMED[name] ?? name;
    const descriptor = known(name);
    if (descriptor === undefined) return all;
    const flag = `--${flagOf(key, descriptor)}`;
    if (value === undefined) return flag;
    switch (descriptor.kind) {
      case 'flag':
        return value === 'false' ? `no ${flag}` : flag;
      case 'dims':
        return value.replace(/^\{ '?(.*?)'?: (\d+) \}$/, `${flag} '$1=$2'`);
      case 'patterns':
        return `${flag} ${value.replace(/^\[(.*)\]$/, '$1')}`;
      default:
        return `${flag} ${value.replace(/^\[?'?(.*?)'?\]?$/, '$1')}`;
    }
  });
}

/** Options of the library that the command line knows by another key. */
const RENAMED: Readonly<Record<string, string>> = {
  providers: 'ep',
  targetType: 'values',
  setMemoryLimit: 'memoryLimit',
};
