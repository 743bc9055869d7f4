import type { Model } from '../graph/index.js';
import { classNames } from '../graph/names/class-names.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { NORMALIZATIONS, type NormalizationName } from '../runtime/io/image-options.js';
import { DATA_OPTIONS, type DatasetOptions, type Split } from '../training/data/options.js';
import type { Dataset } from '../training/types.js';
import type { ImageChoice } from './run-inputs.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';

export const DATA = { group: 'Data' } as const;

/** Which samples, and how they are read. */
export const SAMPLE_ARGUMENTS = {
  data: {
    kind: 'text',
    ...DATA,
    help: 'folder or file: IDX (MNIST), CIFAR binary, .npy, .npz, CSV, a folder of images per class',
  },
  target: { ...DATA_OPTIONS.target, ...DATA },
  values: { kind: 'flag', ...DATA, help: 'integers in the target are quantities, not classes' },
  tokens: { ...DATA_OPTIONS.tokens, ...DATA },
  limit: { ...DATA_OPTIONS.limit, ...DATA },
  skipBad: { ...DATA_OPTIONS.skipBad, ...DATA },
  normalize: {
    kind: 'choice',
    choices: [...(Object.keys(NORMALIZATIONS) as NormalizationName[]), 'none'],
    ...DATA,
    defaultHelp: 'none, values from 0 to 1',
    help: 'mean and deviation of the pixels',
  },
} as const satisfies OptionDescriptors;

type SampleArguments = {
  readonly [Key in keyof typeof SAMPLE_ARGUMENTS]?: Given<typeof SAMPLE_ARGUMENTS>[Key] | undefined;
};

/** How the samples are read. */
export function readingOf({
  target,
  tokens,
  limit,
  values,
  skipBad,
  normalize,
}: Omit<SampleArguments, 'data'>): DatasetOptions {
  return {
    target,
    targetType: values ? 'value' : undefined,
    tokens,
    limit,
    skipBad,
    ...(normalize !== undefined && normalize !== 'none' && NORMALIZATIONS[normalize]),
  };
}

/** Samples of one part of the data, and what is said of it. */
export interface Samples extends AsyncDisposable {
  readonly dataset: Dataset;
  /** The path and the part: 'mnist, test part'. */
  readonly name: string;
  readonly notes: readonly string[];
}

/**
 * Opens what `--data` names, in the form that a model takes: the part that `--split` names, or the first there is of those
 * preferred; all of data in one piece.
 *
 * @param options.onFiles hears which files are read, before they are
 * @param images how they become tensors, beyond what `--normalize` says
 */
export async function openSamples(
  model: Model,
  args: SampleArguments & { readonly split?: Split | undefined; readonly unlabeled?: boolean | undefined },
  options: {
    readonly preferred: readonly Split[];
    readonly onFiles: (files: readonly string[]) => void;
  },
  images?: ImageChoice,
): Promise<Samples> {
  const { data: path, split: wanted, unlabeled } = args;
  if (path === undefined) throw new UsageError('no data: pass --data <folder or file>');
  const { dataSources, datasetSplits, inputSpecs, openDataset } = await import('../training/data/index.js');
  options.onFiles(dataSources(path, args));
  const parts = datasetSplits(path, args);
  const split = wanted ?? options.preferred.find((name) => parts.includes(name));
  const dataset = await openDataset(path, {
    ...readingOf(args),
    ...images,
    ...(images?.normalize && NORMALIZATIONS[images.normalize]),
    // A label is the class that the model calls so, whatever other classes the data has.
    classNames: classNames(model),
    inputs: inputSpecs(model),
    ...(unlabeled && { unlabeled }),
    ...(split !== undefined && { split }),
  });
  return {
    dataset,
    name: split === undefined ? `${path} (all of it: it is in one piece)` : `${path}, ${split} part`,
    notes: dataset.notes ?? [],
    [Symbol.asyncDispose]: () => dataset[Symbol.asyncDispose](),
  };
}
