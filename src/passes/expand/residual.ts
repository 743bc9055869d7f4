import type { LinearSite } from '../../affine/linear-site.js';
import { EPSILON } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import { decompose, norm2 } from '../../linalg/decompose.js';
import { squaredSizes } from '../../linalg/even-scales.js';
import { type Floats, joined, transposed } from '../../linalg/floats.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';
import { semiOrthogonal } from '../../linalg/orthogonal.js';
import { productTolerance } from '../../linalg/product-tolerance.js';
import { Random } from '../../runtime/random.js';
import { type Dropped, droppedPart, middleFactor } from './balanced.js';
import { noisy, PLAIN, relativeError, type SiteFactors, tooNarrow } from './factors.js';
import { splitKernel, widen } from './kernel-split.js';
import { type ChainSettings, isFresh } from './options.js';
import { alphaBeside, type ChainPlan, factorSizes, type Skip, tapOf } from './plan.js';

/** Factors that make up for the connections around them. */
export async function residualSiteFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<SiteFactors | Reason> {
  const { seed, noise } = settings;
  const { rank, factors, dropped } = await compensatedFactors(site, plan, settings);
  if (factors === undefined) return tooNarrow(site, plan, rank, settings);
  const isAround = plan.skips.some(
    ({ from, to, isLearned }) => from === 0 && to === plan.depth && !isLearned,
  );
  const sizes = factorSizes(site, plan);
  const noises = new Random(`${seed}/${site.weight.value}/noise`);
  return {
    ...PLAIN,
    // Around all layers, the factors make something else than the weight.
    rank: isAround ? undefined : rank,
    error: relativeError(dropped),
    factors: factors.map((data, index) => ({
      index,
      make: async () => {
        const factor = site.factorOfOutIn(data, sizes[index] as (typeof sizes)[number]);
        return noise === 0 ? factor : noisy(factor, noise, noises);
      },
    })),
  };
}

/** An identity of more than so many times the norm of a weight is not added to it: its rounding would show in what is left. */
const MOST_IDENTITY = 6;

/** The same of each output and input channel: those that are off by more are not the same function, however small they are. */
function mostBeside(epsilon: number, identities: number): number {
  return Math.min(64, productTolerance(epsilon) / (2 * epsilon * identities));
}

