import { type DataType, EPSILON, isFloatType, isOutOfMemory, ModelError } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import type { ProductPlace } from '../../linalg/index.js';
import type { KernelPool } from '../../linalg/kernels/index.js';
import type { EmbeddingReport } from '../embeddings/embeddings.js';
import type { RowExtras } from '../spectra/descriptors.js';
import { type SpectrumMetrics, spectrumMetrics } from '../spectra/metrics.js';
import { extrasOf } from '../spectra/row-extras.js';
import { largestFirst, loadOf } from '../spectra/schedule.js';
import {
  type ConvView,
  type SpectrumOptions,
  type WeightSpectrum,
  weightSpectrum,
} from '../spectra/weight-spectrum.js';
import type { StoredUse } from '../weights/types.js';
import { type WeightStore, weightsOfStore } from '../weights/weight-store.js';
import { chosenBy, type Elements, elementsOf, nodesOf, type WeightMatrix } from '../weights/weights.js';
import { type ChainView, checkRankOptions } from './options.js';

/** One weight of a model and what its spectrum says. */
export interface RankRow {
  /** The weight's name: its initializer's or, where nodes compute it, that of the value. */
  readonly weight: string;
  /** The nodes that use it, in the order of the graph. */
  readonly nodes: readonly string[];
  /** Their operators, each once. */
  readonly ops: readonly string[];
  readonly shape: readonly number[];
  /** The matrix: a Conv weight is out x (in/group * kernel) unless `convView` says otherwise, others are as stored. */
  readonly rows: number;
  readonly columns: number;
  /** How many matrices of rows x columns there are (slices of a convolution); 1 unless given. */
  readonly copies?: number;
  readonly dataType: DataType;
  readonly parameters: number;
  /** Undefined where the weight has no spectrum; `problem` then says why. */
  readonly metrics: SpectrumMetrics | undefined;
  readonly problem: string | undefined;
  /** Where the weight belongs to a chain or another affine region: a part of it, or what it multiplies out to. */
  readonly chain?: {
    readonly role: 'factor' | 'product';
    readonly weight: string;
    /** The nodes that an affine region is; of products that folding it gave. */
    readonly from?: readonly string[];
  };
  /** The other figures; only where the report was asked for them. */
  readonly extras?: RowExtras;
  /** All min(rows, columns) singular values (of all copies), descending; only where the report was asked for spectra. */
  readonly singularValues?: readonly number[];
}

/** Of all rows, but for the products of chains whose factors are rows too. */
export interface RankTotal {
  readonly weights: number;
  readonly parameters: number;
  /** Sums over the weights that have a spectrum. */
  readonly effectiveRank: number;
  readonly numericalRank: number;
  /** What the sum of ranks could be: the sum of min(rows, columns). */
  readonly fullRank: number;
  /** Mean of effectiveRankRatio, each weight counted by its parameters; 0 where there is none. */
  readonly effectiveRankRatio: number;
  /** How many weights have no spectrum. */
  readonly problems: number;
}

/** What rankReport returns: one row per weight matrix, their sums, and what was skipped. */
export interface RankReport {
  /** The model's file, where it was read from one. */
  readonly model: string | undefined;
  readonly rows: readonly RankRow[];
  readonly notLookedAt: readonly Skipped[];
  readonly total: RankTotal;
  /** The rank that rankDistance is the distance to. */
  readonly rank?: number | undefined;
  /** How convolutions were looked at. */
  readonly convView?: ConvView;
  readonly inputSize?: number;
  /** What the model makes of data (embeddingReport), where that was looked at too. */
  readonly embeddings?: EmbeddingReport;
}

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
  /** Called as a weight is begun and when it is done. */
  readonly onProgress?: ((progress: RankProgress) => void) | undefined;
}

/**
 * Spectrum and ranks of every weight that findWeights finds in a model, or of every matrix of a checkpoint. A weight that
 * several nodes share is one row.
 *
 * Weights are read, a few at a time, the largest first; memory grows with the largest of them and not with the
 * model.
 *
 * @throws ModelError where a weight cannot be read; OptionError for options out of range
 * @example
 * const report = await rankReport(await readModel('model.onnx'));
 * for (const row of report.rows) console.log(row.weight, row.metrics?.effectiveRank);
 */
