import type { LinearSite } from '../analysis/linear-sites.js';
import { type ChainExtras, extrasOf, type Skip } from './chain-extras.js';
import { type ChainSettings, effectiveSize } from './chain-options.js';

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

/** What one factor maps, in each group. */
export interface FactorSize {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
}

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

/** The shape of a factor's tensor, in the layout of the site's operator. */
export function factorShape(site: LinearSite, { inputs, outputs, kernel }: FactorSize): number[] {
  switch (site.op) {
    case 'Conv':
      return [site.groups * outputs, inputs, ...kernel];
    case 'ConvTranspose':
      return [site.groups * inputs, outputs, ...kernel];
    default: {
      const batch = site.weight.shape.slice(0, -2);
      return [...batch, ...(site.orientation === 'out-in' ? [outputs, inputs] : [inputs, outputs])];
    }
  }
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

/** Output channels of each group. */
export function outputsPerGroup(site: LinearSite): number {
  if (site.op === 'ConvTranspose') return site.weight.shape[1] ?? 0;
  return site.orientation === 'out-in' ? site.rows / site.groups : site.columns;
}

/** Input channels of each group. */
export function inputsPerGroup(site: LinearSite): number {
  if (site.op === 'Conv') return site.weight.shape[1] ?? 0;
  return site.orientation === 'out-in' ? site.columns : site.rows / site.groups;
}

/** Elements of a kernel. */
export function taps(kernel: readonly number[]): number {
  return kernel.reduce((product, extent) => product * extent, 1);
}
