import type { Node } from '../../../graph/index.js';
import { type Builder, STEEP } from '../builder.js';
import type { Rule } from '../types.js';
import type { Value } from '../value.js';
import { perOperand, required } from './arithmetic.js';

/** An operator on each element by itself: dX = dY times the derivative. */
function pointwise(derivative: (build: Builder, x: Value, y: Value, node: Node) => Value): Rule {
  return {
    lazy: true,
    backward: (context) => {
      const { build, node } = context;
      const [x, y, dy] = [
        required(context.inputs, 0),
        required(context.outputs, 0),
        required(context.gradients, 0),
      ];
      return [build.mul(dy, derivative(build, x, y, node))];
    },
  };
}

function logistic(build: Builder, x: Value): Value {
  return build.unary('Sigmoid', x);
}

/** `positive` where x > 0, `other` elsewhere; `other` must be finite everywhere. */
function select(build: Builder, x: Value, positive: number, other: Value): Value {
  const step = build.step(x);
  return build.add(build.scale(step, positive), build.mul(build.minus(1, step), other));
}

/** height e^-square, in two passes: the height is a summand of the exponent. */
function bell(build: Builder, square: Value, height: number): Value {
  return build.unary('Exp', build.minus(Math.log(height), square));
}

/** 1 / (1 + x^2) */
function lorentzian(build: Builder, x: Value): Value {
  return build.unary('Reciprocal', build.shift(build.square(x), 1));
}

const alpha = (node: Node, absent: number): number => node.attributes.float('alpha', absent);

// As the specification gives them for Selu: the self-normalizing constants of Klambauer et al. 2017.
const SELU_ALPHA = 1.6732631921768188;
const SELU_GAMMA = 1.0507010221481323;

function gelu(build: Builder, x: Value, node: Node): Value {
  if (node.attributes.string('approximate', 'none') === 'tanh') {
    const [root, cubic] = [Math.sqrt(2 / Math.PI), 0.044715];
    const square = build.square(x);
    const inner = build.scale(build.mul(x, build.shift(build.scale(square, cubic), 1)), root);
    const tanh = build.unary('Tanh', inner);
    const slope = build.scale(build.shift(build.scale(square, 3 * cubic), 1), root);
    const right = build.mul(build.mul(x, build.minus(1, build.square(tanh))), slope);
    return build.scale(build.add(build.shift(tanh, 1), right), 0.5);
  }
  // d/dx x Phi(x) = Phi(x) + x phi(x)
  const scaled = build.scale(x, Math.SQRT1_2);
  const phi = build.scale(build.unary('Erf', scaled), 0.5);
  const density = bell(build, build.square(scaled), 1 / Math.sqrt(2 * Math.PI));
  return build.add(build.shift(phi, 0.5), build.mul(x, density));
}