/** The plan without the identities around its first layers that a small weight would drown in. */
export async function fittingPlan(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<ChainPlan> {
  const isEarly = (skip: ChainPlan['skips'][number]): boolean => skip.from === 0 && !skip.isLearned;
  const early = plan.skips.filter(isEarly);
  if (early.length === 0 || isFresh(settings.init)) return plan;
  const { type, matrices } = await site.matrices();
  const squares = matrices.map((matrix) => site.channelSquares(squaredSizes(matrix.load())));
  const norm = Math.sqrt(squares.reduce((sum, { rows }) => rows.reduce((all, one) => all + one, sum), 0));
  const identity = Math.sqrt(site.groups * site.inputs);
  const each = squares.flatMap(({ rows, columns }) => [...rows, ...columns]).filter((square) => square > 0);
  const least = Math.sqrt(each.reduce((most, square) => Math.min(most, square), Number.POSITIVE_INFINITY));
  const isLarge = norm * MOST_IDENTITY >= identity;
  if (isLarge && least * mostBeside(EPSILON[type], early.length) >= 1) return plan;
  const last = Math.max(...early.map(({ to }) => to));
  const [what, own, other] = isLarge
    ? ['a row or column of its weight is', least, 1]
    : ['its weight is', norm, identity];
  const why = `no residual around layers 1-${last}: ${what} too small beside an identity (norms ${own.toPrecision(2)} and ${other.toPrecision(2)}), whose rounding would show`;
  return { ...plan, skips: plan.skips.filter((skip) => !isEarly(skip)), without: [...plan.without, why] };
}

/** What stands in for the factors of a chain with residual connections: those, group by group, that make up for them. */
async function compensatedFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<{
  readonly rank: number;
  /** outputs x (inputs * kernel) of the groups, consecutive; undefined where the rank does not fit. */
  readonly factors: readonly Floats[] | undefined;
  readonly dropped: readonly Dropped[];
}> {
  const { type, matrices } = await site.matrices();
  const { depth, perGroup, skips, isSplit, kernels } = plan;
  const identities = skips.filter(({ isLearned }) => !isLearned);
  const alpha = alphaBeside(site, plan);
  const inputs = site.inputs;
  const tap = tapOf(site);
  const init = settings.init === 'identity' || settings.init === 'orthogonal' ? settings.init : 'balanced';
  const blocks: Floats[][] = Array.from({ length: depth }, () => []);
  const dropped: Dropped[] = [];
  let rank = 0;
  let isTooNarrow = false;
  for (const [group, source] of matrices.entries()) {
    const random = new Random(`${settings.seed}/${site.weight.value}/${group}`);
    const target = scaled(site.orientation === 'out-in' ? source.load() : turned(source.load()), alpha);
    const task = { target, inputs, tap, depth, hidden: perGroup, skips: identities };
    const result: ResidualFactors = isSplit
      ? await splitKernel(
          lessIdentity(target, inputs, tap),
          inputs,
          kernels,
          perGroup,
          init === 'identity' ? 'identity' : 'balanced',
          EPSILON[type],
          random,
        )
      : await residualFactors(
          { ...task, init, epsilon: EPSILON[type], allowLossy: settings.allowLossy },
          random,
        );
    rank = Math.max(rank, result.rank);
    if (result.factors === undefined) {
      isTooNarrow = true;
      continue;
    }
    if (result.dropped !== undefined)
      dropped.push({ dropped: result.dropped.dropped / alpha ** 2, all: norm2(source.load().data) ** 2 });
    for (const [i, factor] of result.factors.entries())
      blocks[i]?.push(i === depth - 1 ? scaled(factor, 1 / alpha).data : factor.data);
  }
  return { rank, factors: isTooNarrow ? undefined : blocks.map(joined), dropped };
}

function lessIdentity(matrix: Matrix, inputs: number, tap: number): Matrix {
  const data = new Float64Array(matrix.data);
  const width = matrix.columns / inputs;
  for (let i = 0; i < inputs; i += 1) (data[i * matrix.columns + i * width + tap] as number) -= 1;
  return { ...matrix, data };
}

function scaled(matrix: Matrix, factor: number): Matrix {
  if (factor === 1) return matrix;
  const data = new Float64Array(matrix.data);
  for (let i = 0; i < data.length; i += 1) (data[i] as number) *= factor;
  return { ...matrix, data };
}

function turned({ rows, columns, data }: Matrix): Matrix {
  return { rows: columns, columns: rows, data: transposed(data, rows) };
}

/** What a chain with identities around some of its layers is to compute. */
export interface ResidualTask {
  /** outputs x (inputs * taps). */
  readonly target: Matrix;
  readonly inputs: number;
  /** The tap that the identity around the first layer stands at. */
  readonly tap: number;
  readonly depth: number;
  readonly hidden: number;
  /** The identities; learned projections begin with zeros and do not count. */
  readonly skips: readonly Skip[];
  readonly init: 'balanced' | 'identity' | 'orthogonal';
  /** Machine epsilon of the weight's type. */
  readonly epsilon: number;
  readonly allowLossy: boolean;
}

export interface ResidualFactors {
  /** Of what the factors have to make. */
  readonly rank: number;
  /** outputs x inputs, the first outputs x (inputs * taps), in the order of application; undefined where the rank does not fit. */
  readonly factors: readonly Matrix[] | undefined;
  readonly dropped?: Dropped;
}

/**
 * Factors of a chain with residual connections that computes W exactly.
 *
 * With W = P s Q^T let every layer but the first be E a E^T (the last P a E^T) and the first E a Q^T, E orthonormal and a one
 * number for each singular value, the same in all layers. These commute, so that the chain multiplies each singular
 * direction by the sum over its paths of a to the power of the layers on the path. That is 0 for a = 0 and grows, so that there is
 * one a >= 0 for each s: all layers have the same spectrum (as balanced ones have without connections, where a = s^(1/depth)),
 * and nothing cancels.
 *
 * Connections that begin at the chain's input do not commute with the others. An identity around all layers is taken off W
 * beforehand; what goes around the first few layers off what these have to make, by the same again. Where such connections
 * overlap so that there is no value that all of them end at or before, and with the init 'identity', the later layers are
 * identities times a number and the first makes up for all: (W - k I) / l with l the sum over the paths through it, k over those
 * around it.
 */
async function residualFactors(task: ResidualTask, random: Random): Promise<ResidualFactors> {
  const { init, depth, skips, epsilon } = task;
  const solution = await solve(task, { target: task.target, first: 1, last: depth, skips }, random);
  if (init !== 'orthogonal' || solution.factors === undefined) return solution;
  const factors = await rotated(solution.factors, task, epsilon < 1e-10, random);
  return { ...solution, factors };
}

/** Some consecutive layers, the map that they are to be, and the connections within. */
interface Part {
  readonly target: Matrix;
  readonly first: number;
  readonly last: number;
  readonly skips: readonly Skip[];
}

async function solve(task: ResidualTask, part: Part, random: Random): Promise<ResidualFactors> {
  const { first, last } = part;
  const around = part.skips.filter(({ from, to }) => from === first - 1 && to === last).length;
  const target = less(part.target, around, task);
  if (first === last) return { rank: Math.min(target.rows, target.columns), factors: [target] };
  const skips = part.skips.filter(({ from, to }) => from >= first && to <= last);
  const early = part.skips.filter(({ from, to }) => from === first - 1 && to < last);
  const cut = firstCut(first, [...early, ...skips]);
  if (task.init === 'identity' || cut === last)
    return identities(task, { target, first, last, skips }, early, random);
  return balanced(task, { target, first, last, skips: [...early, ...skips] }, cut, random);
}

/** The first value from `first` on that all connections from before `first` end at or before, and that none goes around. */
function firstCut(first: number, skips: readonly Skip[]): number {
  let cut = first;
  for (let isMoving = true; isMoving; ) {
    const beyond = skips.filter(({ from, to }) => from < cut && to > cut).map(({ to }) => to);
    isMoving = beyond.length > 0;
    cut = Math.max(cut, ...beyond);
  }
  return cut;
}

/** The matrix less so many identities. */
function less(matrix: Matrix, count: number, { inputs, tap }: ResidualTask): Matrix {
  if (count === 0) return matrix;
  const taps = matrix.columns / inputs;
  const data = new Float64Array(matrix.data);
  for (let i = 0; i < Math.min(matrix.rows, inputs); i += 1) {
    (data[i * matrix.columns + i * taps + tap] as number) -= count;
  }
  return { ...matrix, data };
}

async function balanced(
  task: ResidualTask,
  part: Part,
  cut: number,
  random: Random,
): Promise<ResidualFactors> {
  const { hidden, epsilon, allowLossy } = task;
  const { target, first, last, skips } = part;
  const { rows, columns } = target;
  const decomposition = await decompose({ rows, columns, load: () => target }, epsilon, 'never');
  const all = decomposition.values;
  if (all.length > hidden && !allowLossy) return { rank: all.length, factors: undefined };
  const inner = skips.filter(({ from }) => from >= cut);
  const sums = pathSum(cut, last, inner);
  const kept = all.subarray(0, hidden);
  const weights = kept.map((value) => layerWeight(sums, cut - first + 1, value));
  const ones = new Float64Array(all.length).fill(1);
  const p = firstColumns(await decomposition.left(ones), kept.length);
  // What the first layers have to make: s over what the later ones multiply it by. Values that do not fit get zeros.
  const heads = ones.map((_, i) =>
    i < kept.length ? (kept[i] as number) / evaluated(sums, weights[i] as number) : 0,
  );
  const { data } = await decomposition.right(heads);
  const head: Matrix = { rows: kept.length, columns, data: data.subarray(0, kept.length * columns) };
  // A connection from a hidden value to the output makes their bases one.
  const basis = inner.some(({ to }) => to === last) ? p : undefined;
  const before = await solve(
    task,
    {
      target: basis === undefined ? moreRows(head, hidden, random) : await matmul(basis, head),
      first,
      last: cut,
      skips: skips.filter(({ to }) => to <= cut),
    },
    random,
  );
  if (before.factors === undefined) return before;
  const factors = [...before.factors];
  for (let layer = cut + 1; layer < last; layer += 1) {
    factors.push(
      basis === undefined
        ? middleFactor(weights, hidden, random, rootMeanSquare(weights))
        : await matmul(scaledColumns(basis, weights), basis, { transposeB: true }),
    );
  }
  const tail = scaledColumns(p, weights);
  factors.push(
    basis === undefined ? moreColumns(tail, hidden) : await matmul(tail, basis, { transposeB: true }),
  );
  return { rank: all.length, factors, ...(all.length > hidden && { dropped: droppedPart(all, hidden) }) };
}

/**
 * The first layer makes up for all connections, the others are identities times a number alike. With 1 the number of paths, and
 * with it what cancels, would grow as 2^depth; with some 1 / depth it stays below e for each interval.
 */
function identities(
  { depth, hidden, inputs, tap }: ResidualTask,
  { target, first, last, skips }: Part,
  early: readonly Skip[],
  random: Random,
): ResidualFactors {
  const outputs = target.rows;
  if (outputs > hidden) return { rank: outputs, factors: undefined };
  const weight = 2 ** -Math.ceil(Math.log2(depth));
  const pathsFrom = (value: number): number => evaluated(pathSum(value, last, skips), weight);
  const through = pathsFrom(first);
  const around = early.reduce((sum, { to }) => sum + pathsFrom(to), 0);
  const taps = target.columns / inputs;
  const part = new Float64Array(target.data);
  for (let i = 0; i < part.length; i += 1) (part[i] as number) /= through;
  const head = Float64Array.from(moreRows({ ...target, data: part }, hidden, random).data);
  for (let i = 0; around > 0 && i < Math.min(hidden, inputs); i += 1) {
    (head[i * target.columns + i * taps + tap] as number) -= around / through;
  }
  const identity = (rows: number): Matrix => {
    const square = new Float64Array(rows * hidden);
    for (let i = 0; i < rows; i += 1) square[i * hidden + i] = weight;
    return { rows, columns: hidden, data: square };
  };
  const middle = Array.from({ length: last - first - 1 }, () => identity(hidden));
  const factors = [{ rows: hidden, columns: target.columns, data: head }, ...middle, identity(outputs)];
  return { rank: outputs, factors };
}

/** With the hidden values that no connection ties to the chain's ends turned at random, those tied to one another alike. */
async function rotated(
  factors: readonly Matrix[],
  { depth, hidden, skips }: ResidualTask,
  isDouble: boolean,
  random: Random,
): Promise<Matrix[]> {
  const out = isDouble ? 'float64' : 'float32';
  const roots = Array.from({ length: depth + 1 }, (_, value) => value);
  const rootOf = (value: number): number => {
    let root = value;
    while (roots[root] !== root) root = roots[root] as number;
    return root;
  };
  for (const { from, to } of skips) roots[rootOf(to)] = rootOf(from);
  const rotations = new Map<number, Matrix>();
  const turned = [...factors];
  for (let value = 1; value < depth; value += 1) {
    const root = rootOf(value);
    if (root === rootOf(0) || root === rootOf(depth)) continue;
    const rotation = rotations.get(root) ?? (await semiOrthogonal(hidden, hidden, true, random));
    rotations.set(root, rotation);
    turned[value - 1] = await matmul(rotation, turned[value - 1] as Matrix, { out });
    turned[value] = await matmul(turned[value] as Matrix, rotation, { transposeB: true, out });
  }
  return turned;
}

function moreRows({ rows, columns, data }: Matrix, hidden: number, random: Random): Matrix {
  return widen(
    { outputs: rows, inputs: columns, taps: 1, data },
    { outputs: hidden, inputs: columns },
    random,
  );
}

/** Zeros: what is behind them changes nothing. */
function moreColumns(matrix: Matrix, columns: number): Matrix {
  const data = new Float64Array(matrix.rows * columns);
  for (let i = 0; i < matrix.rows; i += 1) {
    data.set(matrix.data.subarray(i * matrix.columns, (i + 1) * matrix.columns), i * columns);
  }
  return { rows: matrix.rows, columns, data };
}

function firstColumns({ rows, columns, data }: Matrix, count: number): Matrix {
  if (count === columns) return { rows, columns, data };
  const kept = new Float64Array(rows * count);
  for (let i = 0; i < rows; i += 1) kept.set(data.subarray(i * columns, i * columns + count), i * count);
  return { rows, columns: count, data: kept };
}

function scaledColumns({ rows, columns, data }: Matrix, scale: Float64Array): Matrix {
  const scaled = new Float64Array(data);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) (scaled[i * columns + j] as number) *= scale[j] as number;
  }
  return { rows, columns, data: scaled };
}

