import {
  asArray,
  byteLengthOf,
  type DataType,
  type Model,
  ModelError,
  type Tensor,
  ValueInfo,
} from '../../graph/index.js';
import type { ChainSteps } from '../../passes/gradient/options.js';
import { withComposedChains } from '../../passes/gradient/prepare/compose-chains.js';
import { settledInputs } from '../../passes/gradient/prepare/infer-shapes.js';
import { inlinedFor } from '../../passes/gradient/prepare/inline.js';
import { openedBatch } from '../../passes/gradient/prepare/rebatch.js';
import { upgraded } from '../../passes/gradient/prepare/upgrade.js';
import { lossOf, predictionOf } from '../../passes/gradient/request.js';
import { trainableWeights } from '../../passes/gradient/weights.js';
import { countGarbage } from '../../runtime/garbage.js';
import {
  blockSize,
  type ExecutionProvider,
  fetchTensor,
  openSession,
  type ProviderChoice,
  type RuntimeTensor,
  releaseTensor,
  type SessionOptions,
} from '../../runtime/index.js';
import { buildModel } from '../../runtime/session/small-model.js';
import { firstNotFinite } from '../divergence.js';
import type {
  Batch,
  Chunk,
  ChunkResult,
  DivergenceOrigin,
  Engine,
  Evaluation,
  TrainingState,
} from '../types.js';
import { Evaluator } from './evaluator.js';
import { openLoop } from './loop.js';
import { findOrigin } from './non-finite.js';
import { firstSteps, type Runner } from './runner.js';
import { openSingle } from './single.js';
import { buildStep, type Carried, checkStepOptions, type Step, type StepOptions } from './step.js';

/** Options of openEngine. */
export interface EngineOptions extends StepOptions, Pick<SessionOptions, 'providers' | 'device' | 'threads'> {
  /**
   * How chains that `expand` declared are computed: 'factors', one factor after the other; 'product', multiplied out before they
   * meet the data; 'auto' (default), whichever takes fewer multiply-adds at this batch size. The trained weights are the factors in
   * every case, and differ by rounding.
   */
  readonly chainSteps?: ChainSteps | undefined;
}

/**
 * Compiles a training step for a model, a loss, an optimizer and a batch size. The model stays as it is; its weights
 * are where training starts.
 *
 * The steps of a chunk are one run of onnxruntime: the step is the body of a Loop that carries weights, running
 * statistics and the optimizer's state. On WebGPU each step is a run, and what is carried stays on the device.
 *
 * @throws OptionError for options out of range; GradientError naming the nodes that no gradient passes through; ModelError for a
 *   weight that is no initializer and sizes that are open; ProviderError for a provider that does not load here
 * @example
 * await using engine = await openEngine(model, { loss: 'cross-entropy', batch: 64, optimizer: optimizer('sgd') });
 * const { losses } = await engine.run(chunk);
 * const { weights } = await engine.state();
 */
export async function openEngine(model: Model, options: EngineOptions): Promise<Engine> {
  const { device, threads } = options;
  checkStepOptions(model, options);
  const providers = await settledProviders(options.providers ?? 'cpu', device);
  const sessionOptions = { providers, device, threads };
  const inputs = settledInputs(model, options);
  // Once for the steps and for every size of batches that are evaluated.
  const opened = await openedBatch(await inlinedFor(model, inputs), inputs);
  const { chainSteps = 'auto' } = options;
  const plain = chainSteps === 'factors' ? opened : await withComposedChains(opened, inputs, chainSteps);
  const wrt = options.wrt ?? (plain === opened ? undefined : await weightsInOrder(opened, inputs, options));
  const isCpu = providers.every((provider) => provider === 'cpu');
  const step = await buildStep(plain, {
    ...options,
    wrt,
    block: isCpu ? await blockSize() : undefined,
    elementary: !isCpu,
  });
  const open = providers[0] === 'webgpu' ? openSingle : openLoop;
  const runner = await open(step, sessionOptions);
  const fed = step.carried.flatMap(({ key, kind }) => (kind === 'weight' ? [key] : []));
  const evaluator = new Evaluator(plain, options, fed, sessionOptions);
  return new StepEngine(plain, step, runner, evaluator, options.batch);
}

