import type { Model } from '../../graph/index.js';
import type { Loss } from '../../passes/gradient/index.js';
import type { ExecutionProvider } from '../../runtime/index.js';
import type { WeightDecayKind } from '../choices.js';
import { nuclearPenalty } from '../low-rank/nuclear-norm.js';
import {
  type OptimizerName,
  type OptimizerOptions,
  type OwnOptimizer,
  optimizerNamed,
} from '../optimizers/index.js';
import { isSearch, type SearchName, type SearchOptions, search } from '../search/index.js';
import { openSearchEngine, type SearchEngineOptions } from '../search/search-engine.js';
import type { Engine } from '../types.js';
import { type EngineOptions, openEngine } from './engine.js';

/** What an engine is to be, in plain data that can go to a thread. */
export interface EngineSpec {
  readonly loss: Loss;
  readonly output: string | undefined;
  readonly batch: number;
  /** Names of the initializers that are trained. */
  readonly weights: readonly string[];
  readonly optimizer: OptimizerName | OwnOptimizer | SearchName;
  readonly optimizerOptions: OptimizerOptions[OptimizerName] | SearchOptions[SearchName];
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
  readonly chainSteps: EngineOptions['chainSteps'];
  readonly checkpointing: EngineOptions['checkpointing'];
  readonly dropout: EngineOptions['dropout'];
  readonly providers: readonly ExecutionProvider[] | 'auto' | undefined;
  readonly device: number | undefined;
  readonly threads: number | undefined;
}

/** The engine of a specification. */
export function engineOf(model: Model, spec: EngineSpec): Promise<Engine> {
  const { optimizer: name } = spec;
  return isSearch(name)
    ? openSearchEngine(model, searchOptionsOf(spec, name))
    : openEngine(model, optionsOf(spec, name));
}

export function searchOptionsOf(spec: EngineSpec, name: SearchName): SearchEngineOptions {
  return {
    ...spec,
    wrt: spec.weights,
    weightDecayOf: (weight) => spec.weightDecay.get(weight) ?? 0,
    search: search(name, spec.optimizerOptions as SearchOptions[SearchName]),
  };
}

export function optionsOf(spec: EngineSpec, name: OptimizerName | OwnOptimizer): EngineOptions {
  const { weights, weightDecay, weightDecayKind, optimizerOptions, nuclear, ...rest } = spec;
  return {
    ...rest,
    ...(nuclear && { penalty: nuclearPenalty(nuclear.coefficient, nuclear.weights) }),
    wrt: weights,
    optimizer: optimizerNamed(name).make(optimizerOptions as never, weightDecayKind),
    weightDecayOf: (name) => weightDecay.get(name) ?? 0,
  };
}
