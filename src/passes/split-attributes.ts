import type { LinearSite } from '../analysis/linear-sites.js';
import { decodeFragment, encodeFragment, makeAttribute, type NodeProto } from '../graph/index.js';
import { type ChainPlan, taps } from './chain-plan.js';
import { shapeOf } from './expandable-sites.js';

export type AttributeProtos = NonNullable<NodeProto['attribute']>;

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
  const pads = explicitPads(site, strides, dilations);
  if ('reason' in pads) return pads;
  const last = kernels.findLastIndex((kernel) => taps(kernel) > 1);
  return kernels.map((kernel, i) => [
    ...list('dilations', taps(kernel) > 1 ? dilations : ones, 1),
    ...(site.groups > 1 ? [makeAttribute('group', { int: site.groups })] : []),
    makeAttribute('kernel_shape', { ints: kernel }),
    ...list('pads', i === 0 ? pads : [], 0),
    ...list('strides', i === last ? strides : ones, 1),
  ]);
}

/** An attribute, where it says more than its default. */
function list(name: string, values: readonly number[], usual: number): AttributeProtos {
  return values.every((value) => value === usual) ? [] : [makeAttribute(name, { ints: values })];
}

/** Pads in numbers: SAME depends on the kernel as a whole, and where there is a stride on the size of the input. */
function explicitPads(
  site: LinearSite,
  strides: readonly number[],
  dilations: readonly number[],
): readonly number[] | { readonly reason: string } {
  const { attributes, graph, inputs } = site.node;
  const automatic = attributes.string('auto_pad', 'NOTSET');
  const rank = site.kernel.length;
  if (!automatic.startsWith('SAME')) {
    return (automatic === 'NOTSET' ? attributes.ints('pads') : undefined) ?? Array(2 * rank).fill(0);
  }
  const shape = shapeOf(graph, inputs[0] ?? '')?.slice(2);
  const begins: number[] = [];
  const ends: number[] = [];
  for (const [axis, extent] of site.kernel.entries()) {
    const stride = strides[axis] as number;
    const size = stride === 1 ? 1 : shape?.[axis];
    if (typeof size !== 'number') {
      return {
        reason: `its padding is ${automatic} with a stride and the size of its input is not known, so that a chain of kernels can not pad as it does`,
      };
    }
    const window = (extent - 1) * (dilations[axis] as number) + 1;
    const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + window - size);
    const less = Math.floor(total / 2);
    begins.push(automatic === 'SAME_UPPER' ? less : total - less);
    ends.push(automatic === 'SAME_UPPER' ? total - less : less);
  }
  return [...begins, ...ends];
}

/** Attributes as text for a chain's note, so that the one convolution can have its own again. */
export function encodeAttributes(attribute: AttributeProtos): string {
  return Buffer.from(encodeFragment({ node: [{ op_type: 'Conv', attribute }] })).toString('base64');
}

/** Undefined where the text is none. */
export function decodeAttributes(text: string): AttributeProtos | undefined {
  try {
    return decodeFragment(Buffer.from(text, 'base64')).node?.[0]?.attribute ?? [];
  } catch {
    return undefined;
  }
}
