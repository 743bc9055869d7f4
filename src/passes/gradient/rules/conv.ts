import { halved, reach, type Window, windowOf } from '../../../graph/operators/window.js';
import { isWrongConv } from '../../../runtime/index.js';
import type { Builder } from '../builder.js';
import { blockedConv, depthwiseInputGradient, depthwiseWeightGradient } from '../layout/blocked.js';
import { imageBlocksProduct } from '../layout/image-blocks.js';
import { shiftedProducts } from '../layout/shifts.js';
import { splitProduct } from '../layout/split-taps.js';
import {
  beginOf,
  columns,
  fittingEnd,
  isPointwise,
  settledWindow,
  transposedConv,
  windowAttributes,
} from '../layout/window.js';
import { at, product, range } from '../shapes.js';
import type { ForwardContext, Rewritten, Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/** onnxruntime chooses the faster layout by itself only where the weight is a constant. */
function convForward(context: ForwardContext): Rewritten | undefined {
  const { build, node, inputs } = context;
  const [x, w, y] = [required(inputs, 0), required(inputs, 1), required(context.outputs, 0)];
  if (!context.varies(1)) return undefined;
  const window = settledWindow(node, w.shape.slice(2), x.shape.slice(2), y.shape.slice(2));
  const made = blockedConv(build, x, w, inputs[2], window, node.attributes.int('group', 1), y);
  return made && { saved: [] };
}

function conv(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, w, dy] = [
    required(context.inputs, 0),
    required(context.inputs, 1),
    required(context.gradients, 0),
  ];
  const group = node.attributes.int('group', 1);
  const window = settledWindow(node, w.shape.slice(2), x.shape.slice(2), dy.shape.slice(2));
  return [
    context.needs(0) ? inputGradient(build, dy, w, window, group, x.shape) : undefined,
    context.needs(1) ? weightGradient(build, x, dy, window, group, w.shape) : undefined,
    context.needs(2) ? build.reduce('ReduceSum', dy, otherThanChannels(dy), true) : undefined,
  ];
}

function convTranspose(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, w, dy] = [
    required(context.inputs, 0),
    required(context.inputs, 1),
    required(context.gradients, 0),
  ];
  const group = node.attributes.int('group', 1);
  const window = transposedWindow(context, w.shape.slice(2), dy.shape.slice(2), x.shape.slice(2));
  // What the operator scatters to is what its gradient gathers from: ConvTranspose's weight is, as it stands, the
  // weight of that convolution.
  const dx = (): Value => {
    const ends = fittingEnd(window, dy.shape.slice(2), x.shape.slice(2));
    const source = cropEnds(build, dy, ends);
    const end = ends.map((count) => Math.max(0, count));
    return convolution(build, source, w, { ...window, pads: [...beginOf(window), ...end] }, group, x.shape);
  };
  return [
    context.needs(0) ? dx() : undefined,
    context.needs(1) ? weightGradient(build, dy, x, window, group, w.shape) : undefined,
    context.needs(2) ? build.reduce('ReduceSum', dy, otherThanChannels(dy), true) : undefined,
  ];
}

