import type { BareRule } from './optimizer-rule.js';
import { checkNotNegative } from './ranges.js';
import { descend, scalarIn, shared } from './scalars.js';

/** Options of Adagrad. */
export interface AdagradOptions {
  /** The learning rate is divided by 1 + learningRateDecay * (step - 1); default 0. */
  readonly learningRateDecay?: number | undefined;
  /** What the sums of squares begin at; default 0. */
  readonly initialAccumulator?: number | undefined;
  /** Added to the root of the sum; default 1e-10. */
  readonly epsilon?: number | undefined;
}

/** Adagrad (Duchi et al. 2011) as torch.optim.Adagrad. */
export function adagrad(options: AdagradOptions = {}): BareRule {
  const { learningRateDecay = 0, initialAccumulator = 0, epsilon = 1e-10 } = options;
  checkNotNegative(learningRateDecay, 'learningRateDecay');
  checkNotNegative(initialAccumulator, 'initialAccumulator');
  checkNotNegative(epsilon, 'epsilon');
  return {
    slots: ['sum'],
    update: ({ build, parameter, gradient, slots, learningRate, step }) => {
      const { type } = parameter;
      const squared = build.square(gradient);
      // State begins at zero: the initial value is added where it is read.
      const sum = slots.sum === undefined ? squared : build.add(slots.sum, squared);
      const size = build.shift(build.unary('Sqrt', build.shift(sum, initialAccumulator)), epsilon);
      const base = scalarIn(build, learningRate, type);
      const rate =
        learningRateDecay === 0
          ? base
          : shared(build, `adagrad ${learningRateDecay} ${step.name} ${base.name}`, () =>
              build.div(
                base,
                build.shift(build.scale(build.shift(scalarIn(build, step, type), -1), learningRateDecay), 1),
              ),
            );
      return { parameter: descend(build, parameter, rate, build.div(gradient, size)), slots: { sum } };
    },
  };
}
