import type { Model, NativeArray } from '../graph/index.js';
import { type Loss, trainableWeights } from '../passes/gradient/index.js';
import { fedInputs, Random, type RuntimeTensor } from '../runtime/index.js';
import type { WeightDecayKind } from '../training/choices.js';
import { type EngineSpec, engineOf } from '../training/engine/engine-spec.js';
import { firstSteps } from '../training/engine/runner.js';
import { type RankPruning, trainedRankPruning } from '../training/low-rank/low-rank.js';
import type { RankPruningOptions } from '../training/low-rank/options.js';
import { decayedWeights } from '../training/optimizers/weight-decay.js';
import type { Chunk, ChunkResult } from '../training/types.js';
import { withWeights } from '../training/weights/put-weights.js';

/** Samples in memory: the first dimension of both counts them. */
export interface Samples {
  readonly inputs: RuntimeTensor;
  readonly targets: RuntimeTensor;
}

export interface FitOptions {
  readonly loss: Loss;
  readonly optimizer: EngineSpec['optimizer'];
  readonly optimizerOptions?: EngineSpec['optimizerOptions'] | undefined;
  /** Constant, or of the step. */
  readonly learningRate: number | ((step: number) => number);
  /** The most steps. */
  readonly steps: number;
  /** Stop at the first step whose loss, of its batch, is at most this; default none. */
  readonly target?: number | undefined;
  /** Samples a step, drawn anew each epoch; default all of them, in their order. */
  readonly batch?: number | undefined;
  /** Of the weights that decayedWeights names; default 0. */
  readonly weightDecay?: number | undefined;
  readonly weightDecayKind?: WeightDecayKind | undefined;
  /** Trained rank pruning, or the nuclear norm alone with `energy: 0`, of these weights; not with a target. */
  readonly rankPruning?: (RankPruningOptions & { readonly weights: readonly string[] }) | undefined;
  /** How chains are computed; default whichever takes fewer multiply-adds. */
  readonly chainSteps?: EngineSpec['chainSteps'];
  /** The most that the norm of all gradients may be; default none. */
  readonly clipNorm?: number | undefined;
  /** Of the order of the samples. */
  readonly seed: number;
}

export interface Fit {
  /** With the weights as they are in the end. */
  readonly model: Model;
  /** Of the weights before the first step, and of those in the end, each of the batch of its step. */
  readonly firstLoss: number;
  readonly loss: number;
  readonly steps: number;
  /** Whether the target was reached; true where there is none. */
  readonly isDone: boolean;
  /** Whether loss and gradients stayed finite. */
  readonly isFinite: boolean;
  /** Of the steps alone, the first few left out, which also compile the step. */
  readonly secondsPerStep: number;
}

/** Bytes of samples that are fed at a time, and steps. */
const CHUNK_BYTES = 8 << 20;
const CHUNK_STEPS = 500;

/**
 * Trains a network of one input on samples in memory, on this thread, with an onnxruntime of one thread. What was reached is known exactly:
 * the weights are those whose loss is told.
 *
 * @throws as engineOf
 */
export async function trainOn(model: Model, samples: Samples, options: FitOptions): Promise<Fit> {
  const count = samples.inputs.shape[0] ?? 0;
  const batch = Math.min(options.batch ?? count, count);
  const pruning =
    options.rankPruning &&
    trainedRankPruning(model, options.rankPruning.weights, pruned(options.rankPruning));
  await using engine = await engineOf(model, specOf(model, options, batch, pruning));
  if (pruning !== undefined) await engine.restore(await pruning.begin(await engine.state()));
  const input = fedInputs(model.graph)[0]?.name ?? 'x';
  const feed = new Feed(samples, input, batch, options.seed);
  const rate = options.learningRate;
  let [done, firstLoss, loss] = [0, Number.NaN, Number.NaN];
  let [timed, seconds] = [0, 0];
  const finish = async (isDone: boolean, isSound: boolean): Promise<Fit> => ({
    model: withWeights(model, (await engine.state()).weights),
    firstLoss,
    loss,
    steps: done,
    isDone,
    isFinite: isSound,
    secondsPerStep: seconds / timed,
  });
  while (done < options.steps) {
    const untilPruned = pruning === undefined ? CHUNK_STEPS : pruning.next(done) - done;
    const steps = Math.min(feed.most, options.steps - done, done === 0 ? 50 : CHUNK_STEPS, untilPruned);
    const learningRates = Float32Array.from({ length: steps }, (_, i) =>
      typeof rate === 'number' ? rate : rate(done + i),
    );
    const before = options.target === undefined ? undefined : await engine.state();
    const chunk = feed.chunk(steps, learningRates);
    const began = performance.now();
    const { losses, gradientNorms }: ChunkResult = await engine.run(chunk);
    if (done > 0) {
      timed += steps;
      seconds += (performance.now() - began) / 1000;
    }
    if (done === 0) firstLoss = losses[0] ?? Number.NaN;
    const { target } = options;
    const at = target === undefined ? -1 : losses.findIndex((value) => value <= target);
    if (before !== undefined && at >= 0) {
      loss = losses[at] ?? Number.NaN;
      await engine.restore(before);
      if (at > 0) await engine.run(firstSteps(chunk, at));
      done += at;
      return await finish(true, true);
    }
    loss = losses.at(-1) ?? Number.NaN;
    done += steps;
    if (!losses.every(Number.isFinite) || !gradientNorms.every(Number.isFinite))
      return await finish(false, false);
    if (pruning !== undefined && (pruning.next(done - 1) === done || done === options.steps))
      await engine.restore((await pruning.prune(await engine.state())).state);
  }
  return await finish(options.target === undefined, true);
}

