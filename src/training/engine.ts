import {
  asArray,
  byteLengthOf,
  type DataType,
  type Model,
  ModelError,
  type NativeArray,
  type Tensor,
  ValueInfo,
} from '../graph/index.js';
import { buildModel } from '../runtime/build.js';
import { countGarbage } from '../runtime/garbage.js';
import {
  blockSize,
  type ExecutionProvider,
  openSession,
  type ProviderChoice,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
} from '../runtime/index.js';
import { Evaluator } from './evaluator.js';
import { type LoopModel, loopModel } from './loop.js';
import { buildStep, type Step, type StepOptions } from './step.js';
import type { Batch, Chunk, ChunkResult, Engine, Evaluation, TrainingState } from './types.js';

export interface EngineOptions
  extends StepOptions,
    Pick<SessionOptions, 'providers' | 'device' | 'threads'> {}

/**
 * Compiles a training step for a model, a loss, an optimizer and a batch size. The model stays as it is; its weights
 * are where training starts.
 *
 * The steps of a chunk are one run of onnxruntime: the step is the body of a Loop that carries weights, running
 * statistics and the optimizer's state.
 *
 * @throws GradientError naming the nodes that no gradient passes through; ModelError for options out of their range;
 *   ProviderError for a provider that does not load here
 * @example
 * await using engine = await openEngine(model, { loss: 'cross-entropy', batch: 64, optimizer: sgd() });
 * const { losses } = await engine.run(chunk);
 * const { weights } = await engine.state();
 */
export async function openEngine(model: Model, options: EngineOptions): Promise<Engine> {
  const { device, threads } = options;
  const providers = await settled(options.providers ?? 'cpu', device);
  const sessionOptions = { providers, device, threads };
  const isCpu = providers.every((provider) => provider === 'cpu');
  const step = await buildStep(model, { ...options, block: isCpu ? await blockSize() : undefined });
  const loop = loopModel(step);
  const session = await openSession(loop.model, sessionOptions);
  const fed = step.carried.flatMap(({ key, kind }) => (kind === 'weight' ? [key] : []));
  const evaluator = new Evaluator(model, options, fed, sessionOptions);
  return new LoopEngine(step, loop, session, evaluator, options.batch);
}

/** What 'auto' stands for here. */
async function settled(
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

class LoopEngine implements Engine {
  readonly batch: number;
  readonly trained: readonly string[];
  readonly #step: Step;
  readonly #loop: LoopModel;
  readonly #session: Session;
  readonly #evaluator: Evaluator;
  #done = 0;
  /** By key, as the last run returned them: never written to. */
  #state: ReadonlyMap<string, RuntimeTensor>;

  constructor(step: Step, loop: LoopModel, session: Session, evaluator: Evaluator, batch: number) {
    this.batch = batch;
    this.trained = step.trained;
    this.#step = step;
    this.#loop = loop;
    this.#session = session;
    this.#evaluator = evaluator;
    this.#state = new Map(
      step.carried.map(({ key, type, shape, start }) => [key, begin(type, shape, start())]),
    );
  }

  async run(chunk: Chunk): Promise<ChunkResult> {
    const loop = this.#loop;
    const { steps, learningRates } = chunk;
    checkChunk(chunk);
    const feeds: Record<string, RuntimeTensor> = {
      [loop.steps]: { type: 'int64', shape: [], data: BigInt64Array.of(BigInt(steps)) },
      [loop.done]: { type: 'float32', shape: [], data: Float32Array.of(this.#done) },
      [loop.learningRates]: { type: 'float32', shape: [steps], data: learningRates },
    };
    const { gradient, masks } = this.#step;
    if (loop.starts !== undefined && masks !== undefined) {
      const starts = Array.from({ length: steps }, (_, step) => masks.starts(this.#done + step)).flat();
      feeds[loop.starts] = {
        type: 'int64',
        shape: [steps, starts.length / steps],
        data: BigInt64Array.from(starts, BigInt),
      };
    }
    const { target } = gradient;
    for (const [name, input] of loop.data) {
      const tensor = name === target ? chunk.target : chunk.inputs[name];
      if (tensor === undefined)
        throw new ModelError(`a chunk lacks ${name === target ? 'its target' : `the input '${name}'`}`);
      feeds[input] = tensor;
    }
    for (const [key, { from }] of loop.carried) feeds[from] = this.#state.get(key) as RuntimeTensor;
    const results = await this.#session.run(feeds);
    const next = new Map<string, RuntimeTensor>();
    let bytes = 0;
    for (const [key, { to }] of loop.carried) {
      const tensor = results[to] as RuntimeTensor;
      next.set(key, tensor);
      bytes += (tensor.data as NativeArray).byteLength;
    }
    this.#state = next;
    this.#done += steps;
    countGarbage(bytes);
    const floats = (name: string): Float32Array => results[name]?.data as Float32Array;
    const weightNorms = floats(loop.norms);
    return {
      losses: floats(loop.losses),
      correct: loop.correct === undefined ? undefined : floats(loop.correct),
      gradientNorms: jointNorms(weightNorms, steps),
      weightGradientNorms: weightNorms,
    };
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
    for (const { key, kind } of this.#step.carried) {
      const tensor = this.#state.get(key) as RuntimeTensor;
      (kind === 'weight' ? weights : slots).set(key, copyOf(tensor));
    }
    return { step: this.#done, weights, slots };
  }

  async restore(state: TrainingState): Promise<void> {
    const next = new Map<string, RuntimeTensor>();
    for (const { key, kind, type, shape } of this.#step.carried) {
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
      throw new ModelError(`a state can not be of step ${state.step}`);
    this.#state = next;
    this.#done = state.step;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
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

function checkChunk({ steps, learningRates }: Chunk): void {
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
