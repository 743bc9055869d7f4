import { isOutOfMemory, ModelError } from '../../graph/index.js';
import { sha256 } from '../../graph/io/digest.js';
import type { Skipped } from '../../graph/skipped.js';
import type { ProductPlace } from '../../linalg/index.js';
import type { KernelPool } from '../../linalg/kernels/index.js';
import { type Load, largestFirst, loadOf } from '../spectra/schedule.js';
import { type SpectrumOptions, type WeightSpectrum, weightSpectrum } from '../spectra/weight-spectrum.js';
import type { StoredUse } from '../weights/types.js';
import { type WeightStore, weightsOfStore } from '../weights/weight-store.js';
import { chosenBy, type Elements, elementsOf, type WeightMatrix } from '../weights/weights.js';
import { type ChainView, checkRankOptions } from './options.js';
import { type RankRowBase, type RankSpectra, rankRowBase } from './rank-row.js';

/** How far a rank report is; what `onProgress` is called with. */
export interface RankProgress {
  /** Weights. */
  readonly done: number;
  readonly total: number;
  /** The weight that is being looked at, of several the one begun last. */
  readonly what: string;
  /** The share of the work that is done, a weight of m x n counting m n min(m, n). */
  readonly share: number;
}

/** Options of rankReport. */
export interface RankReportOptions extends SpectrumOptions {
  /** Keep all singular values in the rows. Default false. */
  readonly spectra?: boolean | undefined;
  /** The figures of EXTRA_METRICS too, but for those of randomized matrices. Default false. */
  readonly extras?: boolean | undefined;
  /**
   * Compare each spectrum with that of the matrix with its elements permuted (RANDOMIZED_METRICS): twice the work.
   * Default false.
   */
  readonly randomized?: boolean | undefined;
  /** Of the permutations. Default 0. */
  readonly seed?: number | undefined;
  /** A rank of at least 0: rows then have the distance to the nearest matrix of that rank. */
  readonly rank?: number | undefined;
  /** Globs: only weights one of whose names (its own, its nodes') matches one of them; or a choice. Default all. */
  readonly only?: readonly string[] | ((weight: WeightMatrix<StoredUse>) => boolean) | undefined;
  /** Of chains that `expand` wrote: the factors, what they multiply out to, or both (the default). */
  readonly chains?: ChainView | undefined;
  /** Weights at a time, each on its own thread: an integer from 1 to 64. Default: the processors, at most 8. */
  readonly concurrency?: number | undefined;
  /** Threads to work on, which stay open; default: some of its own. */
  readonly pool?: KernelPool | undefined;
  /** Between two weights, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called as a weight is begun and when it is done. */
  readonly onProgress?: ((progress: RankProgress) => void) | undefined;
}

/** A model as a report says it, without the numbers: known before any weight is read. */
export interface RankInput {
  readonly model: string | undefined;
  readonly weights: readonly RankRowBase[];
  readonly notLookedAt: readonly Skipped[];
}

/** The weights that a report looks at. */
export interface RankPlan {
  readonly input: RankInput;
  readonly weights: readonly WeightMatrix<StoredUse>[];
}

/** What is done with spectra as they come, in no order. */
export interface SpectraSink {
  /** @param digest SHA-256 of the elements that were read, where `digests` asks for it */
  found(index: number, spectra: RankSpectra, digest: string | undefined): void;
  readonly digests?: boolean;
}

/** @throws OptionError for options out of range */
export async function rankPlan(source: WeightStore, options: RankReportOptions): Promise<RankPlan> {
  const { only = [] } = options;
  checkRankOptions(options);
  if (options.products !== undefined) await checkPlace(options.products);
  const found = await weightsOfStore(source, options);
  const weights = found.weights.filter(typeof only === 'function' ? only : chosenBy(only));
  return {
    input: {
      model: source.path,
      weights: weights.map(rankRowBase),
      notLookedAt: found.others.map(({ node, reason }) => ({ node: node.label, op: node.opType, reason })),
    },
    weights,
  };
}

/** Work on a weight. */
export function rankLoad({ rows, columns }: Pick<RankRowBase, 'rows' | 'columns'>): Load {
  return loadOf(rows, columns);
}

/**
 * The spectra of weights, a few at a time, the largest first; memory grows with the largest of them and not with the model.
 *
 * @param chosen numbers of weights; all unless given
 */