/** The trainable weights in the order of the nodes of the model as it was given, whose chains are not multiplied out. */
async function weightsInOrder(
  model: Model,
  inputs: readonly ValueInfo[],
  { output, loss }: EngineOptions,
): Promise<readonly string[]> {
  const { graph } = await upgraded(model, inputs);
  return trainableWeights(graph, predictionOf(model, output, lossOf(loss).kind));
}

/** What 'auto' stands for here. */
export async function settledProviders(
  choice: ProviderChoice,
  device: number | undefined,
): Promise<readonly ExecutionProvider[]> {
  const list = [choice].flat();
  if (!list.includes('auto')) return list as ExecutionProvider[];
  const probe = buildModel({
    nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
    inputs: [ValueInfo.tensor('x', 'float32', [])],
    outputs: [ValueInfo.tensor('y', 'float32', [])],
    opset: 18,
  });
  await using session = await openSession(probe, { providers: choice, device });
  return session.providers;
}

class StepEngine implements Engine {
  readonly batch: number;
  readonly trained: readonly string[];
  readonly #model: Model;
  readonly #step: Step;
  readonly #runner: Runner;
  readonly #evaluator: Evaluator;
  #done = 0;
  /** By key, as the last run returned them: never written to. They may be on the device. */
  #state: ReadonlyMap<string, RuntimeTensor>;

