import { EPSILON, isFloatType } from '../../graph/index.js';
import { norm2 } from '../../linalg/decompose.js';
import { type GramEigen, gramEigen } from '../../linalg/gram-eigen.js';
import { type Matrix, matmul } from '../../linalg/index.js';
import { figureOf } from '../spectra/descriptors.js';
import { matrixLike, type WeightPair, weightDelta } from '../weights/weight-delta.js';
import type { WeightStore } from '../weights/weight-store.js';
import { chosenBy } from '../weights/weights.js';
import { type RankReport, type RankReportOptions, type RankRow, rankReport } from './rank-report.js';

/** What a training changed in one weight. */
export interface DeltaRow extends RankRow {
  /** ‖W1 - W0‖F / ‖W0‖F; undefined where W0 is zero or is not at hand. */
  readonly relativeChange: number | undefined;
  /** Singular values of W1 - W0 beyond the bulk that random elements would have (Marchenko-Pastur), and beyond the rounding of W0 and W1. */
  readonly spikes: number | undefined;
  /**
   * How much of the r leading directions of W1 - W0 lies in those of W0, r its spikes, at least 1: ‖UΔᵀ U0‖F² / r, from 0 to 1 (Hu et al.
   * 2021, arXiv 2106.09685, section 7.3). Directions are singular vectors of the shorter side; two random subspaces overlap by r / min(m, n).
   */
  readonly overlap: number | undefined;
  /**
   * Of the ten leading directions of W1, those that no single direction of W0 resembles, all |cos| < 0.5: intruder dimensions
   * (Shuttleworth et al. 2024, arXiv 2410.21228).
   */
  readonly newDirections: number | undefined;
}

/** What deltaReport returns: a row per weight that both models have. */
export interface DeltaReport extends Omit<RankReport, 'rows'> {
  readonly base: string | undefined;
  readonly rows: readonly DeltaRow[];
}

const LEADING = 10;
const SIMILAR = 0.5;

/**
 * What a training changed: the spectrum and ranks of W1 - W0 of each weight, how large it is, and how its directions lie to those that were
 * there. `tuned` may be an adapter, whose product is W1 - W0.
 *
 * @param options as rankReport has them; `spectra` and `extras` are taken
 * @throws ModelError where a weight cannot be read; OptionError for options out of range
 * @example
 * const { rows } = await deltaReport(await readModel('base.onnx'), await readModel('tuned.onnx'));
 * for (const { weight, metrics, spikes } of rows) console.log(weight, metrics?.effectiveRank, spikes);
 */
export async function deltaReport(
  base: WeightStore,
  tuned: WeightStore,
  options: RankReportOptions = {},
): Promise<DeltaReport> {
  const { only = [] } = options;
  const delta = await weightDelta(base, tuned);
  const chosen = delta.pairs.filter(({ delta: weight }) =>
    typeof only === 'function' ? only(weight) : chosenBy(only)(weight),
  );
  const list = { ...delta, weights: chosen.map((pair) => pair.delta) };
  const report = await rankReport(list, { ...options, only: [], extras: true, spectra: true });
  const rows: DeltaRow[] = [];
  for (const [index, row] of report.rows.entries()) {
    const pair = chosen[index] as WeightPair;
    const { singularValues = [], ...rest } = row;
    const sides = await sidesOf(pair, row);
    const beyond = singularValues.filter((value) => value > (sides?.rounding ?? 0)).length;
    const fitted = figureOf(row, 'mpSpikes');
    // Of a change of low rank the bulk is rounding, which the fit may take for directions.
    const spikes = fitted === undefined ? undefined : Math.min(fitted, beyond);
    rows.push({
      ...rest,
      ...(options.spectra === true && { singularValues }),
      spikes,
      ...(await directions(pair, row, sides, spikes)),
    });
  }
  return { ...report, base: base.path, rows };
}

type Directions = Pick<DeltaRow, 'relativeChange' | 'overlap' | 'newDirections'>;

/** The weight before and, where it is at hand, after, by the directions of their shorter side. */
interface Sides {
  readonly old: GramEigen;
  readonly fresh: GramEigen | undefined;
  /** What a singular value of W1 - W0 may be by rounding W0 and W1 to their type alone. */
  readonly rounding: number;
}

async function sidesOf({ before, after }: WeightPair, { metrics }: RankRow): Promise<Sides | undefined> {
  if (metrics === undefined || before.uses[0].data.factors !== undefined) return undefined;
  const old = await vectorsOf(await matrixLike(before, before));
  const isChanged = after.uses[0].data.factors === undefined && metrics.frobeniusNorm > 0;
  const fresh = isChanged ? await vectorsOf(await matrixLike(after, before)) : undefined;
  const { rows: m, columns: n, dataType } = before;
  const epsilon = isFloatType(dataType) ? EPSILON[dataType] : EPSILON.float32;
  const rms = Math.sqrt((old.squaredNorm + (fresh?.squaredNorm ?? 0)) / (m * n));
  return { old, fresh, rounding: epsilon * rms * (Math.sqrt(m) + Math.sqrt(n)) };
}

function vectorsOf(matrix: Matrix): Promise<GramEigen> {
  const { rows, columns } = matrix;
  return gramEigen({ load: () => matrix }, Math.min(rows, columns), rows <= columns ? 'rows' : 'columns');
}

async function directions(
  { before, delta }: WeightPair,
  { metrics }: RankRow,
  sides: Sides | undefined,
  spikes: number | undefined,
): Promise<Directions> {
  const nothing = { relativeChange: undefined, overlap: undefined, newDirections: undefined };
  if (metrics === undefined || sides === undefined) return nothing;
  const { old, fresh } = sides;
  const norm = Math.sqrt(old.squaredNorm);
  const relativeChange = norm > 0 ? metrics.frobeniusNorm / norm : undefined;
  if (fresh === undefined || !(norm > 0)) return { ...nothing, relativeChange };
  const short = Math.min(before.rows, before.columns);
  const r = Math.max(1, Math.min(short, Math.round(spikes ?? 1)));
  const change = await vectorsOf(await matrixLike(delta, before));
  const leading = (vectors: Float64Array, count: number): Matrix => ({
    rows: count,
    columns: short,
    data: vectors.subarray(0, count * short),
  });
  const common = await matmul(leading(change.vectors, r), leading(old.vectors, r), { transposeB: true });
  const overlap = norm2(common.data) ** 2 / r;
  const count = Math.min(LEADING, short);
  const cosines = await matmul(leading(fresh.vectors, count), leading(old.vectors, short), {
    transposeB: true,
  });
  const isNew = (row: number): boolean =>
    cosines.data.subarray(row * short, (row + 1) * short).every((value) => Math.abs(value) < SIMILAR);
  const newDirections = Array.from({ length: count }, (_, row) => isNew(row)).filter(Boolean).length;
  return { relativeChange, overlap, newDirections };
}
