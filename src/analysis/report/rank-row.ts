import { type DataType, EPSILON, isFloatType } from '../../graph/index.js';
import type { RowExtras } from '../spectra/descriptors.js';
import { type SpectrumMetrics, spectrumMetrics } from '../spectra/metrics.js';
import { extrasOf } from '../spectra/row-extras.js';
import type { WeightSpectrum } from '../spectra/weight-spectrum.js';
import type { StoredUse } from '../weights/types.js';
import { nodesOf, type WeightMatrix } from '../weights/weights.js';

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

/** What a row says of a weight without its numbers. */
export type RankRowBase = Omit<RankRow, 'metrics' | 'problem' | 'extras' | 'singularValues' | 'copies'>;

/** What was computed of a weight: its singular values, and those of its elements in random order; or why there are none. */
export type RankSpectra =
  | { readonly spectrum: WeightSpectrum; readonly random?: WeightSpectrum | undefined }
  | { readonly problem: string };

/** What a row shows of a spectrum. */
export interface RankRowOptions {
  readonly spectra?: boolean | undefined;
  readonly extras?: boolean | undefined;
  readonly rank?: number | undefined;
}

export function rankRowBase(weight: WeightMatrix<StoredUse>): RankRowBase {
  const { name, uses, shape, rows, columns, dataType, chain } = weight;
  return {
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
}

/** The row of a weight: figures follow from its spectrum, whoever computed that. */
export function rankRow(base: RankRowBase, found: RankSpectra, options: RankRowOptions): RankRow {
  if ('problem' in found) return { ...base, metrics: undefined, problem: found.problem };
  const { values, resolution, copies, rows, columns } = found.spectrum;
  const of = { rows, columns, resolution };
  const epsilon = isFloatType(base.dataType) ? EPSILON[base.dataType] : undefined;
  const extras = extrasOf(values, { ...options, ...of, randomized: found.random?.values });
  return {
    ...base,
    rows,
    columns,
    ...(copies > 1 && { copies }),
    metrics: spectrumMetrics(values, { ...of, epsilon, copies }),
    problem: undefined,
    ...(extras && { extras }),
    ...(options.spectra === true && { singularValues: Array.from(values) }),
  };
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
