import type { Argv } from 'yargs';
import type { EmbeddingReport } from '../analysis/embeddings.js';
import type { Model } from '../graph/index.js';
import { UsageError } from './errors.js';
import { dimensions, number, once } from './options.js';
import { type EpChoice, type ProviderArguments, preference, providersOf } from './provider-options.js';
import type { ListArgument } from './rank-options.js';

const EMBEDDINGS = ['outputs', 'inputs'] as const;

/** What rank-report takes to run the model and look at what comes out. */
export interface EmbeddingArguments extends ProviderArguments {
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
    .option('random-data', {
      type: 'boolean',
      describe:
        'run the model on random inputs and report the effective rank of what its layers make of them',
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
      describe: 'name=size of a symbolic dimension of random inputs (default: 1); may repeat',
    }) as unknown as Argv<T & EmbeddingArguments>;
}

export interface EmbeddingRequest {
  readonly providers: EpChoice | readonly EpChoice[] | undefined;
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
  if (args.randomData !== true) {
    const given = (['samples', 'at', 'embeddings', 'dim'] as const).find((name) => args[name] !== undefined);
    if (given !== undefined) throw new UsageError(`--${given} goes with --random-data`);
    return undefined;
  }
  if (at.length > 0 && of !== undefined) throw new UsageError('--at or --embeddings, not both');
  return {
    providers,
    look: async (model, onProgress) => {
      const { embeddingReport } = await import('../analysis/embeddings.js');
      const only = [args.only ?? []].flat();
      const options = { samples, seed, at, of, only, providers, device, onProgress };
      return embeddingReport(model, { seed, dims }, options);
    },
  };
}