  constructor(model: Model, step: Step, runner: Runner, evaluator: Evaluator, batch: number) {
    this.batch = batch;
    this.#model = model;
    this.trained = step.trained;
    this.#step = step;
    this.#runner = runner;
    this.#evaluator = evaluator;
    this.#state = new Map([
      ...step.carried.map(({ key, type, shape, start }) => [key, begin(type, shape, start())] as const),
      ...step.held.map(({ key, type, shape }) => [key, begin(type, shape, undefined)] as const),
    ]);
  }

  async run(chunk: Chunk): Promise<ChunkResult> {
    const { steps } = chunk;
    checkChunk(chunk);
    const { state, figures } = await this.#runner.run(chunk, this.#done, this.#state);
    const { losses, correct, norms } = figures;
    const gradientNorms = jointNorms(norms, steps);
    const diverged = firstNotFinite({ losses, gradientNorms });
    const origin = diverged === undefined ? undefined : await this.#origin(chunk, diverged, norms);
    this.#replace(this.#withHeld(state));
    this.#done += steps;
    return { losses, correct, gradientNorms, weightGradientNorms: norms, ...(origin && { origin }) };
  }

  /** What is not finite in a step of a chunk; the state is that before the chunk. */
  async #origin(chunk: Chunk, index: number, norms: Float32Array): Promise<DivergenceOrigin | undefined> {
    const done = this.#done;
    let state = this.#state;
    if (index > 0) {
      const { state: next } = await this.#runner.run(firstSteps(chunk, index), done, state);
      state = this.#withHeld(next);
    }
    const fetched = new Map<string, RuntimeTensor>();
    for (const [key, tensor] of state) fetched.set(key, await fetchTensor(tensor));
    if (state !== this.#state) for (const tensor of state.values()) releaseTensor(tensor);
    const origin = await findOrigin(this.#model.graph, this.#step, { chunk, index, done }, fetched);
    const { trained } = this.#step;
    const own = norms.subarray(index * trained.length, (index + 1) * trained.length);
    const weight = trained[own.findIndex((norm) => !Number.isFinite(norm))];
    return origin ?? (weight === undefined ? undefined : { kind: 'norm', tensor: weight });
  }

  /** What a state has. */
  #keys(): readonly Pick<Carried, 'key' | 'kind' | 'type' | 'shape'>[] {
    return [...this.#step.carried, ...this.#step.held.map((held) => ({ ...held, kind: 'slot' as const }))];
  }

  #withHeld(state: ReadonlyMap<string, RuntimeTensor>): ReadonlyMap<string, RuntimeTensor> {
    const held = this.#step.held.map(({ key }) => [key, this.#state.get(key) as RuntimeTensor] as const);
    return new Map([...state, ...held]);
  }

  #replace(next: ReadonlyMap<string, RuntimeTensor>): void {
    let bytes = 0;
    for (const tensor of this.#state.values()) {
      bytes += ArrayBuffer.isView(tensor.data) ? tensor.data.byteLength : 0;
      releaseTensor(tensor);
    }
    countGarbage(bytes);
    this.#state = next;
  }

  async evaluate(batches: AsyncIterable<Batch>, weights: 'current' | 'ema' = 'current'): Promise<Evaluation> {
    const fed = this.#step.carried.flatMap(({ key, kind }) => {
      if (kind !== 'weight') return [];
      const average = weights === 'ema' ? this.#state.get(`ema/${key}`) : undefined;
      return [[key, average ?? (this.#state.get(key) as RuntimeTensor)] as const];
    });
    return await this.#evaluator.evaluate(batches, Object.fromEntries(fed));
  }

  async state(): Promise<TrainingState> {
    const weights = new Map<string, RuntimeTensor>();
    const slots = new Map<string, RuntimeTensor>();
    for (const { key, kind } of this.#keys()) {
      const tensor = this.#state.get(key) as RuntimeTensor;
      (kind === 'weight' ? weights : slots).set(key, await fetchTensor(tensor));
    }
    return { step: this.#done, weights, slots };
  }

  async restore(state: TrainingState): Promise<void> {
    const next = new Map<string, RuntimeTensor>();
    for (const { key, kind, type, shape } of this.#keys()) {
      const tensor = (kind === 'weight' ? state.weights : state.slots).get(key);
      if (tensor === undefined) throw new ModelError(`the state has no ${kind} '${key}'`);
      if (tensor.type !== type || tensor.shape.join() !== shape.join()) {
        throw new ModelError(
          `the state has '${key}' as ${tensor.type}[${tensor.shape.join(', ')}], but it is ${type}[${shape.join(', ')}] here`,
        );
      }
      next.set(key, copyOf(tensor));
    }
    if (!Number.isInteger(state.step) || state.step < 0)
      throw new ModelError(`a state cannot be of step ${state.step}`);
    this.#replace(next);
    this.#done = state.step;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#replace(new Map());
    await this.#runner[Symbol.asyncDispose]();
    await this.#evaluator[Symbol.asyncDispose]();
  }
}

/** What a value is before the first step: what the model has, or zeros. */
function begin(type: DataType, shape: readonly number[], tensor: Tensor | undefined): RuntimeTensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  return { type, shape, data: tensor?.array() ?? asArray(type, new Uint8Array(byteLengthOf(type, size))) };
}

function copyOf(tensor: RuntimeTensor): RuntimeTensor {
  return { ...tensor, data: tensor.data.slice() };
}

/** @throws ModelError for a chunk whose parts do not fit */
export function checkChunk({ steps, learningRates }: Chunk): void {
  if (!Number.isInteger(steps) || steps < 1)
    throw new ModelError(`a chunk has a whole number of steps above 0, not ${steps}`);
  if (learningRates.length !== steps)
    throw new ModelError(`a chunk of ${steps} steps has ${learningRates.length} learning rates`);
}

/** Norm over all weights, of each step. */
function jointNorms(norms: Float32Array, steps: number): Float32Array {
  const trained = norms.length / steps;
  return Float32Array.from({ length: steps }, (_, step) =>
    Math.hypot(...norms.subarray(step * trained, (step + 1) * trained)),
  );
}
