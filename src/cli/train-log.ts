import type { OptionDescriptors } from '../graph/option-descriptors.js';
import type { NamedLog } from '../report/training/page-data.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { nameOf } from './shell/files.js';
import { type Io, readAll, write } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { dateOf, version } from './shell/version.js';

const { quiet, verbose } = COMMON_OPTIONS;
const OPTIONS = {
  ...FILE_OPTIONS,
  format: {
    kind: 'choice',
    choices: ['html', 'json'],
    defaultHelp: "the output's ending, html",
    help: 'a page, or the logs as one list',
  },
  quiet,
  verbose,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly logs: readonly string[] };

export const trainLogCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('logs', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'files that train --log wrote, - for standard input',
      })
      .example('$0 train-log plain.jsonl expanded.jsonl -o compare.html', 'what the chains change'),
  handler: async (args, io) => {
    const format = args.format ?? (args.output?.toLowerCase().endsWith('.json') ? 'json' : 'html');
    const output = args.output ?? (format === 'json' ? '-' : undefined);
    if (output === undefined)
      throw new UsageError('no output: pass -o <file.html>, or -o - for standard output');
    const { assertWritable, atomicWrite, MemorySource } = await import('../graph/index.js');
    keepApart(outputsOf({ '--output': output }), args.logs, io);
    if (output !== '-') await assertWritable(output, args);
    const logs: NamedLog[] = [];
    for (const file of args.logs) logs.push({ name: nameOf(file), log: await readLog(file, io) });
    const text = format === 'json' ? `${JSON.stringify(logs, undefined, 2)}\n` : await pageOf(logs, io);
    if (output === '-') await write(io, text);
    else await atomicWrite(output, new MemorySource(new TextEncoder().encode(text)), args);
    return 0;
  },
};

async function pageOf(logs: readonly NamedLog[], io: Io): Promise<string> {
  const { renderTrainPage } = await import('../report/training/page.js');
  return renderTrainPage(logs, { date: dateOf(io), version: version() });
}

async function readLog(file: string, io: Io): Promise<NamedLog['log']> {
  const { ModelError, readText } = await import('../graph/index.js');
  const { readTrainLog } = await import('../report/training/log.js');
  const text = file === '-' ? new TextDecoder().decode(await readAll(io.stdin)) : await readText(file);
  try {
    return readTrainLog(text);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(error.message, { file: nameOf(file) }, { cause: error });
  }
}
