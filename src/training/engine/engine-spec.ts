import type { Model } from '../../graph/index.js';
import type { Loss } from '../../passes/gradient/index.js';
import type { ExecutionProvider } from '../../runtime/index.js';
import type { WeightDecayKind } from '../choices.js';
import { nuclearPenalty } from '../low-rank/nuclear-norm.js';
import { type OptimizerName, type OptimizerOptions, optimizer } from '../optimizers/index.js';
import type { Engine } from '../types.js';
import { type EngineOptions, openEngine } from './engine.js';

/** What an engine is to be, in plain data that can go to a thread. */
export interface EngineSpec {
  readonly loss: Loss;
  readonly output: string | undefined;
  readonly batch: number;
  /** Names of the initializers that are trained. */
  readonly weights: readonly string[];
  readonly optimizer: OptimizerName;
  readonly optimizerOptions: OptimizerOptions[OptimizerName];
  /** Weight decay by the name of the weight; those that are not in it have none. */
  readonly weightDecay: ReadonlyMap<string, number>;
  readonly weightDecayKind: WeightDecayKind | undefined;
  /** Coefficient of the nuclear norm in the loss, and the weights whose norm it is. */
  readonly nuclear: { readonly coefficient: number; readonly weights: readonly string[] } | undefined;
  /** Of Dropout. */
  readonly seed: number | undefined;
  readonly clipNorm: number | undefined;
  readonly emaDecay: number | undefined;
  readonly dims: Readonly<Record<string, number>> | undefined;
  readonly batchNorm: EngineOptions['batchNorm'];
  readonly dropout: EngineOptions['dropout'];
  readonly providers: readonly ExecutionProvider[] | 'auto' | undefined;
  readonly device: number | undefined;
  readonly threads: number | undefined;
}

/** The engine of a specification. */
export function engineOf(model: Model, spec: EngineSpec): Promise<Engine> {
  return openEngine(model, optionsOf(spec));
}

export function optionsOf(spec: EngineSpec): EngineOptions {
  const { weights, weightDecay, weightDecayKind, optimizerOptions, nuclear, ...rest } = spec;
  return {
    ...rest,
    ...(nuclear && { penalty: nuclearPenalty(nuclear.coefficient, nuclear.weights) }),
    wrt: weights,
    optimizer: optimizer(spec.optimizer, optimizerOptions, weightDecayKind),
    weightDecayOf: (name) => weightDecay.get(name) ?? 0,
  };
}
