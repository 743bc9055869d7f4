import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ModelError } from '../graph/errors.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { PAGE_FORMATS } from '../report/text/render.js';
import type { Command } from './shell/command.js';
import { type Given, inFlags } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { warn } from './shell/files.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';

const OPTIONS = {
  allowMissing: {
    kind: 'flag',
    default: false,
    help: 'write what there is; what no part has is a row that says so',
  },
  ...FILE_OPTIONS,
  output: { ...FILE_OPTIONS.output, help: 'file to write; .json, .csv, .md and .html set the format' },
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly parts: readonly string[] };

const PART = /^part-\d+-of-\d+\.jsonl$/;

export const mergeCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('parts', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'folders of parts that shards wrote, or single parts',
      })
      .example('$0 merge parts/ -o report.html', 'the report that the command without --shard writes')
      .example('$0 merge parts/ --allow-missing', 'what there is so far'),
  handler: async (args, io) => {
    const { output, allowMissing } = args;
    const files = args.parts.flatMap(partsIn);
    keepApart(outputsOf({ '--output': output }), files, io);
    if (output !== undefined && output !== '-') {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(output, args);
    }
    const { assemble } = await import('../parts/assemble.js');
    using parts = assemble(files, { allowMissing });
    if (parts.missing.length > 0 && !args.quiet) {
      const count = `${parts.missing.length} of ${parts.header.pieces.length}`;
      await warn(`${count} pieces are missing: ${parts.missing.slice(0, 5).join(', ')}`, io);
    }
    switch (parts.header.command) {
      case 'rank-report': {
        const [{ mergeRank }, { rankReportCommand }] = await Promise.all([
          import('./rank-report/rank-part.js'),
          import('./rank-report/rank-report.js'),
        ]);
        // Notes name the options of the command that the parts are of.
        const words = (text: string): string => inFlags(text, rankReportCommand.options);
        return await mergeRank(parts, args, { ...io, words });
      }
      case 'evaluate': {
        const [{ mergeEvaluation }, { evaluateCommand }] = await Promise.all([
          import('./evaluate/evaluate-part.js'),
          import('./evaluate/evaluate.js'),
        ]);
        const words = (text: string): string => inFlags(text, evaluateCommand.options);
        return await mergeEvaluation(parts, args, { ...io, words });
      }
      default:
        throw new ModelError(`is a part of ${parts.header.command}, which this version cannot merge`, {
          file: files[0],
        });
    }
  },
};

function partsIn(path: string): readonly string[] {
  if (!existsSync(path)) throw new ModelError('there is no such file or folder', { file: path });
  if (!statSync(path).isDirectory()) return [path];
  const found = readdirSync(path)
    .filter((name) => PART.test(name))
    .sort();
  if (found.length === 0) throw new UsageError(`${path} has no parts (part-1-of-8.jsonl …)`);
  return found.map((name) => join(path, name));
}
