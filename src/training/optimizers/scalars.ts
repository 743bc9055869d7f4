import type { Builder } from '../../passes/gradient/builder.js';
import type { Value } from '../../passes/gradient/value.js';

const known = new WeakMap<Builder, Map<string, Value>>();

/** A value that the updates of all weights share, made at its first use. */
export function shared(build: Builder, key: string, make: () => Value): Value {
  const values = known.get(build) ?? new Map<string, Value>();
  known.set(build, values);
  const value = values.get(key) ?? make();
  values.set(key, value);
  return value;
}

/** A scalar such as the learning rate in a weight's type. */
export function scalarIn(build: Builder, scalar: Value, type: Value['type']): Value {
  return shared(build, `${scalar.name} as ${type}`, () => build.cast(scalar, type));
}

/**
 * 1 - decay^step: the weight that an average of `step` numbers has, begun at zero.
 *
 * As 2 T / (1 + T) with T = tanh(-step ln(decay) / 2): in float32 the difference itself is off by 1e-5 at the first
 * step of a decay of 0.999.
 */
export function correction(build: Builder, decay: number, step: Value, type: Value['type']): Value {
  return shared(build, `1 - ${decay}^${step.name} as ${type}`, () => {
    if (decay === 0) return build.scalar(type, 1);
    const tanh = build.unary('Tanh', build.scale(scalarIn(build, step, type), -Math.log(decay) / 2));
    return build.div(build.scale(tanh, 2), build.shift(tanh, 1));
  });
}

/** decay * average + number: an average that lacks the factor 1 - decay, which saves a pass over the weight. */
export function accumulate(build: Builder, decay: number, average: Value, number: Value): Value {
  return decay === 0 ? number : build.add(build.scale(average, decay), number);
}

/** parameter - rate * direction */
export function descend(build: Builder, parameter: Value, rate: Value, direction: Value): Value {
  return build.sub(parameter, build.mul(direction, rate));
}
