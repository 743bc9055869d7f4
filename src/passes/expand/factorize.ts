import { type FactorMatrix, type LinearSite, type SiteFactor, taps } from '../../affine/linear-site.js';
import { EPSILON, type FloatType, narrow, Tensor } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import { decompose, type Scaling } from '../../linalg/decompose.js';
import type { Floats } from '../../linalg/floats.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { mostMixed, mostTurned } from '../../linalg/product-tolerance.js';
import { Random } from '../../runtime/random.js';
import { balancedFactors, droppedPart, type Factors, identityFactors, rotateHidden } from './balanced.js';
import {
  type Finding,
  noisy,
  PLAIN,
  relativeError,
  type SiteFactors,
  tooNarrow,
  type WeightProbe,
} from './factors.js';
import { freshFactors, freshMatrices, freshProjectionScale } from './fresh.js';
import { splitKernel, sufficientHidden } from './kernel-split.js';
import { normStatistics } from './normalization.js';
import { type ChainSettings, isFresh, isPreserving } from './options.js';
import { alphaBeside, type ChainPlan, factorSizes, hasIdentities, projectionSize } from './plan.js';
import { checkProduct, type MeasuredWeight, measureWeight } from './product-check.js';
import { residualSiteFactors } from './residual.js';

/** Factorizes the weight of a site, group by group. */
export async function factorizeSite(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<SiteFactors | Reason> {
  const factors = isFresh(settings.init)
    ? freshFactors(site, plan, settings, settings.init)
    : await keptFactors(site, plan, settings);
  if ('reason' in factors || (plan.skips.length === 0 && plan.norms.length === 0)) return factors;
  return withExtras(site, plan, settings, factors);
}

/** Factors that compute what the weight does, with what tells whether their rounded product does. */
async function keptFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<SiteFactors | Reason> {
  const { type, matrices } = await site.matrices();
  const isCompared = isPreserving(settings) && !isCopied(plan, settings, type);
  const measured = await measureWeight(site, plan, matrices, isCompared);
  if (measured.problem !== undefined) return { reason: measured.problem };
  const factors = hasIdentities(plan)
    ? await residualSiteFactors(site, plan, settings)
    : await plainFactors(site, plan, settings, {
        matrices,
        epsilon: EPSILON[type],
        isApart: measured.spread > mostMixed(EPSILON[type]),
        scaling: settings.init === 'orthogonal' && !isEven(measured, type, plan) ? 'always' : 'auto',
      });
  if ('reason' in factors || !isPreserving(settings)) return factors;
  return { ...factors, probe: isCompared ? measured : COPIED };
}

/** Whether the factors are the weight itself and identities. Hidden units beyond the rank may go out of float16's range. */
function isCopied(plan: ChainPlan, { init }: ChainSettings, type: FloatType): boolean {
  const isPlain = !plan.isSplit && plan.skips.length === 0 && plan.norms.length === 0;
  return init === 'identity' && isPlain && type !== 'float16';
}

const COPIED: WeightProbe = { errorOf: async () => 0 };

/** Whether rows and columns are so alike that hidden units can be turned together. */
function isEven({ spread }: MeasuredWeight, type: FloatType, { depth }: ChainPlan): boolean {
  return spread <= mostTurned(EPSILON[type], depth);
}

/** The weight of a site, as matricesOf gives it, and how it is to be decomposed. */
interface Weight {
  readonly matrices: readonly MatrixSource[];
  /** Machine epsilon of its type. */
  readonly epsilon: number;
  readonly scaling: Scaling;
  /** Hidden units beyond the rank are not turned together with those within. */
  readonly isApart: boolean;
}

async function plainFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
  weight: Weight,
): Promise<SiteFactors | Reason> {
  const { seed, noise } = settings;
  const { orientation } = site;
  const { matrices } = weight;
  const results: Factors[] = [];
  let rank = 0;
  for (const [group, matrix] of matrices.entries()) {
    const random = new Random(`${seed}/${site.weight.value}/${group}`);
    const result = await groupFactors(site, plan, matrix, settings, weight, random);
    rank = Math.max(rank, result.rank);
    if (result.factors !== undefined) results.push(result);
  }
  if (results.length < matrices.length) return tooNarrow(site, plan, rank, settings);
  const sizes = factorSizes(site, plan);
  const noises = new Random(`${seed}/${site.weight.value}/noise`);
  return {
    ...PLAIN,
    rank,
    error: relativeError(results.flatMap(({ dropped }) => dropped ?? [])),
    without: results.some(({ isScaled }) => isScaled) ? [NOT_BALANCED] : [],
    // In the order of multiplication; the groups' blocks are consecutive.
    factors: Array.from({ length: plan.depth }, (_, i) => {
      const index = orientation === 'out-in' ? plan.depth - 1 - i : i;
      const make = async (): Promise<SiteFactor> => {
        const size = sizes[index];
        if (size === undefined) throw new RangeError(`a chain of ${plan.depth} has no factor ${index}`);
        const blocks: FactorMatrix[] = [];
        for (const { factors } of results) {
          const make = factors[i] as Factors['factors'][number];
          blocks.push(await make());
        }
        const factor = site.factorOf(blocks, size);
        return noise === 0 ? factor : noisy(factor, noise, noises);
      };
      return { index, make, isOwn: settings.init !== 'identity' && !plan.isSplit };
    }),
  };
}

