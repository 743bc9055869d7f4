import yargs, { type Argv } from 'yargs';
import { PatternError } from '../graph/names/glob.js';
import { type OptionDescriptors, OptionError } from '../graph/option-descriptors.js';
import { style } from '../report/text/style.js';
import { COMMANDS } from './commands.js';
import type { Command } from './shell/command.js';
import { configuredOptions } from './shell/config.js';
import { declare, flagOf, givenOptions, inFlags, usageErrorOf } from './shell/described.js';
import { describeError, exitCodeOf, UsageError } from './shell/errors.js';
import { hasColour, type Io, ReaderGone, write, writeTalk } from './shell/io.js';
import { limitMemory } from './shell/options.js';
import { nearest } from './shell/suggest.js';
import { version } from './shell/version.js';

const NAME = 'onnx-overparam';
const NAMES = [...COMMANDS.map(({ usage }) => usage.split(' ', 1).join()), 'completion'];

/**
 * Runs the command line.
 *
 * @returns the exit code: 0 done; 1 the work failed or a check did not hold; 2 the command line was wrong; 130 and
 *   143 where SIGINT and SIGTERM ended it
 */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const verbose = argv.includes('--verbose');
  const command = NAMES.find((name) => argv.find((word) => !word.startsWith('-')) === name);
  try {
    return await parse(argv, io);
  } catch (error) {
    if (error instanceof ReaderGone) return 0;
    const [first = '', ...rest] = describeError(error, {
      verbose,
      command,
      words: await wordsOf(command),
    }).split(/(?<=^error:)/);
    const colour = hasColour(io.stderr, io.env);
    const text = rest.length > 0 ? style(first, 'red', colour) + rest.join('') : first;
    await writeTalk(io, text);
    return exitCodeOf(error);
  }
}

/** Puts the library's words into those of a command. */
async function wordsOf(command: string | undefined): Promise<((text: string) => string) | undefined> {
  const known = COMMANDS.find(({ usage }) => usage.split(' ', 1).join() === command);
  // What does not load was the error.
  const loaded = await known?.load().catch(() => undefined);
  return loaded && ((text) => inFlags(text, loaded.options));
}

/** Stands in for a lone '-', which yargs takes for an empty string. */
const DASH = '\u0000-';

function withDashes(args: object): Record<string, unknown> {
  const plain = (value: unknown): unknown => (value === DASH ? '-' : value);
  return Object.fromEntries(
    Object.entries(args).map(([key, value]) => [key, Array.isArray(value) ? value.map(plain) : plain(value)]),
  );
}

async function parse(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const words = argv.map((word) => (word === '-' ? DASH : word));
  const parser: Argv = yargs(words)
    .scriptName(NAME)
    .locale('en')
    .usage('$0 <command>\n\nExpand, collapse, analyse and train ONNX models.')
    .parserConfiguration({ 'boolean-negation': false })
    .exitProcess(false)
    .strict()
    .demandCommand(1, 'no command')
    .version(version())
    .alias('help', 'h')

    .example('$0 rank-report model.onnx', 'how much of its rank each layer uses')
    .example('$0 expand model.onnx -o expanded.onnx', 'before training')
    .example('$0 collapse trained.onnx -o deploy.onnx', 'after training')
    .epilog('Exit code: 0 done, 1 the work failed or a check did not hold, 2 the command line was wrong.')
    .wrap(Math.min(100, io.stdout.columns ?? (Number(io.env.COLUMNS) || 100)))
    .fail(fail);
  layOutNoHelp(parser);
  function fail(message: string | undefined, error: Error | undefined): never {
    // yargs reports what handlers throw here too.
    if (error !== undefined && error.name !== 'YError') throw error;
    const text = (message ?? error?.message ?? 'wrong command line').replaceAll(DASH, '-');
    throw new UsageError(usageText(text, argv, optionsOf(parser)));
  }
  for (const { usage, describe, load } of COMMANDS) {
    parser.command(
      usage,
      describe,
      async (sub: Argv) => {
        const { builder, options } = await load();
        return declare(builder(sub.usage(`$0 ${usage}\n\n${capital(describe)}.`)), options).epilog('');
      },
      async (args) => {
        exitCode = await runCommand(await load(), usage, withDashes(args), io);
      },
    );
  }
  parser.completion('completion', 'print a completion script for bash or zsh');
  // Help, version and completion, which yargs would hand to a console that hides what fails.
  let printed = '';
  const keep = (_error: unknown, _args: unknown, text: string): void => {
    printed = text;
  };
  // What it finds out after a builder was loaded, yargs does not always hand to fail().
  await parser.parseAsync(words, {}, keep).catch((error: Error) => fail(undefined, error));
  if (printed !== '') await write(io, `${printed}\n`);
  return exitCode;
}

