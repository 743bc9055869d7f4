import type { LinearSite, SiteFactor } from '../../affine/linear-site.js';
import type { Tensor } from '../../graph/index.js';
import type { Reason } from '../../graph/skipped.js';
import type { Floats } from '../../linalg/floats.js';
import type { Random } from '../../runtime/random.js';
import { sufficientHidden } from './kernel-split.js';
import type { NormStatistics } from './normalization.js';
import type { ChainSettings } from './options.js';
import { type ChainPlan, hasIdentities } from './plan.js';

/** What factorizing finds out about a weight. */
export interface Finding {
  /** The largest of the groups'; undefined where the weight does not matter. */
  readonly rank: number | undefined;
  /** ‖W - product‖F / ‖W‖F of a factorization that drops singular values; undefined of one that does not. */
  readonly error: number | undefined;
}

/** The weights of a chain. */
export interface SiteFactors extends Finding {
  /**
   * To be made in this order, each once, with their places in the order of application: they need not be in memory
   * together.
   */
  readonly factors: readonly FactorMaker[];
  /** Of the plan's learned connections, in their order. */
  readonly projections: readonly SiteFactor[];
  /** Of the plan's normalizations, in their order. */
  readonly norms: readonly NormStatistics[];
  /** What the factors are without, and why. */
  readonly without: readonly string[];
  /** What the product is to be compared with; undefined of fresh weights and with noise. */
  readonly probe: WeightProbe | undefined;
}

/** A weight that is made when it is called for. */
export interface FactorMaker {
  readonly index: number;
  /** What is made is nobody else's: no view of the weight itself, say. */
  readonly isOwn?: boolean;
  make(): Promise<SiteFactor>;
}

/** The largest ‖w - p‖ / ‖w‖ of a row or column w of a weight and p of the product of its factors. */
export interface WeightProbe {
  /**
   * @param factors in the order of application, as they are stored
   * @returns NaN where something is out of range
   */
  errorOf(factors: readonly Tensor[], norms: readonly NormStatistics[]): Promise<number>;
}

/** What a chain without connections or normalizations has of them. */
export const PLAIN = { projections: [], norms: [], without: [], probe: undefined } as const;

/** The root of the share of the squares that is dropped (Eckart & Young 1936). */
export function relativeError(
  parts: readonly { readonly dropped: number; readonly all: number }[],
): number | undefined {
  const dropped = parts.reduce((sum, part) => sum + part.dropped, 0);
  const all = parts.reduce((sum, part) => sum + part.all, 0);
  return dropped > 0 ? Math.sqrt(dropped / all) : undefined;
}

export function noisy({ shape, data }: SiteFactor, noise: number, random: Random): SiteFactor {
  // The factor may be a view of the weight itself.
  const copy = data.slice();
  addNoise(copy, noise, random);
  return { shape, data: copy };
}

export function tooNarrow(
  site: LinearSite,
  plan: ChainPlan,
  rank: number,
  { width, init }: ChainSettings,
): Reason {
  const { perGroup, kernels, isSplit } = plan;
  const outputs = site.outputs;
  const units = isSplit ? sufficientHidden(site.inputs, outputs, kernels) : rank;
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

/** Adds normal noise, relative to the root mean square of the elements; in place. */
function addNoise(data: Floats, noise: number, random: Random): void {
  if (noise === 0 || data.length === 0) return;
  let sum = 0;
  for (let i = 0; i < data.length; i += 1) sum += (data[i] as number) ** 2;
  const deviation = noise * Math.sqrt(sum / data.length);
  for (let i = 0; i < data.length; i += 1) data[i] = (data[i] as number) + deviation * random.normal();
}
