import { ModelError, type Node } from '../../../graph/index.js';
import { reach, type Window, windowOf } from '../../../graph/operators/window.js';
import type { Builder } from '../builder.js';
import { at, product, range } from '../shapes.js';
import type { Value } from '../value.js';

/**
 * The window of a node, where sizes are known.
 *
 * @throws ModelError for a padding that no numbers say
 */
export function settledWindow(
  node: Node,
  extents: readonly number[],
  sizes: readonly number[],
  positions: readonly number[],
): Window {
  const window = windowOf(node, extents, sizes, positions);
  if (window.auto === undefined) return window;
  throw new ModelError(
    `its auto_pad is ${window.auto} with strides [${window.strides.join(', ')}] that step over what its kernel of [${extents.join(', ')}] leaves, which onnxruntime pads in a way of its own; give it pads`,
    { node: node.label },
  );
}

/** The padding behind the elements with which the windows of `positions` just fit; below 0, how many none reaches. */
export function fittingEnd(
  window: Window,
  spatial: readonly number[],
  positions: readonly number[],
): number[] {
  return spatial.map((size, axis) => reach(window, at(positions, axis), axis) - size - at(window.pads, axis));
}

/** Pads before each axis. */
export function beginOf(window: Window): readonly number[] {
  return window.pads.slice(0, window.extents.length);
}

export function isPointwise(window: Window): boolean {
  const isOne = (count: number): boolean => count === 1;
  return window.extents.every(isOne) && window.strides.every(isOne) && !isPadded(window);
}

export function isPadded(window: Window): boolean {
  return window.pads.some((count) => count !== 0);
}

/** The attributes of Conv and ConvTranspose. */
export function windowAttributes(window: Window, group = 1) {
  return {
    kernel_shape: { ints: window.extents },
    strides: { ints: window.strides },
    dilations: { ints: window.dilations },
    pads: { ints: window.pads },
    ...(group !== 1 && { group: { int: group } }),
  };
}

/**
 * Every window of every channel: [N, C, ...] -> [N, C, K, L], K elements of the window at L positions. A Conv whose
 * constant kernel has a single one for each element of the window gathers them, several times as fast as Gather and
 * right for any strides, pads and dilations.
 */
export function columns(build: Builder, x: Value, window: Window, positions: readonly number[]): Value {
  const [batch, channels] = [at(x.shape, 0), at(x.shape, 1)];
  const [k, l] = [product(window.extents), product(positions)];
  if (isPointwise(window)) return build.reshape(x, [batch, channels, 1, l]);
  if (build.elementary) return slicedColumns(build, x, window, positions);
  // One group a channel. With channels as batch entries and one small dense kernel instead, onnxruntime takes the
  // Conv for its blocked layout and spends three times as long putting the windows back in order.
  const made = build.op(
    'Conv',
    [x, oneHot(build, x, window, channels)],
    [batch, channels * k, ...positions],
    windowAttributes(window, channels),
  );
  return build.reshape(made, [batch, channels, k, l]);
}

/** The same by strided slices, for onnxruntime's WebGPU provider (1.30) computes some convolutions wrong (see isWrongConv). */
function slicedColumns(build: Builder, x: Value, window: Window, positions: readonly number[]): Value {
  const [batch, channels] = [at(x.shape, 0), at(x.shape, 1)];
  const axes = range(0, window.extents.length);
  const room = fittingEnd(window, x.shape.slice(2), positions);
  const padded = build.pad(x, [0, 0, ...beginOf(window)], [0, 0, ...room]);
  const spatial = build.ints(axes.map((axis) => axis + 2));
  const parts = taps(window.extents).map((tap) => {
    const starts = tap.map((index, axis) => index * at(window.dilations, axis));
    const ends = starts.map(
      (start, axis) => start + (at(positions, axis) - 1) * at(window.strides, axis) + 1,
    );
    const slice = build.op(
      'Slice',
      [padded, build.ints(starts), build.ints(ends), spatial, build.ints(window.strides)],
      [batch, channels, ...positions],
    );
    return build.reshape(slice, [batch, channels, 1, product(positions)]);
  });
  return build.concat(parts, 2);
}

/** Every element of a kernel by its indices, in row-major order. */
export function taps(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>(
    (all, size) => all.flatMap((tap) => range(0, size).map((index) => [...tap, index])),
    [[]],
  );
}

/** The transpose of `columns`: adds the windows up where they overlap. [N, C, K, L] -> [N, C, ...spatial]. */
export function foldColumns(
  build: Builder,
  cols: Value,
  window: Window,
  positions: readonly number[],
  spatial: readonly number[],
): Value {
  const [batch, channels, k] = [at(cols.shape, 0), at(cols.shape, 1), at(cols.shape, 2)];
  const shape = [batch, channels, ...spatial];
  if (isPointwise(window)) return build.reshape(cols, shape);
  if (window.extents.length === 2) {
    const flat = build.reshape(cols, [batch, channels * k, product(positions)]);
    return build.op('Col2Im', [flat, build.ints(spatial), build.ints(window.extents)], shape, {
      strides: { ints: window.strides },
      dilations: { ints: window.dilations },
      pads: { ints: window.pads },
    });
  }
  const stacked = build.reshape(cols, [batch, channels * k, ...positions]);
  return transposedConv(
    build,
    stacked,
    oneHot(build, cols, window, channels),
    window,
    channels,
    channels,
    spatial,
  );
}

/** For each channel the kernels that pick one element of the window each: [C K, 1, ...k]. */
function oneHot(build: Builder, like: Value, window: Window, channels: number): Value {
  const k = product(window.extents);
  const numbers = new Float64Array(channels * k * k);
  for (let i = 0; i < channels * k; i += 1) numbers[i * k + (i % k)] = 1;
  return build.constant(like.type, [channels * k, 1, ...window.extents], numbers);
}

/** The transpose of a convolution in its input: from the gradient of what the window made back to [N, C, ...spatial]. */
export function transposedConv(
  build: Builder,
  dy: Value,
  weight: Value,
  window: Window,
  group: number,
  channels: number,
  spatial: readonly number[],
): Value {
  const positions = dy.shape.slice(2);
  // What the windows reach, and what no window saw or only padding held.
  const room = fittingEnd(window, spatial, positions);
  const end = room.map((count) => Math.max(0, count));
  const missing = room.map((count) => Math.max(0, -count));
  // onnxruntime wants less than a stride of it.
  const fits = missing.every(
    (count, axis) => count < Math.max(at(window.strides, axis), at(window.dilations, axis)),
  );
  const outputPadding = fits ? missing : missing.map(() => 0);
  const made = spatial.map((size, axis) => size - at(missing, axis) + at(outputPadding, axis));
  const y = build.op('ConvTranspose', [dy, weight], [at(dy.shape, 0), channels, ...made], {
    ...windowAttributes({ ...window, pads: [...beginOf(window), ...end] }, group),
    ...(outputPadding.some((count) => count > 0) && { output_padding: { ints: outputPadding } }),
  });
  const tail = spatial.map((size, axis) => size - at(made, axis));
  return build.pad(
    y,
    range(0, y.shape.length).map(() => 0),
    [0, 0, ...tail],
  );
}
