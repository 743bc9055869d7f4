import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Model } from '../../graph/index.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { TrainPlan } from '../../training/events.js';
import type { TrainOptions } from '../../training/options.js';
import type { TrainResult } from '../../training/train.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { onFile, UsageError } from '../shell/errors.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, warn, writeModel } from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { keepApart, keepOutside, outputsOf } from '../shell/outputs.js';
import { onModel } from '../shell/provider-options.js';
import { StopSignal } from '../shell/stop-signal.js';
import { version } from '../shell/version.js';
import { type Data, openData } from './train-data.js';
import { checkDiverse, diverseOutputs, runDiverse } from './train-diverse.js';
import { scheduleOf, TRAIN_ARGUMENTS, trainOptionsOf } from './train-options.js';

const FILES = { group: 'Files' } as const;

const OPTIONS = {
  ...TRAIN_ARGUMENTS,
  ...OUTPUT_OPTIONS,
  collapse: { kind: 'flag', help: 'fold chains of linear layers after the training' },
  log: { kind: 'text', writes: true, ...FILES, help: 'log file: a line of JSON for each epoch' },
  html: { kind: 'text', writes: true, ...FILES, help: 'page with the curves, updated after each epoch' },
  checkpoint: {
    kind: 'text',
    writes: true,
    ...FILES,
    defaultHelp: '<output>.checkpoint, only when stopped',
    help: 'folder to save the state of the training in after each epoch',
  },
  resume: {
    kind: 'flag',
    default: false,
    ...FILES,
    help: 'resume from the checkpoint, to the same result as without the stop',
  },
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const trainCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 train model.onnx --data mnist -o trained.onnx', 'with the default settings')
      .example('$0 train model.onnx --data mnist -o t.onnx --from-scratch --epochs 5', 'from random weights')
      .example(
        '$0 train expanded.onnx --data mnist -o deploy.onnx --collapse --html log.html',
        'a chain model, folded at the end',
      )
      .example(
        '$0 train model.onnx --data photos -o t.onnx --freeze "layer[123].*" --lr 1e-4',
        'fine-tune the last layers',
      )
      .example('$0 train model.onnx --data mnist -o t.onnx --resume', 'go on after Ctrl-C')
      .example(
        '$0 train model.onnx --data mnist -o t.onnx --diverse 3 --alignment 1',
        'three models that rely on different features: t-1.onnx, t-2.onnx, t-3.onnx',
      )
      .example('$0 train model.onnx --data mnist --dry-run', 'what would be trained'),
  handler: async (args, io) => {
    checkDiverse(args);
    const settings = trainOptionsOf(args);
    const { diverse } = args;
    const output = await checkOutput({ ...args, overwrite: args.overwrite || diverse !== undefined }, io);
    const several =
      diverse === undefined || output === undefined ? undefined : diverseOutputs(output, diverse);
    for (const one of several ?? []) await checkOutput({ ...args, output: one }, io);
    const outputs = outputsOf({
      ...(several === undefined
        ? { '--output': output }
        : Object.fromEntries(several.map((one, index) => [`--diverse (${index + 1})`, one]))),
      '--log': args.log,
      '--html': args.html,
    });
    const { checkpoint, dataFile } = args;
    const weights = dataFile === undefined ? dataFile : join(dirname(output ?? ''), dataFile);
    keepApart([...outputs, ...outputsOf({ '--checkpoint': checkpoint, '--data-file': weights })], [], io);
    // Without --overwrite no file that exists is written.
    const replaced = args.overwrite || args.resume ? outputs : [];
    keepApart(replaced, [args.teacher].flat(), io);
    if (args.model === '-' && args.resume)
      throw new UsageError('--resume needs the file of the model, not standard input');
    const model = await loadModel(args.model, io, { ...args, outputs: replaced, inPlace: output });
    const { fedInputs } = await import('../../runtime/inputs/input-sizes.js');
    if (fedInputs(model.graph).length === 0)
      throw new UsageError(`${nameOf(args.model)} has no inputs to feed data to`);
    await using data = await openData(model, args, {
      seed: settings.seed ?? 0,
      unlabeled: args.teacher !== undefined,
      onFiles: (files) => keepApart(replaced, files, io),
    });
    if (!args.quiet) for (const note of data.train.notes ?? []) await tell(io, note);
    const { taught } = await import('./train-teacher.js');
    if (several !== undefined) {
      const complete = await withSchedule(model, data, settings, args);
      const all = { ...args, outputs: several };
      return await onModel(nameOf(args.model), () => runDiverse(model, data, complete, all, io));
    }
    await using lesson = await taught(data, settings, { ...args, outputs: replaced }, io);
    const options = await withSchedule(model, lesson.data, { ...settings, loss: lesson.loss }, args);
    if (args.dryRun) {
      await onModel(nameOf(args.model), () => dryRun(model, lesson.data, options, args, io));
      return 0;
    }
    // Awaited here: the data is disposed behind it.
    return await onModel(nameOf(args.model), () => run(model, lesson.data, options, { ...args, output }, io));
  },
};