function rootMeanSquare(values: Float64Array): number {
  return norm2(values) / Math.sqrt(Math.max(1, values.length));
}

/** A polynomial with coefficients of at least 0, by rising powers. */
export type Polynomial = readonly number[];

/**
 * The sum over the paths from one value of a chain to a later one, in which each layer counts as a factor a and each connection
 * as 1.
 */
function pathSum(from: number, to: number, skips: readonly Skip[]): Polynomial {
  const sums = new Map<number, Polynomial>([[from, [1]]]);
  for (let value = from + 1; value <= to; value += 1) {
    const sum = [0, ...(sums.get(value - 1) ?? [])];
    for (const skip of skips) {
      if (skip.to !== value) continue;
      for (const [power, count] of (sums.get(skip.from) ?? []).entries()) {
        sum[power] = (sum[power] ?? 0) + count;
      }
    }
    sums.set(value, sum);
  }
  return sums.get(to) ?? [];
}

export function evaluated(polynomial: Polynomial, a: number): number {
  return polynomial.reduceRight((sum, coefficient) => sum * a + coefficient, 0);
}

/**
 * The a > 0 for which a^layers times the polynomial is `value` > 0, in front of which stand so many layers without a
 * connection. As a function of ln a its logarithm is convex and grows, so that Newton's steps from above converge from
 * above.
 */
function layerWeight(polynomial: Polynomial, layers: number, value: number): number {
  const degree = layers + polynomial.length - 1;
  // The path through all layers alone would need this much.
  let a = value ** (1 / degree);
  for (let step = 0; step < 100; step += 1) {
    const sum = evaluated(polynomial, a);
    const slope = layers + (a * evaluated(derivative(polynomial), a)) / sum;
    const excess = layers * Math.log(a) + Math.log(sum / value);
    const next = a * Math.exp(-excess / slope);
    if (!(next < a)) return a;
    a = next;
  }
  return a;
}

function derivative(polynomial: Polynomial): Polynomial {
  return polynomial.slice(1).map((coefficient, i) => coefficient * (i + 1));
}
