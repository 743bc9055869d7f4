import type { Builder } from '../../passes/gradient/builder.js';
import { product } from '../../passes/gradient/shapes.js';
import type { Value } from '../../passes/gradient/types.js';
import { checkLeast } from './ranges.js';
import { scalarIn } from './scalars.js';

/** The Euclidean norm of each gradient, float32 [gradients]. */
export function gradientNorms(build: Builder, gradients: readonly Value[]): Value {
  const squares = gradients.map((gradient) => {
    const flat = build.cast(build.reshape(gradient, [1, product(gradient.shape)]), 'float32');
    return build.reshape(build.gemm(flat, flat, false, true), [1]);
  });
  return build.unary('Sqrt', build.concat(squares, 0));
}

/** Of such norms the one of all gradients together, float32 []. */
export function jointNorm(build: Builder, norms: Value): Value {
  return build.unary('Sqrt', build.reduce('ReduceSum', build.square(norms), [0], true));
}

/**
 * The gradients, scaled down together where their norm is above `limit`, as torch.nn.utils.clip_grad_norm_ does:
 * times min(1, limit / (norm + 1e-6)).
 *
 * @param norm their joint norm
 * @throws ModelError for a limit that is not above 0
 */
export function clipped(build: Builder, gradients: readonly Value[], norm: Value, limit: number): Value[] {
  checkLeast(limit, 'the norm to clip gradients at', 0, true);
  const share = build.div(build.scalar('float32', limit), build.shift(norm, 1e-6));
  const factor = build.binary('Min', share, build.scalar('float32', 1));
  return gradients.map((gradient) => build.mul(gradient, scalarIn(build, factor, gradient.type)));
}
