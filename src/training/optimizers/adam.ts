import type { Value } from '../../passes/gradient/value.js';
import type { BareRule, UpdateContext } from './optimizer-rule.js';
import { checkNotNegative, checkShare } from './ranges.js';
import { accumulate, correction, descend, scalarIn, shared } from './scalars.js';

/** Options of Adam and AdamW. */
export interface AdamOptions {
  /** Decays of the averages of the gradient and of its square; default [0.9, 0.999]. */
  readonly betas?: readonly [number, number] | undefined;
  /** Added to the root of the average square; default 1e-8. */
  readonly epsilon?: number | undefined;
}

/**
 * Adam (Kingma & Ba 2015) as torch.optim.Adam; with decoupled weight decay torch.optim.AdamW (Loshchilov & Hutter 2019).
 *
 * The averages are kept without their factors 1 - beta, which the scalars of the step take up: of the ten passes
 * over the weight that are left, none scales by a constant what another could.
 */
export function adam({ betas: [beta1, beta2] = [0.9, 0.999], epsilon = 1e-8 }: AdamOptions = {}): BareRule {
  checkShare(beta1, 'betas[0]');
  checkShare(beta2, 'betas[1]');
  checkNotNegative(epsilon, 'epsilon');
  return {
    slots: ['average', 'square'],
    update: (context) => {
      const { build, parameter, gradient, slots } = context;
      const average = accumulate(build, beta1, slots.average ?? gradient, gradient);
      const squared = build.square(gradient);
      const square = accumulate(build, beta2, slots.square ?? squared, squared);
      const { rate, offset } = scalars(context, beta1, beta2, epsilon);
      const direction = build.div(average, build.add(build.unary('Sqrt', square), offset));
      return { parameter: descend(build, parameter, rate, direction), slots: { average, square } };
    },
  };
}

/**
 * With a and s the averages without their factors, c1 and c2 the bias corrections:
 * lr / c1 (1 - b1) a / (sqrt((1 - b2) s) / sqrt(c2) + eps) = rate a / (sqrt(s) + offset).
 */
function scalars(
  { build, learningRate, step, parameter: { type } }: Omit<UpdateContext, 'weightDecay'>,
  beta1: number,
  beta2: number,
  epsilon: number,
): { readonly rate: Value; readonly offset: Value } {
  const key = `adam ${beta1} ${beta2} ${step.name} ${type}`;
  const root = shared(build, key, () =>
    build.scale(build.unary('Sqrt', correction(build, beta2, step, type)), 1 / Math.sqrt(1 - beta2)),
  );
  const offset = shared(build, `${key} ${epsilon}`, () => build.scale(root, epsilon));
  const rate = shared(build, `${key} ${learningRate.name}`, () =>
    build.div(
      build.mul(build.scale(scalarIn(build, learningRate, type), 1 - beta1), root),
      correction(build, beta1, step, type),
    ),
  );
  return { rate, offset };
}
