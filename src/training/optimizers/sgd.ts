import { OptionError } from '../../graph/option-descriptors.js';
import type { Value } from '../../passes/gradient/value.js';
import type { BareRule } from './optimizer-rule.js';
import { checkShare } from './ranges.js';
import { accumulate, descend, scalarIn, shared } from './scalars.js';

/** Options of stochastic gradient descent. */
export interface SgdOptions {
  /** Default 0. */
  readonly momentum?: number | undefined;
  /** Share of the gradient that does not enter the momentum from the second step on; default 0. */
  readonly dampening?: number | undefined;
  /** Looks ahead by one step of momentum (Sutskever et al. 2013); default false. */
  readonly nesterov?: boolean | undefined;
}

/** Stochastic gradient descent as torch.optim.SGD: b = momentum b + (1 - dampening) g; w = w - lr b. */
export function sgd({ momentum = 0, dampening = 0, nesterov = false }: SgdOptions = {}): BareRule {
  checkShare(momentum, 'momentum');
  checkShare(dampening, 'dampening');
  if (nesterov && (momentum === 0 || dampening !== 0)) {
    throw new OptionError('nesterov', 'takes a `momentum` above 0 and no `dampening`');
  }
  return {
    slots: momentum === 0 ? [] : ['momentum'],
    update: ({ build, parameter, gradient, slots, learningRate, step }) => {
      const { type } = parameter;
      const rate = scalarIn(build, learningRate, type);
      const last = slots.momentum;
      if (last === undefined) return { parameter: descend(build, parameter, rate, gradient), slots: {} };
      // The first gradient enters in full.
      const share = (): Value =>
        build.minus(
          1,
          build.scale(
            build.binary('Min', build.shift(scalarIn(build, step, type), -1), build.scalar(type, 1)),
            dampening,
          ),
        );
      const entering =
        dampening === 0
          ? gradient
          : build.mul(gradient, shared(build, `sgd ${dampening} ${step.name} ${type}`, share));
      const buffer = accumulate(build, momentum, last, entering);
      const direction = nesterov ? build.add(gradient, build.scale(buffer, momentum)) : buffer;
      return { parameter: descend(build, parameter, rate, direction), slots: { momentum: buffer } };
    },
    updateByProduct: ({ build, parameter, product, slots, learningRate }) => {
      const last = slots.momentum;
      if (last === undefined || dampening !== 0 || nesterov) return undefined;
      const { left, right, transA, transB } = product;
      const rate = scalarIn(build, learningRate, parameter.type);
      // The product is added to the momentum while it is made, which spares two passes over the weight.
      const buffer = build.addedGemm(left, right, transA, transB, { c: last, beta: momentum });
      return { parameter: descend(build, parameter, rate, buffer), slots: { momentum: buffer } };
    },
  };
}
