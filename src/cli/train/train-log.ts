import { extname } from 'node:path';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { NamedLog } from '../../report/training/page-data.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import { nameOf } from '../shell/files.js';
import { type Io, readAll, write } from '../shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { dateOf, version } from '../shell/version.js';

const { quiet, verbose } = COMMON_OPTIONS;
const OPTIONS = {
  ...FILE_OPTIONS,
  format: {
    kind: 'choice',
    choices: ['html', 'json', 'csv'],
    defaultHelp: "the output's ending, html",
    help: 'a page, the logs as one list, or a table with a row for each epoch',
  },
  group: {
    kind: 'flag',
    default: false,
    help: 'draw logs that differ in the seed alone as one line, their mean, with a band of 95 %',
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
      .example('$0 train-log plain.jsonl expanded.jsonl -o compare.html', 'what the chains change')
      .example('$0 train-log seed-*.jsonl --group -o seeds.html', 'several seeds, as one line with a band'),
  handler: async (args, io) => {
    const ending = extname(args.output ?? '').toLowerCase();
    const format = args.format ?? (ending === '.json' ? 'json' : ending === '.csv' ? 'csv' : 'html');
    const output = args.output ?? (format === 'html' ? undefined : '-');
    if (args.group && format !== 'html')
      throw new UsageError('--group goes with --format html: the CSV has a column for the group');
    if (output === undefined)
      throw new UsageError('no output: pass -o <file.html>, or -o - for standard output');
    const { assertWritable, atomicWrite, MemorySource } = await import('../../graph/index.js');
    keepApart(outputsOf({ '--output': output }), args.logs, io);
    if (output !== '-') await assertWritable(output, args);
    const logs: NamedLog[] = [];
    for (const file of args.logs) logs.push({ name: nameOf(file), log: await readLog(file, io) });
    const text = await textOf(logs, format, args, io);
    if (output === '-') await write(io, text);
    else await atomicWrite(output, new MemorySource(new TextEncoder().encode(text)), args);
    return 0;
  },
};

async function textOf(
  logs: readonly NamedLog[],
  format: 'html' | 'json' | 'csv',
  { group }: Arguments,
  io: Io,
): Promise<string> {
  if (format === 'json') return `${JSON.stringify(logs, undefined, 2)}\n`;
  if (format === 'csv') {
    const { epochsDocument } = await import('../../report/training/epochs.js');
    const { render } = await import('../../report/text/render.js');
    return render(epochsDocument(logs), { format });
  }
  if (!group) return await pageOf(logs, io);
  const { groupSeeds } = await import('../../report/training/seeds.js');
  return await pageOf(groupSeeds(logs), io);
}

async function pageOf(logs: readonly NamedLog[], io: Io): Promise<string> {
  const { renderTrainPage } = await import('../../report/training/page.js');
  return renderTrainPage(logs, { date: dateOf(io), version: version() });
}

async function readLog(file: string, io: Io): Promise<NamedLog['log']> {
  const { ModelError, readText } = await import('../../graph/index.js');
  const { readTrainLog } = await import('../../report/training/log.js');
  const text = file === '-' ? new TextDecoder().decode(await readAll(io.stdin)) : await readText(file);
  try {
    return readTrainLog(text);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new ModelError(error.message, { file: nameOf(file) }, { cause: error });
  }
}
