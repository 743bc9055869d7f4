import type { Builder } from '../builder.js';
import { at, keptDims, normalAxes, normalAxis, product, range } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

interface Reduced {
  readonly build: Builder;
  readonly x: Value;
  /** Output and its gradient with the reduced axes kept. */
  readonly y: Value;
  readonly dy: Value;
  readonly axes: readonly number[];
}

function reduction(gradientOf: (reduced: Reduced) => Value): Rule {
  return {
    structural: [1],
    lazy: true,
    backward: (context) => {
      const { build, node } = context;
      const [x, y, dy] = [
        required(context.inputs, 0),
        required(context.outputs, 0),
        required(context.gradients, 0),
      ];
      const rank = x.shape.length;
      const given = node.attributes.ints('axes') ?? context.numbers(1);
      const isNothing = (given?.length ?? 0) === 0 && node.attributes.int('noop_with_empty_axes', 0) !== 0;
      const axes = isNothing
        ? []
        : given === undefined || given.length === 0
          ? range(0, rank)
          : normalAxes(given, rank);
      const kept = keptDims(x.shape, axes);
      const lazy = lazyShape(dy, kept, axes, y.shape.length !== rank);
      return [gradientOf({ build, x, y: build.reshape(y, kept), dy: build.reshape(dy, lazy), axes })];
    },
  };
}

/** The shape that a lazy gradient has once the dropped axes are put back. */
function lazyShape(
  dy: Value,
  kept: readonly number[],
  axes: readonly number[],
  isDropped: boolean,
): readonly number[] {
  if (!isDropped) return dy.shape;
  let next = 0;
  return kept.map((_, axis) => {
    if (axes.includes(axis)) return 1;
    next += 1;
    return at(dy.shape, next - 1);
  });
}

function reducedSize({ x, axes }: Reduced): number {
  return product(axes.map((axis) => at(x.shape, axis)));
}

const extremum = reduction(({ build, x, y, dy, axes }) => {
  const mask = build.indicator('Equal', x, y);
  return build.mul(mask, build.div(dy, build.reduce('ReduceSum', mask, axes)));
});

export const REDUCE = {
  ReduceSum: reduction(({ dy }) => dy),
  ReduceMean: reduction((reduced) => reduced.build.scale(reduced.dy, 1 / reducedSize(reduced))),
  ReduceMax: extremum,
  ReduceMin: extremum,
  ReduceL1: reduction(({ build, x, dy }) => build.mul(build.unary('Sign', x), dy)),
  ReduceL2: reduction(({ build, x, y, dy }) => {
    // The norm has no derivative at 0; PyTorch gives 0 there.
    const isZero = build.op('Equal', [y, build.scalar(y.type, 0)], y.shape, {}, 'bool');
    return build.mul(x, build.div(dy, build.where(isZero, build.scalar(y.type, 1), y)));
  }),
  ReduceSumSquare: reduction(({ build, x, dy }) => build.mul(x, build.scale(dy, 2))),
  ReduceLogSum: reduction(({ build, y, dy }) => build.mul(dy, build.unary('Exp', build.neg(y)))),
  ReduceLogSumExp: reduction(({ build, x, y, dy }) => build.mul(dy, build.unary('Exp', build.sub(x, y)))),
  Softmax: {
    backward: (context) => {
      const { build } = context;
      const [y, dy] = [required(context.outputs, 0), required(context.gradients, 0)];
      const weighted = build.reduce('ReduceSum', build.mul(dy, y), classAxis(context, y));
      return [build.mul(y, build.sub(dy, weighted))];
    },
  },
  LogSoftmax: {
    backward: (context) => {
      const { build } = context;
      const [y, dy] = [required(context.outputs, 0), required(context.gradients, 0)];
      const total = build.reduce('ReduceSum', dy, classAxis(context, y));
      return [build.sub(dy, build.mul(build.unary('Exp', y), total))];
    },
  },
} as const satisfies Record<string, Rule>;

function classAxis({ node }: RuleContext, y: Value): number[] {
  return [normalAxis(node.attributes.int('axis', -1), y.shape.length)];
}
