import { type Model, ModelError } from '../../graph/index.js';
import { settledInputs } from '../../passes/gradient/prepare/infer-shapes.js';
import { inlinedFor } from '../../passes/gradient/prepare/inline.js';
import { openedBatch } from '../../passes/gradient/prepare/rebatch.js';
import { convert, type RuntimeTensor } from '../../runtime/index.js';
import { checkChunk, type EngineOptions, settledProviders } from '../engine/engine.js';
import { Evaluator } from '../engine/evaluator.js';
import { rowOf } from '../engine/single.js';
import { checkStepOptions } from '../engine/step.js';
import type { Batch, Chunk, ChunkResult, Engine, Evaluation, TrainingState } from '../types.js';
import { ModelObjective } from './objective.js';
import type { Position, SearchRule } from './search-rule.js';

/** Options of openSearchEngine. */
export interface SearchEngineOptions
  extends Pick<
    EngineOptions,
    | 'loss'
    | 'output'
    | 'dims'
    | 'wrt'
    | 'batch'
    | 'batchNorm'
    | 'dropout'
    | 'weightDecayOf'
    | 'seed'
    | 'providers'
    | 'device'
    | 'threads'
  > {
  readonly search: SearchRule;
}

/**
 * An engine whose steps each look at the loss of their batch, which is meant to be all samples, as often as a search needs to.
 * Its gradient norms are 0 where the search takes no gradients.
 *
 * @throws OptionError, GradientError, ModelError and ProviderError as `openEngine`; OptionError for a model with BatchNormalization or
 *   Dropout in training form
 * @example
 * const options = { loss: 'mse', batch: 128, search: search('lbfgs') } as const;
 * await using engine = await openSearchEngine(model, options);
 */
export async function openSearchEngine(model: Model, options: SearchEngineOptions): Promise<Engine> {
  const { search, device, threads, ...rest } = options;
  checkStepOptions(model, rest);
  const providers = await settledProviders(options.providers ?? 'cpu', device);
  const session = { providers, device, threads };
  const inputs = settledInputs(model, options);
  const plain = await openedBatch(await inlinedFor(model, inputs), inputs);
  const objective = await ModelObjective.open(plain, rest, search.takesGradients, session);
  const fed = objective.weights.map(({ name }) => name);
  const evaluator = new Evaluator(plain, options, fed, session);
  return new SearchEngine(plain, objective, evaluator, options);
}

/** What is evaluated, and what is carried from step to step. */
export async function describeSearch(model: Model, { search, ...options }: SearchEngineOptions) {
  const session = { providers: ['cpu'], optimization: 'disabled' } as const;
  await using objective = await ModelObjective.open(model, options, search.takesGradients, session);
  const slots = Object.values(search.slots(objective.size));
  return {
    operators: objective.operators,
    peakBytes: undefined,
    carried: [
      ...objective.weights.map(({ type, shape }) => ({ type, shape })),
      ...slots.map((shape) => ({ type: 'float64' as const, shape })),
    ],
  };
}

class SearchEngine implements Engine {
  readonly batch: number;
  readonly trained: readonly string[];
  readonly #objective: ModelObjective;
  readonly #evaluator: Evaluator;
  readonly #rule: SearchRule;
  readonly #seed: number;
  readonly #shapes: Readonly<Record<string, readonly number[]>>;
  #at: Position;
  #done = 0;

  constructor(model: Model, objective: ModelObjective, evaluator: Evaluator, options: SearchEngineOptions) {
    this.batch = options.batch;
    this.trained = objective.weights.map(({ name }) => name);
    this.#objective = objective;
    this.#evaluator = evaluator;
    this.#rule = options.search;
    this.#seed = options.seed ?? 0;
    this.#shapes = this.#rule.slots(objective.size);
    const x = new Float64Array(objective.size);
    for (const { name, start } of objective.weights) {
      const tensor = model.graph.initializers.get(name);
      if (tensor !== undefined) x.set(tensor.floats(), start);
    }
    this.#at = { x, slots: this.#startOf(x) };
  }

