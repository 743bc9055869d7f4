import type { Builder } from '../builder.js';
import { unblocked } from '../builder.js';
import { at, product } from '../shapes.js';
import type { Value } from '../value.js';
import { blockDots, blocked, blockMeans, scaledBlocks } from './in-blocks.js';

/** What the gradient of a normalization by the batch needs of it. `centered` has its channels in blocks. */
export interface BlockedNorm {
  /** [C] each. */
  readonly mean: Value;
  readonly variance: Value;
  readonly inv: Value;
  readonly centered: Value;
}

/**
 * Normalizes by the batch what a convolution made, while its channels still stand in blocks. onnxruntime's own operator
 * does it on one thread and wants them in line; here the input is read and written no more often, by all threads.
 */
export function blockedNorm(
  build: Builder,
  x: Value,
  { scale, bias, epsilon }: { readonly scale: Value; readonly bias: Value; readonly epsilon: number },
  y: Value,
): BlockedNorm | undefined {
  const twin = build.twins.get(x.name);
  if (twin === undefined) return undefined;
  const mean = blockMeans(build, twin);
  const ones = build.filled(x.type, [at(x.shape, 1)], 1);
  const centered = scaledBlocks(build, twin, ones, build.neg(mean));
  const variance = build.scale(blockDots(build, centered, centered), 1 / count(x));
  const inv = build.unary('Reciprocal', build.unary('Sqrt', build.shift(variance, epsilon)));
  unblocked(build, scaledBlocks(build, centered, build.mul(inv, scale), bias), y);
  return { mean, variance, inv, centered };
}

/** gain (dY - mean(dY) - xhat mean(dY xhat)) in two passes, with the gradients of scale and bias, [C] each. */
export function blockedNormGradient(
  build: Builder,
  dy: Value,
  scale: Value,
  { inv, centered }: Pick<BlockedNorm, 'inv' | 'centered'>,
): { readonly dx: () => Value; readonly dScale: Value; readonly dBias: Value } {
  const source = blocked(build, dy, at(dy.shape, 1));
  const mean = blockMeans(build, source);
  const dScale = build.mul(blockDots(build, source, centered), inv);
  return {
    dScale,
    dBias: build.scale(mean, count(dy)),
    dx: () => {
      const gain = build.mul(inv, scale);
      const slope = build.mul(build.mul(gain, inv), build.scale(dScale, -1 / count(dy)));
      const indirect = scaledBlocks(build, centered, slope, build.neg(build.mul(gain, mean)));
      return unblocked(build, scaledBlocks(build, source, gain, undefined, indirect), { shape: dy.shape });
    },
  };
}

/** Numbers of a channel. */
function count(x: Value): number {
  return product(x.shape) / at(x.shape, 1);
}
