import { checkOption, OptionError } from '../../graph/option-descriptors.js';
import { type Definition, Registry } from '../../graph/registry.js';
import { OPTIMIZER_NAMES, TRAINER_NAMES, type WeightDecayKind } from '../choices.js';
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

/** Name of an optimizer that a program defined; see defineOptimizer. */
export type OwnOptimizer = string & { readonly ownOptimizer: true };

/** An optimizer that a program brings, and what a training takes where nothing is asked for. */
export interface OptimizerDefinition {
  /** State that is kept for each weight, of its shape, and the update as nodes. Weight decay is added to it. */
  readonly rule: BareRule;
  readonly learningRate: number;
  /** Default 0. */
  readonly weightDecay?: number | undefined;
  /** Default 'l2'. */
  readonly weightDecayKind?: WeightDecayKind | undefined;
}

const OWN = new Registry<Optimizer<object>>('an optimizer', (name) =>
  (TRAINER_NAMES as readonly string[]).includes(name),
);

/**
 * Adds an optimizer, for `train` (and `openEngine`, `withTrainingInfo`: `optimizer(name)`). Its update is part of the graph of the step,
 * so it runs as fast as those of the library. The name and the settings of the rule should go together: a checkpoint
 * knows the name.
 *
 * `train` computes in this thread, not in one of its own, with such an optimizer; `study` does not know it.
 *
 * @returns its `name` is what `train` takes; disposing of it takes the optimizer away again
 * @throws OptionError for a name that is taken, or a learning rate that is not above 0
 * @example
 * // Lion (Chen et al. 2023, arXiv 2302.06675): w -= rate sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g
 * using lion = defineOptimizer('lion', {
 *   learningRate: 1e-4,
 *   weightDecayKind: 'decoupled',
 *   rule: {
 *     slots: ['moment'],
 *     update: ({ build, parameter, gradient, slots: { moment = gradient }, learningRate }) => {
 *       const mix = (b: number) => build.add(build.scale(moment, b), build.scale(gradient, 1 - b));
 *       const step = build.mul(build.unary('Sign', mix(0.9)), build.cast(learningRate, parameter.type));
 *       return { parameter: build.sub(parameter, step), slots: { moment: mix(0.99) } };
 *     },
 *   },
 * });
 * await train(model, dataset, { optimizer: lion.name }).result();
 */
export function defineOptimizer(
  name: string,
  definition: OptimizerDefinition,
): Definition & { readonly name: OwnOptimizer } {
  const { rule, learningRate, weightDecay = 0, weightDecayKind = 'l2' } = definition;
  checkOption({ kind: 'number', above: 0, help: '' }, learningRate, 'learningRate');
  const withoutOptions = (options: object = {}): BareRule => {
    if (Object.keys(options).length === 0) return rule;
    throw new OptionError('optimizerOptions', `go with the optimizers of the library; '${name}' has its own`);
  };
  const defined = OWN.define(name, entry(withoutOptions, learningRate, weightDecayKind, weightDecay));
  return { ...defined, name: name as OwnOptimizer };
}

/** True for an optimizer that this thread alone knows. */
export function isOwnOptimizer(name: string): boolean {
  return OWN.get(name) !== undefined;
}

/** An optimizer and its defaults, those that programs define among them. */
export function optimizerNamed(name: OptimizerName | OwnOptimizer): Optimizer<never> {
  const own = OWN.get(name);
  if (own !== undefined) return own;
  checkOption({ kind: 'choice', choices: OPTIMIZER_NAMES, help: '' }, name, 'optimizer');
  return OPTIMIZERS[name as OptimizerName];
}

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
 * An optimizer by its name: the update of PyTorch's optimizer of that name, or one that was defined, as nodes of a graph.
 *
 * @throws OptionError for a name that is unknown and options out of range
 * @example
 * const rule = optimizer('sgd', { momentum: 0.9, nesterov: true });
 * @param decay how weight decay enters: 'l2' (the penalty's gradient) or 'decoupled'; default as PyTorch's optimizer
 */
export function optimizer<Name extends OptimizerName | OwnOptimizer>(
  name: Name,
  options?: Name extends OptimizerName ? OptimizerOptions[Name] : undefined,
  decay?: WeightDecayKind,
): OptimizerRule {
  return optimizerNamed(name).make(options as never, decay);
}