/** What a user should know before the hours that a training takes. */
async function warnOf(plan: TrainPlan, io: Io): Promise<void> {
  const { planNotes } = await import('../../report/training/summary.js');
  for (const { text, tone } of planNotes(plan)) if (tone === 'warning') await warn(text, io);
}

/** The step schedule counts steps, which the data and the batch decide. */
async function withSchedule(
  model: Model,
  data: Data,
  options: TrainOptions,
  args: Arguments,
): Promise<TrainOptions> {
  const { stepsPerEpoch } = await import('../../training/plan.js');
  const { TRAIN_DEFAULTS } = await import('../../training/options.js');
  const complete = { ...options, validation: data.validation, test: data.test, dims: undefined };
  const steps = await onModel(nameOf(args.model), async () => stepsPerEpoch(model, data.train, complete));
  return { ...complete, schedule: scheduleOf(args, steps, options.epochs ?? TRAIN_DEFAULTS.epochs) };
}

async function dryRun(
  model: Model,
  data: Data,
  options: TrainOptions,
  args: Arguments,
  io: Io,
): Promise<void> {
  const { describeTraining } = await import('../../training/describe.js');
  const { planDocument } = await import('../../report/training/summary.js');
  const { plan, step } = await describeTraining(model, data.train, options);
  await summarize(planDocument(plan, step), args, io);
}

async function run(
  model: Model,
  data: Data,
  options: TrainOptions,
  args: Omit<Arguments, 'output'> & { readonly output: string | undefined },
  io: Io,
): Promise<number> {
  const { TrainLogFiles } = await import('./train-log-file.js');
  const { TrainProgress } = await import('./train-progress.js');
  const { train } = await import('../../training/train.js');
  const { isOfCheckpoint, removeCheckpoint } = await import('../../training/checkpoint.js');
  const { output } = args;
  const { checkpoint: given } = args;
  const directory = given ?? (output === undefined || output === '-' ? undefined : `${output}.checkpoint`);
  if (args.resume && directory === undefined) throw new UsageError('--resume needs --checkpoint <folder>');
  if (
    directory !== undefined &&
    !args.resume &&
    !args.overwrite &&
    existsSync(join(directory, 'checkpoint.json'))
  ) {
    throw new UsageError(
      `${directory} has a checkpoint: pass --resume to go on from it, or --overwrite to begin anew`,
    );
  }
  if (directory !== undefined) {
    const files = { '--output': output, '--log': args.log, '--html': args.html };
    keepOutside(outputsOf(files), directory, isOfCheckpoint);
  }
  const logs = new TrainLogFiles(
    { log: args.log, page: args.html },
    { tool: version(), time: new Date().toISOString(), model: nameOf(args.model), data: data.path },
  );
  await logs.begin(args);
  const stop = new StopSignal();
  const progress = new TrainProgress(io, args);
  const training = train(model, data.train, {
    ...options,
    ...(directory !== undefined && {
      checkpoint: { directory, when: given === undefined ? 'stop' : 'epoch' },
    }),
    resume: args.resume,
    signal: stop.signal,
  });
  let result: TrainResult;
  let plan: TrainPlan | undefined;
  try {
    for await (const event of training) {
      if (event.kind === 'start') {
        plan = event.plan;
        if (!args.quiet) await warnOf(plan, io);
      }
      progress.take(event);
      await logs.take(event);
    }
    result = await training.result();
  } catch (error) {
    progress.clear();
    await logs.fail(error);
    throw error;
  } finally {
    progress.clear();
    stop.release();
  }
  if (result.reason === 'aborted') {
    const where =
      directory === undefined
        ? 'nothing was saved'
        : `its state is in ${directory}; --resume goes on from there`;
    await tell(io, `stopped in epoch ${result.epochs + 1} after ${result.steps} steps; ${where}`);
    return stop.exitCode;
  }
  if (args.collapse) {
    const { collapse } = await import('../../passes/collapse/collapse.js');
    await onFile(nameOf(args.model), () => model.apply(collapse({ chainsOnly: true })));
  }
  if (output !== undefined) await writeModel(model, output, args, io);
  if (given === undefined && directory !== undefined && args.resume) await removeCheckpoint(directory);
  const { trainDocument } = await import('../../report/training/summary.js');
  await summarize(trainDocument(result, { output, verbose: args.verbose, plan }), { ...args, output }, io);
  return 0;
}
