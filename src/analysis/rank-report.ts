import { type DataType, EPSILON, isFloatType, type Model, ModelError, messageOf } from '../graph/index.js';
import type { KernelPool } from '../kernels/index.js';
import { findLinearSites, type LinearSite } from './linear-sites.js';
import { type MetricKey, RESOLUTION, type SpectrumMetrics, spectrumMetrics } from './metrics.js';

/** One weight of a model and what its spectrum says. */
export interface RankRow {
  /** The weight's name: its initializer's or, where nodes compute it, that of the value. */
  readonly weight: string;
  /** The nodes that use it, in the order of the graph. */
  readonly nodes: readonly string[];
  /** Their operators, each once. */
  readonly ops: readonly string[];
  readonly shape: readonly number[];
  /** The matricization: a Conv weight is out x (in/group * kernel), others are as stored. */
  readonly rows: number;
  readonly columns: number;
  readonly dataType: DataType;
  readonly parameters: number;
  /** Undefined where the weight has no spectrum; `problem` then says why. */
  readonly metrics: SpectrumMetrics | undefined;
  readonly problem: string | undefined;
  /** All min(rows, columns) singular values, descending; only where the report was asked for spectra. */
  readonly singularValues?: readonly number[];
}

/** A node with a linear operator whose weight is not in the report, and why. */
export interface NotLookedAt {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

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

export interface RankReport {
  /** The model's file, where it was read from one. */
  readonly model: string | undefined;
  readonly rows: readonly RankRow[];
  readonly notLookedAt: readonly NotLookedAt[];
  readonly total: RankTotal;
}

export interface RankReportOptions {
  /** Keep all singular values in the rows. Default false. */
  readonly spectra?: boolean;
  /** Weights at a time, each on its own thread: an integer from 1 to 64. Default: the processors, at most 8. */
  readonly concurrency?: number;
  /** Called before the first weight and after each. */
  readonly onProgress?: (progress: { done: number; total: number; what: string }) => void;
}

/** Matrices that are in memory at one time have at most this many bytes together (or there is only one). */
const IN_FLIGHT_BYTES = 512 * 2 ** 20;
/** Jacobi rotations take the place of the Gram matrix where they are cheap ... */
const JACOBI_ORDER = 64;
const JACOBI_SIZE = 1 << 18;
/** ... and tell something: below this share of the largest, a value of the Gram way starts to lose digits. */
const JACOBI_BELOW = 1e-3;

/**
 * Spectrum and ranks of every weight of every linear site (Gemm, MatMul, Conv, ConvTranspose with a constant
 * weight). A weight that several nodes share is one row.
 *
 * Weights are read, a few at a time, the largest first; memory grows with the largest of them and not with the
 * model.
 *
 * @throws ModelError where a weight can not be read; RangeError for options out of range
 * @example
 * const report = await rankReport(await readModel('model.onnx'));
 * for (const row of report.rows) console.log(row.weight, row.metrics?.effectiveRank);
 */
export async function rankReport(model: Model, options: RankReportOptions = {}): Promise<RankReport> {
  const { spectra = false, onProgress } = options;
  const { sites, others } = findLinearSites(model);
  const weights = groupByWeight(sites);
  const rows = new Array<RankRow | undefined>(weights.length);
  onProgress?.({ done: 0, total: weights.length, what: '' });
  if (weights.length > 0) {
    const { KernelPool } = await import('../kernels/index.js');
    await using pool = new KernelPool({ size: options.concurrency ?? (await defaultConcurrency()) });
    let done = 0;
    await largestFirst(weights, pool.size, async (weight, index) => {
      rows[index] = await lookAt(weight, pool, spectra);
      done += 1;
      onProgress?.({ done, total: weights.length, what: weight.name });
    });
  }
  const complete = rows.filter((row) => row !== undefined);
  return {
    model: model.path,
    rows: complete,
    notLookedAt: others.map(({ node, reason }) => ({ node: node.label, op: node.opType, reason })),
    total: totalOf(complete),
  };
}

/** The processors, but a machine of many cores gains nothing from many weights that wait for memory. */
async function defaultConcurrency(): Promise<number> {
  const { availableParallelism } = await import('node:os');
  return Math.min(8, availableParallelism());
}

interface Weight {
  readonly name: string;
  readonly sites: readonly [LinearSite, ...LinearSite[]];
}

/** Operators through which a matrix keeps its singular values. */
function keepsSpectrum(site: LinearSite): boolean {
  const { path, root } = site.weight;
  if (root === undefined || root.dataType !== site.weight.dataType) return false;
  return path.every(
    (step) => step.is('Constant', 'Identity') || (step.is('Transpose') && root.shape.length === 2),
  );
}

/** Sites that use one weight, in the order of the first; a transposed view of a matrix is the same weight. */
function groupByWeight(sites: readonly LinearSite[]): Weight[] {
  const byRoot = new Map<unknown, Map<string, [LinearSite, ...LinearSite[]]>>();
  const groups: [LinearSite, ...LinearSite[]][] = [];
  for (const site of sites) {
    const { weight } = site;
    const shared = keepsSpectrum(site);
    const owner = shared ? weight.root?.proto : weight.graph.proto;
    const dims = [site.rows, site.columns].sort((a, b) => a - b).join('x');
    const key = shared ? dims : `${weight.value} ${dims}`;
    const known = byRoot.get(owner) ?? new Map<string, [LinearSite, ...LinearSite[]]>();
    byRoot.set(owner, known);
    const group = known.get(key);
    if (group !== undefined) group.push(site);
    else {
      const fresh: [LinearSite] = [site];
      known.set(key, fresh);
      groups.push(fresh);
    }
  }
  return groups.map((group) => ({ name: weightName(group[0]), sites: group }));
}

function weightName({ weight }: LinearSite): string {
  // What a person knows the weight by: the initializer behind an Identity, Transpose or Cast.
  return weight.root?.name || weight.value;
}

async function lookAt(weight: Weight, pool: KernelPool, spectra: boolean): Promise<RankRow> {
  const [site] = weight.sites;
  const { rows, columns } = site;
  const { dataType, shape } = site.weight;
  const base = {
    weight: weight.name,
    nodes: weight.sites.map(({ node }) => node.label),
    ops: [...new Set(weight.sites.map(({ op }) => op))],
    shape,
    rows,
    columns,
    dataType,
    parameters: rows * columns,
  };
  if (rows * columns === 0) return { ...base, metrics: undefined, problem: 'the weight is empty' };
  const { data, m, n, isOwn } = await elements(site, weight.name);
  const problem = nonFinite(data);
  if (problem !== undefined) return { ...base, metrics: undefined, problem };
  // A small matrix may be needed once more, for the full decomposition.
  const isSmall = Math.min(rows, columns) <= JACOBI_ORDER && data.length <= JACOBI_SIZE;
  let values = await pool.singularValues(data, m, n, { transfer: isOwn && !isSmall });
  let resolution = RESOLUTION;
  if (isSmall && (values.at(-1) ?? 0) < JACOBI_BELOW * (values[0] ?? 0)) {
    const { smallSvd } = await import('../kernels/index.js');
    values = smallSvd(data, m, n).values;
    // The usual bound on the error of a computed singular value, relative to the largest.
    resolution = Math.max(rows, columns) * EPSILON.float64;
  }
  const epsilon = isFloatType(dataType) ? EPSILON[dataType] : undefined;
  return {
    ...base,
    metrics: spectrumMetrics(values, { rows, columns, epsilon, resolution }),
    problem: undefined,
    ...(spectra && { singularValues: Array.from(values) }),
  };
}

interface Elements {
  /** Row-major, m x n; the matricization or, of a transposed view, its transpose, whose spectrum is the same. */
  readonly data: Float32Array | Float64Array;
  readonly m: number;
  readonly n: number;
  /** True where nothing else holds the array, so that it may be handed to a thread. */
  readonly isOwn: boolean;
}

async function elements(site: LinearSite, name: string): Promise<Elements> {
  const { weight, rows, columns } = site;
  if (keepsSpectrum(site) && weight.root !== undefined) {
    const [m, n] = weight.path.some((step) => step.is('Transpose')) ? weight.root.shape : [rows, columns];
    return { data: weight.root.floats(), m: m ?? rows, n: n ?? columns, isOwn: isFresh(weight.root) };
  }
  const { evaluateConstant } = await import('../runtime/index.js');
  try {
    const tensor = await evaluateConstant(weight.graph, weight.value);
    return { data: tensor.floats(), m: rows, n: columns, isOwn: isFresh(tensor) };
  } catch (error) {
    const where = { node: site.node.label, tensor: name };
    throw new ModelError(`its weight could not be computed: ${messageOf(error)}`, where, { cause: error });
  }
}

/** True where every read makes a new array; memory that the model holds must not be handed over. */
function isFresh(tensor: { floats(start?: number, count?: number): Float32Array | Float64Array }): boolean {
  const [first, second] = [tensor.floats(0, 1), tensor.floats(0, 1)];
  return first.buffer !== second.buffer;
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

/** Runs a task for each weight, the most expensive first, `size` at a time and within the memory of IN_FLIGHT_BYTES. */
async function largestFirst(
  weights: readonly Weight[],
  size: number,
  task: (weight: Weight, index: number) => Promise<void>,
): Promise<void> {
  const cost = ({ sites: [{ rows, columns }] }: Weight): number => rows * columns * Math.min(rows, columns);
  const bytes = ({ sites: [{ rows, columns }] }: Weight): number =>
    8 * (rows * columns + Math.min(rows, columns) ** 2);
  const queue = weights
    .map((weight, index) => ({ weight, index }))
    .sort((a, b) => cost(b.weight) - cost(a.weight));
  const running = new Set<Promise<void>>();
  let inFlight = 0;
  try {
    for (const { weight, index } of queue) {
      const need = bytes(weight);
      while (running.size > 0 && (running.size >= size || inFlight + need > IN_FLIGHT_BYTES)) {
        await Promise.race(running);
      }
      inFlight += need;
      const job: Promise<void> = task(weight, index).finally(() => {
        running.delete(job);
        inFlight -= need;
      });
      running.add(job);
    }
    await Promise.all(running);
  } catch (error) {
    // The first failure is the report's; the rest end with the pool.
    for (const job of running) job.catch(() => undefined);
    throw error;
  }
}

function totalOf(rows: readonly RankRow[]): RankTotal {
  const total = {
    weights: rows.length,
    parameters: 0,
    effectiveRank: 0,
    numericalRank: 0,
    fullRank: 0,
    problems: 0,
  };
  let counted = 0;
  let weighted = 0;
  for (const row of rows) {
    total.parameters += row.parameters;
    if (row.metrics === undefined) {
      total.problems += 1;
      continue;
    }
    total.effectiveRank += row.metrics.effectiveRank;
    total.numericalRank += row.metrics.numericalRank;
    total.fullRank += Math.min(row.rows, row.columns);
    counted += row.parameters;
    weighted += row.parameters * row.metrics.effectiveRankRatio;
  }
  return { ...total, effectiveRankRatio: counted === 0 ? 0 : weighted / counted };
}

/** One weight in two reports. */
export interface RankChange {
  readonly weight: string;
  readonly a: RankRow;
  readonly b: RankRow;
  /** b - a for each metric; undefined where one of them has no spectrum. */
  readonly change: Readonly<Record<MetricKey, number>> | undefined;
}

export interface RankComparison {
  readonly a: RankReport;
  readonly b: RankReport;
  readonly rows: readonly RankChange[];
  /** Weights that only one of the models has, by name. */
  readonly onlyInA: readonly RankRow[];
  readonly onlyInB: readonly RankRow[];
}

/**
 * Two reports side by side, weight by weight. Weights are paired by name, those of one name in their order.
 *
 * @example
 * const { rows } = compareRankReports(before, after);
 * for (const { weight, change } of rows) console.log(weight, change?.effectiveRank);
 */
export function compareRankReports(a: RankReport, b: RankReport): RankComparison {
  const rest = new Map<string, RankRow[]>();
  for (const row of b.rows) {
    const same = rest.get(row.weight);
    if (same === undefined) rest.set(row.weight, [row]);
    else same.push(row);
  }
  const rows: RankChange[] = [];
  const onlyInA: RankRow[] = [];
  for (const row of a.rows) {
    const match = rest.get(row.weight)?.shift();
    if (match === undefined) onlyInA.push(row);
    else rows.push({ weight: row.weight, a: row, b: match, change: changeOf(row.metrics, match.metrics) });
  }
  const paired = new Set(rows.map((row) => row.b));
  return { a, b, rows, onlyInA, onlyInB: b.rows.filter((row) => !paired.has(row)) };
}

function changeOf(a: SpectrumMetrics | undefined, b: SpectrumMetrics | undefined): RankChange['change'] {
  if (a === undefined || b === undefined) return undefined;
  const difference = (key: MetricKey): number => (a[key] === b[key] ? 0 : b[key] - a[key]);
  return {
    effectiveRank: difference('effectiveRank'),
    effectiveRankRatio: difference('effectiveRankRatio'),
    spectralEntropy: difference('spectralEntropy'),
    stableRank: difference('stableRank'),
    numericalRank: difference('numericalRank'),
    rank90: difference('rank90'),
    rank95: difference('rank95'),
    rank99: difference('rank99'),
    conditionNumber: difference('conditionNumber'),
    spectralNorm: difference('spectralNorm'),
    frobeniusNorm: difference('frobeniusNorm'),
    nuclearNorm: difference('nuclearNorm'),
  };
}
