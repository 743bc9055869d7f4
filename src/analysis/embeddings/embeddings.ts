import { type Model, ModelError } from '../../graph/index.js';
import { reading } from '../../graph/occupied.js';
import { checkOptions, defaultsOf } from '../../graph/option-descriptors.js';
import type { Skipped } from '../../graph/skipped.js';
import type { ProviderChoice } from '../../runtime/index.js';
import { findLayouts, type SampleLayout, valueGrams } from './embedding-grams.js';
import { type Classes, type EmbeddingMetrics, embeddingMetrics } from './embedding-metrics.js';
import {
  type Feeder,
  type RandomSource,
  randomFeeder,
  type SampleSource,
  sampleFeeder,
} from './embedding-source.js';
import { findTaps, type Tap, type TapOptions } from './embedding-taps.js';
import { EMBEDDING_OPTIONS } from './options.js';

/** One value of a model over all samples. */
export interface EmbeddingRow {
  readonly value: string;
  /** The nodes that make it or, of inputs, read it. */
  readonly nodes: readonly string[];
  readonly ops: readonly string[];
  /** Their weights, as a rank report names them. */
  readonly weights: readonly string[];
  /** Shape of the value of one sample; its features are its elements. Empty where it is not known. */
  readonly shape: readonly number[];
  readonly features: number;
  /** Undefined where there are none; `problem` then says why. */
  readonly metrics: EmbeddingMetrics | undefined;
  readonly problem: string | undefined;
}

/** What embeddingReport returns: the spectra of what a model makes of data, one row per value. */
export interface EmbeddingReport {
  readonly rows: readonly EmbeddingRow[];
  readonly samples: number;
  /** True of random inputs. */
  readonly isRandom: boolean;
  readonly of: 'outputs' | 'inputs' | 'chosen';
  /** Classes that the samples are of; undefined where they have no labels. */
  readonly classes: number | undefined;
  /** Samples of the smallest class. */
  readonly fewest: number | undefined;
  readonly notLookedAt: readonly Skipped[];
}

