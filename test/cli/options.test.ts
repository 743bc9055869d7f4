import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../src/cli/run.js';
import { flagOf, givenOptions, inFlags } from '../../src/cli/shell/described.js';
import { UsageError } from '../../src/cli/shell/errors.js';
import {
  checkOption,
  defaultsOf,
  defaultText,
  type OptionDescriptor,
  OptionError,
} from '../../src/graph/option-descriptors.js';
import { CHAIN_DEFAULTS, CHAIN_OPTIONS, EXPAND_OPTIONS } from '../../src/passes/expand/options.js';
import { parseRecipe, ruleOf } from '../../src/passes/expand/recipe.js';
import { GRADIENT_OPTIONS } from '../../src/passes/gradient/options.js';
import { TRAIN_OPTIONS } from '../../src/training/options.js';
import { LIBRARY } from './library-options.js';
import { type DescribedCommand, describedCommands, optionsPage } from './options-page.js';

let commands: DescribedCommand[] = [];
beforeAll(async () => {
  commands = await describedCommands();
});

/** What a command line prints to standard output, run in this process. */
async function output(...argv: string[]): Promise<string> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  const printed: string[] = [];
  streams.stdout.on('data', (chunk: Buffer) => printed.push(chunk.toString()));
  const log = console.log;
  // Completion is yargs' to print.
  console.log = (text: string) => printed.push(`${text}\n`);
  try {
    await run(argv, { ...streams, env: { COLUMNS: '1000' } });
  } finally {
    console.log = log;
  }
  return printed.join('');
}

test('docs/options.md is what the descriptors say (UPDATE=1 rewrites it)', async () => {
  const page = await optionsPage();
  if (process.env.UPDATE) writeFileSync('docs/options.md', page);
  expect(readFileSync('docs/options.md', 'utf8')).toBe(page);
});

test('every option is in the help of its command, with its default, and in completion', async () => {
  for (const { name, options } of commands) {
    const help = (await output(name, '--help')).replace(/\s+/g, ' ');
    const words = (await output('--get-yargs-completions', 'onnx-overparam', name, '--')).split('\n');
    for (const [key, option] of Object.entries(options)) {
      const flag = `--${flagOf(key, option)}`;
      expect(help, name).toMatch(new RegExp(`${flag}[ ,]`));
      expect(help, `${name} ${flag}`).toContain(option.help.replace(/\s+/g, ' '));
      const usual = defaultText(option);
      if (usual !== undefined) expect(help, `${name} ${flag}`).toContain(`(default: ${usual})`);
      expect(words, name).toContain(flag);
      if (option.kind !== 'choice' || option.bare !== undefined || option.anyCase) continue;
      const choices = await output('--get-yargs-completions', 'onnx-overparam', name, flag, '');
      expect(choices.replaceAll('\\', '').split('\n'), `${name} ${flag}`).toEqual(
        expect.arrayContaining([...option.choices]),
      );
    }
  }
});

