import { type Floats, swapped } from '../../linalg/floats.js';
import type { LinearSite } from '../linear-sites.js';
import { type FactorSize, factorShape, taps } from './site-size.js';

/** One weight of a chain. */
export interface SiteFactor {
  readonly shape: readonly number[];
  readonly data: Floats;
  /** So many elements at the end are known to be zero. */
  readonly zeros?: number;
}

/** Matrices out x (in * kernel) of the groups, consecutive, as the tensor of one factor. */
export function outInFactor(site: LinearSite, data: Floats, size: FactorSize): SiteFactor {
  const shape = factorShape(site, size);
  if (site.orientation === 'out-in') return { shape, data };
  const { inputs, outputs, kernel } = size;
  return { shape, data: swapped(data, site.groups, outputs, inputs, taps(kernel)) };
}

/** The tensor of one factor as matrices out x (in * kernel) of the groups, consecutive. */
export function outInData(site: LinearSite, data: Floats, { inputs, outputs, kernel }: FactorSize): Floats {
  return site.orientation === 'out-in' ? data : swapped(data, site.groups, inputs, outputs, taps(kernel));
}
