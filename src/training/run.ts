import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Model, ModelError } from '../graph/index.js';
import { keepClassNames } from '../graph/names/class-names.js';
import { OptionError } from '../graph/option-descriptors.js';
import { KernelPool } from '../linalg/kernels/threads/pool.js';
import { readsOwnRules } from '../passes/gradient/rules/index.js';
import type { RuntimeTensor } from '../runtime/index.js';
import { type Checkpoint, readCheckpoint, type Tally, writeCheckpoint } from './checkpoint.js';
import { shuffledOrder } from './data/batches.js';
import { assertFinite, isOfData } from './divergence.js';
import { type EngineSpec, engineOf } from './engine/engine-spec.js';
import { openRemoteEngine } from './engine/remote-engine.js';
import type { EpochRecord, StopReason, TrainEvent, TrainResult, TrainSummary } from './events.js';
import { Feed } from './feed.js';
import { rankFigures } from './low-rank/ranks.js';
import { isOwnOptimizer } from './optimizers/index.js';
import type { TrainOptions } from './options.js';
import { type Settled, settleComputed } from './plan.js';
import { differenceFrom } from './resume.js';
import { isSearch } from './search/index.js';
import { Pace, RunningTally } from './tally.js';
import type { Chunk, Dataset, Engine, Evaluation, TrainingState } from './types.js';
import { freshWeights } from './weights/fresh-weights.js';
import { prepareModel } from './weights/prepare-model.js';
import { putWeights, withWeights } from './weights/put-weights.js';