function pruned({ weights: _, ...options }: NonNullable<FitOptions['rankPruning']>): RankPruningOptions {
  return options;
}

function specOf(
  model: Model,
  options: FitOptions,
  batch: number,
  pruning: RankPruning | undefined,
): EngineSpec {
  const weights = trainableWeights(model.graph, model.graph.outputs[0]?.name ?? '');
  const { weightDecay = 0 } = options;
  const decaying = weightDecay > 0 ? [...decayedWeights(model.graph, weights)] : [];
  return {
    loss: options.loss,
    output: undefined,
    batch,
    weights,
    optimizer: options.optimizer,
    optimizerOptions: options.optimizerOptions ?? {},
    weightDecay: new Map(decaying.map((name) => [name, weightDecay])),
    weightDecayKind: options.weightDecayKind,
    nuclear: pruning?.penalty,
    chainSteps: options.chainSteps,
    checkpointing: undefined,
    seed: options.seed,
    clipNorm: options.clipNorm,
    emaDecay: undefined,
    dims: undefined,
    batchNorm: undefined,
    dropout: undefined,
    providers: undefined,
    device: undefined,
    threads: 1,
  };
}

/** Samples of steps. All of them in each step are copied once a size of chunk. */
class Feed {
  readonly most: number;
  readonly #samples: Samples;
  readonly #input: string;
  readonly #batch: number;
  readonly #count: number;
  readonly #random: Random;
  #order: number[] = [];
  #whole: Chunk | undefined;

  constructor(samples: Samples, input: string, batch: number, seed: number) {
    this.#samples = samples;
    this.#input = input;
    this.#batch = batch;
    this.#count = samples.inputs.shape[0] ?? 0;
    this.#random = new Random(seed, 'batches');
    const bytes = ((samples.inputs.data as NativeArray).byteLength / Math.max(1, this.#count)) * batch;
    this.most = Math.max(1, Math.min(CHUNK_STEPS, Math.floor(CHUNK_BYTES / Math.max(1, bytes))));
  }

  chunk(steps: number, learningRates: Float32Array): Chunk {
    if (this.#batch === this.#count) {
      if (this.#whole?.steps !== steps) {
        const all = Array.from({ length: steps }, () => this.#all()).flat();
        this.#whole = this.#gather(all, steps, learningRates);
      }
      return { ...this.#whole, learningRates };
    }
    const indices: number[] = [];
    for (let step = 0; step < steps; step += 1) {
      if (this.#order.length < this.#batch) this.#order = this.#shuffled();
      indices.push(...this.#order.splice(0, this.#batch));
    }
    return this.#gather(indices, steps, learningRates);
  }

  #all(): number[] {
    return Array.from({ length: this.#count }, (_, i) => i);
  }

  #shuffled(): number[] {
    const order = this.#all();
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = this.#random.integer(i + 1);
      [order[i], order[j]] = [order[j] as number, order[i] as number];
    }
    return order;
  }

  #gather(indices: readonly number[], steps: number, learningRates: Float32Array): Chunk {
    const { inputs, targets } = this.#samples;
    return {
      steps,
      inputs: { [this.#input]: this.#rows(inputs, indices, steps) },
      target: this.#rows(targets, indices, steps),
      learningRates,
    };
  }

  #rows(tensor: RuntimeTensor, indices: readonly number[], steps: number): RuntimeTensor {
    const data = tensor.data as Float32Array;
    const size = data.length / this.#count;
    const rows = new (data.constructor as Float32ArrayConstructor)(indices.length * size);
    for (const [row, index] of indices.entries())
      rows.set(data.subarray(index * size, (index + 1) * size), row * size);
    return { ...tensor, shape: [steps, this.#batch, ...tensor.shape.slice(1)], data: rows };
  }
}
