import { BLOCKED_DOMAIN } from '../../../runtime/index.js';
import type { Builder } from '../builder.js';
import { at } from '../shapes.js';
import type { Value } from '../value.js';
import { windowAttributes } from './window.js';

/** What onnxruntime's reordering of the input takes at once. */
export const LANES = 4;

/** Up to a whole number of blocks. */
export function toBlocks(count: number, block: number): number {
  return Math.ceil(count / block) * block;
}

/** Brings channels into blocks; the data are in another order than the shape says from here on. */
export function blocked(build: Builder, x: Value, channels: number): Value {
  const twin = build.twins.get(x.name);
  if (twin !== undefined) return twin;
  // Both gradients of a convolution read dY.
  const known = build.nodes.findLast(
    ({ opType, inputs }) => opType === 'ReorderInput' && inputs[0] === x.name,
  );
  const value = build.values.get(known?.outputs[0] ?? '');
  if (value?.shape[1] === channels) return value;
  return reordered(build, x, channels);
}

/** [A, B, ...] -> [A, B / block, ..., block], with zeros for what a block lacks; `count` is B with them. */
export function reordered(build: Builder, x: Value, count: number): Value {
  return build.op('ReorderInput', [x], x.shape.with(1, count), {}, undefined, BLOCKED_DOMAIN);
}

/** Zeros put around images whose channels stand in blocks: Pad would do it on one thread. */
export function paddedBlocks(
  build: Builder,
  x: Value,
  begin: readonly number[],
  end: readonly number[],
): Value {
  if ([...begin, ...end].every((count) => count === 0)) return x;
  return channelwise(build, x, build.filled(x.type, [at(x.shape, 1)], 1), undefined, [...begin, ...end]);
}

/**
 * a x + b + c with a number a and b a channel: one pass of several threads over channels in blocks.
 *
 * @param a [C]
 * @param b [C]
 */
export function scaledBlocks(build: Builder, x: Value, a: Value, b: Value | undefined, c?: Value): Value {
  return channelwise(build, x, a, b, [0, 0, 0, 0], c);
}

/** A convolution with kernels of one element. */
function channelwise(
  build: Builder,
  x: Value,
  a: Value,
  b: Value | undefined,
  pads: readonly number[],
  c?: Value,
): Value {
  const [channels, ones] = [at(x.shape, 1), [1, 1]];
  const shape = x.shape.map((size, axis) => (axis < 2 ? size : size + at(pads, axis - 2) + at(pads, axis)));
  return build.op(
    'Conv',
    [x, build.reshape(a, [channels, 1, 1, 1]), b, ...(c === undefined ? [] : [c])],
    shape,
    windowAttributes({ extents: ones, strides: ones, dilations: ones, pads }, channels),
    undefined,
    BLOCKED_DOMAIN,
  );
}

/** Means over images and positions of channels in blocks, [C]. */
export function blockMeans(build: Builder, x: Value): Value {
  const [n, c] = [at(x.shape, 0), at(x.shape, 1)];
  const means = build.op('GlobalAveragePool', [x], [n, c, 1, 1], {}, undefined, BLOCKED_DOMAIN);
  return build.reduce('ReduceMean', build.reshape(means, [n, c]), [0], true);
}

/** Sums of a * b over images and positions, both with channels in blocks, [C]: each image of b is a kernel. */
export function blockDots(build: Builder, a: Value, b: Value): Value {
  const [n, c, ...spatial] = [at(a.shape, 0), at(a.shape, 1), ...a.shape.slice(2)];
  const ones = spatial.map(() => 1);
  const dots = build.op(
    'Conv',
    [build.reshape(a, [1, n * c, ...spatial]), build.reshape(b, [n * c, 1, ...spatial])],
    [1, n * c, ...ones],
    windowAttributes(
      { extents: spatial, strides: ones, dilations: ones, pads: spatial.flatMap(() => [0, 0]) },
      n * c,
    ),
    undefined,
    BLOCKED_DOMAIN,
  );
  return build.reduce('ReduceSum', build.reshape(dots, [n, c]), [0], true);
}
