import { checkOption } from '../../graph/option-descriptors.js';
import { OPTIMIZER_NAMES, type WeightDecayKind } from '../choices.js';
import { type AdagradOptions, adagrad } from './adagrad.js';
import { type AdamOptions, adam } from './adam.js';
import { type MuonOptions, muon } from './muon.js';
import type { BareRule, OptimizerRule } from './optimizer-rule.js';
import { type RmspropOptions, rmsprop } from './rmsprop.js';
import { type SgdOptions, sgd } from './sgd.js';
import { withDecay } from './weight-decay.js';

export { clipped, gradientNorms, isLargeProduct, jointNorm } from './clip.js';
export { movingAverage } from './moving-average.js';
export type { AdagradOptions, AdamOptions, MuonOptions, RmspropOptions, SgdOptions };

/** The options of each optimizer, by its name. */
export interface OptimizerOptions {
  readonly sgd: SgdOptions;
  readonly adam: AdamOptions;
  readonly adamw: AdamOptions;
  readonly rmsprop: RmspropOptions;
  readonly adagrad: AdagradOptions;
  readonly muon: MuonOptions;
}

/** Name of an optimizer: a key of OPTIMIZERS. */
export type OptimizerName = keyof OptimizerOptions;

/** An optimizer with its defaults. */
export interface Optimizer<Options> {
  /** @param decay how weight decay enters; default `weightDecayKind` */
  make(options?: Options, decay?: WeightDecayKind): OptimizerRule;
  /** As PyTorch has it; of Muon as its authors have it. */
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly weightDecayKind: WeightDecayKind;
}

/** The optimizers, with what PyTorch takes where nothing is asked for. */
export const OPTIMIZERS: { readonly [Name in OptimizerName]: Optimizer<OptimizerOptions[Name]> } = {
  sgd: entry(sgd, 0.01),
  adam: entry(adam, 0.001),
  adamw: entry(adam, 0.001, 'decoupled', 0.01),
  rmsprop: entry(rmsprop, 0.01),
  adagrad: entry(adagrad, 0.01),
  muon: entry(muon, 0.02, 'decoupled'),
};

function entry<Options>(
  rule: (options?: Options) => BareRule,
  learningRate: number,
  weightDecayKind: WeightDecayKind = 'l2',
  weightDecay = 0,
): Optimizer<Options> {
  const make: Optimizer<Options>['make'] = (options, decay = weightDecayKind) =>
    withDecay(rule(options), decay);
  return { make, learningRate, weightDecay, weightDecayKind };
}

export { OPTIMIZER_NAMES };

/**
 * An optimizer by its name: the update of PyTorch's optimizer of that name, as nodes of a graph.
 *
 * @throws OptionError for a name that is unknown and options out of range
 * @example
 * const rule = optimizer('sgd', { momentum: 0.9, nesterov: true });
 * @param decay how weight decay enters: 'l2' (the penalty's gradient) or 'decoupled'; default as PyTorch's optimizer
 */
export function optimizer<Name extends OptimizerName>(
  name: Name,
  options?: OptimizerOptions[Name],
  decay?: WeightDecayKind,
): OptimizerRule {
  checkOption({ kind: 'choice', choices: OPTIMIZER_NAMES, help: '' }, name, 'optimizer');
  return OPTIMIZERS[name].make(options, decay);
}
