import type { CompressOptions, PlannedLayer } from '../compress/options.js';
import { COMPRESS_OPTIONS } from '../compress/options.js';
import { ModelError } from '../graph/errors.js';
import type { Model } from '../graph/index.js';
import { described, type OptionDescriptors } from '../graph/option-descriptors.js';
import type { ConvertAccount } from '../passes/convert/to-half.js';
import type { CompressDocumentOptions } from '../report/compress.js';
import { PAGE_FORMATS } from '../report/text/render.js';
import { SESSION_OPTIONS } from '../runtime/session/options.js';
import type { Dataset } from '../training/types.js';
import { openSamples, SAMPLE_ARGUMENTS } from './sample-data.js';
import type { Command } from './shell/command.js';
import { type Given, refuse } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import {
  checkOutput,
  formatOf,
  loadModel,
  MODEL,
  nameOf,
  summarize,
  warn,
  writeDocument,
  writeModel,
} from './shell/files.js';
import type { Io } from './shell/io.js';
import { COMMON_OPTIONS, FIX_INPUTS_OPTIONS, OUTPUT_OPTIONS } from './shell/options.js';
import { keepApart, type Output, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { onModel, PROVIDER_OPTIONS, preference, providersOf } from './shell/provider-options.js';
import { dateOf, version } from './shell/version.js';

const OPTIONS = {
  ...SAMPLE_ARGUMENTS,
  data: {
    ...SAMPLE_ARGUMENTS.data,
    help: 'samples to calibrate on, as train takes them; labels are read for --max-drop alone. Where there is a test part, quality is measured on it',
  },
  ...COMPRESS_OPTIONS,
  plan: {
    kind: 'text',
    writes: true,
    help: 'JSON file of what becomes of each layer: written where a budget is given, read where none is',
  },
  report: {
    kind: 'text',
    writes: true,
    help: 'file for the table too; .html has the trade-off and the spectra, .json everything',
  },
  threads: SESSION_OPTIONS.threads,
  ...PROVIDER_OPTIONS,
  ...FIX_INPUTS_OPTIONS,
  ...OUTPUT_OPTIONS,
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const compressCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 compress model.onnx --data calib --params 0.5 -o small.onnx', 'half of the parameters')
      .example('$0 compress model.onnx --data calib --macs 0.5 --size 0.7 -o small.onnx', 'both must hold')
      .example(
        '$0 compress model.onnx --data calib --size 0.25 --type float16 -o s.onnx',
        'a quarter of the bytes, in half precision',
      )
      .example(
        '$0 compress model.onnx --data calib --bits 4 --branch 32 -o s.onnx',
        'weights in 4 bits, and a branch of low rank for what that loses',
      )
      .example('$0 compress model.onnx --data calib --dry-run', 'the trade-off alone')
      .example(
        '$0 compress model.onnx --data calib --params 0.4 --plan plan.json -o s.onnx',
        'write the choices',
      )
      .example('$0 compress model.onnx --data calib --plan plan.json -o s.onnx', 'give them back, edited'),
  handler: async (args, io) => {
    const { data: path, plan: planFile, report } = args;
    if (path === undefined)
      refuse(
        OPTIONS,
        args,
        ['target', 'values', 'limit', 'normalize', 'samples', 'divergence'],
        'goes with --data',
      );
    const isBudgeted = [args.params, args.macs, args.size, args.latency, args.maxDrop, args.bits].some(
      (share) => share !== undefined,
    );
    if (!isBudgeted && planFile === undefined && !args.dryRun)
      throw new UsageError(
        'no budget: pass --params 0.5, --macs 0.5, --size 0.5, --latency 0.5 or --max-drop 1, or --bits 4, a --plan to follow, or --dry-run',
      );
    if (args.bits !== undefined && planFile !== undefined)
      throw new UsageError('--plan does not go with --bits, which treats all layers alike');
    const output = await checkOutput(args, io);
    const written = isBudgeted ? planFile : undefined;
    const outputs = outputsOf({ '--output': output, '--report': report, '--plan': written });
    keepApart(outputs, [isBudgeted ? undefined : planFile], io);
    if (report !== undefined) formatOf(undefined, report, PAGE_FORMATS, '--report');
    const { assertWritable } = await import('../graph/index.js');
    for (const file of [report, written]) if (file !== undefined) await assertWritable(file, args);
    const plan = planFile === undefined || isBudgeted ? undefined : await readPlan(planFile);
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    const { list, device } = providersOf(args);
    const { compress } = await import('../compress/compress.js');
    const { compressDocument } = await import('../report/compress.js');
    await using data = path === undefined ? undefined : await openCalibration(model, args, outputs, io);
    const progress = new ProgressLine(io, args);
    try {
      const options: CompressOptions = {
        ...described(COMPRESS_OPTIONS, args),
        ...(plan && { plan }),
        data: data?.train,
        dryRun: args.dryRun,
        providers: list && preference(list),
        device,
        threads: args.threads,
        onProgress: progress.update,
      };
      const original = model.clone();
      const [account] = await onModel(nameOf(args.model), () => model.apply(compress(options)));
      const { result, floats } = args.dryRun ? { result: model } : await converted(model, args.type);
      const quality = args.dryRun ? undefined : await data?.quality(original, result);
      if (output !== undefined) await writeModel(result, output, args, io);
      progress.clear();
      const document = compressDocument(account, { output, verbose: args.verbose, quality, floats });
      if (written !== undefined)
        await writeText(written, `${JSON.stringify(account.plan, undefined, 2)}\n`, args);
      if (report !== undefined) {
        const { compressPage } = await import('../report/compress-page.js');
        const page = {
          ...document,
          html: () =>
            compressPage(account, {
              name: nameOf(args.model),
              quality,
              date: dateOf(io),
              version: version(),
            }),
        };
        await writeDocument(page, report, { ...args, format: formatOf(undefined, report, PAGE_FORMATS) }, io);
      }
      await summarize(document, { ...args, output }, io);
    } finally {
      progress.clear();
    }
    return 0;
  },
};

/** The model in the type that was asked for, with inputs and outputs as they were. */
async function converted(
  model: Model,
  type: Arguments['type'],
): Promise<{ readonly result: Model; readonly floats?: ConvertAccount }> {
  if (type === undefined) return { result: model };
  const { convertFloats } = await import('../passes/convert/convert.js');
  const made = await convertFloats(model, type, { keepIo: true });
  return { result: made.model, floats: made.account };
}

async function readPlan(file: string): Promise<readonly PlannedLayer[]> {
  const { readText } = await import('../graph/index.js');
  const { parsePlan } = await import('../compress/plan.js');
  const text = await readText(file);
  try {
    return parsePlan(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}

async function writeText(
  file: string,
  text: string,
  options: { readonly overwrite: boolean },
): Promise<void> {
  const { atomicWrite, MemorySource } = await import('../graph/index.js');
  await atomicWrite(file, new MemorySource(new TextEncoder().encode(text)), options);
}

/** Samples to calibrate on, and to measure quality with. */
interface Calibration extends AsyncDisposable {
  readonly train: Dataset;
  /** The result beside the original; undefined where only the calibration samples themselves are there and have no labels. */
  quality(original: Model, model: Model): Promise<CompressDocumentOptions['quality']>;
}

async function openCalibration(
  model: Model,
  args: Arguments,
  outputs: readonly Output[],
  io: Io,
): Promise<Calibration> {
  const onFiles = (files: readonly string[]): void => keepApart(outputs, files, io);
  const train = await openSamples(model, args, { preferred: ['train', 'validation', 'test'], onFiles });
  try {
    const test = await openSamples(model, args, { preferred: ['test', 'validation', 'train'], onFiles });
    return {
      train: train.dataset,
      quality: async (original, one) => {
        const { evaluateModels } = await import('../evaluate/evaluate.js');
        const models = [
          { name: 'before', model: original },
          { name: 'after', model: one },
        ];
        const { prediction: output, threads } = args;
        const options = { output, threads, resamples: RESAMPLES };
        try {
          return { report: await evaluateModels(models, test.dataset, options), part: test.name };
        } catch (error) {
          // What was compressed is not lost for targets that calibration does not read.
          if (!(error instanceof ModelError) || test.dataset.target === undefined) throw error;
          if (!args.quiet) await warn(`${error.message}; the models are compared by their outputs`, io);
          await using samples = await openSamples(
            model,
            { ...args, unlabeled: true },
            { preferred: ['test', 'validation', 'train'], onFiles },
          );
          return { report: await evaluateModels(models, samples.dataset, options), part: samples.name };
        }
      },
      [Symbol.asyncDispose]: async () => {
        await test[Symbol.asyncDispose]();
        await train[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await train[Symbol.asyncDispose]();
    throw error;
  }
}

const RESAMPLES = 1000;