  async run(chunk: Chunk): Promise<ChunkResult> {
    checkChunk(chunk);
    const losses: number[] = [];
    const norms: number[] = [];
    for (let index = 0; index < chunk.steps; index += 1) {
      const { inputs, target } = stepOf(chunk, index);
      this.#objective.feed(inputs, target);
      const { x } = this.#at;
      const figures = await this.#figures(x);
      losses.push(figures.loss);
      norms.push(...figures.norms);
      const context = { rate: chunk.learningRates[index] ?? 0, step: this.#done + 1, seed: this.#seed };
      const { slope, ...next } = await this.#rule.step(this.#objective, this.#at, context);
      if (slope !== undefined) this.#objective.remember(next.x, slope);
      this.#at = next;
      this.#done += 1;
    }
    const weightGradientNorms = Float32Array.from(norms);
    const { length } = this.trained;
    return {
      losses: Float32Array.from(losses),
      correct: undefined,
      gradientNorms: Float32Array.from(losses, (_, i) =>
        Math.hypot(...weightGradientNorms.subarray(i * length, (i + 1) * length)),
      ),
      weightGradientNorms,
    };
  }

  /** The loss before a step, and the norms of its gradient by weight, both without the penalty. */
  async #figures(x: Float64Array): Promise<{ readonly loss: number; readonly norms: readonly number[] }> {
    const { weights } = this.#objective;
    if (!this.#rule.takesGradients)
      return {
        loss: (await this.#objective.value(x)) - this.#objective.penalty(x),
        norms: weights.map(() => 0),
      };
    const slope = await this.#objective.slope(x);
    this.#objective.remember(x, slope);
    const norms = weights.map(({ start, end, decay }) => {
      let sum = 0;
      for (let i = start; i < end; i += 1)
        sum += ((slope.gradient[i] as number) - decay * (x[i] as number)) ** 2;
      return Math.sqrt(sum);
    });
    return { loss: slope.value - this.#objective.penalty(x), norms };
  }

  evaluate(batches: AsyncIterable<Batch>): Promise<Evaluation> {
    const weights = Object.fromEntries(this.#objective.tensors(this.#at.x));
    return this.#evaluator.evaluate(batches, weights);
  }

  async state(): Promise<TrainingState> {
    const slots = Object.entries(this.#shapes).map(([key, shape]) => {
      const data = this.#at.slots[key]?.slice() ?? new Float64Array(0);
      return [`search/${key}`, { type: 'float64', shape, data }] as const;
    });
    return { step: this.#done, weights: this.#objective.tensors(this.#at.x), slots: new Map(slots) };
  }

  async restore(state: TrainingState): Promise<void> {
    const x = new Float64Array(this.#objective.size);
    const taken = (of: ReadonlyMap<string, RuntimeTensor>, key: string, shape: readonly number[]) => {
      const tensor = of.get(key);
      if (tensor === undefined) throw new ModelError(`the state has no '${key}'`);
      if (tensor.shape.join() !== shape.join()) {
        throw new ModelError(
          `the state has '${key}' as [${tensor.shape.join(', ')}], but it is [${shape.join(', ')}] here`,
        );
      }
      return (convert(tensor, 'float64').data as Float64Array).slice();
    };
    for (const { name, shape, start } of this.#objective.weights)
      x.set(taken(state.weights, name, shape), start);
    const slots = Object.entries(this.#shapes).map(
      ([key, shape]) => [key, taken(state.slots, `search/${key}`, shape)] as const,
    );
    if (!Number.isInteger(state.step) || state.step < 0)
      throw new ModelError(`a state cannot be of step ${state.step}`);
    this.#at = { x, slots: Object.fromEntries(slots) };
    this.#done = state.step;
    this.#objective.forget();
  }

  #startOf(x: Float64Array): Position['slots'] {
    const start = this.#rule.start?.(x, this.#objective.parts) ?? {};
    const zeros = Object.entries(this.#shapes).map(
      ([key, shape]) => [key, new Float64Array(shape.reduce((size, dim) => size * dim, 1))] as const,
    );
    return { ...Object.fromEntries(zeros), ...start };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#objective[Symbol.asyncDispose]();
    await this.#evaluator[Symbol.asyncDispose]();
  }
}

/** The samples of one step. */
function stepOf(chunk: Chunk, index: number): Pick<Chunk, 'inputs' | 'target'> {
  return {
    inputs: Object.fromEntries(
      Object.entries(chunk.inputs).map(([name, tensor]) => [name, rowOf(tensor, index)]),
    ),
    target: chunk.target && rowOf(chunk.target, index),
  };
}
