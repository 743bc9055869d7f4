import { posix, win32 } from 'node:path';
import type { Model } from '../../graph/index.js';
import type { TrainOptions } from '../../training/options.js';
import { type Given, refuse } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import { nameOf, print, writeModel } from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import type { COMMON_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { ProgressLine } from '../shell/progress.js';
import { StopSignal } from '../shell/stop-signal.js';
import type { Data } from './train-data.js';
import { TRAIN_ARGUMENTS } from './train-options.js';

/** What several models take; what else there is, their joint loss leaves no room for. */
const TAKEN: readonly (keyof typeof TRAIN_ARGUMENTS)[] = [
  'data',
  'val',
  'target',
  'values',
  'limit',
  'normalize',
  'crop',
  'flip',
  'shift',
  'optimizer',
  'learningRate',
  'momentum',
  'nesterov',
  'weightDecay',
  'weightDecayKind',
  'clipNorm',
  'warmup',
  'epochs',
  'batch',
  'seed',
  'schedule',
  'lrStep',
  'fromScratch',
  'threads',
  'diverse',
  'alignment',
];
const REFUSED = (Object.keys(TRAIN_ARGUMENTS) as (keyof typeof TRAIN_ARGUMENTS)[]).filter(
  (key) => !TAKEN.includes(key),
);

type Arguments = Given<typeof TRAIN_ARGUMENTS & typeof OUTPUT_OPTIONS & typeof COMMON_OPTIONS> & {
  readonly model: string;
  readonly collapse?: boolean | undefined;
  readonly resume?: boolean | undefined;
  readonly checkpoint?: string | undefined;
  readonly log?: string | undefined;
  readonly html?: string | undefined;
};

/** @throws UsageError for options that do not go with several models, or that need them */
export function checkDiverse(args: Arguments): void {
  const { diverse, alignment, output, dataFile } = args;
  if (diverse === undefined) {
    if (alignment !== undefined) throw new UsageError('--alignment goes with --diverse');
    return;
  }
  refuse(TRAIN_ARGUMENTS, args, REFUSED, 'goes without --diverse');
  const other = (['resume', 'checkpoint', 'log', 'html'] as const).find((key) => args[key]);
  if (other !== undefined) throw new UsageError(`--${other} goes without --diverse`);
  if (args.dryRun) throw new UsageError('--dry-run goes without --diverse');
  if (output === '-') throw new UsageError('--diverse writes several files: pass -o <file>');
  if (dataFile !== undefined)
    throw new UsageError('--data-file goes without --diverse, which writes several models');
}

/** The files of the models: net.onnx gives net-1.onnx, net-2.onnx … */
export function diverseOutputs(output: string, count: number): readonly string[] {
  const { dir, name, ext } = (process.platform === 'win32' ? win32 : posix).parse(output);
  return Array.from({ length: count }, (_, index) => {
    const base = `${name}-${index + 1}${ext}`;
    return dir === '' ? base : `${dir.replace(/[/\\]$/, '')}/${base}`;
  });
}

/** Trains the models, writes them beside one another, and holds them against each other on the samples of validation. */
export async function runDiverse(
  model: Model,
  data: Data,
  options: TrainOptions,
  args: Arguments & { readonly outputs: readonly string[] },
  io: Io,
): Promise<number> {
  const { trainDiverse } = await import('../../training/diverse/train-diverse.js');
  const stop = new StopSignal();
  const progress = new ProgressLine(io, args);
  const { epochs, batch, learningRate, schedule, warmup, weightDecay, weightDecayKind } = options;
  const { optimizer, optimizerOptions, clipNorm, fromScratch, seed, threads } = options;
  let result: Awaited<ReturnType<typeof trainDiverse>>;
  try {
    result = await trainDiverse(model, data.train, {
      ...{ epochs, batch, learningRate, schedule, warmup, weightDecay, weightDecayKind },
      ...{ optimizer, optimizerOptions, clipNorm, fromScratch, seed, threads },
      diverse: args.outputs.length,
      alignment: args.alignment,
      signal: stop.signal,
      onProgress: ({ epoch, step, steps, loss }) =>
        progress.update({ done: step, total: steps, what: `epoch ${epoch}, loss ${loss.toFixed(4)}` }),
    });
  } finally {
    progress.clear();
    stop.release();
  }
  if (result.reason === 'aborted') {
    await tell(io, `stopped after ${result.steps} steps; nothing was saved`);
    return stop.exitCode;
  }
  const { collapse } = await import('../../passes/collapse/collapse.js');
  for (const [index, one] of result.models.entries()) {
    if (args.collapse) await one.apply(collapse({ chainsOnly: true }));
    await writeModel(one, args.outputs[index] as string, args, io);
  }
  if (args.quiet && args.format === undefined) return 0;
  const { evaluateModels } = await import('../../evaluate/evaluate.js');
  const { qualityDocument } = await import('../../report/quality/document.js');
  const named = result.models.map((one, index) => ({ name: args.outputs[index] as string, model: one }));
  const report = await evaluateModels(named, data.test ?? data.validation ?? data.train);
  const document = qualityDocument(report, {
    data: `${data.path}${data.test === undefined ? (data.validation === undefined ? '' : ', samples held back') : ', test'}`,
    verbose: args.verbose,
  });
  if (!args.quiet)
    await tell(io, `${nameOf(args.model)}: ${result.models.length} models, ${result.steps} steps together`);
  await print(document, { format: args.format, verbose: args.verbose }, io);
  return 0;
}
