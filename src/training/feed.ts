import { isFloatType, type Model, ModelError, widen } from '../graph/index.js';
import { emptyRecord } from '../graph/record.js';
import type { Loss } from '../passes/gradient/index.js';
import { fedInputs, type RuntimeTensor } from '../runtime/index.js';
import type { Schedule } from './optimizers/schedule.js';
import { fitTargets, fitted, type Prediction, type TargetFit } from './targets.js';
import type { Batch, BatchOptions, Chunk, Dataset } from './types.js';

/**
 * Which input of a data set goes into which of a model, from the model's name to that of the data: by name or, where the names do not
 * match, by position.
 *
 * @param role what the model is called where the data has too few inputs
 */
export function feedsOf(
  model: Model,
  dataset: Dataset,
  role: 'model' | 'teacher' = 'model',
): ReadonlyMap<string, string> {
  const wanted = fedInputs(model.graph).map(({ name }) => name);
  const given = dataset.inputs.map(({ name }) => name);
  if (given.length < wanted.length) {
    throw new ModelError(
      `the ${role} takes ${wanted.length} inputs (${wanted.join(', ')}), but the data has ${given.length} (${given.join(', ')})`,
      { file: model.path },
    );
  }
  const isNamed = wanted.every((name) => given.includes(name));
  return new Map(wanted.map((name, index) => [name, isNamed ? name : (given[index] ?? name)]));
}

/** What a model is fed, and what of it is compared with the targets by which loss. */
export interface Fed {
  /** See feedsOf. */
  readonly feeds: ReadonlyMap<string, string>;
  readonly prediction: Prediction;
  readonly spec: { readonly loss: Loss };
}

/** Samples of a data set in the form that a model is fed. */
export class Feed {
  readonly #dataset: Dataset;
  readonly #feeds: ReadonlyMap<string, string>;
  readonly #fit: TargetFit | undefined;

  /** @throws ModelError where the targets do not fit what is predicted */
  constructor(dataset: Dataset, { feeds, spec, prediction }: Fed) {
    this.#dataset = dataset;
    this.#feeds = feeds;
    this.#fit = fitTargets(dataset, prediction, spec.loss);
  }

  async batch(indices: ArrayLike<number>, options: BatchOptions = {}): Promise<Batch> {
    const batch = await this.#dataset.batch(indices, options);
    const inputs = emptyRecord<RuntimeTensor>();
    for (const [name, from] of this.#feeds) {
      const tensor = batch.inputs[from];
      if (tensor !== undefined) inputs[name] = tensor;
    }
    const { target } = batch;
    const numberOf = (at: number): number => {
      const index = indices[at] ?? at;
      return this.#dataset.numberOf?.(index) ?? index;
    };
    const fit = this.#fit;
    return { inputs, target: target && fit ? fitted(target, fit, this.#dataset, numberOf) : target };
  }

  /** Steps one after the other: samples of all of them are read at once. */
  async chunk(
    indices: Uint32Array,
    batch: number,
    options: BatchOptions & { readonly rate: Schedule; readonly first: number },
  ): Promise<Chunk> {
    const steps = indices.length / batch;
    const { inputs, target } = await this.batch(indices, options);
    const stepped = (tensor: RuntimeTensor): RuntimeTensor => ({
      ...tensor,
      shape: [steps, batch, ...tensor.shape.slice(1)],
    });
    return {
      steps,
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, stepped(tensor)])),
      target: target && stepped(target),
      learningRates: Float32Array.from({ length: steps }, (_, index) => options.rate(options.first + index)),
    };
  }

  /**
   * The first sample that has NaN or infinite values; undefined where none has.
   *
   * @param batch so many are read at once
   */
  async spoilt(batch: number): Promise<{ readonly input: string; readonly number: number } | undefined> {
    let first = 0;
    for await (const { inputs, target } of this.all(batch)) {
      const tensors = [...Object.entries(inputs), ...(target ? [['the target', target] as const] : [])];
      for (const [input, { shape, data, type }] of tensors) {
        const values = isFloatType(type) ? widen(type, data as never) : [];
        const at = values.findIndex((value: number) => !Number.isFinite(value));
        if (at < 0) continue;
        const index = first + Math.floor(at / sizeOf(shape.slice(1)));
        return { input, number: this.#dataset.numberOf?.(index) ?? index };
      }
      first += batch;
    }
    return undefined;
  }

  /** All samples in their order, until `signal` says otherwise. */
  async *all(batch: number, signal?: AbortSignal): AsyncGenerator<Batch> {
    const { size } = this.#dataset;
    for (let from = 0; from < size && !signal?.aborted; from += batch) {
      yield await this.batch(
        Uint32Array.from({ length: Math.min(batch, size - from) }, (_, index) => from + index),
      );
    }
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
