import { type FactorSize, inputsPerGroup, outputsPerGroup, taps } from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { type ChainExtras, extrasOf, type Skip } from './chain-extras.js';
import { type ChainSettings, effectiveSize } from './options.js';

/** The shape of a chain, without its numbers. */
export interface ChainPlan extends ChainExtras {
  readonly depth: number;
  /** Hidden units of each group (of each matrix of a batch). */
  readonly perGroup: number;
  /** Spatial extents of each factor of a convolution, in the order of application; empty elsewhere. */
  readonly kernels: readonly (readonly number[])[];
  /** A factor behind the first has a kernel. */
  readonly isSplit: boolean;
}

/** What the sizes of factors follow from. */
export type ChainSizes = Pick<ChainPlan, 'depth' | 'perGroup' | 'kernels'>;

export function planOf(site: LinearSite, settings: ChainSettings): ChainPlan {
  const list = kernelList(site, settings.kernelSizes);
  const depth = list?.length ?? settings.depth;
  const ones = site.kernel.map(() => 1);
  const kernels =
    site.kernel.length === 0
      ? []
      : Array.from({ length: depth }, (_, i) => {
          if (list === undefined) return i === 0 ? site.kernel : ones;
          return site.kernel.map((extent) => (extent === 1 ? 1 : (list[i] as number)));
        });
  const isSplit = kernels.some((kernel, i) => i > 0 && taps(kernel) > 1);
  const perGroup = Math.max(1, Math.round(settings.width * outputsPerGroup(site)));
  const widths = [
    inputsPerGroup(site),
    ...new Array<number>(depth - 1).fill(perGroup),
    outputsPerGroup(site),
  ];
  return { depth, perGroup, kernels, isSplit, ...extrasOf(site, { depth, widths, isSplit }, settings) };
}

/** The list whose kernels compose to the site's, along each axis where it has one. */
function kernelList(
  { op, kernel }: LinearSite,
  lists: readonly (readonly number[])[],
): readonly number[] | undefined {
  const sizes = new Set(kernel.filter((extent) => extent !== 1));
  const [size = 1] = sizes;
  if (op !== 'Conv' || sizes.size > 1) return undefined;
  return lists.find((list) => effectiveSize(list) === size);
}

/** The factors' sizes in the order of application. */
export function factorSizes(site: LinearSite, { depth, perGroup, kernels }: ChainSizes): FactorSize[] {
  return Array.from({ length: depth }, (_, i) => ({
    inputs: i === 0 ? inputsPerGroup(site) : perGroup,
    outputs: i === depth - 1 ? outputsPerGroup(site) : perGroup,
    kernel: kernels[i] ?? [],
  }));
}

/** The size of a projection. */
export function projectionSize(
  site: LinearSite,
  { depth, perGroup }: ChainPlan,
  { from, to }: Skip,
): FactorSize {
  return {
    inputs: from === 0 ? inputsPerGroup(site) : perGroup,
    outputs: to === depth ? outputsPerGroup(site) : perGroup,
    kernel: site.kernel.map(() => 1),
  };
}

/** Elements of the weights of a chain, projections included. */
export function chainParameters(site: LinearSite, plan: ChainPlan): number {
  const projections = plan.skips.filter(({ isLearned }) => isLearned);
  const sizes = [...factorSizes(site, plan), ...projections.map((skip) => projectionSize(site, plan, skip))];
  return sizes.reduce(
    (sum, { inputs, outputs, kernel }) => sum + site.groups * inputs * outputs * taps(kernel),
    0,
  );
}
