import type { Argv } from 'yargs';
import type { EmbeddingReport } from '../analysis/embeddings/embeddings.js';
import type { Model } from '../graph/index.js';
import type { Dataset } from '../training/types.js';
import type { ListArgument } from './rank-options.js';
import { UsageError } from './shell/errors.js';
import { dimensions, number, once } from './shell/options.js';
import { type ProviderArguments, preference, providersOf } from './shell/provider-options.js';

const EMBEDDINGS = ['outputs', 'inputs'] as const;
/** As SPLITS and NORMALIZATIONS, without loading what reads data for a line of help; a test holds them together. */
export const SPLIT_CHOICES = ['train', 'validation', 'test'] as const;
export const NORMALIZE_CHOICES = ['imagenet', 'cifar10', 'cifar100', 'mnist'] as const;

/** What rank-report takes to run the model and look at what comes out. */
export interface EmbeddingArguments extends ProviderArguments {
  readonly data: string | undefined;
  readonly split: (typeof SPLIT_CHOICES)[number] | undefined;
  readonly target: string | undefined;
  readonly normalize: (typeof NORMALIZE_CHOICES)[number] | undefined;
  readonly randomData: boolean | undefined;
  readonly samples: number | undefined;
  readonly at: ListArgument;
  readonly embeddings: (typeof EMBEDDINGS)[number] | undefined;
  readonly dim: string | readonly string[] | undefined;
  readonly only: ListArgument;
  readonly seed: number | undefined;
}

export function embeddingOptions<T>(parser: Argv<T>): Argv<T & EmbeddingArguments> {
  return parser
    .option('data', {
      type: 'string',
      requiresArg: true,
      describe:
        'run the model on samples and report the rank of what its layers make of them and, with labels, how far the classes have collapsed: IDX (MNIST), CIFAR binary, .npy, .npz, CSV, a folder of images a class',
    })
    .option('split', {
      choices: SPLIT_CHOICES,
      requiresArg: true,
      describe: 'of data in several parts (default: train)',
    })
    .option('target', {
      type: 'string',
      requiresArg: true,
      describe: 'where the labels are: a column of a CSV file, an array of an .npz file',
    })
    .option('normalize', {
      choices: NORMALIZE_CHOICES,
      requiresArg: true,
      describe: 'mean and deviation of pixels (default: none, values from 0 to 1)',
    })
    .option('random-data', {
      type: 'boolean',
      describe: 'the same on random inputs',
    })
    .option('samples', {
      type: 'number',
      requiresArg: true,
      describe: 'so many, drawn at random (default: 512)',
    })
    .option('embeddings', {
      choices: EMBEDDINGS,
      requiresArg: true,
      describe: 'what layers with weights make, or what they read (default: outputs)',
    })
    .option('at', {
      type: 'string',
      requiresArg: true,
      describe: "instead, the values whose name or node matches, like 'layer4*'; may repeat",
    })
    .option('dim', {
      type: 'string',
      requiresArg: true,
      describe: 'size of an open dimension of random inputs, name=4 or x[1]=4 (default: 1); may repeat',
    }) as unknown as Argv<T & EmbeddingArguments>;
}

export interface EmbeddingRequest {
  /** Runs the model; undefined where nothing was asked of it. */
  readonly look: (
    model: Model,
    onProgress: (progress: { done: number; total: number; what: string }) => void,
  ) => Promise<EmbeddingReport>;
}

/** What is asked of the embeddings; undefined where nothing is. */
export function embeddingRequest(args: EmbeddingArguments): EmbeddingRequest | undefined {
  const samples = number(args.samples, '--samples', { min: 2, whole: true });
  const seed = number(args.seed, '--seed', { min: 0, whole: true });
  const dims = dimensions(args.dim);
  const at = [args.at ?? []].flat();
  const of = once(args.embeddings, '--embeddings');
  const { list, device } = providersOf(args);
  const providers = list && preference(list);
  const path = once(args.data, '--data');
  const isRandom = args.randomData === true;
  if (path !== undefined && isRandom) throw new UsageError('--data or --random-data, not both');
  const isAsked = path !== undefined || isRandom;
  refuse(args, isAsked ? [] : ['samples', 'at', 'embeddings'], '--data or --random-data');
  refuse(args, isRandom ? [] : ['dim'], '--random-data');
  refuse(args, path !== undefined ? [] : ['split', 'target', 'normalize'], '--data');
  if (!isAsked) return undefined;
  if (at.length > 0 && of !== undefined) throw new UsageError('--at or --embeddings, not both');
  return {
    look: async (model, onProgress) => {
      const { embeddingReport } = await import('../analysis/embeddings/embeddings.js');
      const only = [args.only ?? []].flat();
      const options = { samples, seed, at, of, only, providers, device, onProgress };
      if (path === undefined) return embeddingReport(model, { seed, dims }, options);
      const dataset = await openSamples(path, model, args);
      try {
        return await embeddingReport(model, dataset, options);
      } finally {
        await dataset[Symbol.asyncDispose]();
      }
    },
  };
}

async function openSamples(path: string, model: Model, args: EmbeddingArguments): Promise<Dataset> {
  const { datasetSplits, openDataset } = await import('../training/data/index.js');
  const { NORMALIZATIONS } = await import('../runtime/io/pixels.js');
  const { dataInputs } = await import('./shell/data-inputs.js');
  const normalize = once(args.normalize, '--normalize');
  const split = once(args.split, '--split');
  return openDataset(path, {
    inputs: await dataInputs(model),
    target: once(args.target, '--target'),
    ...((split !== undefined || datasetSplits(path).length > 0) && { split: split ?? 'train' }),
    ...(normalize !== undefined && NORMALIZATIONS[normalize]),
  });
}

function refuse(
  args: EmbeddingArguments,
  names: readonly (keyof EmbeddingArguments)[],
  needed: string,
): void {
  const given = names.find((name) => args[name] !== undefined);
  if (given !== undefined) throw new UsageError(`--${given} goes with ${needed}`);
}
