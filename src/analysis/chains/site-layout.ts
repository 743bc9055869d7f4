import type { Floats } from '../../runtime/floats.js';
import type { LinearSite } from '../linear-sites.js';
import { type FactorSize, factorShape, taps } from './site-size.js';

/** One weight of a chain. */
export interface SiteFactor {
  readonly shape: readonly number[];
  readonly data: Floats;
}

/** Matrices out x (in * kernel) of the groups, one behind the other, as the tensor of one factor. */
export function outInFactor(site: LinearSite, data: Floats, size: FactorSize): SiteFactor {
  const shape = factorShape(site, size);
  if (site.orientation === 'out-in') return { shape, data };
  const { inputs, outputs, kernel } = size;
  return { shape, data: swapped(data, site.groups, outputs, inputs, taps(kernel)) };
}

/** The tensor of one factor as matrices out x (in * kernel) of the groups, one behind the other. */
export function outInData(site: LinearSite, data: Floats, { inputs, outputs, kernel }: FactorSize): Floats {
  return site.orientation === 'out-in' ? data : swapped(data, site.groups, inputs, outputs, taps(kernel));
}

/** [batch, a, b, inner] as [batch, b, a, inner]. */
export function swapped(data: Floats, batch: number, a: number, b: number, inner = 1): Floats {
  if (a === 1 || b === 1) return data;
  const out = data instanceof Float64Array ? new Float64Array(data.length) : new Float32Array(data.length);
  for (let n = 0; n < batch; n += 1) {
    for (let i = 0; i < a; i += 1) {
      for (let j = 0; j < b; j += 1) {
        const from = ((n * a + i) * b + j) * inner;
        const to = ((n * b + j) * a + i) * inner;
        for (let l = 0; l < inner; l += 1) out[to + l] = data[from + l] as number;
      }
    }
  }
  return out;
}
