import { outInData, outInFactor } from '../../affine/chains/site-layout.js';
import { inputsPerGroup, taps } from '../../affine/chains/site-size.js';
import { skipPlace } from '../../affine/chains/skip-place.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { EPSILON } from '../../graph/index.js';
import { norm2 } from '../../linalg/decompose.js';
import { squaredSizes } from '../../linalg/even-scales.js';
import { type Floats, joined, transposed } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import { productTolerance } from '../../linalg/product-tolerance.js';
import { Random } from '../../runtime/random.js';
import { type ChainPlan, factorSizes, projectionSize } from './chain-plan.js';
import type { Dropped } from './factorize.js';
import { freshMatrices, freshProjectionScale } from './initialize.js';
import { splitKernel } from './kernel-split.js';
import { normStatistics } from './norm-statistics.js';
import { type ChainSettings, isFresh } from './options.js';
import { type ResidualFactors, residualFactors } from './residual-factors.js';
import { channelSquares, matricesOf } from './site-matrices.js';
import type { SiteFactors } from './types.js';

/** Whether a chain's factors have to make up for connections around them. */
export function hasIdentities({ skips }: ChainPlan): boolean {
  return skips.some(({ isLearned }) => !isLearned);
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
  const { type, matrices } = await matricesOf(site);
  const squares = matrices.map((matrix) => channelSquares(site, squaredSizes(matrix.load())));
  const norm = Math.sqrt(squares.reduce((sum, { rows }) => rows.reduce((all, one) => all + one, sum), 0));
  const identity = Math.sqrt(site.groups * inputsPerGroup(site));
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
export async function compensatedFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<{
  readonly rank: number;
  /** outputs x (inputs * kernel) of the groups, consecutive; undefined where the rank does not fit. */
  readonly factors: readonly Floats[] | undefined;
  readonly dropped: readonly Dropped[];
}> {
  const { type, matrices } = await matricesOf(site);
  const { depth, perGroup, skips, isSplit, kernels } = plan;
  const identities = skips.filter(({ isLearned }) => !isLearned);
  const alpha = alphaBeside(site, plan);
  const inputs = inputsPerGroup(site);
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

/** Gemm multiplies what its last factor makes by alpha, but not what is added behind it. */
export function alphaBeside(site: LinearSite, { skips, depth }: ChainPlan): number {
  if (site.op !== 'Gemm' || !skips.some(({ to, isLearned }) => to === depth && !isLearned)) return 1;
  return site.node.attributes.float('alpha', 1);
}

export function tapOf(site: LinearSite): number {
  const { op, node, kernel } = site;
  const place = skipPlace({ op, node, kernel, attributes: node.proto.attribute ?? [] });
  return 'tap' in place ? place.tap : 0;
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

/** Adds to factors what else a chain has: projections, and normalizations with statistics that fit. */
export async function withExtras(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
  plain: SiteFactors,
): Promise<SiteFactors> {
  const sizes = factorSizes(site, plan);
  const matrices: Floats[] = [];
  for (const { index, make } of plain.factors) {
    matrices[index] = outInData(site, (await make()).data, sizes[index] as (typeof sizes)[number]);
  }
  const learned = plan.skips.filter(({ isLearned }) => isLearned);
  const projected: Floats[] = [];
  for (const [i, skip] of learned.entries()) {
    const size = projectionSize(site, plan, skip);
    const { init, seed } = settings;
    const isDouble = site.weight.dataType === 'float64';
    const count = site.groups * size.outputs * size.inputs * taps(size.kernel);
    const random = new Random(`${seed}/${site.weight.value}/projection/${i}`);
    projected.push(
      isFresh(init)
        ? await freshMatrices(
            size,
            site.groups,
            { init, scale: freshProjectionScale(site, size, init), isDouble },
            random,
          )
        : new Float32Array(count),
    );
  }
  const { norms, factors } =
    plan.norms.length > 0
      ? normStatistics(site, plan, matrices, projected, isFresh(settings.init))
      : { norms: [], factors: matrices };
  return {
    ...plain,
    projections: projected.map((data, i) =>
      outInFactor(site, data, projectionSize(site, plan, learned[i] as (typeof learned)[number])),
    ),
    norms,
    factors: factors.map((data, index) => ({
      index,
      make: async () => outInFactor(site, data, sizes[index] as (typeof sizes)[number]),
    })),
  };
}
