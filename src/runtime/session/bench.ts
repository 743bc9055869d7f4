import { type Model, ModelError } from '../../graph/index.js';
import { checkOptions, defaultsOf } from '../../graph/option-descriptors.js';
import { fedInputs, onOpenDims } from '../inputs/input-sizes.js';
import { isOpen, type OpenDims } from '../inputs/open-dims.js';
import { randomInputs } from '../inputs/random-inputs.js';
import { usedGpuMemory } from '../providers/nvidia-smi.js';
import type { ProviderFailure } from '../providers/provider-failure.js';
import type { ExecutionProvider, ProviderChoice } from '../providers/providers.js';
import type { Session } from '../types.js';
import { BENCH_OPTIONS } from './options.js';
import type { ProviderUse } from './placement.js';
import { runModel } from './run-model.js';
import { openSession } from './session.js';

/** Options of benchModels. */
export interface BenchOptions {
  /** What to run on, one session each; default the CPU alone. */
  readonly providers?: readonly ProviderChoice[] | undefined;
  readonly device?: number | undefined;
  readonly strict?: boolean | undefined;
  readonly threads?: number | undefined;
  /** Sizes of the first dimension, where the inputs leave it open; default 1. */
  readonly batches?: readonly number[] | undefined;
  /** Timed runs of each, at least 1; default 30. */
  readonly runs?: number | undefined;
  /** Runs before them that are not timed, at least 0; default 3. */
  readonly warmup?: number | undefined;
  /** Of the inputs; default 0. */
  readonly seed?: number | undefined;
  /** Sizes of other open dimensions, by name or place; default 1 each. */
  readonly dims?: OpenDims | undefined;
  /**
   * Keep inputs and outputs in the memory of the device, so that a time is that of the model alone. Goes with WebGPU; a row
   * of the CPU is not affected. Default false.
   */
  readonly bound?: boolean | undefined;
  /** Called before each piece of work. */
  /** Between two of the measurements that `onProgress` tells, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { done: number; total: number; what: string }) => void) | undefined;
}

/** How fast one model runs on one provider with one batch size. Times are in milliseconds. */
export interface BenchRow {
  readonly model: string;
  readonly provider: ExecutionProvider;
  /** Samples a run takes; undefined where the model fixes its first dimension or has none. */
  readonly batch: number | undefined;
  /** To load and optimize the model. */
  readonly loadTime: number;
  /** Of the first run with this batch size, which compiles and allocates. */
  readonly firstTime: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly mean: number;
  readonly least: number;
  /** Samples a second: batch (or 1) / mean. */
  readonly throughput: number;
  /**
   * Time over that of the first model on the same provider with the same batch: the median over the turns, in each of
   * which both ran once, so that a load which comes and goes does not shift it as it shifts the quotient of two medians.
   */
  readonly ratio: number;
  /**
   * Bytes by which the memory of the process grew from before the session was opened until the end of the warm-up.
   * Memory on a GPU is not in it.
   */
  readonly memory: number;
  /** Bytes by which the memory in use on the GPU grew meanwhile, of all processes; undefined where nvidia-smi does not tell. */
  readonly gpuMemory: number | undefined;
  /** Whether inputs and outputs stayed on the device. */
  readonly bound: boolean;
  /** Which provider ran how many nodes. */
  readonly uses: readonly ProviderUse[];
  /** Nodes that fell to the CPU. */
  readonly fallen: number;
}

/** What benchModels returns: one row per model, provider and batch size. */
export interface BenchReport {
  readonly runs: number;
  readonly warmup: number;
  readonly rows: readonly BenchRow[];
  /** What 'auto' would have preferred, and why that does not load. */
  readonly passedOver: readonly ProviderFailure[];
}

interface Contender {
  readonly name: string;
  readonly model: Model;
  readonly session: Session;
  readonly provider: ExecutionProvider;
  readonly choice: ProviderChoice;
  readonly loadTime: number;
  memory: number;
  gpuMemory: number | undefined;
}

/** A row before it is known who ran its nodes. */
type Timing = Omit<BenchRow, 'uses' | 'fallen'>;

/**
 * Measures how fast models run, side by side: on each provider they take turns, run by run, so that whatever else the
 * machine does falls on all alike, and their threads sleep while others run. Providers come one after the other (taking
 * turns with a GPU that is simulated in software, the CPU was some 30 times slower than alone).
 *
 * A time is that of Session.run: inputs are copied to a GPU and outputs back within it, unless `bound` keeps them there.
 *
 * @throws OptionError for options out of range; ProviderError for a provider that does not load here; ModelError for batches that a model does not take, and
 *   as openSession and Session.run do
 * @example
 * const { rows } = await benchModels([{ name: 'a', model: a }, { name: 'b', model: b }], { batches: [1, 8] });
 * console.log(rows.map((row) => `${row.model} ${row.batch}: ${row.p50} ms, ${row.ratio}`));
 */
export async function benchModels(
  models: readonly { readonly name: string; readonly model: Model }[],
  options: BenchOptions = {},
): Promise<BenchReport> {
  const { runs, warmup } = { ...defaultsOf(BENCH_OPTIONS), ...checkOptions(BENCH_OPTIONS, options) };
  const { batches = [1], providers = ['cpu'], onProgress } = options;
  if (options.batches !== undefined) for (const { name, model } of models) checkBatch(name, model, options);
  const total = models.length * providers.length + batches.length;
  let done = 0;
  const report = (what: string): void => {
    options.signal?.throwIfAborted();
    onProgress?.({ done, total, what });
    done += 1;
  };
  const contenders: Contender[] = [];
  const passedOver = new Map<string, ProviderFailure>();
  try {
    for (const choice of providers) {
      for (const { name, model } of models) {
        report(`${name} on ${choice}`);
        const contender = await enter(name, model, choice, options);
        contenders.push(contender);
        for (const failure of contender.session.passedOver) passedOver.set(failure.provider, failure);
      }
    }
    const timings: { contender: Contender; timing: Timing }[] = [];
    for (const batch of batches) {
      report(`batch of ${batch}`);
      for (const choice of providers) {
        const group = contenders.filter((contender) => contender.choice === choice);
        timings.push(...(await round(group, batch, { runs, warmup }, options)));
      }
    }
    // Who runs what is asked of sessions of their own, for the profile takes time; and now, for what they leave behind
    // would hide how much memory the others take.
    const places = new Map<Contender, Place>();
    for (const contender of contenders) places.set(contender, await place(contender, options));
    const rows = timings.map(({ contender, timing }) => ({ ...timing, ...(places.get(contender) as Place) }));
    return { runs, warmup, rows, passedOver: [...passedOver.values()] };
  } finally {
    for (const { session } of contenders) await session[Symbol.asyncDispose]();
  }
}

/** Whether the batch size of a model is open. */
function takesBatch(model: Model): boolean {
  return fedInputs(model.graph).some(({ shape }) => (shape?.length ?? 0) > 0 && isOpen(shape?.[0]));
}

function checkBatch(name: string, model: Model, { batches = [] }: BenchOptions): void {
  if (takesBatch(model)) return;
  const [first] = fedInputs(model.graph);
  const size = first?.shape?.[0];
  if (batches.every((batch) => batch === size)) return;
  throw new ModelError(
    `it takes no other batch than ${size ?? 'its own'}: input '${first?.name}' is ${first?.toString()}`,
    { file: name },
  );
}

async function enter(
  name: string,
  model: Model,
  choice: ProviderChoice,
  options: BenchOptions,
): Promise<Contender> {
  const { device, threads, strict } = options;
  if (strict) {
    // Not by opening the session strictly, which would not say which nodes it is about.
    const feeds = randomInputs(model, { ...options, batch: options.batches?.[0] });
    await runModel(model, feeds, { providers: choice, device, threads, strict });
  }
  const before = process.memoryUsage.rss();
  const gpuBefore = choice === 'cpu' ? undefined : await usedGpuMemory(device);
  const begin = performance.now();
  const bound = options.bound === true && choice !== 'cpu';
  const session = await openSession(model, { providers: choice, device, threads, yielding: true, bound });
  const loadTime = performance.now() - begin;
  return {
    name,
    model,
    session,
    provider: session.providers[0] ?? 'cpu',
    choice,
    loadTime,
    memory: process.memoryUsage.rss() - before,
    gpuMemory: growth(gpuBefore, choice === 'cpu' ? undefined : await usedGpuMemory(device)),
  };
}

function growth(before: number | undefined, after: number | undefined): number | undefined {
  return before === undefined || after === undefined ? undefined : Math.max(0, after - before);
}

interface Place {
  readonly uses: readonly ProviderUse[];
  readonly fallen: number;
}

async function place({ model, choice }: Contender, options: BenchOptions): Promise<Place> {
  const { seed, dims, device, threads, batches } = options;
  const feeds = randomInputs(model, { seed, dims, batch: batches?.[0] });
  const { placement, fallen } = await runModel(model, feeds, { providers: choice, device, threads });
  return { uses: placement.uses, fallen: fallen.length };
}

/** The contenders on one provider, with one batch size. */
async function round(
  contenders: readonly Contender[],
  batch: number,
  { runs, warmup }: { runs: number; warmup: number },
  options: BenchOptions,
): Promise<{ contender: Contender; timing: Timing }[]> {
  const { seed, dims } = options;
  const entries = [];
  for (const contender of contenders) {
    const { session, model, name } = contender;
    const feeds = randomInputs(model, { seed, dims, batch });
    const isGpu = contender.provider !== 'cpu';
    const before = process.memoryUsage.rss();
    const gpuBefore = isGpu ? await usedGpuMemory(options.device) : undefined;
    const bound = options.bound && isGpu ? await session.bind(feeds) : undefined;
    const time = (): Promise<number> => timed(bound ?? { run: () => session.run(feeds) }, name);
    const firstTime = await onOpenDims(model, { dims, batch }, time);
    for (let run = 0; run < warmup; run += 1) await time();
    contender.memory += process.memoryUsage.rss() - before;
    const grown = growth(gpuBefore, isGpu ? await usedGpuMemory(options.device) : undefined);
    if (grown !== undefined) contender.gpuMemory = (contender.gpuMemory ?? 0) + grown;
    entries.push({ contender, time, firstTime, bound, times: [] as number[] });
  }
  for (let run = 0; run < runs; run += 1) {
    // Another one first each time.
    for (let turn = 0; turn < entries.length; turn += 1) {
      const entry = entries[(run + turn) % entries.length];
      if (entry !== undefined) entry.times.push(await entry.time());
    }
  }
  const timings: { contender: Contender; timing: Timing }[] = [];
  for (const { contender, firstTime, times, bound } of entries) {
    const { name, model, provider, loadTime, memory, gpuMemory } = contender;
    const sorted = [...times].sort((a, b) => a - b);
    const mean = times.reduce((sum, value) => sum + value, 0) / times.length;
    const size = takesBatch(model) ? batch : undefined;
    const p50 = quantile(sorted, 0.5);
    const base = entries[0]?.times ?? times;
    const ratios = times.map((time, run) => time / (base[run] as number)).sort((a, b) => a - b);
    const timing = {
      model: name,
      provider,
      batch: size,
      loadTime,
      firstTime,
      p50,
      p90: quantile(sorted, 0.9),
      p99: quantile(sorted, 0.99),
      mean,
      least: sorted[0] as number,
      throughput: ((size ?? 1) * 1000) / mean,
      ratio: quantile(ratios, 0.5),
      memory: Math.max(0, memory),
      gpuMemory,
      bound: bound !== undefined,
    };
    await bound?.[Symbol.asyncDispose]();
    timings.push({ contender, timing });
  }
  return timings;
}

async function timed(work: { run(): Promise<unknown> }, file: string): Promise<number> {
  try {
    const begin = performance.now();
    await work.run();
    return performance.now() - begin;
  } catch (error) {
    if (!(error instanceof ModelError) || error.where.file !== undefined) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}

/**
 * A quantile of sorted numbers, at the position q (n - 1) between them, by linear interpolation (as numpy.quantile).
 *
 * @param sorted ascending, not empty
 */
export function quantile(sorted: readonly number[], q: number): number {
  const position = q * (sorted.length - 1);
  const low = Math.floor(position);
  const [a, b] = [sorted[low] as number, sorted[Math.min(low + 1, sorted.length - 1)] as number];
  return a + (position - low) * (b - a);
}
