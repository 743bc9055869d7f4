import { outInFactor, type SiteFactor } from '../../affine/chains/site-layout.js';
import { inputsPerGroup, outputsPerGroup } from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { EPSILON, type FloatType, narrow, Tensor } from '../../graph/index.js';
import { decompose, type Scaling } from '../../linalg/decompose.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { mostMixed, mostTurned } from '../../linalg/product-tolerance.js';
import { Random } from '../../runtime/random.js';
import { type ChainPlan, factorSizes } from './chain-plan.js';
import { alphaBeside, compensatedFactors, hasIdentities, withExtras } from './extra-factors.js';
import {
  balancedFactors,
  droppedPart,
  type FactorMatrix,
  type Factors,
  identityFactors,
  rotateHidden,
} from './factorize.js';
import { activationGain, addNoise, freshMatrices, freshScales } from './initialize.js';
import { splitKernel, sufficientHidden } from './kernel-split.js';
import { type ChainSettings, type FreshInit, isFresh, isPreserving } from './options.js';
import { checkProduct, type MeasuredWeight, measureWeight } from './product-check.js';
import { matricesOf, matrixShape, siteFactor } from './site-matrices.js';
import type { Finding, SiteFactors, WeightProbe } from './types.js';

/** Factorizes the weight of a site, group by group. */
export async function factorizeSite(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<SiteFactors | { readonly reason: string }> {
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
): Promise<SiteFactors | { readonly reason: string }> {
  const { type, matrices } = await matricesOf(site);
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

/** Factors that make up for the connections around them. */
async function residualSiteFactors(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<SiteFactors | { readonly reason: string }> {
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
        const factor = outInFactor(site, data, sizes[index] as (typeof sizes)[number]);
        return noise === 0 ? factor : noisy(factor, noise, noises);
      },
    })),
  };
}

/** What a chain without connections or normalizations has of them. */
const PLAIN = { projections: [], norms: [], without: [], probe: undefined } as const;

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
): Promise<SiteFactors | { readonly reason: string }> {
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
        const factor = siteFactor(site, blocks, size);
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
    const inputs = inputsPerGroup(site);
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
  // The random incoming weights of units beyond the rank are of one size: rows or columns that are small beside it keep clear of them.
  const within = Math.min(result.rank, perGroup);
  const parts = isApart && !isSplit ? [within, perGroup - within] : [perGroup];
  const own = parts.filter((part) => part > 0);
  return { ...result, factors: rotateHidden(result.factors, own, epsilon < 1e-10, random) };
}

/** Random factors that keep nothing of the weight but its shape and type. */
function freshFactors(
  site: LinearSite,
  plan: ChainPlan,
  { seed, gain }: ChainSettings,
  init: FreshInit,
): SiteFactors {
  const { scales } = freshScales(site, plan, init, gain ?? activationGain(site.node));
  const isDouble = site.weight.dataType === 'float64';
  return {
    ...PLAIN,
    rank: undefined,
    error: undefined,
    factors: factorSizes(site, plan).map((size, index) => ({
      index,
      make: async () => {
        const random = new Random(`${seed}/${site.weight.value}/fresh/${index}`);
        const scale = scales[index] as number;
        const data = await freshMatrices(size, site.groups, { init, scale, isDouble }, random);
        return outInFactor(site, data, size);
      },
    })),
  };
}

/** What factorizeSite would find, or refuse for; reads the weight, but factorizes it only where its rank decides. */
export async function findingOf(
  site: LinearSite,
  plan: ChainPlan,
  settings: ChainSettings,
): Promise<Finding | { readonly reason: string }> {
  const nothing: Finding = { rank: undefined, error: undefined };
  const { init, allowLossy } = settings;
  if (isFresh(init)) return nothing;
  const { perGroup, kernels, isSplit } = plan;
  const { type, matrices } = await matricesOf(site);
  const measured = await measureWeight(site, plan, matrices, false);
  if (measured.problem !== undefined) return { reason: measured.problem };
  const isSure =
    isEven(measured, type, plan) && measured.largest < SAFE[type] && alphaBeside(site, plan) === 1;
  if (isPreserving(settings) && !isCopied(plan, settings, type) && !isSure)
    return checkedFinding(site, plan, settings, type);
  if (hasIdentities(plan) && !isSplit) {
    if (perGroup >= outputsPerGroup(site)) return nothing;
    const result = await factorizeSite(site, plan, settings);
    return 'reason' in result ? result : { ...nothing, error: result.error };
  }
  if (isSplit) {
    if (perGroup >= sufficientHidden(inputsPerGroup(site), outputsPerGroup(site), kernels)) return nothing;
    const result = await factorizeSite(site, plan, settings);
    return 'reason' in result ? result : nothing;
  }
  if (init === 'identity') {
    const rank = outputsPerGroup(site);
    return rank > perGroup ? tooNarrow(site, plan, rank, settings) : nothing;
  }
  const { rows, columns } = matrixShape(site);
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
): Promise<Finding | { readonly reason: string }> {
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

/** The root of the share of the squares that is dropped (Eckart & Young 1936). */
function relativeError(
  parts: readonly { readonly dropped: number; readonly all: number }[],
): number | undefined {
  const dropped = parts.reduce((sum, part) => sum + part.dropped, 0);
  const all = parts.reduce((sum, part) => sum + part.all, 0);
  return dropped > 0 ? Math.sqrt(dropped / all) : undefined;
}

function noisy({ shape, data }: SiteFactor, noise: number, random: Random): SiteFactor {
  // The factor may be a view of the weight itself.
  const copy = data.slice();
  addNoise(copy, noise, random);
  return { shape, data: copy };
}

function tooNarrow(
  site: LinearSite,
  plan: ChainPlan,
  rank: number,
  { width, init }: ChainSettings,
): { readonly reason: string } {
  const { perGroup, kernels, isSplit } = plan;
  const outputs = outputsPerGroup(site);
  const units = isSplit ? sufficientHidden(inputsPerGroup(site), outputs, kernels) : rank;
  const enough = Math.ceil((units / outputs) * 1e4) / 1e4;
  const group = site.groups > 1 ? (site.op === 'MatMul' ? ' a matrix' : ' a group') : '';
  const chain = kernels.map((kernel) => kernel.join('x')).join(', ');
  const what = isSplit
    ? `a kernel of ${site.kernel.join('x')} as ${chain} needs ${units} hidden units`
    : init === 'identity'
      ? `identities need ${units} hidden units`
      : hasIdentities(plan)
        ? `what its residual connections leave of its weight needs ${units} hidden units`
        : `its weight has rank ${units}`;
  const other = isSplit
    ? ", or `init: 'fresh:kaiming'`"
    : init === 'identity'
      ? ''
      : ', or `allowLossy: true`';
  return {
    reason: `${what}${group}, more than the ${perGroup} hidden units of width ${width}; use \`width: ${enough}\` or more${other}`,
  };
}