const NOT_BALANCED =
  'no balanced factors: rows or columns of its weight differ too much in size; the outer factors have their sizes';

/** Factors of one group in the order of multiplication. */
async function groupFactors(
  site: LinearSite,
  { depth, perGroup, kernels, isSplit }: ChainPlan,
  matrix: MatrixSource,
  { init, allowLossy }: ChainSettings,
  { epsilon, scaling, isApart }: Weight,
  random: Random,
): Promise<Factors | { readonly rank: number; readonly factors: undefined }> {
  const { orientation } = site;
  let result: Factors | { readonly rank: number; readonly factors: undefined };
  if (isSplit) {
    const how = init === 'identity' ? 'identity' : 'balanced';
    const inputs = site.inputs;
    const { rank, factors } = await splitKernel(
      matrix.load(),
      inputs,
      kernels,
      perGroup,
      how,
      epsilon,
      random,
    );
    result = factors
      ? { rank, factors: [...factors].reverse().map((factor) => () => factor) }
      : { rank, factors };
  } else if (init === 'identity') {
    result = identityFactors(matrix, orientation, depth, perGroup, random);
  } else {
    result = await balancedFactors(
      matrix,
      orientation,
      { depth, hidden: perGroup, epsilon, allowLossy, scaling },
      random,
    );
  }
  if (init !== 'orthogonal' || result.factors === undefined) return result;
  // Apart from units within the rank, the roundings of those beyond it reach no row or column that is small.
  const within = Math.min(result.rank, perGroup);
  const parts = isApart && !isSplit ? [within, perGroup - within] : [perGroup];
  const own = parts.filter((part) => part > 0);
  return { ...result, factors: rotateHidden(result.factors, own, epsilon < 1e-10, random) };
}

/** What factorizeSite would find, or refuse for; reads the weight, but factorizes it only where its rank decides. */
export async function findingOf(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<Finding | Reason> {
  const nothing: Finding = { rank: undefined, error: undefined };
  const { init, allowLossy } = settings;
  if (isFresh(init)) return nothing;
  const { perGroup, kernels, isSplit } = plan;
  const { type, matrices } = await site.matrices();
  const measured = await measureWeight(site, plan, matrices, false);
  if (measured.problem !== undefined) return { reason: measured.problem };
  const isSure =
    isEven(measured, type, plan) && measured.largest < SAFE[type] && alphaBeside(site, plan) === 1;
  if (isPreserving(settings) && !isCopied(plan, settings, type) && !isSure)
    return checkedFinding(site, plan, settings, type);
  if (hasIdentities(plan) && !isSplit) {
    if (perGroup >= site.outputs) return nothing;
    const result = await factorizeSite(site, plan, settings);
    return 'reason' in result ? result : { ...nothing, error: result.error };
  }
  if (isSplit) {
    if (perGroup >= sufficientHidden(site.inputs, site.outputs, kernels)) return nothing;
    const result = await factorizeSite(site, plan, settings);
    return 'reason' in result ? result : nothing;
  }
  if (init === 'identity') {
    const rank = site.outputs;
    return rank > perGroup ? tooNarrow(site, plan, rank, settings) : nothing;
  }
  const { rows, columns } = site.matrixShape;
  if (perGroup >= Math.min(rows, columns)) return nothing;
  const spectra: Float64Array[] = [];
  for (const matrix of matrices) spectra.push((await decompose(matrix, EPSILON[type])).values);
  const rank = Math.max(...spectra.map((values) => values.length));
  if (rank <= perGroup) return nothing;
  if (!allowLossy) return tooNarrow(site, plan, rank, settings);
  return { rank: undefined, error: relativeError(spectra.map((values) => droppedPart(values, perGroup))) };
}

/** Elements from which on factors may go out of a type's range. */
const SAFE = { float16: 2 ** 10, bfloat16: 1e30, float32: 1e30, float64: 1e140 } as const satisfies Record<
  FloatType,
  number
>;

/** What becomes of a weight whose factors may be too far off: they are made, and compared with it. */
async function checkedFinding(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
  type: FloatType,
): Promise<Finding | Reason> {
  const result = await factorizeSite(site, plan, settings);
  if ('reason' in result) return result;
  const factors: Tensor[] = [];
  for (const { index, make } of result.factors) {
    const { shape, data } = await make();
    factors[index] = Tensor.of(site.weight.value, type, shape, narrow(type, data));
  }
  const checked = await checkProduct(result, factors, type, settings);
  return 'reason' in checked ? checked : { rank: undefined, error: result.error };
}

/** Adds to factors what else a chain has: projections, and normalizations with statistics that fit. */
async function withExtras(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
  plain: SiteFactors,
): Promise<SiteFactors> {
  const sizes = factorSizes(site, plan);
  const matrices: Floats[] = [];
  for (const { index, make } of plain.factors) {
    matrices[index] = site.outInOf((await make()).data, sizes[index] as (typeof sizes)[number]);
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
      site.factorOfOutIn(data, projectionSize(site, plan, learned[i] as (typeof learned)[number])),
    ),
    norms,
    factors: factors.map((data, index) => ({
      index,
      make: async () => site.factorOfOutIn(data, sizes[index] as (typeof sizes)[number]),
    })),
  };
}
