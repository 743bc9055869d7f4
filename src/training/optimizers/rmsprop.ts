import type { BareRule } from './optimizer-rule.js';
import { checkNotNegative, checkShare } from './ranges.js';
import { accumulate, descend, scalarIn, shared } from './scalars.js';

/** Options of RMSprop. */
export interface RmspropOptions {
  /** Decay of the average square; default 0.99. */
  readonly alpha?: number | undefined;
  /** Added to the root of the average square; default 1e-8. */
  readonly epsilon?: number | undefined;
  /** Default 0. */
  readonly momentum?: number | undefined;
  /** Divides by the deviation instead of the root mean square (Graves 2013); default false. */
  readonly centered?: boolean | undefined;
}

/** RMSprop (Tieleman & Hinton 2012) as torch.optim.RMSprop. */
export function rmsprop(options: RmspropOptions = {}): BareRule {
  const { alpha = 0.99, epsilon = 1e-8, momentum = 0, centered = false } = options;
  checkShare(alpha, 'alpha');
  checkShare(momentum, 'momentum');
  checkNotNegative(epsilon, 'epsilon');
  // The averages are kept without their factor 1 - alpha, which the learning rate and epsilon take up.
  const factor = 1 / Math.sqrt(1 - alpha);
  return {
    slots: ['square', ...(centered ? ['average'] : []), ...(momentum === 0 ? [] : ['momentum'])],
    update: ({ build, parameter, gradient, slots, learningRate }) => {
      const { type } = parameter;
      const squared = build.square(gradient);
      const square = accumulate(build, alpha, slots.square ?? squared, squared);
      const average = centered ? accumulate(build, alpha, slots.average ?? gradient, gradient) : undefined;
      // The variance cannot be below zero, but its rounding can.
      const spread =
        average === undefined
          ? square
          : build.unary('Relu', build.sub(square, build.scale(build.square(average), 1 - alpha)));
      const size = build.shift(build.unary('Sqrt', spread), epsilon * factor);
      const direction = build.div(gradient, size);
      const moving =
        slots.momentum === undefined ? undefined : accumulate(build, momentum, slots.momentum, direction);
      const rate = shared(build, `rmsprop ${alpha} ${learningRate.name} ${type}`, () =>
        build.scale(scalarIn(build, learningRate, type), factor),
      );
      return {
        parameter: descend(build, parameter, rate, moving ?? direction),
        slots: { square, ...(average && { average }), ...(moving && { momentum: moving }) },
      };
    },
  };
}