/** Runs a command with its positionals and options, as they were given. */
async function runCommand(
  { options, handler }: Command<unknown>,
  usage: string,
  args: Readonly<Record<string, unknown>>,
  io: Io,
): Promise<number> {
  const positionals = [...usage.matchAll(/[<[](\w+)/g)].map(([, name = '']) => [name, args[name]]);
  try {
    const { config } = args;
    const [name = ''] = usage.split(' ', 1);
    const configured = await configuredOptions(
      name,
      options,
      typeof config === 'string' ? config : undefined,
    );
    const given = { ...givenOptions(options, args), ...absent(configured, options, args) };
    limitMemory(given);
    const words = (text: string): string => inFlags(text, options);
    return await handler({ ...Object.fromEntries(positionals), ...given }, { ...io, words });
  } catch (error) {
    if (error instanceof OptionError || error instanceof PatternError) throw usageErrorOf(error, options);
    throw error;
  }
}

/** The options of a file that the command line does not give. */
function absent(
  configured: Readonly<Record<string, unknown>>,
  options: OptionDescriptors,
  args: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(configured).filter(([key]) => args[flagOf(key, options[key])] === undefined),
  );
}

/** Of every command that it runs, yargs lays out the help in case it is asked for later: 25 ms for what no handler asks. */
function layOutNoHelp(parser: Argv): void {
  const { getInternalMethods } = parser as unknown as {
    getInternalMethods?(): { getUsageInstance(): { cacheHelpMessage(): void } };
  };
  const usage = getInternalMethods?.call(parser).getUsageInstance();
  if (usage !== undefined) usage.cacheHelpMessage = () => undefined;
}

function optionsOf(parser: Argv): string[] {
  const { alias, key } = (
    parser as unknown as { getOptions(): { alias: Record<string, string[]>; key: Record<string, unknown> } }
  ).getOptions();
  return [...new Set([...Object.keys(key), ...Object.keys(alias)])].filter(
    (name) => !/[A-Z]/.test(name) && name.length > 1,
  );
}

/** What yargs says, in words that tell what to do. */
function usageText(message: string, argv: readonly string[], options: readonly string[]): string {
  const [, unknown] = /^Unknown (?:arguments?|commands?): (.*)$/s.exec(message) ?? [];
  if (unknown !== undefined) {
    // A camel-case twin of each option comes along.
    const words = unknown
      .split(', ')
      .filter((word, _, all) => !all.some((other) => other !== word && camel(other) === word));
    const texts = words.map((word) => unknownText(word, argv, options));
    return texts.find((text) => text.startsWith('unknown command')) ?? texts.join('; ');
  }
  const [, got, need] =
    /^Not enough non-option arguments: got (\d+), need at least (\d+)/.exec(message) ?? [];
  if (got !== undefined)
    return `${Number(need) - Number(got) > 1 ? 'model files are' : 'a model file is'} missing`;
  const [, bare] = /^Not enough arguments following: (.*)$/.exec(message) ?? [];
  if (bare !== undefined) return `${dashed(bare)} needs a value`;
  const [, option, given, choices] =
    /^Invalid values:\s+Argument: (\S+), Given: (.*), Choices: (.*)$/s.exec(message) ?? [];
  if (option !== undefined)
    return `${dashed(option)} must be one of ${choices?.replaceAll('"', '').trim()}, not ${given}`;
  return message;
}

function unknownText(word: string, argv: readonly string[], options: readonly string[]): string {
  const isOption = argv.some(
    (given) => given.startsWith('-') && given.replace(/^-+/, '').split('=')[0] === word,
  );
  if (isOption) {
    const meant = nearest(word, options);
    return `unknown option ${dashed(word)}${meant === undefined ? '' : `; did you mean ${dashed(meant)}?`}`;
  }
  if (argv.find((given) => !given.startsWith('-')) !== word) return `'${word}' is one argument too many`;
  const meant = nearest(word, NAMES);
  return `unknown command '${word}'${meant === undefined ? '' : `; did you mean ${meant}?`}`;
}

function dashed(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

function camel(name: string): string {
  return name.replace(/-+(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
