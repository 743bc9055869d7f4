import type { Builder } from '../../passes/gradient/builder.js';
import { range } from '../../passes/gradient/shapes.js';
import type { Value } from '../../passes/gradient/types.js';
import { checkLeast } from './ranges.js';
import { scalarIn } from './scalars.js';

/** In float32, the Euclidean norm of all gradients together. */
export function globalNorm(build: Builder, gradients: readonly Value[]): Value {
  const squares = gradients.map((gradient) => {
    const axes = build.ints(range(0, gradient.shape.length));
    const sum =
      gradient.shape.length === 0
        ? build.square(gradient)
        : build.op('ReduceSumSquare', [gradient, axes], [], { keepdims: { int: 0 } });
    return build.cast(sum, 'float32');
  });
  return build.unary('Sqrt', build.sum(squares));
}

/**
 * The gradients, scaled down together where their norm is above `limit`, as torch.nn.utils.clip_grad_norm_ does:
 * times min(1, limit / (norm + 1e-6)).
 *
 * @param norm of `globalNorm`
 * @throws ModelError for a limit that is not above 0
 */
export function clipped(build: Builder, gradients: readonly Value[], norm: Value, limit: number): Value[] {
  checkLeast(limit, 'the norm to clip gradients at', 0, true);
  const share = build.div(build.scalar('float32', limit), build.shift(norm, 1e-6));
  const factor = build.binary('Min', share, build.scalar('float32', 1));
  return gradients.map((gradient) => build.mul(gradient, scalarIn(build, factor, gradient.type)));
}