export async function rankReport(source: WeightStore, options: RankReportOptions = {}): Promise<RankReport> {
  const { onProgress, rank, convView = 'matricized', inputSize, only = [] } = options;
  checkRankOptions(options);
  if (options.products !== undefined) await checkPlace(options.products);
  const found = await weightsOfStore(source, options);
  const weights = found.weights.filter(typeof only === 'function' ? only : chosenBy(only));
  const rows = new Array<RankRow | undefined>(weights.length);
  if (weights.length > 0) {
    await using own = options.pool === undefined ? await ownPool(options.concurrency) : undefined;
    const pool = (options.pool ?? own) as KernelPool;
    const load = ({ rows: m, columns: n }: WeightMatrix<StoredUse>) => loadOf(m, n);
    const all = weights.reduce((sum, weight) => sum + load(weight).cost, 0) || 1;
    const running = new Set<string>();
    let [done, cost] = [0, 0];
    const tell = (): void => {
      onProgress?.({ done, total: weights.length, what: [...running].at(-1) ?? '', share: cost / all });
    };
    // One more than there are threads, so that it has been read when a thread is free.
    await largestFirst(weights, load, pool.size + 1, async (weight, index, later) => {
      running.add(weight.name);
      tell();
      rows[index] = await lookAt(weight, pool, { ...options, later });
      running.delete(weight.name);
      done += 1;
      cost += load(weight).cost;
      tell();
    });
  }
  const complete = rows.filter((row) => row !== undefined);
  return {
    model: source.path,
    rows: complete,
    notLookedAt: found.others.map(({ node, reason }) => ({ node: node.label, op: node.opType, reason })),
    total: rankTotal(complete),
    ...(rank !== undefined && { rank }),
    ...(convView !== 'matricized' && { convView }),
    ...(inputSize !== undefined && { inputSize }),
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

async function lookAt(
  weight: WeightMatrix<StoredUse>,
  pool: KernelPool,
  options: RankReportOptions,
): Promise<RankRow> {
  const { name, uses, shape, rows, columns, dataType, chain } = weight;
  const base = {
    weight: name,
    nodes: nodesOf(weight),
    ops: [...new Set(uses.map(({ op }) => op))],
    shape,
    rows,
    columns,
    dataType,
    parameters: rows * columns,
    ...(chain && { chain: { role: chain.role, weight: chain.weight } }),
  };
  if (rows * columns === 0) return { ...base, metrics: undefined, problem: 'the weight is empty' };
  const elements = elementsOf(weight);
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
    return { ...base, metrics: undefined, problem: nonFinite(data) ?? error.message };
  }
  const { values, resolution, copies } = spectrum;
  const of = { rows: spectrum.rows, columns: spectrum.columns, resolution };
  const epsilon = isFloatType(dataType) ? EPSILON[dataType] : undefined;
  const extras = extrasOf(values, { ...options, ...of, randomized: random?.values });
  return {
    ...base,
    rows: of.rows,
    columns: of.columns,
    ...(copies > 1 && { copies }),
    metrics: spectrumMetrics(values, { ...of, epsilon, copies }),
    problem: undefined,
    ...(extras && { extras }),
    ...(options.spectra === true && { singularValues: Array.from(values) }),
  };
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

/** The weights that a model has: products of chains count where their factors are not looked at. */
function counted(rows: readonly RankRow[]): readonly RankRow[] {
  const hasFactors = rows.some(({ chain }) => chain?.role === 'factor');
  return hasFactors ? rows.filter(({ chain }) => chain?.role !== 'product') : rows;
}

/** The sums of a report with these rows. */
export function rankTotal(all: readonly RankRow[]): RankTotal {
  const rows = counted(all);
  const total = {
    weights: rows.length,
    parameters: 0,
    effectiveRank: 0,
    numericalRank: 0,
    fullRank: 0,
    problems: 0,
  };
  let parameters = 0;
  let weighted = 0;
  for (const row of rows) {
    total.parameters += row.parameters;
    if (row.metrics === undefined) {
      total.problems += 1;
      continue;
    }
    total.effectiveRank += row.metrics.effectiveRank;
    total.numericalRank += row.metrics.numericalRank;
    total.fullRank += Math.min(row.rows, row.columns) * (row.copies ?? 1);
    parameters += row.parameters;
    weighted += row.parameters * row.metrics.effectiveRankRatio;
  }
  return { ...total, effectiveRankRatio: parameters === 0 ? 0 : weighted / parameters };
}
