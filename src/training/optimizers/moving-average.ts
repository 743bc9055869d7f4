import type { Builder } from '../../passes/gradient/builder.js';
import type { Value } from '../../passes/gradient/value.js';
import { checkShare } from './ranges.js';
import { correction, shared } from './scalars.js';

/**
 * The exponential moving average of a weight after a step (Polyak & Juditsky 1992, with exponential weights).
 *
 * It is the average of the weights after steps 1 to `step`, weighted by decay^age, and needs no correction: the newest
 * weight enters with (1 - decay) / (1 - decay^step), all of it at step 1. So it does not matter what `average` begins
 * at (zeros will do), and the weights that training began with are not part of it.
 *
 * @param average after the step before, of the weight's type and shape
 * @param parameter the weight after the step
 * @param step scalar float32: 1, 2, 3, ...
 * @param decay from 0 to below 1, 0.999 say
 */
export function movingAverage(
  build: Builder,
  average: Value,
  parameter: Value,
  step: Value,
  decay: number,
): Value {
  checkShare(decay, 'emaDecay');
  const { type } = parameter;
  const share = shared(build, `average ${decay} ${step.name} ${type}`, () =>
    build.div(build.scalar(type, 1 - decay), correction(build, decay, step, type)),
  );
  return build.add(average, build.mul(build.sub(parameter, average), share));
}
