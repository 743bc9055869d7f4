import { basename } from 'node:path';
import type { EvaluatedModel } from '../evaluate/evaluate.js';
import { EVALUATE_OPTIONS } from '../evaluate/options.js';
import type { QualityReport } from '../evaluate/types.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { PAGE_FORMATS } from '../report/text/render.js';
import { SESSION_OPTIONS } from '../runtime/session/options.js';
import { DATA_OPTIONS } from '../training/data/options.js';
import { checkLimits, evaluateOptions, presentQuality, settleQuality } from './evaluate-output.js';
import { DATA, openSamples, SAMPLE_ARGUMENTS } from './sample-data.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { loadModel, MODEL, nameOf } from './shell/files.js';
import type { Io } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { onModel, PROVIDER_OPTIONS } from './shell/provider-options.js';

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
  shard: {
    kind: 'text',
    help: 'measure only a part of the samples, 2/8, into the folder of -o, for merge; auto: of a Slurm array, auto/64: of an Indexed Job',
  },
  ...FILE_OPTIONS,
  output: {
    ...FILE_OPTIONS.output,
    help: 'file for the report: .json, .csv, .md, .html, .txt; with --shard a folder',
  },
  ...SESSION_OPTIONS,
  ...PROVIDER_OPTIONS,
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
};

export type EvaluateArguments = Arguments;

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
    const { model: path, others = [], output } = args;
    const files = [path, ...others];
    if (files.filter((file) => file === '-').length > 1)
      throw new UsageError('only one of the models can come from standard input');
    checkLimits(args);
    if (args.shard !== undefined) {
      const { writeEvaluationPart } = await import('./evaluate-part.js');
      return await writeEvaluationPart(args, io);
    }
    const { target } = settleQuality(args, io);
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, files, io);
    if (target !== undefined) {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(target, { overwrite: args.overwrite });
    }
    const models = await evaluatedModels(files, args, outputs, io);
    const [first] = models;
    if (first === undefined) throw new UsageError('a model file is missing');
    await using samples = await openSamples(first.model, args, {
      preferred: ['test', 'validation', 'train'],
      onFiles: (read) => keepApart(outputs, read, io),
    });
    const { evaluateModels } = await import('../evaluate/evaluate.js');
    const progress = new ProgressLine(io, args);
    let report: QualityReport;
    try {
      report = await onModel(nameOf(path), () =>
        evaluateModels(models, samples.dataset, {
          ...evaluateOptions(args),
          onProgress: ({ done, total }) => progress.update({ done, total, what: 'samples' }),
        }),
      );
    } finally {
      progress.clear();
    }
    return await presentQuality(report, samples, args, io);
  },
};

/** Called by the last parts of their paths, where these differ. */
export async function evaluatedModels(
  files: readonly string[],
  args: Pick<Arguments, 'quiet' | 'verbose'>,
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
