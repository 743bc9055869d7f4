import { type Feeder, randomFeeder, sampleFeeder } from '../analysis/embeddings/embedding-source.js';
import { type Model, ModelError } from '../graph/index.js';
import { defaultsOf, OptionError } from '../graph/option-descriptors.js';
import { withEigenThreads } from '../linalg/gram-eigen.js';
import type { Matrix } from '../linalg/matmul.js';
import { needsZeroBias } from '../passes/expand/write.js';
import { GradientError } from '../passes/gradient/index.js';
import { Random } from '../runtime/random.js';
import type { CompressAccount, CompressedLayer, CurvePoint, Totals } from './account.js';
import { allocate, costsOf, errorOf } from './allocation.js';
import { inputMoments, outputMoments, type Samples, type Shapes, shapesFor } from './calibration.js';
import { type Candidate, type Outcome, shiftOf, weightOf } from './candidate.js';
import { type Divergence, divergenceOf } from './divergence.js';
import { Factorizer } from './factorizer.js';
import { finetune } from './finetune.js';
import { type Fit, fitLayers, put } from './fit.js';
import { type Cut, type LayerSize, multiplyAddsOf, parametersOf } from './forms.js';
import { findLayers, type Layer } from './layers.js';
import type { Moments } from './metric.js';
import { COMPRESS_OPTIONS, type CompressOptions, type PlannedLayer } from './options.js';
import { shiftPlace } from './shift.js';
import { costValues, siteMultiplyAdds, storedBytes, storedParameters } from './totals.js';
import { divergenceBetween, dropBetween, Trials } from './trial.js';

/** Bisections in the search for the smallest model. */
const SEARCH_STEPS = 7;
const RESOURCES = ['params', 'macs', 'size'] as const;
/** Shares of a layer's parameters at which single layers are tried. */
const TRIED = [0.7, 0.45, 0.25, 0.12] as const;
/** Multiply-adds that all trials may take, and samples of one. */
const TRIAL_WORK = 4e11;
const TRIAL_SAMPLES = { least: 64, most: 512 } as const;
/** Shares of the parameters at which the trade-off is drawn. */
const CURVE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1] as const;
/** Bytes that a node and its note take in a file, about. */
const NODE_BYTES = 450;

type Settings = CompressOptions & ReturnType<typeof defaultsOf<typeof COMPRESS_OPTIONS>>;

/** The work of compress on one model. */
export class Compression {
  readonly #model: Model;
  readonly #settings: Settings;
  readonly #notes: string[] = [];

  constructor(model: Model, options: CompressOptions) {
    this.#model = model;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#settings = { ...defaultsOf(COMPRESS_OPTIONS), ...given };
  }

