import type { Builder } from '../../passes/gradient/builder.js';
import { product } from '../../passes/gradient/shapes.js';
import type { MatrixProduct } from '../../passes/gradient/types.js';
import type { Value } from '../../passes/gradient/value.js';
import { checkPositive } from './ranges.js';
import { scalarIn } from './scalars.js';

/** The Euclidean norm of each gradient, float32 [gradients]. */
export function gradientNorms(build: Builder, gradients: readonly (Value | MatrixProduct)[]): Value {
  const squares = gradients.map((gradient) =>
    'left' in gradient ? productDot(build, gradient) : dot(build, gradient, gradient),
  );
  return build.unary('Sqrt', build.concat(squares, 0));
}

/** Sum of a * b, float32 [1]. */
function dot(build: Builder, a: Value, b: Value): Value {
  const flat = (x: Value): Value => build.cast(build.reshape(x, [1, product(x.shape)]), 'float32');
  return build.reshape(build.gemm(flat(a), flat(b), false, true), [1]);
}

/** ‖A B‖² = sum of (A' A) * (B B'), which is no larger than the dimension that the product sums over. */
function productDot(build: Builder, { left, right, transA, transB }: MatrixProduct): Value {
  return dot(build, build.gemm(left, left, !transA, transA), build.gemm(right, right, transB, !transB));
}

/**
 * Does a gradient cost less where it is not written out? Its norm then takes two products of 2 K² (M + N) operations; so
 * large a matrix takes longer for each of the passes that it is spared.
 */
export function isLargeProduct({ left, right, transA, transB }: MatrixProduct): boolean {
  const [m, k] = transA ? left.shape.toReversed() : left.shape;
  const n = right.shape[transB ? 0 : 1];
  return left.type === 'float32' && m !== undefined && k !== undefined && n !== undefined
    ? 16 * m * n >= k * k * (m + n)
    : false;
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
 * @throws OptionError for a limit that is not above 0
 */
export function clipped(build: Builder, gradients: readonly Value[], norm: Value, limit: number): Value[] {
  checkPositive(limit, 'clipNorm');
  const share = build.div(build.scalar('float32', limit), build.shift(norm, 1e-6));
  const factor = build.binary('Min', share, build.scalar('float32', 1));
  return gradients.map((gradient) => build.mul(gradient, scalarIn(build, factor, gradient.type)));
}
