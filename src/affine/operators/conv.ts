import { type AttributeProtos, Attributes, KnownConstants, type Node } from '../../graph/index.js';
import { transposedExtra, type Window, windowOf, windowProblem } from '../../graph/operators/window.js';
import { shapesOf } from '../../graph/shapes/shapes.js';
import { swapped } from '../../linalg/floats.js';
import { isZero, readVector, valuesOf } from '../map/channel-vector.js';
import { strideVolume, tapsOfWindow } from '../map/geometry.js';
import { forwardWindow, identityAt, type Windowed, windowInSource, wrongAxis } from '../map/place.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { MapOperator } from '../rule.js';
import { biasOf, elements, floatOperand, withBias } from './operand.js';

/** How a convolution is to be taken. */
export interface ConvolutionForm {
  /** A ConvTranspose as one, though it is a Conv with its kernel reversed. */
  readonly keepsTransposed?: boolean;
  /** Pads in the place of those that depend on the size of the input. */
  readonly pads?: readonly number[] | undefined;
}

/**
 * Conv and ConvTranspose. One of stride 1 that says its size by its pads is a Conv with its kernel reversed; the places of
 * others differ.
 */
export function convolution(
  node: Node,
  constants: KnownConstants = KnownConstants.stored,
  { keepsTransposed = false, pads }: ConvolutionForm = {},
): MapOperator | Refusal {
  const weight = floatOperand(node, 1, constants);
  if ('kind' in weight) return weight;
  const [rows = 0, perGroup = 0, ...extents] = weight.shape;
  const groups = node.attributes.int('group', 1);
  if (extents.length === 0 || groups < 1 || rows % groups !== 0) {
    return refuse(
      'operand',
      `'${node.label}' has a weight of shape [${weight.shape.join(', ')}] in ${groups} groups`,
    );
  }
  const isForward = node.opType === 'Conv';
  const [outputs, inputs] = isForward ? [rows, perGroup * groups] : [perGroup * groups, rows];
  const said = windowOf(node, extents);
  const problem = windowProblem(said);
  if (problem !== undefined) return refuse('operand', `'${node.label}' ${problem}`);
  const window = pads === undefined ? said : { ...said, pads, auto: undefined };
  const form = isForward
    ? 'conv'
    : keepsTransposed || isStrided(node, window)
      ? 'stridedConvTranspose'
      : 'convTranspose';
  const { bias, openBias } = biasOf(node, weight, outputs, constants);
  return {
    node,
    data: [node.inputs[0] ?? ''],
    constants: withBias({ weight, bias }),
    mixing: { weight, axis: 'channel', bias, openBias, alpha: 1, beta: 1 },
    channels: inputs,
    details: { factors: { form, weight, groups, window }, summands: { bias, openBias } },
    geometry: (_, place) => {
      if (!place.axes.has('channel') || weight.shape.length !== place.rank) return wrongAxis(node);
      const windowed = windowInSource(WINDOWS[form](window, node), place, node);
      if (isRefusal(windowed)) return windowed;
      const isShifted = bias !== undefined && !isZero(bias);
      const [hasBias, isOpen] = [bias !== undefined, openBias !== undefined];
      return { ...identityAt(place, inputs), ...windowed, outputs, groups, hasBias, isShifted, isOpen };
    },
    values: async (geometry) => {
      const stored = await valuesOf(weight);
      const { length } = geometry.taps;
      return {
        geometry,
        // A transposed one's is [inputs][outputs / groups][taps].
        kernel: isForward ? stored : swapped(stored, groups, inputs / groups, outputs / groups, length),
        layout: 'out-in',
        bias: bias && (await readVector(bias, outputs)),
      };
    },
    work: (geometry) => elements(weight) * (geometry.upsampling === undefined ? 1 : strideVolume(geometry)),
  };
}

/** True for a ConvTranspose that is no Conv with its kernel reversed. */
function isStrided({ attributes }: Node, { strides }: Window): boolean {
  const mode = attributes.string('auto_pad', 'NOTSET');
  return (
    strides.some((step) => step !== 1) ||
    (mode !== 'NOTSET' && mode !== 'VALID') ||
    attributes.has('output_shape') ||
    (attributes.ints('output_padding') ?? []).some((extra) => extra !== 0)
  );
}

const WINDOWS = {
  conv: forwardWindow,
  convTranspose: reversedWindow,
  stridedConvTranspose: stridedWindow,
} as const;

/** Of a ConvTranspose of stride 1, which is a Conv with its kernel reversed. */
function reversedWindow({ extents, strides, dilations, pads }: Window): Windowed {
  const start = extents.map((_, axis) => pads[axis] ?? 0);
  const steps = dilations.map((dilation) => -dilation);
  const span = extents.map((extent, axis) => (extent - 1) * (dilations[axis] ?? 1));
  return {
    taps: tapsOfWindow(extents, steps, start),
    stride: strides,
    slack: span.map((length, axis) => length - (pads[axis] ?? 0) - (pads[axis + extents.length] ?? 0)),
  };
}

/** Of any other ConvTranspose. Where its size is not told by its pads, they are not known. */
function stridedWindow(window: Window, node: Node): Windowed {
  const { extents, strides, dilations } = window;
  const extra = transposedExtra(node, window);
  const pads = extra === undefined ? window.pads.map(() => 0) : window.pads;
  const start = extents.map((_, axis) => 0 - (pads[axis] ?? 0));
  return {
    taps: tapsOfWindow(extents, dilations, start),
    stride: extents.map(() => 1),
    slack: extents.map(() => 0),
    upsampling: { node, strides, extra, grid: { extents, dilations, pads, start } },
  };
}

/**
 * The pads that attributes of a convolution stand for, in numbers: SAME depends on the kernel as a whole, and where there
 * is a stride on the size of the input.
 *
 * @param reader reads what is padded
 */
export function explicitPads(
  list: AttributeProtos,
  kernel: readonly number[],
  { graph, inputs }: Node,
): readonly number[] | { readonly reason: string } {
  const attributes = new Attributes(list, '');
  let { pads, auto } = windowOf({ attributes }, kernel);
  if (auto === undefined) return pads;
  const sizes = shapesOf(graph)
    .of(inputs[0] ?? '')
    ?.slice(2);
  ({ pads, auto } = windowOf({ attributes }, kernel, sizes));
  return auto === undefined
    ? pads
    : {
        reason: `its padding is ${auto} with a stride and the size of its input is not known, so that a chain of kernels cannot pad as it does`,
      };
}