  run(): Promise<CompressAccount> {
    return withEigenThreads(() => this.#run());
  }

  async #run(): Promise<CompressAccount> {
    const model = this.#model;
    const { data, dryRun = false, plan } = this.#settings;
    const { layers, skipped } = findLayers(model, this.#settings);
    if (layers.length === 0)
      throw new ModelError(`no layer can be factorized: ${skipped[0]?.reason ?? 'it has no linear layers'}`, {
        file: model.path,
      });
    const samples = await this.#samples();
    const { fitting, checking } = divided(samples, data !== undefined);
    const costs = costValues(model);
    const shapes = await shapesFor(model, costs.values, samples);
    const divergence =
      data === undefined
        ? undefined
        : divergenceOf(model, {
            output: this.#settings.prediction,
            kind: this.#settings.divergence,
            isLabelled: hasLabels(data),
          });
    const total = costs.sites.reduce((sum, site) => sum + siteMultiplyAdds(site, shapes), 0);
    const before = { params: storedParameters(model), macs: total, size: storedBytes(model) };
    const candidates = await this.#candidates(layers, shapes, { fitting, checking }, divergence, total);
    const parts = { fitting, checking, shapes, divergence };
    const { maxDrop } = this.#settings;
    const picks =
      plan !== undefined
        ? planned(candidates, plan)
        : maxDrop !== undefined && divergence !== undefined
          ? await this.#smallest(candidates, before, { ...parts, divergence }, maxDrop / 100)
          : this.#allocate(candidates, before);
    const choices = candidates.map(({ choices: all }) => all);
    const predicted = errorOf(choices, picks);
    const curve = plan === undefined || dryRun ? this.#curve(candidates, before) : [];
    const outcomes = outcomesOf(candidates, picks);
    const original = dryRun ? undefined : model.clone();
    let measured = dryRun ? undefined : await this.#finish(outcomes, parts);
    if (
      original !== undefined &&
      divergence !== undefined &&
      data !== undefined &&
      this.#settings.finetune > 0
    ) {
      await finetune(model, original, data, divergence, this.#settings);
      measured = await divergenceBetween(original, model, checking, divergence, largest(shapes));
    }
    const rows = outcomes.map(rowOf);
    return {
      layers: rows,
      skipped: [...skipped],
      total: this.#totals(before, rows, dryRun),
      curve,
      divergence: divergence?.kind,
      samples: data === undefined ? 0 : samples.indices.length,
      predicted,
      measured,
      plan: rows.map(({ layer, form, ranks }) => ({ layer, form, ranks })),
      notes: this.#notes,
    };
  }

  /** Puts the factors in, with later layers fitted to earlier ones where that is better on samples that nothing was fitted to. */
  async #finish(outcomes: readonly Outcome[], parts: Parts): Promise<number | undefined> {
    const model = this.#model;
    const tried = (sequential: boolean): Promise<Tried> => this.#tried(outcomes, parts, sequential);
    let best = await tried(false);
    if (parts.divergence !== undefined && this.#settings.independent !== true && best.fits.size > 1) {
      const fitted = await tried(true);
      if ((fitted.measured as number) < (best.measured as number)) best = fitted;
      else
        this.#notes.push(
          'layers are not fitted to those before them: on samples held back that was no better',
        );
    }
    for (const layer of findLayers(model, this.#settings).layers) {
      const made = best.fits.get(layer.name);
      if (made !== undefined) await put(model, layer, made);
    }
    return best.measured;
  }

  /** Factors in a copy of the model, and how far that is from it. */
  async #tried(
    outcomes: readonly Outcome[],
    { fitting, checking, shapes, divergence }: Parts,
    sequential: boolean,
  ): Promise<Tried> {
    const model = this.#model;
    const copy = model.clone();
    const own = findLayers(copy, this.#settings).layers;
    const moved = outcomes.map((outcome, i) => ({ ...outcome, layer: own[i] as Layer }));
    const options = { samples: divergence && fitting, shapes, sequential, onProgress: this.#progress };
    const fits = await fitLayers(copy, model, moved, options);
    if (divergence === undefined) return { copy, fits, measured: undefined };
    const measured = await divergenceBetween(model, copy, checking, divergence, largest(shapes));
    return { copy, fits, measured };
  }

  /** The allocation of fewest parameters that decides as the original does but for a share of the samples held back, by bisection. */
  async #smallest(
    candidates: readonly Candidate[],
    before: Before,
    parts: Parts & { readonly divergence: Divergence },
    share: number,
  ): Promise<number[]> {
    const { checking, divergence, shapes } = parts;
    let picks = candidates.map(() => 0);
    let [low, high] = [0, 1];
    for (let step = 0; step < SEARCH_STEPS; step += 1) {
      const params = (low + high) / 2;
      this.#progress(`trying a share of ${params.toPrecision(3)}`, step, SEARCH_STEPS);
      const found = allocated(candidates, before, { params });
      const copy = found && (await this.#tried(outcomesOf(candidates, found), parts, false)).copy;
      const drop = copy && (await dropBetween(this.#model, copy, checking, divergence, largest(shapes)));
      if (found !== undefined && drop !== undefined && drop <= share) [high, picks] = [params, found];
      else low = params;
    }
    return picks;
  }

  async #samples(): Promise<Samples> {
    const { data, samples: wanted, seed, providers, device, threads } = this.#settings;
    const session = { providers, device, threads };
    const model = this.#model;
    if (data === undefined) {
      const feeder = await randomFeeder(model, { seed });
      return { feeder, indices: Array.from({ length: feeder.batch ?? 1 }, (_, i) => i), seed, session };
    }
    const feeder = await sampleFeeder(model, data);
    const indices = chosen(feeder, wanted, seed, model.path);
    return { feeder, indices, seed, session };
  }

  readonly #progress = (what: string, done = 0, total = 1): void => {
    this.#settings.onProgress?.({ what, done, total });
  };

  async #candidates(
    layers: readonly Layer[],
    shapes: Shapes,
    { fitting, checking }: Divided,
    divergence: Divergence | undefined,
    work: number,
  ): Promise<Candidate[]> {
    const { multiple, plan } = this.#settings;
    const outputs = divergence && (await this.#curvatures(layers, shapes, fitting, divergence));
    const found: Candidate[] = [];
    const add = async (
      layer: Layer,
      input: Moments | undefined,
      trials: Trials | undefined,
    ): Promise<void> => {
      this.#progress(layer.name, found.length, layers.length);
      const size = sizeOf(layer, shapes);
      const place = shiftPlace(layer);
      const output = outputs?.get(layer);
      const weight = await weightOf(layer);
      const factorizer = await Factorizer.of(size, weight, { input, output, isCentred: place !== undefined });
      const extra = place?.kind === 'bias' && input !== undefined ? place.extra : 0;
      const costs = this.#costs(layer, size, extra);
      let points = await factorizer.curve(multiple);
      if (plan !== undefined) {
        const own = plan.find((one) => one.layer === layer.name);
        const known = own && own.form !== 'keep' ? ({ form: own.form, ranks: own.ranks } as Cut) : undefined;
        if (known !== undefined && !points.some(({ cut }) => isSame(cut, known)))
          points = [
            ...points,
            { cut: known, error: await factorizer.errorOf(await factorizer.product(known)) },
          ];
      }
      const cuts = points.map(({ cut, error }) => ({ cut, error, costs: costs(cut) }));
      const corrected =
        trials === undefined || input === undefined
          ? cuts
          : await tried(layer, cuts, factorizer, trials, place === undefined ? undefined : { weight, input });
      const { conditioning } = factorizer;
      found.push({
        layer,
        size,
        choices: [{ cut: undefined, error: 0, costs: costs(undefined) }, ...corrected],
        output,
        spectrum: await factorizer.spectrum(),
        conditioned: conditioning && {
          missing: conditioning.missing,
          of: layer.columns,
          vectors: input?.count ?? 0,
        },
      });
    };
    if (divergence === undefined) {
      for (const layer of layers) await add(layer, undefined, undefined);
      return found;
    }
    const share = Math.min(TRIAL_SAMPLES.most, TRIAL_WORK / Math.max(1, work * layers.length * TRIED.length));
    const count = Math.max(TRIAL_SAMPLES.least, Math.floor(share));
    const subset = { ...checking, indices: checking.indices.slice(0, count) };
    const trials = await this.#trials(layers, subset, divergence, largest(shapes));
    try {
      for await (const { layer, moments } of inputMoments(this.#model, layers, shapes, fitting, (name) =>
        this.#progress(`what ${name} reads`),
      ))
        await add(layer, moments, trials);
    } finally {
      await trials?.[Symbol.asyncDispose]();
    }
    return found;
  }

  async #curvatures(
    layers: readonly Layer[],
    shapes: Shapes,
    samples: Samples,
    divergence: Divergence,
  ): Promise<ReadonlyMap<Layer, Moments> | undefined> {
    try {
      return await outputMoments(this.#model, layers, shapes, samples, divergence, (name) =>
        this.#progress(`the curvature at ${name}`),
      );
    } catch (error) {
      if (!(error instanceof GradientError)) throw error;
      this.#notes.push(`the loss's curvature is not known, for the model has no gradient: ${error.message}`);
      return undefined;
    }
  }

  async #trials(
    layers: readonly Layer[],
    samples: Samples,
    divergence: Divergence,
    perSample: number,
  ): Promise<Trials | undefined> {
    try {
      return await Trials.open(this.#model, layers, samples, divergence, perSample);
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      this.#notes.push(`single layers are not tried out: ${error.message}`);
      return undefined;
    }
  }

  /** Parameters, multiply-adds and bytes of a layer with a cut. */
  #costs(layer: Layer, size: LayerSize, extra: number): (cut: Cut | undefined) => number[] {
    const bytes =
      { float16: 2, bfloat16: 2, float32: 4, float64: 8 }[layer.site.weight.dataType as 'float32'] ?? 4;
    const nodes = layer.sites.length;
    // The C that Gemm needs in old files.
    const zeros = layer.sites.filter(needsZeroBias).length;
    return (cut) => {
      const params = parametersOf(size, cut) + (cut === undefined ? 0 : extra + zeros);
      const added = cut === undefined ? 0 : (cut.form === 'tucker' ? 3 : 2) * nodes * NODE_BYTES;
      return [params, nodes * multiplyAddsOf(size, cut), params * bytes + added];
    };
  }