const hardSwish = (build: Builder, x: Value): Value => {
  const gate = build.unary('HardSigmoid', x, { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
  return build.add(gate, build.scale(build.mul(x, inside(build, gate, 0, 1)), 1 / 6));
};

/** 1 where low < x < high. */
function inside(build: Builder, x: Value, low: number, high: number): Value {
  return build.mul(build.step(build.shift(x, -low)), build.step(build.minus(high, x)));
}

export const ELEMENTWISE = {
  Identity: { lazy: true, backward: (context) => [context.gradients[0]] },
  Neg: { lazy: true, backward: (context) => [context.build.neg(required(context.gradients, 0))] },
  Abs: pointwise((build, x) => build.unary('Sign', x)),
  Reciprocal: pointwise((build, _x, y) => build.neg(build.square(y))),
  Exp: pointwise((_build, _x, y) => y),
  Log: pointwise((build, x) => build.unary('Reciprocal', x)),
  Sqrt: pointwise((build, _x, y) => build.div(build.scalar(y.type, 0.5), y)),
  Sin: pointwise((build, x) => build.unary('Cos', x)),
  Cos: pointwise((build, x) => build.neg(build.unary('Sin', x))),
  Tan: pointwise((build, _x, y) => build.shift(build.square(y), 1)),
  Sinh: pointwise((build, x) => build.unary('Cosh', x)),
  Cosh: pointwise((build, x) => build.unary('Sinh', x)),
  Atan: pointwise((build, x) => lorentzian(build, x)),
  Asinh: pointwise((build, x) => build.unary('Sqrt', lorentzian(build, x))),
  Erf: pointwise((build, x) => bell(build, build.square(x), 2 / Math.sqrt(Math.PI))),
  Relu: { ...pointwise((build, _x, y) => build.step(y)), inBlocks: true },
  LeakyRelu: {
    ...pointwise((build, x, _y, node) => {
      const slope = alpha(node, 0.01);
      return build.shift(build.scale(build.step(x), 1 - slope), slope);
    }),
    inBlocks: true,
  },
  ThresholdedRelu: pointwise((build, x, y, node) =>
    // Where the output is not zero; a negative threshold lets negative numbers through.
    alpha(node, 1) >= 0 ? build.step(y) : build.step(build.shift(x, -alpha(node, 1))),
  ),
  Elu: {
    ...pointwise((build, x, y, node) => select(build, x, 1, build.shift(y, alpha(node, 1)))),
    inBlocks: true,
  },
  Selu: pointwise((build, x, y, node) => {
    const gamma = node.attributes.float('gamma', SELU_GAMMA);
    return select(build, x, gamma, build.shift(y, gamma * alpha(node, SELU_ALPHA)));
  }),
  Celu: pointwise((build, x, y, node) =>
    select(build, x, 1, build.shift(build.scale(y, 1 / alpha(node, 1)), 1)),
  ),
  Sigmoid: { ...pointwise((build, _x, y) => build.mul(y, build.minus(1, y))), inBlocks: true },
  Tanh: { ...pointwise((build, _x, y) => build.minus(1, build.square(y))), inBlocks: true },
  Softplus: pointwise((build, x) => logistic(build, x)),
  Softsign: pointwise((build, x) =>
    build.unary('Reciprocal', build.square(build.shift(build.unary('Abs', x), 1))),
  ),
  HardSigmoid: {
    ...pointwise((build, _x, y, node) => build.scale(inside(build, y, 0, 1), alpha(node, 0.2))),
    inBlocks: true,
    stops: (node) => Math.abs(alpha(node, 0.2)) >= STEEP,
  },
  HardSwish: { ...pointwise((build, x) => hardSwish(build, x)), inBlocks: true },
  Mish: pointwise((build, x) => {
    const tanh = build.unary('Tanh', build.unary('Softplus', x));
    return build.add(tanh, build.mul(build.mul(x, build.minus(1, build.square(tanh))), logistic(build, x)));
  }),
  Gelu: pointwise((build, x, _y, node) => gelu(build, x, node)),
  /** The bounds belong to the inside, as in PyTorch's clamp; what is outside moves with the bound that it lies at. */
  Clip: {
    inBlocks: true,
    through: [0, 1, 2],
    lazy: true,
    backward: (context) => {
      const { build, inputs } = context;
      const [x, y] = [required(inputs, 0), required(context.outputs, 0)];
      const [, low] = inputs;
      return perOperand(context, (index, dy) => {
        const inside = build.indicator('Equal', y, x);
        if (index === 0) return build.mul(dy, inside);
        const below = low && build.mul(build.indicator('Less', x, low), build.indicator('Equal', y, low));
        if (index === 1) return build.mul(dy, required([below], 0));
        const outside = build.minus(1, inside);
        // A lower bound above the upper one gives the upper one everywhere.
        return build.mul(dy, below === undefined ? outside : build.mul(outside, build.minus(1, below)));
      });
    },
  },
  PRelu: {
    through: [0, 1],
    lazy: true,
    backward: (context) => {
      const { build } = context;
      const [x, slope] = [required(context.inputs, 0), required(context.inputs, 1)];
      return perOperand(context, (index, dy) => {
        if (index === 1) return build.mul(dy, build.binary('Min', x, build.scalar(x.type, 0)));
        const step = build.step(x);
        return build.mul(dy, build.add(step, build.mul(build.minus(1, step), slope)));
      });
    },
  },
} as const satisfies Record<string, Rule>;
