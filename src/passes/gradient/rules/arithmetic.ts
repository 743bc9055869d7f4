import type { Builder } from '../builder.js';
import { at } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';

/** The input, output or gradient at an index that the operator is bound to have. */
export function required(list: readonly (Value | undefined)[], index: number): Value {
  const value = list[index];
  if (value === undefined) throw new Error(`value ${index} is missing`);
  return value;
}

/** Gradients of broadcast operands: what `gradientOf` gives for each wanted one, summed to the operand's shape. */
export function perOperand(
  context: RuleContext,
  gradientOf: (index: number, dy: Value) => Value,
): (Value | undefined)[] {
  const { build, inputs } = context;
  const y = required(context.outputs, 0);
  const dy = required(context.gradients, 0);
  return inputs.map((x, index) => {
    if (x === undefined || !context.needs(index)) return undefined;
    return build.unbroadcast(gradientOf(index, dy), y.shape, x.shape);
  });
}

/** An operator on broadcast operands. */
function broadcasting(
  gradientOf: (build: Builder, index: number, dy: Value, x: readonly Value[], y: Value) => Value,
): Rule {
  return {
    through: 'all',
    lazy: true,
    backward: (context) => {
      const inputs = context.inputs.map((_, index) => required(context.inputs, index));
      const y = required(context.outputs, 0);
      return perOperand(context, (index, dy) => gradientOf(context.build, index, dy, inputs, y));
    },
  };
}

/** Ties share the gradient evenly, as in PyTorch's maximum of two. */
const extremum = broadcasting((build, index, dy, x, y) => {
  const masks = x.map((operand) => build.indicator('Equal', y, operand));
  return build.mul(build.div(dy, build.sum(masks)), at(masks, index));
});

export const ARITHMETIC = {
  Add: { ...broadcasting((_build, _index, dy) => dy), inBlocks: true },
  Sub: { ...broadcasting((build, index, dy) => (index === 0 ? dy : build.neg(dy))), inBlocks: true },
  Mul: { ...broadcasting((build, index, dy, x) => build.mul(dy, at(x, 1 - index))), inBlocks: true },
  Div: broadcasting((build, index, dy, x, y) => {
    const share = build.div(dy, at(x, 1));
    return index === 0 ? share : build.neg(build.mul(share, y));
  }),
  Sum: { ...broadcasting((_build, _index, dy) => dy), inBlocks: true },
  Mean: broadcasting((build, _index, dy, x) => build.scale(dy, 1 / x.length)),
  Max: extremum,
  Min: extremum,
  Pow: {
    through: [0, 1],
    constants: [1],
    lazy: true,
    backward: (context) => {
      const { build } = context;
      const x = required(context.inputs, 0);
      const y = required(context.outputs, 0);
      const numbers = context.needs(1) ? undefined : context.numbers(1);
      const power = numbers?.length === 1 ? numbers[0] : undefined;
      return perOperand(context, (index, dy) => {
        if (power !== undefined) return build.mul(dy, powerDerivative(build, x, power));
        // The exponent may be of another type than the base.
        const p = build.op(
          'CastLike',
          [required(context.inputs, 1), x],
          required(context.inputs, 1).shape,
          {},
          x.type,
        );
        const zero = build.scalar(x.type, 0);
        if (index === 0) {
          const slope = build.mul(p, build.binary('Pow', x, build.shift(p, -1)));
          const isFlat = build.op('Equal', [p, zero], p.shape, {}, 'bool');
          return build.mul(dy, build.where(isFlat, zero, slope));
        }
        // Of 0^p the derivative is 0 for p > 0; log 0 would make it NaN.
        const positive = build.op('Greater', [x, zero], x.shape, {}, 'bool');
        const log = build.unary('Log', build.where(positive, x, build.scalar(x.type, 1)));
        return build.mul(dy, build.mul(y, log));
      });
    },
  },
  Where: {
    through: [1, 2],
    lazy: true,
    backward: (context) => {
      const { build } = context;
      const condition = { ...required(context.inputs, 0), type: 'bool' as const };
      return perOperand(context, (index, dy) => {
        // Not a product with the mask: Where is there to keep out the inf and NaN of the other side.
        const zero = build.scalar(dy.type, 0);
        return index === 1 ? build.where(condition, dy, zero) : build.where(condition, zero, dy);
      });
    },
  },
} as const satisfies Record<string, Rule>;

function powerDerivative(build: Builder, x: Value, power: number): Value {
  if (power === 0) return build.scalar(x.type, 0);
  if (power === 1) return build.scalar(x.type, 1);
  if (power === 2) return build.scale(x, 2);
  if (power === 3) return build.scale(build.square(x), 3);
  if (power === 0.5) return build.div(build.scalar(x.type, 0.5), build.unary('Sqrt', x));
  return build.scale(build.binary('Pow', x, build.scalar(x.type, power - 1)), power);
}