  #allocate(candidates: readonly Candidate[], before: Before): number[] {
    const asked = RESOURCES.filter((key) => this.#settings[key] !== undefined);
    if (asked.length === 0) return candidates.map(() => 0);
    const shares = Object.fromEntries(asked.map((key) => [key, this.#settings[key]]));
    const picks = allocated(candidates, before, shares);
    if (picks !== undefined) return picks;
    const least = asked.map((key) => {
      const k = RESOURCES.indexOf(key);
      const fixed =
        before[key] - candidates.reduce((sum, { choices }) => sum + (choices[0]?.costs[k] ?? 0), 0);
      const sum = candidates.reduce(
        (all, { choices }) => all + Math.min(...choices.map(({ costs }) => costs[k] as number)),
        fixed,
      );
      return `${key} ${(Math.ceil((1000 * sum) / before[key]) / 1000).toFixed(3)}`;
    });
    throw new OptionError(
      asked[0] as string,
      `cannot be reached: with every layer at its least, ${least.join(', ')} is kept; allow more layers, or a larger share`,
    );
  }

  #curve(candidates: readonly Candidate[], before: Before): CurvePoint[] {
    const points: CurvePoint[] = [];
    const choices = candidates.map(({ choices: all }) => all);
    const whole = costsOf(
      choices,
      candidates.map(() => 0),
    );
    for (const share of CURVE) {
      const picks = allocated(candidates, before, { params: share });
      if (picks === undefined) break;
      const now = costsOf(choices, picks);
      const kept = (key: 'params' | 'macs'): number => {
        const k = RESOURCES.indexOf(key);
        return (before[key] - (whole[k] as number) + (now[k] as number)) / before[key];
      };
      points.push({ params: kept('params'), macs: kept('macs'), predicted: errorOf(choices, picks) });
    }
    return points;
  }

  #totals(before: Before, rows: readonly CompressedLayer[], dryRun: boolean): Totals {
    const saved = (key: 'parameters' | 'multiplyAdds'): number =>
      rows.reduce((sum, row) => sum + row[`${key}Before`] - row[`${key}After`], 0);
    const parametersAfter = dryRun ? before.params - saved('parameters') : storedParameters(this.#model);
    return {
      parametersBefore: before.params,
      parametersAfter,
      multiplyAddsBefore: before.macs,
      multiplyAddsAfter: before.macs - saved('multiplyAdds'),
      bytesBefore: before.size,
      bytesAfter: dryRun
        ? Math.round(before.size * (parametersAfter / Math.max(1, before.params)))
        : storedBytes(this.#model),
    };
  }
}

interface Parts extends Divided {
  readonly shapes: Shapes;
  readonly divergence: Divergence | undefined;
}

interface Tried {
  readonly copy: Model;
  readonly fits: ReadonlyMap<string, Fit>;
  readonly measured: number | undefined;
}

interface Divided {
  /** What factors are fitted to. */
  readonly fitting: Samples;
  /** What they are tried on. */
  readonly checking: Samples;
}

/** Holds back a fifth of the samples, at most so many, for trials; none where there are few. */
function divided(samples: Samples, hasData: boolean): Divided {
  const { indices, feeder } = samples;
  const batch = feeder.batch ?? 1;
  const fifth = Math.min(TRIAL_SAMPLES.most, Math.floor(indices.length / 5));
  const count = fifth - (fifth % batch);
  if (!hasData || count < Math.max(8, batch)) return { fitting: samples, checking: samples };
  return {
    fitting: { ...samples, indices: indices.slice(count) },
    checking: { ...samples, indices: indices.slice(0, count) },
  };
}

type Before = Readonly<Record<(typeof RESOURCES)[number], number>>;

function allocated(
  candidates: readonly Candidate[],
  before: Before,
  shares: Partial<Record<(typeof RESOURCES)[number], number | undefined>>,
): number[] | undefined {
  const asked = RESOURCES.filter((key) => shares[key] !== undefined);
  const places = asked.map((key) => RESOURCES.indexOf(key));
  const layers = candidates.map(({ choices }) =>
    choices.map(({ costs, error }) => ({ error, costs: places.map((k) => costs[k] as number) })),
  );
  const budgets = asked.map((key, i) => {
    const fixed = before[key] - layers.reduce((sum, choices) => sum + (choices[0]?.costs[i] ?? 0), 0);
    return (shares[key] ?? 1) * before[key] - fixed;
  });
  return budgets.some((budget) => budget <= 0) ? undefined : allocate(layers, budgets);
}

function planned(candidates: readonly Candidate[], plan: readonly PlannedLayer[]): number[] {
  const unknown = plan.find(({ layer }) => !candidates.some((one) => one.layer.name === layer));
  if (unknown !== undefined)
    throw new OptionError('plan', `names '${unknown.layer}', which is no layer that can be factorized`);
  return candidates.map(({ layer, choices }) => {
    const own = plan.find((one) => one.layer === layer.name);
    if (own === undefined || own.form === 'keep') return 0;
    return choices.findIndex(({ cut }) => cut !== undefined && isSame(cut, own));
  });
}

const isSame = (
  a: { form: string; ranks: readonly number[] },
  b: { form: string; ranks: readonly number[] },
): boolean => a.form === b.form && a.ranks.join() === b.ranks.join();

function hasLabels(data: object): boolean {
  const { target } = data as { readonly target?: { readonly type: string } };
  return target !== undefined && /^u?int/.test(target.type);
}

function sizeOf({ site, inputs, outputs, kernel }: Layer, shapes: Shapes): LayerSize {
  const [input, output] = [shapes.get(site.data) ?? [], shapes.get(site.node.outputs[0] ?? '') ?? []];
  if (kernel.length > 0)
    return { inputs, outputs, kernel, inputPlaces: input.slice(2), outputPlaces: output.slice(2) };
  const count = output.reduce((product, dim) => product * dim, 1) / outputs;
  return { inputs, outputs, kernel, inputPlaces: [count], outputPlaces: [count] };
}

function largest(shapes: Shapes): number {
  let sum = 0;
  for (const shape of shapes.values()) sum += shape.reduce((product, dim) => product * dim, 1);
  return sum / 4;
}

/** A random choice of samples, in their order. */
function chosen(
  { size = 0, batch = 1 }: Feeder,
  wanted: number,
  seed: number,
  file: string | undefined,
): number[] {
  const most = Math.min(wanted, size);
  const count = most - (most % batch);
  if (count < 1)
    throw new ModelError(`the data has ${size} samples, and the model takes ${batch} at a time`, { file });
  const random = new Random(seed, 'samples');
  const all = Uint32Array.from({ length: size }, (_, index) => index);
  for (let i = 0; i < count; i += 1) {
    const j = i + random.integer(size - i);
    [all[i], all[j]] = [all[j] as number, all[i] as number];
  }
  return Array.from(all.subarray(0, count));
}

/**
 * Corrects the errors of a layer's cuts by trials of some of them: between those the ratio of measured to predicted is interpolated in
 * the logarithm of the error.
 */
async function tried<
  C extends { readonly cut: Cut; readonly error: number; readonly costs: readonly number[] },
>(
  layer: Layer,
  cuts: readonly C[],
  factorizer: Factorizer,
  trials: Trials,
  centre: { readonly weight: Matrix; readonly input: Moments } | undefined,
): Promise<C[]> {
  const whole = layer.rows * layer.columns;
  const points = new Map<string, C>();
  for (const share of TRIED) {
    const fitting = cuts.filter(({ costs }) => (costs[0] as number) <= share * whole);
    const best = fitting.reduce<C | undefined>(
      (a, b) => (a === undefined || b.error < a.error ? b : a),
      undefined,
    );
    if (best !== undefined) points.set(JSON.stringify(best.cut), best);
  }
  const known: { readonly error: number; readonly ratio: number }[] = [];
  for (const { cut, error } of points.values()) {
    if (!(error > 0)) continue;
    const product = await factorizer.product(cut);
    const shift = centre && (await shiftOf(centre.weight, product, centre.input.mean));
    const measured = await trials.measure(new Map([[layer, { weight: product, shift }]]));
    known.push({ error, ratio: Math.max(measured, 1e-9) / error });
  }
  known.sort((a, b) => a.error - b.error);
  return cuts.map((one) => ({ ...one, error: one.error * ratioAt(known, one.error) }));
}

function ratioAt(
  known: readonly { readonly error: number; readonly ratio: number }[],
  error: number,
): number {
  const [first] = known;
  const last = known.at(-1);
  if (first === undefined || last === undefined) return 1;
  if (error <= first.error) return first.ratio;
  for (const [i, right] of known.entries()) {
    const left = known[i - 1];
    if (left === undefined || error > right.error) continue;
    const t = Math.log(error / left.error) / Math.max(1e-12, Math.log(right.error / left.error));
    return Math.exp((1 - t) * Math.log(left.ratio) + t * Math.log(right.ratio));
  }
  return last.ratio;
}

function outcomesOf(candidates: readonly Candidate[], picks: readonly number[]): Outcome[] {
  return candidates.map((candidate, i) => {
    const choice = candidate.choices[picks[i] as number];
    return { ...candidate, cut: choice?.cut, predicted: choice?.error ?? 0 };
  });
}

function rowOf({ layer, size, cut, predicted, choices, conditioned, spectrum }: Outcome): CompressedLayer {
  const costs = (wanted: Cut | undefined): readonly number[] =>
    choices.find((one) => one.cut === wanted)?.costs ?? [
      parametersOf(size, wanted),
      multiplyAddsOf(size, wanted),
    ];
  const [before, after] = [costs(undefined), costs(cut)];
  return {
    layer: layer.name,
    op: layer.site.op,
    nodes: layer.sites.map(({ node }) => node.label),
    rows: layer.rows,
    columns: layer.columns,
    form: cut?.form ?? 'keep',
    ranks: cut?.ranks ?? [],
    rankBefore: Math.min(layer.rows, layer.columns),
    predicted,
    parametersBefore: before[0] as number,
    parametersAfter: after[0] as number,
    multiplyAddsBefore: before[1] as number,
    multiplyAddsAfter: after[1] as number,
    conditioned,
    spectrum,
  };
}
