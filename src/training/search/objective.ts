import { type Model, ModelError, type NativeArray } from '../../graph/index.js';
import { OptionError } from '../../graph/option-descriptors.js';
import { type Gradient, gradient, type LossModel, lossModel } from '../../passes/gradient/index.js';
import { product } from '../../passes/gradient/shapes.js';
import {
  convert,
  openSession,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
} from '../../runtime/index.js';
import type { StepOptions } from '../engine/step.js';
import type { Objective, Part, Slope } from './search-rule.js';
import { isSame } from './vectors.js';

/** A weight among the elements of a point. */
export interface SearchedWeight extends Part {
  readonly name: string;
  /** float32 of half-precision weights, which are rounded for the model alone. */
  readonly type: 'float32' | 'float64';
  readonly shape: readonly number[];
  readonly decay: number;
}

export type ObjectiveOptions = Pick<
  StepOptions,
  'loss' | 'output' | 'dims' | 'wrt' | 'batch' | 'batchNorm' | 'dropout' | 'weightDecayOf'
>;

type Data = Readonly<Record<string, RuntimeTensor>>;

/** The loss of a batch, and half the squared norms of the weights that decay, as a function of the weights. */
export class ModelObjective implements Objective, AsyncDisposable {
  readonly weights: readonly SearchedWeight[];
  readonly size: number;
  readonly #session: Session;
  readonly #made: Gradient | LossModel;
  readonly #types: ReadonlyMap<string, RuntimeTensor['type']>;
  #data: Data = {};
  /** What is known of one point. */
  #known: { readonly x: Float64Array; readonly slope: Slope } | undefined;
  #valued: { readonly x: Float64Array; readonly value: number } | undefined;

  private constructor(made: Gradient | LossModel, session: Session, weights: readonly SearchedWeight[]) {
    this.#made = made;
    this.#session = session;
    this.weights = weights;
    this.size = weights.at(-1)?.end ?? 0;
    this.#types = new Map(session.inputs.map(({ name, type }) => [name, type ?? 'float32']));
  }

  /**
   * @param isDifferentiated whether slopes are asked for, too
   * @throws GradientError and ModelError as `gradient` does; OptionError for layers that follow the batch
   */
  static async open(
    model: Model,
    options: ObjectiveOptions,
    isDifferentiated: boolean,
    session: SessionOptions,
  ): Promise<ModelObjective> {
    const { loss, output, dims, wrt = [], batch, batchNorm, dropout } = options;
    // The gradient is made in both cases: it knows what the loss depends on.
    const slope = await gradient(model, {
      loss,
      output,
      dims,
      wrt,
      batch,
      batchNorm,
      dropout,
      masks: 'inputs',
    });
    if (slope.state.size > 0) throw new OptionError('batchNorm', "must be 'inference' for a search");
    if (slope.masks.length > 0) throw new OptionError('dropout', "must be 'inference' for a search");
    const made = isDifferentiated ? slope : await lossModel(model, { loss, output, dims, batch, wrt });
    let start = 0;
    const weights = [...slope.gradients.keys()].map((name): SearchedWeight => {
      const tensor = slope.weights.get(name) ?? model.graph.initializers.get(name);
      if (tensor === undefined) throw new ModelError(`'${name}' is no initializer, so it cannot be trained`);
      const end = start + product(tensor.shape);
      const type = tensor.dataType === 'float64' ? 'float64' : 'float32';
      const decay = options.weightDecayOf?.(name) ?? 0;
      const weight = { name, type, shape: tensor.shape, start, end, decay } as const;
      start = end;
      return weight;
    });
    return new ModelObjective(made, await openSession(made.model, session), weights);
  }

  /** Of the nodes that are run for a value. */
  get operators(): readonly string[] {
    return this.#made.model.graph.nodes.map(({ opType }) => opType);
  }

  get parts(): readonly Part[] {
    return this.weights;
  }

  /** The samples that all values are of. What is known of others is forgotten. */
  feed(inputs: Data, target: RuntimeTensor | undefined): void {
    const { target: name } = this.#made;
    const all = name !== undefined && target !== undefined ? { ...inputs, [name]: target } : inputs;
    const data = Object.fromEntries(
      Object.entries(all).flatMap(([key, tensor]) => {
        const type = this.#types.get(key);
        return type === undefined ? [] : [[key, convert(tensor, type)] as const];
      }),
    );
    const isKnown = Object.entries(data).every(([key, { data: next }]) => {
      const last = this.#data[key]?.data;
      return last !== undefined && bytesOf(last).equals(bytesOf(next));
    });
    if (!isKnown) this.forget();
    this.#data = data;
  }

  forget(): void {
    this.#known = undefined;
    this.#valued = undefined;
  }

  remember(x: Float64Array, slope: Slope): void {
    this.#known = { x, slope };
  }

  rounded(x: Float64Array): Float64Array {
    if (this.weights.every(({ type }) => type === 'float64')) return x;
    const rounded = x.slice();
    for (const { type, start, end } of this.weights)
      if (type === 'float32')
        for (let i = start; i < end; i += 1) rounded[i] = Math.fround(rounded[i] as number);
    return rounded;
  }

  /** The weights of a point as tensors. */
  tensors(x: Float64Array): Map<string, RuntimeTensor> {
    return new Map(
      this.weights.map(({ name, type, shape, start, end }) => {
        const part = x.slice(start, end);
        return [name, { type, shape, data: type === 'float64' ? part : Float32Array.from(part) }] as const;
      }),
    );
  }

  /** Half the squared norms of the weights, times their decay. */
  penalty(x: Float64Array): number {
    let sum = 0;
    for (const { decay, start, end } of this.weights)
      if (decay > 0) for (let i = start; i < end; i += 1) sum += (decay / 2) * (x[i] as number) ** 2;
    return sum;
  }

  async value(x: Float64Array): Promise<number> {
    if (this.#valued !== undefined && isSame(this.#valued.x, x)) return this.#valued.value;
    const results = await this.#run(x, [this.#made.loss]);
    const value = this.#valueOf(results, x);
    this.#valued = { x, value };
    return value;
  }

  async slope(x: Float64Array): Promise<Slope> {
    if (this.#known !== undefined && isSame(this.#known.x, x)) return this.#known.slope;
    const { gradients } = this.#made as Gradient;
    const results = await this.#run(x, [this.#made.loss, ...gradients.values()]);
    const gradient = new Float64Array(this.size);
    for (const { name, start, end, decay } of this.weights) {
      const found = results[gradients.get(name) ?? ''];
      if (found !== undefined) gradient.set(convert(found, 'float64').data as Float64Array, start);
      if (decay > 0)
        for (let i = start; i < end; i += 1) gradient[i] = (gradient[i] as number) + decay * (x[i] as number);
    }
    return { value: this.#valueOf(results, x), gradient };
  }

  #valueOf(results: Data, x: Float64Array): number {
    const loss = results[this.#made.loss];
    const value = loss === undefined ? Number.NaN : Number(convert(loss, 'float64').data[0]);
    return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value + this.penalty(x);
  }

  #run(x: Float64Array, outputs: readonly string[]): Promise<Data> {
    const feeds: Record<string, RuntimeTensor> = { ...this.#data };
    for (const [name, tensor] of this.tensors(x)) {
      const type = this.#types.get(name);
      if (type !== undefined) feeds[name] = convert(tensor, type);
    }
    return this.#session.run(feeds, { outputs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }
}

function bytesOf(data: RuntimeTensor['data']): Buffer {
  const { buffer, byteOffset, byteLength } = data as NativeArray;
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