export async function computeSpectra(
  plan: RankPlan,
  options: RankReportOptions,
  sink: SpectraSink,
  chosen: readonly number[] = plan.weights.map((_, index) => index),
): Promise<void> {
  const weights = chosen.map((index) => ({ index, weight: plan.weights[index] as WeightMatrix<StoredUse> }));
  if (weights.length === 0) return;
  const { onProgress } = options;
  await using own = options.pool === undefined ? await ownPool(options.concurrency) : undefined;
  const pool = (options.pool ?? own) as KernelPool;
  const all = weights.reduce((sum, { weight }) => sum + rankLoad(weight).cost, 0) || 1;
  const running = new Set<string>();
  let [done, cost] = [0, 0];
  const tell = (): void => {
    onProgress?.({ done, total: weights.length, what: [...running].at(-1) ?? '', share: cost / all });
  };
  const load = ({ weight }: (typeof weights)[number]): Load => rankLoad(weight);
  // One more than there are threads, so that it has been read when a thread is free.
  await largestFirst(weights, load, pool.size + 1, async ({ weight, index }, _, later) => {
    options.signal?.throwIfAborted();
    running.add(weight.name);
    tell();
    const hashed = sink.digests === true ? digested(elementsOf(weight)) : undefined;
    const found = await spectraOf(weight, hashed ?? elementsOf(weight), pool, { ...options, later });
    sink.found(index, found, hashed?.digest());
    running.delete(weight.name);
    done += 1;
    cost += rankLoad(weight).cost;
    tell();
  });
}

/** SHA-256 of the elements of a weight, as computeSpectra gives it. */
export async function elementsDigest(weight: WeightMatrix<StoredUse>): Promise<string> {
  const elements = digested(elementsOf(weight));
  if (weight.uses[0].data.factors === undefined && weight.rows * weight.columns > 0) await elements.read();
  return elements.digest();
}

interface DigestedElements extends Elements {
  digest(): string;
}

/** Elements that are hashed when they are read; a thread that read them in the file would not show them. */
function digested(elements: Elements): DigestedElements {
  let digest = '';
  return {
    ...elements,
    stored: undefined,
    read: async () => {
      const found = await elements.read();
      const { buffer, byteOffset, byteLength } = found.data;
      if (digest === '')
        digest = sha256()
          .update(new Uint8Array(buffer, byteOffset, byteLength))
          .digest('hex');
      return found;
    },
    digest: () => digest,
  };
}

/** Before any work: a provider that does not load, or has no kernel for it. */
async function checkPlace(place: ProductPlace): Promise<void> {
  const { gram } = await import('../../linalg/gram.js');
  await gram({ rows: 32, columns: 32, data: new Float32Array(1024) }, 'rows', { place });
}

async function ownPool(size: number | undefined): Promise<KernelPool> {
  return (await import('../spectra/rank-pool.js')).rankPool(size);
}

async function spectraOf(
  weight: WeightMatrix<StoredUse>,
  elements: Elements,
  pool: KernelPool,
  options: RankReportOptions,
): Promise<RankSpectra> {
  const { name, uses, rows, columns } = weight;
  if (rows * columns === 0) return { problem: 'the weight is empty' };
  let spectrum: WeightSpectrum;
  let random: WeightSpectrum | undefined;
  try {
    spectrum = await weightSpectrum(weight, elements, pool, options);
    // Elements of a product that is never formed have no order.
    if (options.randomized === true && uses[0].data.factors === undefined)
      random = await weightSpectrum(weight, permuted(elements, options.seed, name), pool, options);
  } catch (error) {
    // Elements that are not finite, or a view that does not fit this convolution. Only now is it worth a look at all of
    // them, which may be in a thread and are read again.
    if (isOutOfMemory(error)) {
      throw new ModelError(
        'there is not enough memory for its spectrum; leave it out with `only`, or run where there is more',
        { tensor: name },
        { cause: error },
      );
    }
    if (!(error instanceof RangeError)) throw error;
    const { data } = await elements.read();
    return { problem: nonFinite(data) ?? error.message };
  }
  return { spectrum, random };
}

/** The elements in random order. */
function permuted({ m, n, read }: Elements, seed: number | undefined, name: string): Elements {
  return {
    m,
    n,
    read: async () => {
      const [{ data }, { permuteElements }] = await Promise.all([
        read(),
        import('../spectra/spectral-extras.js'),
      ]);
      return { data: permuteElements(data, seed ?? 0, name), isOwn: true };
    },
  };
}

function nonFinite(data: Float32Array | Float64Array): string | undefined {
  let nan = 0;
  let infinite = 0;
  for (let i = 0; i < data.length; i += 1) {
    const value = data[i] as number;
    if (Number.isFinite(value)) continue;
    if (Number.isNaN(value)) nan += 1;
    else infinite += 1;
  }
  if (nan + infinite === 0) return undefined;
  const found = [nan > 0 && `${nan} NaN`, infinite > 0 && `${infinite} infinite`]
    .filter(Boolean)
    .join(' and ');
  return `${found} of ${data.length} elements`;
}
