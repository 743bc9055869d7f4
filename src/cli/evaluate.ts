import { basename } from 'node:path';
import type { EvaluatedModel } from '../evaluate/evaluate.js';
import { EVALUATE_OPTIONS } from '../evaluate/options.js';
import type { QualityReport } from '../evaluate/types.js';
import { described, type OptionDescriptors } from '../graph/option-descriptors.js';
import type { Document } from '../report/text/document.js';
import { PAGE_FORMATS } from '../report/text/render.js';
import { SESSION_OPTIONS } from '../runtime/session/options.js';
import { DATA_OPTIONS } from '../training/data/options.js';
import { DATA, openSamples, SAMPLE_ARGUMENTS } from './sample-data.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { formatOf, loadModel, MODEL, nameOf, print, writeDocument } from './shell/files.js';
import { type Io, tell } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { onModel, PROVIDER_OPTIONS, preference, providersOf } from './shell/provider-options.js';
import { dateOf, version } from './shell/version.js';

const LIMITS = { group: 'Limits' } as const;

const OPTIONS = {
  ...SAMPLE_ARGUMENTS,
  split: {
    ...DATA_OPTIONS.split,
    default: undefined,
    ...DATA,
    defaultHelp: 'test, or all of data in one piece',
  },
  unlabeled: {
    ...DATA_OPTIONS.unlabeled,
    ...DATA,
    help: 'ignore labels: compare models by their outputs',
  },
  ...EVALUATE_OPTIONS,
  prediction: {
    kind: 'text',
    defaultHelp: 'the first',
    group: 'Measure',
    help: 'output to measure',
  },
  maxDrop: {
    kind: 'number',
    min: 0,
    ...LIMITS,
    help: "exit 1 if accuracy is more than this many points below the first model's: 0.5; without labels, if more decisions differ",
  },
  maxRise: {
    kind: 'text',
    ...LIMITS,
    help: "exit 1 if the loss is more than this above the first model's: 2%",
  },
  ...FILE_OPTIONS,
  output: { ...FILE_OPTIONS.output, help: 'file for the report: .json, .csv, .md, .html, .txt' },
  ...SESSION_OPTIONS,
  ...PROVIDER_OPTIONS,
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
};

export const evaluateCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .positional('others', { type: 'string', array: true, describe: 'models to compare with the first' })
      .example('$0 evaluate model.onnx --data mnist', 'accuracy and loss on the test part')
      .example('$0 evaluate model.onnx --data mnist -o report.html', 'a page with the confusion matrix')
      .example(
        '$0 evaluate a.onnx b.onnx --data mnist --max-drop 0.5',
        'exit 1 if b is more than 0.5 points worse',
      )
      .example('$0 evaluate a.onnx b.onnx --data photos.npz --unlabeled', 'do they agree, without labels'),
  handler: async (args, io) => {
    const { model: path, others = [], output, maxDrop } = args;
    const files = [path, ...others];
    if (files.filter((file) => file === '-').length > 1)
      throw new UsageError('only one of the models can come from standard input');
    const maxRise = shareOf(args.maxRise);
    for (const [limit, flag] of [
      [maxDrop, '--max-drop'],
      [maxRise, '--max-rise'],
    ] as const)
      if (limit !== undefined && others.length === 0)
        throw new UsageError(`${flag} needs a second model, to compare with the first`);
    const target = output === '-' ? undefined : output;
    const format = formatOf(args.format, target, PAGE_FORMATS);
    if (format === 'html' && output === undefined && io.stdout.isTTY)
      throw new UsageError('a page is for a browser: pass -o report.html, or redirect standard output');
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, files, io);
    const { list, device } = providersOf(args);
    if (target !== undefined) {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(target, { overwrite: args.overwrite });
    }
    const models = await modelsOf(files, args, outputs, io);
    const [first] = models;
    if (first === undefined) throw new UsageError('a model file is missing');
    await using samples = await openSamples(first.model, args, {
      preferred: ['test', 'validation', 'train'],
      onFiles: (read) => keepApart(outputs, read, io),
    });
    const { evaluateModels } = await import('../evaluate/evaluate.js');
    const { checkQuality } = await import('../evaluate/limits.js');
    const { qualityDocument } = await import('../report/quality/document.js');
    const progress = new ProgressLine(io, args);
    let report: QualityReport;
    try {
      report = await onModel(nameOf(path), () =>
        evaluateModels(models, samples.dataset, {
          ...described(EVALUATE_OPTIONS, args),
          output: args.prediction,
          providers: list && preference(list),
          device,
          threads: args.threads,
          onProgress: ({ done, total }) => progress.update({ done, total, what: 'samples' }),
        }),
      );
    } finally {
      progress.clear();
    }
    const limits = checkQuality(report, { maxDrop, maxRise });
    const { name: data, notes } = samples;
    const document = qualityDocument(report, { data, notes, limits, verbose: args.verbose });
    const page = format === 'html' ? await withPage(document, report, samples.name, io) : document;
    if (target !== undefined) await writeDocument(page, target, { ...args, format }, io);
    else if (!args.quiet || args.format !== undefined) await print(page, { ...args, format }, io);
    const failed = limits.filter(({ passed }) => !passed);
    const isTold = target === undefined && (format === 'table' || format === 'md');
    if (failed.length > 0 && !isTold && !args.quiet) {
      const { limitNote } = await import('../report/quality/document.js');
      for (const limit of failed) await tell(io, limitNote(limit, first.name).text);
    }
    return failed.length === 0 ? 0 : 1;
  },
};

/** With its page. SOURCE_DATE_EPOCH sets its date, for bytes that can be made again. */
async function withPage(document: Document, report: QualityReport, data: string, io: Io): Promise<Document> {
  const { renderQualityPage } = await import('../report/quality/page.js');
  return {
    ...document,
    html: () => renderQualityPage(report, { data, date: dateOf(io), version: version() }),
  };
}

/** Called by the last parts of their paths, where these differ. */
async function modelsOf(
  files: readonly string[],
  args: Arguments,
  outputs: ReturnType<typeof outputsOf>,
  io: Io,
): Promise<EvaluatedModel[]> {
  const short = files.map((file) => basename(nameOf(file)));
  const names = new Set(short).size === short.length ? short : files.map(nameOf);
  const models: EvaluatedModel[] = [];
  for (const [index, file] of files.entries())
    models.push({ name: names[index] ?? file, model: await loadModel(file, io, { ...args, outputs }) });
  return models;
}

/** '2%' as 0.02. */
function shareOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits = ''] = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*$/.exec(text) ?? [];
  if (digits === '') throw new UsageError(`--max-rise must be a percentage such as 2%, is '${text}'`);
  return Number(digits) / 100;
}
