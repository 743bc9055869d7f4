import type { EmbeddingReport } from '../analysis/embeddings/embeddings.js';
import { EMBEDDING_OPTIONS } from '../analysis/embeddings/options.js';
import type { Model } from '../graph/index.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { NORMALIZE_OPTION } from '../runtime/io/image-options.js';
import { RANDOM_INPUT_OPTIONS } from '../runtime/session/options.js';
import { DATA_OPTIONS } from '../training/data/options.js';
import type { Dataset } from '../training/types.js';
import { type Given, refuse } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { type ProviderArguments, preference, providersOf } from './shell/provider-options.js';

/** What rank-report takes to run the model and look at what comes out. */
export const EMBEDDING_ARGUMENTS = {
  data: {
    kind: 'text',
    help: "run the model on samples; report the rank of its layers' outputs and, with labels, how far the classes have collapsed: IDX (MNIST), CIFAR binary, .npy, .npz, CSV, a folder of images per class",
  },
  split: DATA_OPTIONS.split,
  target: DATA_OPTIONS.target,
  normalize: NORMALIZE_OPTION,
  randomData: { kind: 'flag', help: 'run the model on random inputs instead of samples' },
  ...EMBEDDING_OPTIONS,
  dims: RANDOM_INPUT_OPTIONS.dims,
} as const satisfies OptionDescriptors;

type EmbeddingArguments = Given<typeof EMBEDDING_ARGUMENTS> &
  ProviderArguments & { readonly only?: readonly string[]; readonly seed?: number };

export interface EmbeddingRequest {
  /** Runs the model; undefined where nothing was asked of it. */
  readonly look: (
    model: Model,
    onProgress: (progress: { done: number; total: number; what: string }) => void,
  ) => Promise<EmbeddingReport>;
}

/** What is asked of the embeddings; undefined where nothing is. */
export function embeddingRequest(args: EmbeddingArguments): EmbeddingRequest | undefined {
  const { samples, seed, dims = {}, at = [], of, data: path, randomData: isRandom = false, only = [] } = args;
  const { list, device } = providersOf(args);
  const providers = list && preference(list);
  if (path !== undefined && isRandom) throw new UsageError('--data or --random-data, not both');
  const isAsked = path !== undefined || isRandom;
  need(args, isAsked ? [] : ['samples', 'at', 'of'], '--data or --random-data');
  need(args, isRandom ? [] : ['dims'], '--random-data');
  need(args, path !== undefined ? [] : ['split', 'target', 'normalize'], '--data');
  if (!isAsked) return undefined;
  if (at.length > 0 && of !== undefined) throw new UsageError('--at or --embeddings, not both');
  return {
    look: async (model, onProgress) => {
      const { embeddingReport } = await import('../analysis/embeddings/embeddings.js');
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
  const { datasetSplits, inputSpecs, openDataset } = await import('../training/data/index.js');
  const { NORMALIZATIONS } = await import('../runtime/io/pixels.js');
  const { normalize, split, target } = args;
  return openDataset(path, {
    inputs: inputSpecs(model),
    target,
    ...((split !== undefined || datasetSplits(path).length > 0) && { split: split ?? 'train' }),
    ...(normalize !== undefined && NORMALIZATIONS[normalize]),
  });
}

function need(
  args: EmbeddingArguments,
  keys: readonly (keyof typeof EMBEDDING_ARGUMENTS)[],
  needed: string,
): void {
  refuse(EMBEDDING_ARGUMENTS, args, keys, `goes with ${needed}`);
}