/** What happens in a training, step by step; see train, which loads this when its events are taken. */
export async function* events(
  given: Model,
  dataset: Dataset,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, TrainResult> {
  const settled = await settleComputed(given, dataset, options);
  const { fresh, spec, plan, model } = settled;
  const saved = await checkpointOf(model, options, settled);
  const start =
    fresh === undefined || saved !== undefined
      ? model
      : withWeights(model, freshWeights(model, spec.weights, fresh, plan.seed));
  // Another thread does not know what this program defined.
  const isOwn = isOwnOptimizer(spec.optimizer) || readsOwnRules(start);
  await using engine = isOwn ? await openOwnEngine(start, spec) : await openRemoteEngine(start, spec);
  await using pool = new KernelPool();
  if (saved !== undefined) await engine.restore(saved.state);
  else if (settled.pruning !== undefined)
    await engine.restore(await settled.pruning.begin(await engine.state()));
  const run = new Run(given, dataset, options, settled, engine, pool, saved);
  const resumed = saved && { epoch: saved.tally.epoch, step: saved.state.step, history: saved.history };
  yield { kind: 'start', plan, resumed };
  return yield* run.events();
}

/** An engine in this thread, which lets timers and signals run before each chunk. */
async function openOwnEngine(model: Model, spec: EngineSpec): Promise<Engine> {
  const engine = await engineOf(model, spec);
  const run = engine.run.bind(engine);
  engine.run = async (chunk) => {
    await nextTurn();
    return run(chunk);
  };
  return engine;
}

async function checkpointOf(
  model: Model,
  options: TrainOptions,
  settled: Settled,
): Promise<Checkpoint | undefined> {
  if (options.resume !== true) return undefined;
  const directory = options.checkpoint?.directory;
  if (directory === undefined)
    throw new OptionError('resume', 'needs the directory of the checkpoint: `checkpoint`');
  const saved = await readCheckpoint(directory);
  const difference = differenceFrom(saved, settled, model);
  if (difference !== undefined) {
    throw new ModelError(`was made otherwise, so the training cannot go on: ${difference}`, {
      file: directory,
    });
  }
  return saved;
}

interface Best {
  readonly epoch: number;
  readonly value: number;
  readonly weights: ReadonlyMap<string, RuntimeTensor>;
}

/** The loop over epochs and chunks of steps. */
class Run {
  /** The caller's, which changes when all is done. */
  readonly #given: Model;
  readonly #model: Model;
  readonly #options: TrainOptions;
  readonly #settled: Settled;
  readonly #engine: Engine;
  readonly #pool: KernelPool;
  readonly #feed: Feed;
  readonly #validation: Feed | undefined;
  readonly #samples: number;
  /** Their names, where the targets are labels of classes. */
  readonly #classes: readonly string[] | undefined;
  readonly #history: EpochRecord[];
  readonly #pace = new Pace();
  #best: Best | undefined;
  #tally: Tally;
  /** Seconds and steps of this process, for the time left. */
  #seconds = 0;
  #steps = 0;

  constructor(
    given: Model,
    dataset: Dataset,
    options: TrainOptions,
    settled: Settled,
    engine: Engine,
    pool: KernelPool,
    saved: Checkpoint | undefined,
  ) {
    this.#given = given;
    this.#model = settled.model;
    this.#options = options;
    this.#settled = settled;
    this.#engine = engine;
    this.#pool = pool;
    this.#samples = dataset.size;
    this.#classes = dataset.target?.type === 'int64' ? dataset.classes : undefined;
    this.#feed = new Feed(dataset, settled);
    this.#validation = options.validation && new Feed(options.validation, settled);
    this.#history = [...(saved?.history ?? [])];
    this.#best = saved?.best;
    this.#tally = saved?.tally ?? RunningTally.begin(1);
  }

  async *events(): AsyncGenerator<TrainEvent, TrainResult> {
    const { epochs } = this.#settled.plan;
    let reason: StopReason = 'epochs';
    if (this.#history.length === 0 && this.#position().step === 0) {
      const record = await this.#record(0, undefined);
      if (record !== undefined) {
        this.#history.push(record);
        yield { kind: 'epoch', record };
      }
    }
    while (this.#tally.epoch <= epochs) {
      if (this.#isOutOfPatience()) {
        reason = 'patience';
        break;
      }
      const stopped = yield* this.#epoch();
      if (stopped) {
        reason = 'aborted';
        break;
      }
    }
    if (reason === 'aborted' && this.#options.checkpoint !== undefined) yield await this.#save();
    const { epoch, step } = this.#position();
    if (reason !== 'epochs') yield { kind: 'stopped', reason, epoch, step };
    const state = await this.#engine.state();
    const keepsBest = this.#options.keepBest !== false && this.#best !== undefined;
    const weights = keepsBest ? (this.#best as Best).weights : this.#result(state);
    const test = reason === 'aborted' ? undefined : await this.#test(state, weights);
    prepareModel(this.#given, this.#options);
    putWeights(this.#given, weights);
    if (this.#classes !== undefined) keepClassNames(this.#given, this.#classes);
    const last = this.#history.at(-1);
    const best = this.#history.find((record) => record.epoch === this.#best?.epoch);
    const summary: TrainSummary = {
      reason,
      epochs: last?.epoch ?? 0,
      steps: state.step,
      seconds: this.#history.reduce((sum, record) => sum + record.seconds, this.#tally.seconds),
      best: keepsBest ? best : last,
      last,
      test,
      pruned: await this.#settled.pruning?.ranks(weights),
    };
    yield { kind: 'done', summary };
    return { ...summary, model: this.#given, history: this.#history };
  }

  /** Trains for the rest of an epoch. @returns whether it was stopped */
  async *#epoch(): AsyncGenerator<TrainEvent, boolean> {
    const { plan, monitor } = this.#settled;
    const tally = new RunningTally(plan.stepsPerEpoch, this.#tally);
    const began = performance.now() - 1000 * tally.seconds;
    // A search looks at all samples in each step: in one order, so that it can compare values to the last bit.
    const order = isSearch(plan.optimizer)
      ? Uint32Array.from({ length: this.#samples }, (_, i) => i)
      : shuffledOrder(this.#samples, plan.seed, tally.epoch);
    let next = this.#chunk(order, tally.epoch, tally.step);
    while (next !== undefined) {
      const chunk = await next;
      const start = performance.now();
      const running = this.#engine.run(chunk);
      // The next samples are read while this chunk runs.
      next = this.#isStopped() ? undefined : this.#chunk(order, tally.epoch, tally.step + chunk.steps);
      next?.catch(() => undefined);
      const result = await running;
      const done = tally.step + chunk.steps;
      const isDue = this.#isDue(tally.epoch, done);
      const seconds = (performance.now() - start) / 1000;
      this.#pace.took(chunk.steps, seconds);
      const first = (tally.epoch - 1) * plan.stepsPerEpoch + tally.step;
      if (isOfData(result.origin)) await this.#refuseSpoilt(this.#feed);
      assertFinite(this.#model, result, { trained: this.#engine.trained, first, epoch: tally.epoch });
      tally.add(result);
      if (isDue) await this.#prune();
      tally.seconds = (performance.now() - began) / 1000;
      this.#tally = tally.saved;
      this.#seconds += seconds;
      this.#steps += chunk.steps;
      yield this.#progress(tally, chunk);
      if (this.#isStopped()) {
        await next;
        return true;
      }
    }
    const training = {
      loss: tally.loss,
      accuracy: tally.accuracy(plan.batch),
      curve: tally.curve,
    };
    const record = await this.#record(tally.epoch, { tally, training, began });
    if (record === undefined) return true;
    this.#history.push(record);
    this.#tally = RunningTally.begin(tally.epoch + 1);
    yield { kind: 'epoch', record };
    const figures = record.validation;
    const value = figures?.[monitor] ?? figures?.loss;
    if (value !== undefined && this.#isBetter(record)) {
      this.#best = { epoch: record.epoch, value, weights: this.#result(await this.#engine.state()) };
      yield { kind: 'improved', epoch: record.epoch, monitor, value };
    }
    const when = this.#options.checkpoint?.when ?? 'epoch';
    if (this.#options.checkpoint !== undefined && when === 'epoch') yield await this.#save();
    return this.#isStopped() && tally.epoch < plan.epochs;
  }

  /** The figures of the test samples with the weights that the result has. */
  async #test(state: TrainingState, weights: Best['weights']): Promise<Evaluation | undefined> {
    const { test, signal } = this.#options;
    if (test === undefined) return undefined;
    await this.#engine.restore({ ...state, weights });
    const samples = new Feed(test, this.#settled);
    const figures = await this.#engine.evaluate(samples.all(this.#settled.plan.batch, signal));
    if (Number.isNaN(figures.loss)) await this.#refuseSpoilt(samples);
    return this.#isStopped() ? undefined : this.#told(figures);
  }

  /** With the perplexity, where the loss is one of tokens. */
  #told(figures: Evaluation): Evaluation {
    return this.#settled.plan.perplexity ? { ...figures, perplexity: Math.exp(figures.loss) } : figures;
  }

  /** Whether ranks are pruned after so many steps of an epoch: once an interval, and at its end. */
  #isDue(epoch: number, step: number): boolean {
    const { pruning, plan } = this.#settled;
    if (pruning === undefined) return false;
    const done = (epoch - 1) * plan.stepsPerEpoch + step;
    return step === plan.stepsPerEpoch || pruning.next(done - 1) === done;
  }

  async #prune(): Promise<void> {
    const { pruning } = this.#settled;
    if (pruning !== undefined)
      await this.#engine.restore((await pruning.prune(await this.#engine.state())).state);
  }

  #isStopped(): boolean {
    return this.#options.signal?.aborted === true;
  }

  /** The steps that are run next; undefined at the end of the epoch. */
  #chunk(order: Uint32Array, epoch: number, step: number): Promise<Chunk> | undefined {
    const { batch, stepsPerEpoch, seed, optimizer } = this.#settled.plan;
    const first = (epoch - 1) * stepsPerEpoch + step;
    const untilPruned = (this.#settled.pruning?.next(first) ?? Number.POSITIVE_INFINITY) - first;
    const steps = Math.min(this.#pace.steps, stepsPerEpoch - step, untilPruned);
    if (steps <= 0) return undefined;
    return this.#feed.chunk(order.subarray(step * batch, (step + steps) * batch), batch, {
      augment: !isSearch(optimizer),
      seed,
      epoch,
      rate: this.#settled.rate,
      first,
    });
  }

  #progress(tally: RunningTally, chunk: Chunk): TrainEvent {
    const { plan } = this.#settled;
    const left = (plan.epochs - tally.epoch + 1) * plan.stepsPerEpoch - tally.step;
    const perStep = this.#seconds / this.#steps;
    return {
      kind: 'progress',
      epoch: tally.epoch,
      step: tally.step,
      steps: plan.stepsPerEpoch,
      loss: tally.loss,
      accuracy: tally.accuracy(plan.batch),
      learningRate: chunk.learningRates.at(-1) ?? 0,
      gradientNorm: tally.gradientNorm,
      samplesPerSecond: plan.batch / perStep,
      secondsLeft: left * perStep,
    };
  }

  /** Throws where a sample is no number: which one it is, is looked for only where something is amiss. */
  async #refuseSpoilt(feed: Feed): Promise<void> {
    const spoilt = await feed.spoilt(this.#settled.plan.batch);
    if (spoilt === undefined) return;
    throw new ModelError(
      `sample ${spoilt.number} of the data (from 0) has NaN or infinite values, in ${spoilt.input}; mend it or leave it out`,
    );
  }

  /** The figures of an epoch that is done; undefined where it was stopped meanwhile. */
  async #record(
    epoch: number,
    done:
      | { readonly tally: RunningTally; readonly training: EpochRecord['training']; readonly began: number }
      | undefined,
  ): Promise<EpochRecord | undefined> {
    const { plan, rate, spec } = this.#settled;
    const { signal, emaDecay, ranks = true } = this.#options;
    const began = done?.began ?? performance.now();
    const step = epoch * plan.stepsPerEpoch;
    // There is no average before the first step.
    const which = emaDecay === undefined || epoch === 0 ? 'current' : 'ema';
    let validation: Evaluation | undefined;
    if (this.#validation !== undefined) {
      validation = this.#told(await this.#engine.evaluate(this.#validation.all(plan.batch, signal), which));
      if (this.#isStopped()) return undefined;
      if (Number.isNaN(validation.loss)) await this.#refuseSpoilt(this.#validation);
    }
    const state = ranks ? await this.#engine.state() : undefined;
    const weights = state && (which === 'ema' ? this.#result(state) : state.weights);
    return {
      epoch,
      step,
      training: done?.training,
      validation,
      learningRate: rate(Math.max(0, step - 1)),
      gradientNorm: done?.tally.gradientNorm,
      ranks: weights ? await rankFigures(this.#model, weights, new Set(spec.weights), this.#pool) : [],
      seconds: (performance.now() - began) / 1000,
    };
  }

  /** The weights that the model is to have: their moving averages, where there are such. */
  #result({ weights, slots }: TrainingState): ReadonlyMap<string, RuntimeTensor> {
    if (this.#options.emaDecay === undefined) return weights;
    return new Map([...weights].map(([name, tensor]) => [name, slots.get(`ema/${name}`) ?? tensor]));
  }

  /** Whether the validation of an epoch is better than the best so far; of equal accuracies the lower loss is. */
  #isBetter({ validation }: EpochRecord): boolean {
    const best = this.#history.find((record) => record.epoch === this.#best?.epoch)?.validation;
    if (validation === undefined) return false;
    if (best === undefined) return true;
    const gain = this.#settled.monitor === 'loss' ? 0 : (validation.accuracy ?? 0) - (best.accuracy ?? 0);
    return gain > 0 || (gain === 0 && validation.loss < best.loss);
  }

  #isOutOfPatience(): boolean {
    const { patience } = this.#options;
    if (patience === undefined || this.#best === undefined || this.#tally.step > 0) return false;
    return this.#tally.epoch - 1 - this.#best.epoch >= patience;
  }

  #position(): { readonly epoch: number; readonly step: number } {
    const { epoch, step } = this.#tally;
    return { epoch, step: (epoch - 1) * this.#settled.plan.stepsPerEpoch + step };
  }

  async #save(): Promise<TrainEvent> {
    const directory = this.#options.checkpoint?.directory ?? '';
    await writeCheckpoint(directory, {
      settings: this.#settled.fingerprint,
      tally: this.#tally,
      history: this.#history,
      best: this.#best,
      state: await this.#engine.state(),
    });
    return { kind: 'checkpoint', directory, ...this.#position() };
  }
}
