import { checkOption } from '../../graph/option-descriptors.js';
import { OPTIMIZER_NAMES } from '../choices.js';
import { type AdagradOptions, adagrad } from './adagrad.js';
import { type AdamOptions, adam, adamw } from './adam.js';
import type { OptimizerRule } from './optimizer-rule.js';
import { type RmspropOptions, rmsprop } from './rmsprop.js';
import { type SgdOptions, sgd } from './sgd.js';

export { clipped, gradientNorms, isLargeProduct, jointNorm } from './clip.js';
export { movingAverage } from './moving-average.js';
export type { AdagradOptions, AdamOptions, RmspropOptions, SgdOptions };

export interface OptimizerOptions {
  readonly sgd: SgdOptions;
  readonly adam: AdamOptions;
  readonly adamw: AdamOptions;
  readonly rmsprop: RmspropOptions;
  readonly adagrad: AdagradOptions;
}

export type OptimizerName = keyof OptimizerOptions;

export interface Optimizer<Options> {
  make(options?: Options): OptimizerRule;
  /** As PyTorch has it. */
  readonly learningRate: number;
  readonly weightDecay: number;
}

/** The optimizers, with what PyTorch takes where nothing is asked for. */
export const OPTIMIZERS: { readonly [Name in OptimizerName]: Optimizer<OptimizerOptions[Name]> } = {
  sgd: { make: sgd, learningRate: 0.01, weightDecay: 0 },
  adam: { make: adam, learningRate: 0.001, weightDecay: 0 },
  adamw: { make: adamw, learningRate: 0.001, weightDecay: 0.01 },
  rmsprop: { make: rmsprop, learningRate: 0.01, weightDecay: 0 },
  adagrad: { make: adagrad, learningRate: 0.01, weightDecay: 0 },
};

export { OPTIMIZER_NAMES };

/**
 * An optimizer by its name: the update of PyTorch's optimizer of that name, as nodes of a graph.
 *
 * @throws OptionError for a name that is unknown and options out of range
 * @example
 * const rule = optimizer('sgd', { momentum: 0.9, nesterov: true });
 */
export function optimizer<Name extends OptimizerName>(
  name: Name,
  options?: OptimizerOptions[Name],
): OptimizerRule {
  checkOption({ kind: 'choice', choices: OPTIMIZER_NAMES, help: '' }, name, 'optimizer');
  return OPTIMIZERS[name].make(options);
}
