import type { LinearOp } from '../../affine/linear-site.js';
import { explicitPads } from '../../affine/operators/conv.js';
import { type AttributeProtos, Attributes, makeAttribute, type Node } from '../../graph/index.js';

/** The part of a linear layer that a connection around it has to match. */
export interface Spatial {
  readonly op: LinearOp;
  readonly node: Node;
  readonly kernel: readonly number[];
  readonly attributes: AttributeProtos;
}

/** How one element stands in the place of a kernel: with the output of the same size, and aligned with one of its taps. */
export interface SkipPlace {
  /** The tap, counted row by row. */
  readonly tap: number;
  /** The output has the size of the input, and the tap sees what stands at its own place. */
  readonly isSame: boolean;
  /** Attributes of a projection beside the kernel. */
  readonly attributes: AttributeProtos;
}

/** Where a connection around a layer stands. */
export function skipPlace(layer: Spatial): SkipPlace | { readonly reason: string } {
  const given = new Attributes(layer.attributes, '');
  if (layer.kernel.length === 0) {
    const kept = layer.attributes.filter(({ name }) => name === 'transA' || name === 'transB');
    return { tap: 0, isSame: given.int('transA', 0) === 0, attributes: kept };
  }
  const pads = padsOf(layer, given);
  if ('reason' in pads) return pads;
  const rank = layer.kernel.length;
  const zeros = new Array<number>(rank).fill(0);
  const ones = new Array<number>(rank).fill(1);
  const [strides, dilations] = [given.ints('strides') ?? ones, given.ints('dilations') ?? ones];
  const outputPadding = given.ints('output_padding') ?? zeros;
  const found = layer.kernel.map((extent, axis) =>
    bestTap(layer.op, {
      extent,
      begin: pads[axis] ?? 0,
      end: pads[axis + rank] ?? 0,
      stride: strides[axis] ?? 1,
      dilation: dilations[axis] ?? 1,
      extra: outputPadding[axis] ?? 0,
    }),
  );
  const places = found.filter((place) => place !== undefined);
  if (places.length < rank) return { reason: 'its kernel reaches further than its padding' };
  const [begins, ends, extras] = [
    places.map((p) => p.begin),
    places.map((p) => p.end),
    places.map((p) => p.extra),
  ];
  const groups = given.int('group', 1);
  const isSame = [...begins, ...ends, ...extras].every((n) => n === 0) && strides.every((n) => n === 1);
  return {
    tap: places.reduce((index, place, axis) => index * (layer.kernel[axis] as number) + place.tap, 0),
    isSame,
    attributes: [
      ...(groups > 1 ? [makeAttribute('group', { int: groups })] : []),
      makeAttribute('kernel_shape', { ints: ones }),
      ...(extras.some((n) => n !== 0) ? [makeAttribute('output_padding', { ints: extras })] : []),
      ...([...begins, ...ends].some((n) => n !== 0)
        ? [makeAttribute('pads', { ints: [...begins, ...ends] })]
        : []),
      ...(strides.some((n) => n !== 1) ? [makeAttribute('strides', { ints: strides })] : []),
    ],
  };
}

function padsOf(
  { op, node, kernel, attributes }: Spatial,
  given: Attributes,
): readonly number[] | { readonly reason: string } {
  const isSized = given.string('auto_pad', 'NOTSET').startsWith('SAME') || given.has('output_shape');
  if (op === 'ConvTranspose' && isSized) return { reason: 'its output is sized by auto_pad or output_shape' };
  return explicitPads(attributes, kernel, node);
}

interface Axis {
  readonly extent: number;
  readonly begin: number;
  readonly end: number;
  readonly stride: number;
  readonly dilation: number;
  /** output_padding of a transposed convolution. */
  readonly extra: number;
}

/**
 * The most central tap whose padding one element can have. In a convolution tap t of an output i sees stride i - begin +
 * t dilation; in a transposed one an input i reaches stride i - begin + t dilation. So one element in the place of tap t
 * has begin - t dilation less of padding, and as much at the end as keeps the size.
 */
function bestTap(
  op: LinearOp,
  axis: Axis,
):
  | { readonly tap: number; readonly begin: number; readonly end: number; readonly extra: number }
  | undefined {
  const { extent, dilation, stride } = axis;
  let best: { tap: number; begin: number; end: number; extra: number } | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (let tap = 0; tap < extent; tap += 1) {
    const begin = axis.begin - tap * dilation;
    const rest = axis.end - (extent - 1 - tap) * dilation;
    // What is missing at the end of a transposed convolution its output_padding makes up for.
    const missing = op === 'ConvTranspose' ? Math.max(0, -rest) : 0;
    const [end, extra] = [rest + missing, axis.extra + missing];
    if (begin < 0 || end < 0 || (missing > 0 && extra >= stride)) continue;
    const distance = Math.abs(begin - rest);
    if (distance < least) [best, least] = [{ tap, begin, end, extra }, distance];
  }
  return best;
}
