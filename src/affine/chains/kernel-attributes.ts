import {
  Attributes,
  type AttributeValue,
  decodeFragment,
  encodeFragment,
  makeAttribute,
  type Node,
  type NodeProto,
} from '../../graph/index.js';
import { shapesOf } from '../../graph/shapes/shapes.js';
import { taps } from '../linear-site.js';

type AttributeProto = NonNullable<NodeProto['attribute']>[number];
export type AttributeProtos = AttributeProto[];

/** An attribute, where it says more than its default. */
export function list(name: string, values: readonly number[], usual: number): AttributeProtos {
  return values.every((value) => value === usual) ? [] : [makeAttribute(name, { ints: values })];
}

/**
 * The pads that attributes of a convolution stand for, in numbers: SAME depends on the kernel as a whole, and where there
 * is a stride on the size of the input.
 */
export function explicitPads(
  list: readonly AttributeProto[],
  kernel: readonly number[],
  { graph, inputs }: Node,
): readonly number[] | { readonly reason: string } {
  const attributes = new Attributes(list, '');
  const automatic = attributes.string('auto_pad', 'NOTSET');
  const rank = kernel.length;
  if (!automatic.startsWith('SAME')) {
    return (automatic === 'NOTSET' ? attributes.ints('pads') : undefined) ?? Array(2 * rank).fill(0);
  }
  const shape = shapesOf(graph)
    .of(inputs[0] ?? '')
    ?.slice(2);
  const begins: number[] = [];
  const ends: number[] = [];
  for (const [axis, extent] of kernel.entries()) {
    // One element is not padded.
    if (extent === 1) {
      begins.push(0);
      ends.push(0);
      continue;
    }
    const stride = attributes.ints('strides')?.[axis] ?? 1;
    const size = stride === 1 ? 1 : shape?.[axis];
    if (typeof size !== 'number') {
      return {
        reason: `its padding is ${automatic} with a stride and the size of its input is not known, so that a chain of kernels cannot pad as it does`,
      };
    }
    const window = (extent - 1) * (attributes.ints('dilations')?.[axis] ?? 1) + 1;
    const total = Math.max(0, (Math.ceil(size / stride) - 1) * stride + window - size);
    const less = Math.floor(total / 2);
    begins.push(automatic === 'SAME_UPPER' ? less : total - less);
    ends.push(automatic === 'SAME_UPPER' ? total - less : less);
  }
  return [...begins, ...ends];
}

/** A factor of a chain of kernels. */
export interface KernelNode {
  readonly node: Node;
  readonly kernel: readonly number[];
}

/** Why a chain of kernels is not one convolution; undefined where it is. */
export function whyNotKernels(chain: readonly KernelNode[]): string | undefined {
  const last = lastKernel(chain.map(({ kernel }) => kernel));
  const dilations = new Set<string>();
  for (const [i, { node, kernel }] of chain.entries()) {
    const { attributes } = node;
    const automatic = attributes.string('auto_pad', 'NOTSET');
    const isPadded = automatic.startsWith('SAME') || attributes.ints('pads')?.some((pad) => pad !== 0);
    if (automatic.startsWith('SAME') || (isPadded && i > 0)) return 'a kernel behind its first is padded';
    if (i !== last && attributes.ints('strides')?.some((stride) => stride !== 1))
      return 'a kernel before its last has a stride';
    if (taps(kernel) > 1) dilations.add((attributes.ints('dilations') ?? kernel.map(() => 1)).join());
  }
  return dilations.size > 1 ? 'its kernels have different dilations' : undefined;
}

export function lastKernel(kernels: readonly (readonly number[])[]): number {
  return kernels.findLastIndex((kernel) => taps(kernel) > 1);
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

/** With an attribute in the place that it has, or at the end. */
export function withAttribute(
  attributes: readonly AttributeProto[],
  name: string,
  value: AttributeValue,
): AttributeProto[] {
  const at = attributes.findIndex((attribute) => attribute.name === name);
  const made = makeAttribute(name, value);
  return at < 0 ? [...attributes, made] : attributes.toSpliced(at, 1, made);
}
