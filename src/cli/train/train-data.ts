import type { Model } from '../../graph/index.js';
import type { Split } from '../../training/data/options.js';
import type { Dataset } from '../../training/types.js';
import { UsageError } from '../shell/errors.js';
import { type DataArguments, dataOptionsOf, validationOf } from './train-options.js';

/** Samples to train on, to validate on, and to test with; to be disposed together. */
export interface Data extends AsyncDisposable {
  readonly path: string;
  readonly train: Dataset;
  readonly validation: Dataset | undefined;
  readonly test: Dataset | undefined;
}

const SHARE = 0.1;
const ENOUGH = 20;

/** Opens what `--data` and `--val` name, in the form that the model takes. */
export async function openData(
  model: Model,
  args: DataArguments,
  options: {
    readonly seed: number;
    readonly unlabeled: boolean;
    /** Hears which files are read, before they are. */
    readonly onFiles: (files: readonly string[]) => void;
  },
): Promise<Data> {
  const { data: path } = args;
  if (path === undefined) throw new UsageError('no data: pass --data <folder or file>');
  const wanted = validationOf(args.val);
  const { dataSources, datasetSplits, inputSpecs, openDataset, splitDataset } = await import(
    '../../training/data/index.js'
  );
  const inputs = inputSpecs(model);
  const { tokens } = dataOptionsOf(args);
  const common = {
    ...dataOptionsOf(args),
    inputs,
    unlabeled: options.unlabeled,
  };
  const opened: Dataset[] = [];
  const dispose = async (): Promise<void> => {
    for (const dataset of opened.splice(0).reverse()) await dataset[Symbol.asyncDispose]();
  };
  const open = async (from: string, preferred: readonly Split[]): Promise<Dataset> => {
    options.onFiles(dataSources(from, { tokens }));
    const parts = datasetSplits(from, { tokens });
    const split =
      preferred.find((name) => parts.includes(name)) ?? (parts.length > 0 ? preferred[0] : undefined);
    // Validation and test are of all their samples.
    const all = preferred[0] === 'train' ? common : { ...common, limit: undefined, augment: undefined };
    const dataset = await openDataset(from, { ...all, ...(split && { split }) });
    opened.push(dataset);
    return dataset;
  };
  try {
    const parts = datasetSplits(path, { tokens });
    const all = await open(path, ['train']);
    let [train, validation]: readonly [Dataset, Dataset | undefined] = [all, undefined];
    if (wanted !== undefined && 'path' in wanted) {
      validation = await open(wanted.path, ['validation', 'test', 'train']);
    } else if (wanted === undefined && parts.includes('validation')) {
      validation = await open(path, ['validation']);
    } else {
      const share = wanted?.share ?? SHARE;
      // A handful of samples is not worth to be split.
      const isEnough = wanted !== undefined || all.size >= ENOUGH;
      if (share > 0 && isEnough) [train, validation] = splitDataset(all, share, options.seed);
    }
    const test = parts.includes('test') ? await open(path, ['test']) : undefined;
    return { path, train, validation, test, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
