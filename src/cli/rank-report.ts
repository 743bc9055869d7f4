import type { Argv } from 'yargs';
import type { RankReport } from '../analysis/rank-report.js';
import type { Command } from './command.js';
import { onFile, UsageError } from './errors.js';
import { formatOf, loadModel, nameOf, print, writeDocument } from './files.js';
import { type CommonArguments, commonOptions, once } from './options.js';
import { ProgressLine } from './progress.js';

interface Arguments extends CommonArguments {
  readonly model: string;
  readonly model2: string | undefined;
  readonly spectra: boolean;
  readonly output: string | undefined;
  readonly overwrite: boolean;
}

export const rankReportCommand: Command<Arguments> = {
  usage: 'rank-report <model> [model2]',
  describe: 'spectrum and ranks of every weight; of two models, side by side',
  builder: (parser) =>
    commonOptions(
      parser
        .positional('model', {
          type: 'string',
          demandOption: true,
          describe: 'ONNX file, - for standard input',
        })
        .positional('model2', { type: 'string', describe: 'a second one, to compare with the first' })
        .option('spectra', { type: 'boolean', describe: 'all singular values too (JSON)' })
        .option('output', {
          alias: 'o',
          type: 'string',
          requiresArg: true,
          describe: 'file to write; .json, .csv and .md set the format',
        })
        .option('overwrite', {
          type: 'boolean',
          describe: 'replace the output file if it exists',
        }),
    )
      .example('$0 rank-report model.onnx', 'a table; --verbose explains its columns')
      .example('$0 rank-report before.onnx after.onnx', 'what training changed')
      .example(
        '$0 rank-report model.onnx --spectra -o spectra.json',
        'all singular values',
      ) as unknown as Argv<Arguments>,
  handler: async (args, io) => {
    const { model, model2, spectra, overwrite } = args;
    const output = once(args.output, '--output');
    const path = output === '-' ? undefined : output;
    const format = formatOf(args.format, path);
    if (model === '-' && model2 === '-')
      throw new UsageError('only one of the models can come from standard input');
    if (spectra && format !== 'json') {
      throw new UsageError(
        '--spectra goes with --format json: the other formats have no room for all singular values',
      );
    }
    if (path !== undefined) {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(path, { overwrite });
    }
    const { compareRankReports, rankReport } = await import('../analysis/rank-report.js');
    const { comparisonDocument, rankDocument } = await import('../report/rank.js');
    const report = async (file: string): Promise<RankReport> => {
      const progress = new ProgressLine(io, args);
      try {
        const loaded = await loadModel(file, io, args);
        return await onFile(nameOf(file), () => rankReport(loaded, { spectra, onProgress: progress.update }));
      } finally {
        progress.clear();
      }
    };
    const first = await report(model);
    const document =
      model2 === undefined
        ? rankDocument(first, args)
        : comparisonDocument(compareRankReports(first, await report(model2)), args);
    if (path === undefined) await print(document, { ...args, format }, io);
    else await writeDocument(document, path, { ...args, format });
    return 0;
  },
};
