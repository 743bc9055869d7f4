import {
  type AttributeProtos,
  explicitPads,
  lastKernel,
  list,
} from '../../affine/chains/kernel-attributes.js';
import { taps } from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import { makeAttribute } from '../../graph/index.js';
import type { ChainPlan } from './chain-plan.js';

/**
 * The attributes of the factors of a convolution with more than one kernel. All of the padding is on the first, so that the
 * others see zeros where the one kernel would have; each has the dilation; the last that has a kernel has the stride: what
 * follows it works on the smaller grid, and what comes before needs every position.
 */
export function splitAttributes(
  site: LinearSite,
  { kernels }: ChainPlan,
): readonly AttributeProtos[] | { readonly reason: string } {
  const { attributes } = site.node;
  const ones = site.kernel.map(() => 1);
  const dilations = attributes.ints('dilations') ?? ones;
  const strides = attributes.ints('strides') ?? ones;
  const pads = explicitPads(site.node.proto.attribute ?? [], site.kernel, site.node);
  if ('reason' in pads) return pads;
  const last = lastKernel(kernels);
  return kernels.map((kernel, i) => [
    ...list('dilations', taps(kernel) > 1 ? dilations : ones, 1),
    ...(site.groups > 1 ? [makeAttribute('group', { int: site.groups })] : []),
    makeAttribute('kernel_shape', { ints: kernel }),
    ...list('pads', i === 0 ? pads : [], 0),
    ...list('strides', i === last ? strides : ones, 1),
  ]);
}