test('flags of a command differ, and help is a phrase', () => {
  for (const { name, options } of commands) {
    const flags = Object.entries(options).flatMap(([key, option]) => [
      flagOf(key, option),
      ...(option.alias === undefined ? [] : [option.alias]),
    ]);
    expect(new Set(flags).size, name).toBe(flags.length);
    for (const option of Object.values(options)) {
      expect(option.help).not.toBe('');
      expect(option.help).not.toMatch(/[.;,:]$|\(default|cannot/);
    }
  }
});

/** Values that an option does not take. */
function outside(option: OptionDescriptor): fc.Arbitrary<unknown> {
  switch (option.kind) {
    case 'flag':
      return fc.constantFrom<unknown>('yes', 1, null);
    case 'number':
    case 'integer':
    case 'numbers':
    case 'integers':
      return fc.oneof(
        fc.constantFrom<unknown>('3', null, Number.NaN, Number.POSITIVE_INFINITY),
        beyond(option),
      );
    case 'lists':
      return fc.constantFrom<unknown>('3,3', 3, [[]], [[(option.min ?? 0) - 1]], [[1.5]], [[2, 2], [3]]);
    case 'choice':
      return fc.string().filter((text) => !isAmong(text, option.choices));
    case 'choices':
      return fc
        .string()
        .filter((text) => !isAmong(text, option.choices))
        .map((text) => [text]);
    case 'text':
      return fc.constantFrom<unknown>(3, null, ['a', 'b']);
    case 'texts':
      return fc.constantFrom<unknown>(3, [null]);
    case 'patterns':
      return fc.constantFrom<unknown>('', [''], ['a', 3]);
    case 'dims':
      return fc.constantFrom<unknown>('n=0', { n: (option.min ?? 1) - 1 }, { n: 1.5 }, 3);
  }
}

function isAmong(text: string, choices: readonly string[]): boolean {
  return choices.some((choice) => choice.toLowerCase() === text.toLowerCase());
}

/** Numbers beyond the bounds. */
function beyond(option: OptionDescriptor & { kind: 'number' | 'integer' | 'numbers' | 'integers' }) {
  const { min, above, max, below, or } = option;
  const offset = fc.double({ min: 0, max: 1e6, noNaN: true });
  const beyonds: fc.Arbitrary<number>[] = [];
  if (option.kind.startsWith('integer')) beyonds.push(fc.integer({ min: 0, max: 1000 }).map((n) => n + 0.5));
  if (min !== undefined) beyonds.push(offset.map((d) => min - 1e-3 - d));
  if (above !== undefined) beyonds.push(offset.map((d) => above - d));
  if (max !== undefined) beyonds.push(offset.map((d) => max + 1e-3 + d));
  if (below !== undefined) beyonds.push(offset.map((d) => below + d));
  const beyond = beyonds.length > 0 ? fc.oneof(...beyonds) : fc.constant(Number.NEGATIVE_INFINITY);
  return beyond.filter((value) => value !== or?.value);
}

describe('a value out of range is refused, by the name that the caller knows', () => {
  for (const { name, options, call, with: needed = {} } of LIBRARY) {
    test.each(Object.entries(options))(`${name}({ %s })`, async (key, option) => {
      await fc.assert(
        fc.asyncProperty(outside(option), async (value) => {
          const failure: unknown = await Promise.resolve()
            .then(() => call({ ...needed[key], [key]: value }))
            .then(
              () => undefined,
              (error: unknown) => error,
            );
          expect(failure).toBeInstanceOf(OptionError);
          expect((failure as OptionError).option.replace(/\[.*$/, '')).toBe(key);
          // The value that is told may hold dashes; the words about it name no flag.
          const words = (failure as OptionError).message.replace(String(value), '');
          expect(words).not.toContain('--');
        }),
        { numRuns: 20 },
      );
    });
  }

  test('on the command line', () => {
    for (const { name, options } of commands) {
      for (const [key, option] of Object.entries(options)) {
        const flag = flagOf(key, option);
        if (option.kind !== 'number' && option.kind !== 'integer') continue;
        fc.assert(
          fc.property(beyond(option), (value) => {
            const given = (): unknown => givenOptions(options, { [flag]: value });
            expect(given, name).toThrow(UsageError);
            expect(given, name).toThrow(
              `--${flag} must be ${option.kind === 'integer' ? 'an integer' : 'a number'}`,
            );
          }),
          { numRuns: 20 },
        );
        expect(() => givenOptions(options, { [flag]: [1, 2] })).toThrow(`--${flag} is given more than once`);
      }
    }
  });
});

test('defaults are in range', () => {
  for (const { options } of LIBRARY) {
    for (const [key, value] of Object.entries<unknown>(defaultsOf(options))) {
      const option = options[key];
      const isNone = value === undefined || (Array.isArray(value) && value.length === 0);
      if (option !== undefined && !isNone) expect(checkOption(option, value, key)).toEqual(value);
    }
  }
});

test('recipes: a key for each option that is so marked, and what is written is read as it was', () => {
  const keys = Object.entries(EXPAND_OPTIONS).flatMap(([key, option]) => ('recipe' in option ? [key] : []));
  expect(keys).toEqual(Object.keys(CHAIN_OPTIONS));
  const changed = {
    ...CHAIN_DEFAULTS,
    init: 'fresh:normal',
    gain: 2,
    noise: 0.5,
    allowLossy: true,
    kernelSizes: [[3, 3]],
    residual: true,
    residualIntervals: [1, -1],
    residualMode: 'learn',
    batchNorm: true,
  } as const;
  for (const settings of [CHAIN_DEFAULTS, changed]) {
    const [rule] = parseRecipe(JSON.parse(JSON.stringify([ruleOf('a*', settings)])));
    const { match, ...own } = rule!;
    expect(match).toBe('a\\*');
    expect({ ...CHAIN_DEFAULTS, ...own }).toEqual(settings);
  }
  expect(Object.keys(ruleOf('a', changed)).slice(1)).toEqual(keys);
});

test('words of the command line are read as what the library takes', () => {
  const read = (args: Record<string, unknown>): unknown => givenOptions(EXPAND_OPTIONS, args);
  expect(read({ op: 'gemm,MatMul' })).toEqual({ ops: ['Gemm', 'MatMul'] });
  expect(read({ op: ['conv', 'Gemm'] })).toEqual({ ops: ['Conv', 'Gemm'] });
  expect(read({ 'residual-intervals': '1, -1' })).toEqual({ residualIntervals: [1, -1] });
  expect(read({ 'kernel-sizes': ['5=3,3', '2,2'] })).toEqual({
    kernelSizes: [
      [3, 3],
      [2, 2],
    ],
  });
  expect(read({ only: 'a' })).toEqual({ only: ['a'] });
});

test('messages of the library in the words of the command line', () => {
  const text = "use a `depth: 2` or more, `allowLossy: true`, or `residualMode: 'learn'`; not `name`";
  expect(inFlags(text, EXPAND_OPTIONS)).toBe(
    'use a --depth 2 or more, --allow-lossy, or --residual-mode learn; not `name`',
  );
  const more = { ...GRADIENT_OPTIONS, ...TRAIN_OPTIONS, ...EXPAND_OPTIONS };
  expect(inFlags("`dims: { 'x[1]': 16 }`, `dims: { n: 4 }`, `untie: ['*']`, `residual: false`", more)).toBe(
    "--dim 'x[1]=16', --dim 'n=4', --untie '*', no --residual",
  );
});

test('outside of the command line no text names a flag: there the library speaks', () => {
  const flags = new Set(
    commands.flatMap(({ options }) => Object.entries(options).map(([key, option]) => flagOf(key, option))),
  );
  const named = new RegExp(`--(?:${[...flags].join('|')})(?![\\w=-])`);
  const texts = readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.startsWith('cli'))
    .flatMap((file) =>
      readFileSync(join('src', file), 'utf8')
        .split('\n')
        .map((line) => `${file}: ${line.trim()}`),
    );
  // A comment, or a whole command.
  const isSpared = (line: string): boolean => /: (\/\/|\/?\*)|onnx-overparam \w+ --/.test(line);
  expect(texts.filter((line) => named.test(line) && !isSpared(line))).toEqual([]);
});

describe('--quiet: data that --format asks for stays on standard output, talk goes', () => {
  const model = 'fixtures/shapes.onnx';
  test.each([
    ['expand', model, '--dry-run'],
    ['collapse', model, '--dry-run'],
    ['gradient', model, '--loss', 'sum', '--batch', '2', '--dry-run'],
    ['rank-report', model],
    ['verify', model, model],
    ['run', model, '--random'],
    ['doctor', '--ep', 'cpu'],
  ])('%s', async (name, ...args) => {
    const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
    const printed = { stdout: '', stderr: '' };
    for (const key of ['stdout', 'stderr'] as const)
      streams[key].on('data', (chunk: Buffer) => (printed[key] += chunk.toString()));
    const code = await run([name, ...args, '-q', '--format', 'json'], { ...streams, env: {} });
    expect([code, printed.stderr]).toEqual([0, '']);
    expect(JSON.parse(printed.stdout)).toBeTypeOf('object');
  });
});