/** Options of embeddingReport. */
export interface EmbeddingOptions extends TapOptions {
  /** How many samples, drawn at random where there are more. Default 512. */
  readonly samples?: number | undefined;
  /** Of the choice of samples. Default 0. */
  readonly seed?: number | undefined;
  /** What the model runs on. The Gram matrices are computed on the CPU, in float64. */
  readonly providers?: ProviderChoice | undefined;
  readonly device?: number | undefined;
  /** Bytes of embeddings kept at a time; default 1 GiB. Less takes more runs, of the part of the model that is needed. */
  readonly memory?: number | undefined;
  /** Between two batches, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?:
    | ((progress: { readonly done: number; readonly total: number; readonly what: string }) => void)
    | undefined;
}

const MEMORY = 2 ** 30;

/**
 * The effective rank of embeddings (Huh et al., arXiv 2103.10427) and, of samples with labels, how far their classes
 * have collapsed (Papyan et al. 2020; Zangrando et al., arXiv 2402.03991), for what every node with a weight makes.
 *
 * The value of a sample is flattened to a vector of d features, and N samples give the N x N Gram matrix, in float64.
 *
 * @param source samples, or where random inputs come from
 * @throws OptionError for options out of range; PatternError for a pattern that matches no value; ProviderError for a provider that does
 *   not load here; ModelError where the model cannot be fed or does not run, or there are fewer than two samples
 * @example
 * const { rows } = await embeddingReport(model, { seed: 0 }, { samples: 256 });
 * for (const { nodes, metrics } of rows) console.log(nodes[0], metrics?.gramEffectiveRank);
 */
export async function embeddingReport(
  model: Model,
  source: SampleSource | RandomSource,
  options: EmbeddingOptions = {},
): Promise<EmbeddingReport> {
  return reading([model], 'the report of embeddings', () => reportOn(model, source, options));
}

async function reportOn(
  model: Model,
  source: SampleSource | RandomSource,
  options: EmbeddingOptions,
): Promise<EmbeddingReport> {
  options.signal?.throwIfAborted();
  const { memory = MEMORY, seed = 0, onProgress } = options;
  const { samples: wanted } = {
    ...defaultsOf(EMBEDDING_OPTIONS),
    ...checkOptions(EMBEDDING_OPTIONS, options),
  };
  const isRandom = !('batch' in source);
  const labels = new Map<number, number>();
  const feeder = noting(
    isRandom ? await randomFeeder(model, source) : await sampleFeeder(model, source),
    labels,
  );
  const { taps, others } = findTaps(model, options);
  const samples = await chosen(feeder, wanted, seed, model.path);
  const known = new Map<string, Pick<EmbeddingRow, 'shape' | 'features' | 'metrics' | 'problem'>>();
  const run = { samples, memory, providers: options.providers, device: options.device };
  const found =
    taps.length === 0
      ? new Map()
      : await findLayouts(
          model,
          taps.map(({ value }) => value),
          feeder,
          run,
        );
  const layouts = new Map<string, SampleLayout>();
  for (const [value, layout] of found) {
    if ('reason' in layout)
      known.set(value, { shape: [], features: 0, metrics: undefined, problem: layout.reason });
    else layouts.set(value, layout);
  }
  const onBatch: EmbeddingOptions['onProgress'] = (progress) => {
    options.signal?.throwIfAborted();
    onProgress?.(progress);
  };
  let classes: Classes | undefined;
  for await (const one of valueGrams(model, layouts, feeder, { ...run, onBatch })) {
    // Every sample has been fed before the first Gram matrix comes.
    classes ??= classesOf(labels, samples);
    const { shape = [], features = 0 } = layouts.get(one.value) ?? {};
    const problem = 'reason' in one ? one.reason : notFinite(one.gram, samples.length);
    const metrics =
      'reason' in one || problem !== undefined
        ? undefined
        : await embeddingMetrics(one.gram, samples.length, features, classes);
    known.set(one.value, { shape, features, metrics, problem });
  }
  const { at = [], of = 'outputs' } = options;
  return {
    rows: taps.map((tap) => rowOf(tap, known.get(tap.value))),
    samples: samples.length,
    isRandom,
    of: at.length > 0 ? 'chosen' : of,
    classes: classes?.count,
    fewest: classes && Math.min(...sizesOf(classes)),
    notLookedAt: others.map(({ node, reason }) => ({ node: node.label, op: node.opType, reason })),
  };
}

function rowOf(
  { value, nodes, weights }: Tap,
  found: Pick<EmbeddingRow, 'shape' | 'features' | 'metrics' | 'problem'> | undefined,
): EmbeddingRow {
  return {
    value,
    nodes: nodes.map((node) => node.label),
    ops: [...new Set(nodes.map((node) => node.opType))],
    weights,
    ...(found ?? { shape: [], features: 0, metrics: undefined, problem: 'it did not come out of the run' }),
  };
}

/** Which samples: a random choice, for files may hold one class after the other; in their order. */
async function chosen(
  { size, batch = 1 }: Feeder,
  wanted: number,
  seed: number,
  file: string | undefined,
): Promise<number[]> {
  const most = Math.min(wanted, size ?? wanted);
  const count = most - (most % batch);
  if (count < 2) {
    const why =
      batch > 1
        ? `it takes ${batch} samples at a time, more than the ${most} that there are or were asked for`
        : `the data has ${most} samples, and embeddings take at least 2`;
    throw new ModelError(why, { file });
  }
  if (size === undefined) return Array.from({ length: count }, (_, index) => index);
  const { Random } = await import('../../runtime/random.js');
  const random = new Random(seed, 'samples');
  const all = Uint32Array.from({ length: size }, (_, index) => index);
  for (let i = 0; i < count; i += 1) {
    const j = i + random.integer(size - i);
    [all[i], all[j]] = [all[j] as number, all[i] as number];
  }
  return Array.from(all.subarray(0, count).sort());
}

/** The classes of the samples, numbered in the order of their labels; undefined unless every sample has one. */
function classesOf(labels: ReadonlyMap<number, number>, samples: readonly number[]): Classes | undefined {
  if (!samples.every((sample) => labels.has(sample))) return undefined;
  const names = [...new Set(labels.values())].sort((a, b) => a - b);
  const place = new Map(names.map((name, index) => [name, index]));
  return {
    of: samples.map((sample) => place.get(labels.get(sample) ?? 0) ?? 0),
    count: names.length,
  };
}

/** A feeder that notes the labels which pass by, so that samples are read no more often than the model runs. */
function noting(feeder: Feeder, labels: Map<number, number>): Feeder {
  return {
    ...feeder,
    feeds: async (indices) => {
      const fed = await feeder.feeds(indices);
      for (const [order, label] of (fed.labels ?? []).entries()) labels.set(indices[order] ?? 0, label);
      return fed;
    },
  };
}

function sizesOf({ of, count }: Classes): number[] {
  const sizes = new Array<number>(count).fill(0);
  for (let i = 0; i < of.length; i += 1) sizes[of[i] as number] = (sizes[of[i] as number] ?? 0) + 1;
  return sizes;
}

function notFinite(gram: Float64Array, n: number): string | undefined {
  let bad = 0;
  for (let i = 0; i < n; i += 1) if (!Number.isFinite(gram[i * n + i])) bad += 1;
  return bad === 0 ? undefined : `it is NaN or infinite for ${bad} of ${n} samples`;
}