/** A Conv or, where not all providers compute that right, a product with the windows of x. */
function convolution(
  build: Builder,
  x: Value,
  w: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value {
  const [n, channels, outputs] = [at(x.shape, 0), at(x.shape, 1), at(w.shape, 0)];
  if (!build.elementary || !isWrongConv({ channels, outputs, groups: group })) {
    return build.op('Conv', [x, w], shape, windowAttributes(window, group));
  }
  const positions = shape.slice(2);
  const long = (channels / group) * product(window.extents);
  const cols = build.reshape(columns(build, x, window, positions), [n, group, long, product(positions)]);
  const made = build.matmul(build.reshape(w, [1, group, outputs / group, long]), cols);
  return build.reshape(made, shape);
}

/** Takes off what no window reaches. */
function cropEnds(build: Builder, x: Value, ends: readonly number[]): Value {
  const crop = ends.map((count) => Math.min(0, count));
  return build.pad(
    x,
    x.shape.map(() => 0),
    [0, 0, ...crop],
  );
}

/** ConvTranspose derives its pads from output_shape or auto_pad in its own way. */
function transposedWindow(
  { node }: RuleContext,
  kernel: readonly number[],
  from: readonly number[],
  to: readonly number[],
): Window {
  const { attributes } = node;
  const auto = attributes.string('auto_pad', 'NOTSET');
  const window = windowOf(node, kernel, from, to);
  if (attributes.ints('output_shape') === undefined && !auto.startsWith('SAME')) return window;
  const extra = attributes.ints('output_padding');
  const totals = from.map((size, axis) =>
    Math.max(0, reach(window, at(to, axis), axis) + (extra?.[axis] ?? 0) - size),
  );
  return { ...window, pads: halved(totals, auto), auto: undefined };
}

function otherThanChannels(x: Value): number[] {
  return range(0, x.shape.length).filter((axis) => axis !== 1);
}

/**
 * Gradient in the input. With stride 1 a convolution with the flipped kernel, inputs and outputs exchanged, which
 * the CPU provider does faster than ConvTranspose; ConvTranspose otherwise.
 */
function inputGradient(
  build: Builder,
  dy: Value,
  w: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value {
  const [channels, spatial] = [at(shape, 1), shape.slice(2)];
  const span = window.extents.map((size, axis) => (size - 1) * at(window.dilations, axis));
  const begin = span.map((size, axis) => size - at(window.pads, axis));
  const end = span.map((size, axis) => size - at(window.pads, axis + span.length));
  const isStrided = window.strides.some((stride) => stride !== 1);
  if (build.block !== undefined && isStrided && group === channels && group === at(dy.shape, 1)) {
    const made = depthwiseInputGradient(build, dy, flipWeight(build, w, group), window, shape);
    if (made !== undefined) return made;
  }
  if (isStrided || [...begin, ...end].some((count) => count < 0)) {
    return transposedConv(build, dy, w, window, group, channels, spatial);
  }
  const flipped = flipWeight(build, w, group);
  const turned = { ...window, pads: [...begin, ...end] };
  const made = { shape: [at(dy.shape, 0), channels, ...spatial] };
  return (
    blockedConv(build, dy, flipped, undefined, turned, group, made) ??
    convolution(build, dy, flipped, turned, group, made.shape)
  );
}

/** [M, C/g, ...k] -> [C, M/g, ...k], the kernel reversed along every axis. */
function flipWeight(build: Builder, w: Value, group: number): Value {
  const [m, c, ...kernel] = [at(w.shape, 0), at(w.shape, 1), ...w.shape.slice(2)];
  const k = product(kernel);
  // A product with the exchange matrix: it runs over the weight once, where Gather or Slice pick number by number.
  const numbers = new Float64Array(k * k);
  for (let i = 0; i < k; i += 1) numbers[i * k + (k - 1 - i)] = 1;
  const flat = build.reshape(w, [m * c, k]);
  const flipped = k === 1 ? flat : build.gemm(flat, build.constant(w.type, [k, k], numbers), false, false);
  const grouped = build.reshape(flipped, [group, m / group, c, k]);
  const exchanged = m / group === 1 && c === 1 ? grouped : build.transpose(grouped, [0, 2, 1, 3]);
  return build.reshape(exchanged, [group * c, m / group, ...kernel]);
}

/** Products with fewer channels are too thin to be done for each element of the kernel. */
const FEW = 4;

/**
 * Gradient in the weight: the windows of the input times the gradient of what they made.
 *
 * @param x what the windows move over, [N, C, ...]
 * @param dy gradient at each position, [N, M, ...]
 * @param shape of the weight, [M, C/g, ...k]
 */
function weightGradient(
  build: Builder,
  x: Value,
  dy: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value {
  const [n, c, m] = [at(x.shape, 0), at(x.shape, 1), at(dy.shape, 1)];
  const positions = dy.shape.slice(2);
  const [k, l] = [product(window.extents), product(positions)];
  if (m > group && c / group >= FEW) {
    return (
      (group === 1 ? imageBlocksProduct(build, x, dy, window, shape) : undefined) ??
      splitProduct(build, x, dy, window, group, shape) ??
      shiftedProducts(build, x, dy, window, group, shape)
    );
  }
  if (m === group && c === group) {
    const made = depthwiseWeightGradient(build, x, dy, window, shape);
    if (made !== undefined) return made;
  }
  const bytes = 4 * n * c * k * l;
  if (bytes > build.columnBytes && !isPointwise(window))
    return weightGradientByConv(build, x, dy, window, group, shape);
  const cols = build.reshape(columns(build, x, window, positions), [n, group, (c / group) * k, l]);
  if (m === group) {
    // One output a group: a product with a vector, whose transposition is free.
    const made = build.matmul(cols, build.reshape(dy, [n, group, l, 1]));
    return build.reshape(build.reduce('ReduceSum', made, [0]), shape);
  }
  const made = build.matmul(build.reshape(dy, [n, group, m / group, l]), build.transposeLast(cols));
  return build.reshape(build.reduce('ReduceSum', made, [0]), shape);
}

/**
 * The same without the windows in memory: a convolution over the input whose kernel is dY, batch and channels
 * exchanged, strides and dilations too. 1.5 to 2.5 times as slow, but the windows are K times the input.
 */
function weightGradientByConv(
  build: Builder,
  x: Value,
  dy: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value {
  const [n, c, m] = [at(x.shape, 0), at(x.shape, 1), at(dy.shape, 1)];
  const rank = x.shape.length;
  const [spatial, positions] = [x.shape.slice(2), dy.shape.slice(2)];
  const axes = range(3, rank + 1);
  const grouped = build.reshape(x, [n, group, c / group, ...spatial]);
  const source = build.reshape(build.transpose(grouped, [2, 1, 0, ...axes]), [
    c / group,
    group * n,
    ...spatial,
  ]);
  const kernel = build.transpose(dy, [1, 0, ...range(2, rank)]);
  const ends = fittingEnd(window, spatial, positions);
  const made = convolution(
    build,
    cropEnds(build, source, ends),
    kernel,
    {
      extents: positions,
      strides: window.dilations,
      dilations: window.strides,
      pads: [...beginOf(window), ...ends.map((count) => Math.max(0, count))],
    },
    group,
    [c / group, m, ...window.extents],
  );
  return build.reshape(build.transpose(made, [1, 0, ...range(2, rank)]), shape);
}

/** Col2Im: the transpose of gathering windows, which is its gradient. */
function col2im(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, dy] = [required(context.inputs, 0), required(context.gradients, 0)];
  const kernel = [...(context.numbers(2) ?? [])];
  const spatial = dy.shape.slice(2);
  const rough = settledWindow(node, kernel, spatial, spatial);
  const positions = kernel.map((_, axis) => {
    const padded = at(spatial, axis) + at(rough.pads, axis) + at(rough.pads, axis + kernel.length);
    const room = padded - reach(rough, 1, axis);
    return Math.floor(room / at(rough.strides, axis)) + 1;
  });
  return [build.reshape(columns(build, dy, rough, positions), x.shape)];
}

export const CONV = {
  Conv: { through: [0, 1, 2], forward: convForward, backward: conv },
  ConvTranspose: { through: [0, 1, 2], backward: convTranspose },
  Col2Im: { structural: [1, 2], backward: col2im },
} as const satisfies Record<string, Rule>;
