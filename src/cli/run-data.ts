import { classNames } from '../graph/names/class-names.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import type { ProviderChoice } from '../runtime/index.js';
import { DATA_OPTIONS } from '../training/data/options.js';
import type { ImageChoice } from './run-inputs.js';
import { DATA, openSamples, SAMPLE_ARGUMENTS } from './sample-data.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { loadModel, nameOf } from './shell/files.js';
import { type Io, tell, write } from './shell/io.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { onModel } from './shell/provider-options.js';

/** What `run` takes for all samples of a folder or file. */
export const RUN_DATA_OPTIONS = {
  data: { ...SAMPLE_ARGUMENTS.data, help: `predictions for all samples of a ${SAMPLE_ARGUMENTS.data.help}` },
  split: {
    ...DATA_OPTIONS.split,
    default: undefined,
    ...DATA,
    defaultHelp: 'test, or all of data in one piece',
  },
  target: SAMPLE_ARGUMENTS.target,
  unlabeled: { ...DATA_OPTIONS.unlabeled, ...DATA },
  limit: SAMPLE_ARGUMENTS.limit,
  skipBad: SAMPLE_ARGUMENTS.skipBad,
} as const satisfies OptionDescriptors;

/** Those of them that need `--data`. */
export const RUN_DATA_KEYS = (Object.keys(RUN_DATA_OPTIONS) as (keyof typeof RUN_DATA_OPTIONS)[]).filter(
  (key) => key !== 'data',
);

type Arguments = Given<typeof RUN_DATA_OPTIONS> & {
  readonly data: string;
  readonly model: string;
  readonly output?: string | undefined;
  readonly overwrite: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly top?: number | undefined;
  readonly labels: readonly string[] | undefined;
  readonly images: ImageChoice | undefined;
  readonly run: {
    readonly providers: ProviderChoice;
    readonly device?: number | undefined;
    readonly threads?: number | undefined;
    readonly batch?: number | undefined;
  };
};

const TOP = 5;

/** Writes what a model makes of each sample as a line of CSV. */
export async function runOnData(args: Arguments, io: Io): Promise<number> {
  const { output, images, labels: listed } = args;
  if (output === undefined || !(output === '-' || output.toLowerCase().endsWith('.csv')))
    throw new UsageError(
      '--data makes a table of predictions: pass -o <file>.csv, or -o - for standard output',
    );
  if (images?.layout !== undefined) throw new UsageError('--layout does not go with --data');
  const { assertWritable, MemorySource, ModelError } = await import('../graph/index.js');
  const { atomicWrite } = await import('../graph/io/atomic.js');
  const { ConcatSource } = await import('../graph/io/source.js');
  if (output !== '-') await assertWritable(output, { overwrite: args.overwrite });
  const outputs = args.overwrite ? outputsOf({ '--output': output }) : [];
  const model = await loadModel(args.model, io, { ...args, outputs });
  await using samples = await openSamples(
    model,
    args,
    { preferred: ['test', 'validation', 'train'], onFiles: (files) => keepApart(outputs, files, io) },
    images,
  );
  const { dataset } = samples;
  if (!args.quiet) for (const note of samples.notes) await tell(io, note);
  const own = classNames(model);
  const hasLabels = dataset.target?.type === 'int64' && dataset.target.shape.length === 0;
  const hasTarget = dataset.target?.shape.every((dim) => dim === 1) ?? false;
  const isClassifier = listed !== undefined || own !== undefined || hasLabels;
  const top = args.top ?? (isClassifier ? TOP : undefined);
  const { predictSamples } = await import('../evaluate/predict.js');
  const { predictionHeader, predictionLine } = await import('../report/quality/predictions.js');
  const columns = { top, labels: listed ?? own ?? dataset.classes, classes: dataset.classes, hasTarget };
  const parts: Uint8Array[] = [];
  const encoder = new TextEncoder();
  const put = async (text: string): Promise<void> => {
    if (output === '-') await write(io, text);
    else parts.push(encoder.encode(text));
  };
  const progress = new ProgressLine(io, args);
  let [done, lines] = [0, ''];
  try {
    await onModel(nameOf(args.model), async () => {
      for await (const one of predictSamples(model, dataset, { top, ...args.run })) {
        if (listed !== undefined && one.classes.some(({ class: index }) => index >= listed.length))
          throw new ModelError(`has ${listed.length} names, but the model has more classes`);
        if (done === 0) lines = predictionHeader(one, columns);
        lines += predictionLine(one, columns);
        done += 1;
        if (lines.length > LINES) {
          await put(lines);
          lines = '';
        }
        progress.update({ done, total: dataset.size, what: 'samples' });
      }
    });
  } finally {
    progress.clear();
  }
  await put(lines);
  if (output !== '-')
    await atomicWrite(output, new ConcatSource(parts.map((part) => new MemorySource(part))), args);
  if (!args.quiet)
    await tell(
      io,
      `predictions for ${done} samples (${samples.name})${output === '-' ? '' : ` written to ${output}`}`,
    );
  return 0;
}

/** Characters that are written at a time. */
const LINES = 1 << 16;
