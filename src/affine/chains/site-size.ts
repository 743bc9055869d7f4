import type { LinearSite } from '../linear-sites.js';

/** What one factor maps, in each group. */
export interface FactorSize {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
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
