import type { Loss } from '../../passes/gradient/index.js';
import type { TrainOptions } from '../../training/options.js';
import { refuse } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import { loadModel, nameOf } from '../shell/files.js';
import type { Io } from '../shell/io.js';
import type { Output } from '../shell/outputs.js';
import { onModel } from '../shell/provider-options.js';
import type { Data } from './train-data.js';
import { TRAIN_ARGUMENTS, type TrainArguments } from './train-options.js';

const LABELLED = ['smoothing', 'ignoreIndex'] as const;

/** What is learnt from the data: its labels, or what a teacher says. */
export interface Lesson extends AsyncDisposable {
  readonly data: Data;
  readonly loss: Loss | undefined;
}

/** The data with the targets and the loss that the command line asks for. */
export async function taught(
  data: Data,
  settings: TrainOptions,
  args: TrainArguments & {
    readonly quiet: boolean;
    readonly verbose: boolean;
    readonly outputs: readonly Output[];
  },
  io: Io,
): Promise<Lesson> {
  const { loss: kind, smoothing, ignoreIndex, temperature, teacher: file } = args;
  if (kind !== undefined && kind !== 'cross-entropy')
    refuse(TRAIN_ARGUMENTS, args, LABELLED, 'goes with --loss cross-entropy');
  if (file === undefined) {
    if (temperature !== undefined) throw new UsageError('--temperature goes with --teacher');
    const isLabelled = smoothing !== undefined || ignoreIndex !== undefined;
    const loss: Loss | undefined = isLabelled
      ? { kind: 'cross-entropy', smoothing, ignoreIndex }
      : kind && { kind };
    return { data, loss, [Symbol.asyncDispose]: async () => undefined };
  }
  const { distilled } = await import('../../training/distill.js');
  const teacher = await loadModel(file, io, args);
  const loss: Loss =
    kind === undefined || kind === 'cross-entropy'
      ? { kind: 'cross-entropy', targets: 'probabilities', ...(temperature !== undefined && { temperature }) }
      : { kind };
  const { providers, threads } = settings;
  const made = await onModel(nameOf(file), async () => {
    const ask = (dataset: Data['train']) =>
      distilled(dataset, teacher, { loss: loss.kind, temperature, providers, threads });
    const train = await ask(data.train);
    const validation = data.validation && (await ask(data.validation));
    const test = data.test && (await ask(data.test));
    return { train, validation, test };
  });
  return {
    data: { ...data, ...made },
    loss,
    [Symbol.asyncDispose]: async () => {
      for (const dataset of Object.values(made)) await dataset?.[Symbol.asyncDispose]();
    },
  };
}
