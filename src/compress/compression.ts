import { inSingle } from '../graph/edit/single-precision.js';
import { type Model, ModelError } from '../graph/index.js';
import { defaultsOf } from '../graph/option-descriptors.js';
import { withEigenThreads } from '../linalg/gram-eigen.js';
import type { CompressAccount, CompressedLayer, Totals } from './account.js';
import { errorOf } from './allocation/allocation.js';
import {
  allocated,
  type Before,
  curveOf,
  neighboursOf,
  planned,
  type Shares,
  unreachable,
} from './allocation/budget.js';
import { fastest, timedCandidates, withMicroseconds } from './allocation/fast.js';
import { LayerTimes, latencyOf, latencyRatio } from './allocation/layer-times.js';
import { rankOf, shapesFor } from './calibration/calibration.js';
import { type Divergence, divergenceOf } from './calibration/divergence.js';
import {
  type Divided,
  dimsOf,
  divided,
  hasLabels,
  largest,
  type Samples,
  type Shapes,
  samplesOf,
} from './calibration/samples.js';
import { MOST_KEPT, type Ratio, ratioAt } from './factors/correction.js';
import { type Fit, fitLayers, put } from './factors/fit.js';
import { putStatistics, renormalize, type Statistics } from './factors/renormalize.js';
import { divergenceBetween, dropBetween } from './factors/trial.js';
import { finetune } from './finetune.js';
import type { Candidate, Outcome } from './layers/candidate.js';
import { candidatesOf } from './layers/candidates.js';
import { findLayers, type Layer } from './layers/layers.js';
import { outcomesOf, rowOf } from './layers/rows.js';
import { COMPRESS_OPTIONS, type CompressOptions } from './options.js';
import { costValues, siteMultiplyAdds, storedBytes, storedParameters } from './totals.js';

/** Bisections in the search for the smallest model. */
const SEARCH_STEPS = 7;

type Settings = CompressOptions & ReturnType<typeof defaultsOf<typeof COMPRESS_OPTIONS>>;

/** What was decided, and for which candidates. */
interface Decision {
  readonly candidates: readonly Candidate[];
  readonly picks: readonly number[];
}

/** The work of compress on one model. */
export class Compression {
  readonly #model: Model;
  /** What is calibrated and tried: the model, or where it is in half precision the same in single precision. */
  #twin: Model;
  readonly #settings: Settings;
  readonly #notes: string[] = [];

  constructor(model: Model, options: CompressOptions) {
    this.#model = model;
    this.#twin = model;
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
    this.#settings = { ...defaultsOf(COMPRESS_OPTIONS), ...given };
  }

  run(): Promise<CompressAccount> {
    return withEigenThreads(() => this.#run());
  }

  async #run(): Promise<CompressAccount> {
    const model = this.#model;
    const { data, dryRun = false, plan, latency, timing } = this.#settings;
    const { layers, skipped } = findLayers(model, this.#settings);
    if (layers.length === 0)
      throw new ModelError(`no layer can be factorized: ${skipped[0]?.reason ?? 'it has no linear layers'}`, {
        file: model.path,
      });
    const half = halfType(layers);
    const twin = half === undefined ? model : inSingle(model, false).model;
    this.#twin = twin;
    const samples = await samplesOf(twin, data, this.#settings);
    // What runs as it is written takes samples in its own types.
    const own = half === undefined ? samples : await samplesOf(model, data, this.#settings);
    const costs = costValues(twin);
    const shapes = await shapesFor(twin, costs.values, samples);
    const divergence =
      data === undefined
        ? undefined
        : divergenceOf(twin, {
            output: this.#settings.prediction,
            kind: this.#settings.divergence,
            isLabelled: hasLabels(data),
            dims: await dimsOf(twin, samples),
            axis: this.#settings.axis,
            rank: await rankOf(twin, this.#settings.prediction, samples),
          });
    const parts = { ...divided(samples, data !== undefined), shapes, divergence };
    const total = costs.sites.reduce((sum, site) => sum + siteMultiplyAdds(site, shapes), 0);
    const bytesBefore = storedBytes(model);
    const before = {
      params: storedParameters(model),
      macs: total,
      size: bytesBefore - halved(model, this.#settings.type),
      latency: latency === undefined ? 0 : await latencyOf(model, own),
    };
    const { candidates: untimed, together } = await candidatesOf(
      twin,
      findLayers(twin, this.#settings).layers,
      {
        ...this.#settings,
        type: this.#settings.type ?? half,
        ...parts,
        work: total,
        onProgress: this.#progress,
        onNote: (text) => this.#notes.push(text),
      },
    );
    const times = timing || latency !== undefined ? new LayerTimes(model, shapes, own) : undefined;
    const decided = await this.#decide(untimed, before, parts, times && { times, samples: own });
    const { candidates, picks } = decided;
    const sum = errorOf(
      candidates.map(({ choices }) => choices),
      picks,
    );
    const summed = (error: number): number => error * ratioAt(together, error);
    const beside = await this.#beside(decided, before, parts, summed);
    const predict = (error: number): number => summed(error) * ratioAt(beside, error);
    const predicted = predict(sum);
    const curve = plan === undefined || dryRun ? curveOf(untimed, before, predict) : [];
    const chosen = outcomesOf(candidates, picks);
    const original = dryRun ? undefined : model.clone();
    let measured = original && (await this.#finish(chosen, parts));
    if (
      original !== undefined &&
      data !== undefined &&
      divergence !== undefined &&
      this.#settings.finetune > 0
    ) {
      await finetune(model, original, data, divergence, this.#settings);
      measured = await divergenceBetween(original, model, parts.checking, divergence, largest(shapes));
    }
    const outcomes = times
      ? await withMicroseconds(chosen, times, (name, done, of) => this.#progress(`timing ${name}`, done, of))
      : chosen;
    const rows = outcomes.map(rowOf);
    const ratio = times && original && (await latencyRatio(original, model, own));
    return {
      layers: rows,
      skipped: [...skipped],
      total: this.#totals(before, rows, { dryRun, ratio, bytesBefore }),
      curve,
      divergence: divergence?.kind,
      samples: data === undefined ? 0 : samples.indices.length,
      predicted,
      measured,
      plan: outcomes.map(({ layer, cut }) => ({
        layer: layer.name,
        form: cut?.form ?? 'keep',
        ranks: cut?.ranks ?? [],
      })),
      notes: this.#notes,
    };
  }

  /** One choice for each layer. */
  async #decide(
    candidates: readonly Candidate[],
    before: Before,
    parts: Parts,
    timing: { readonly times: LayerTimes; readonly samples: Samples } | undefined,
  ): Promise<Decision> {
    const { plan, params, macs, size, latency, maxDrop } = this.#settings;
    if (plan !== undefined) return { candidates, picks: planned(candidates, plan) };
    const { divergence } = parts;
    if (maxDrop !== undefined && divergence !== undefined)
      return {
        candidates,
        picks: await this.#smallest(candidates, before, { ...parts, divergence }, maxDrop / 100),
      };
    // A share of the bytes is of the file that was read, in its own type.
    const bytes = before.size + halved(this.#model, this.#settings.type);
    const shares: Shares = { params, macs, size: size && Math.min(1, (size * bytes) / before.size) };
    if (latency !== undefined && timing !== undefined) {
      const { times } = timing;
      const own = await timedCandidates(candidates, times, (name, done, total) =>
        this.#progress(`timing ${name}`, done, total),
      );
      return fastest(this.#model, own, {
        before,
        shares: { ...shares, latency },
        ...timing,
        layers: this.#settings,
        onProgress: this.#progress,
      });
    }
    if (Object.values(shares).every((share) => share === undefined))
      return { candidates, picks: candidates.map(() => 0) };
    const picks = allocated(candidates, before, shares);
    if (picks === undefined) throw unreachable(candidates, before, shares);
    return { candidates, picks };
  }

  /**
   * What allocations on both sides of the one that was decided lose when all is done with them, fitting and statistics, over what the
   * sum of their errors says: that sum knows neither.
   */
  async #beside(
    { candidates, picks }: Decision,
    before: Before,
    parts: Parts,
    summed: (error: number) => number,
  ): Promise<readonly Ratio[]> {
    const elements = candidates.reduce((sum, { layer }) => sum + layer.rows * layer.columns, 0);
    if (parts.divergence === undefined || elements > MOST_KEPT) return [];
    const found: Ratio[] = [];
    for (const other of neighboursOf(candidates, before, picks, this.#settings)) {
      const error = errorOf(
        candidates.map(({ choices }) => choices),
        other,
      );
      if (!(error > 0)) continue;
      const { measured } = await this.#made(outcomesOf(candidates, other), parts, () => {});
      if (measured !== undefined) found.push({ error, ratio: Math.max(measured, 1e-9) / summed(error) });
    }
    return found.sort((a, b) => a.error - b.error);
  }

  /** Puts the factors in. */
  async #finish(outcomes: readonly Outcome[], parts: Parts): Promise<number | undefined> {
    const model = this.#model;
    const { fits, statistics, measured } = await this.#made(outcomes, parts, (text) =>
      this.#notes.push(text),
    );
    for (const layer of findLayers(model, this.#settings).layers) {
      const made = fits.get(layer.name);
      if (made !== undefined) await put(model, layer, made);
    }
    if (statistics !== undefined) putStatistics(model, statistics);
    return measured;
  }

  /** The factors, with later layers fitted to earlier ones where that is better on samples that nothing was fitted to. */
  async #made(outcomes: readonly Outcome[], parts: Parts, note: (text: string) => void): Promise<Made> {
    const tried = (sequential: boolean): Promise<Tried> => this.#tried(outcomes, parts, sequential);
    let best = await tried(false);
    if (parts.divergence !== undefined && this.#settings.independent !== true && best.fits.size > 1) {
      const [alone, fitted] = [best, await tried(true)];
      const figures = `divergence ${fitted.measured?.toPrecision(3)}, ${alone.measured?.toPrecision(3)} without, on samples held back`;
      const isBetter = (fitted.measured as number) < (alone.measured as number);
      if (isBetter) best = fitted;
      note(
        isBetter
          ? `layers are fitted to what those before them make (${figures})`
          : `layers are not fitted to those before them: that was no better (${figures})`,
      );
    }
    const { fits, measured } = best;
    return { fits, measured, ...(await this.#renormalized(best, parts, note)) };
  }

  /** Statistics of normalizations for what they now read, where these are better on the samples held back. */
  async #renormalized(
    { copy, measured, fits }: Tried,
    { fitting, checking, shapes, divergence }: Parts,
    note: (text: string) => void,
  ): Promise<
    { readonly statistics: ReadonlyMap<string, Statistics>; readonly measured: number } | undefined
  > {
    if (divergence === undefined || measured === undefined || fits.size === 0) return undefined;
    this.#progress('statistics of normalizations');
    const statistics = await renormalize(copy, this.#twin, fitting, largest(shapes));
    if (statistics.size === 0) return undefined;
    const now = await divergenceBetween(this.#twin, copy, checking, divergence, largest(shapes));
    const figures = `divergence ${now.toPrecision(3)} with new ones, ${measured.toPrecision(3)} with the old, on samples held back`;
    const isBetter = now < measured;
    note(
      isBetter
        ? `the statistics of ${statistics.size} normalizations are estimated anew (${figures})`
        : `the normalizations keep their statistics (${figures})`,
    );
    return isBetter ? { statistics, measured: now } : undefined;
  }

  /** Factors in a copy of the model, and how far that is from it. */
  async #tried(
    outcomes: readonly Outcome[],
    { fitting, checking, shapes, divergence }: Parts,
    sequential: boolean,
  ): Promise<Tried> {
    const model = this.#twin;
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
      const drop = copy && (await dropBetween(this.#twin, copy, checking, divergence, largest(shapes)));
      if (found !== undefined && drop !== undefined && drop <= share) [high, picks] = [params, found];
      else low = params;
    }
    return picks;
  }

  readonly #progress = (what: string, done = 0, total = 1): void => {
    this.#settings.signal?.throwIfAborted();
    this.#settings.onProgress?.({ what, done, total });
  };

  #totals(
    before: Before,
    rows: readonly CompressedLayer[],
    {
      dryRun,
      ratio,
      bytesBefore,
    }: { readonly dryRun: boolean; readonly ratio: number | undefined; readonly bytesBefore: number },
  ): Totals {
    const saved = (key: 'parameters' | 'multiplyAdds'): number =>
      rows.reduce((sum, row) => sum + row[`${key}Before`] - row[`${key}After`], 0);
    const parametersAfter = dryRun ? before.params - saved('parameters') : storedParameters(this.#model);
    return {
      parametersBefore: before.params,
      parametersAfter,
      multiplyAddsBefore: before.macs,
      multiplyAddsAfter: before.macs - saved('multiplyAdds'),
      bytesBefore,
      bytesAfter: dryRun
        ? Math.round(before.size * (parametersAfter / Math.max(1, before.params)))
        : storedBytes(this.#model) - halved(this.#model, this.#settings.type),
      latency: ratio,
    };
  }
}

/** The type of layers in half precision; undefined where there are none. */
function halfType(layers: readonly Layer[]): 'float16' | 'bfloat16' | undefined {
  const types = layers.map(({ site }) => site.weight.dataType);
  return (['float16', 'bfloat16'] as const).find((type) => types.includes(type));
}

/** Bytes that single precision takes more than the type that the result is written in. */
function halved(model: Model, type: CompressOptions['type']): number {
  return type === undefined ? 0 : 2 * storedParameters(model, 'float32');
}

interface Parts extends Divided {
  readonly shapes: Shapes;
  readonly divergence: Divergence | undefined;
}

/** All that goes into a model, and what it then loses. */
interface Made {
  readonly fits: ReadonlyMap<string, Fit>;
  readonly statistics?: ReadonlyMap<string, Statistics>;
  readonly measured: number | undefined;
}

interface Tried {
  readonly copy: Model;
  readonly fits: ReadonlyMap<string, Fit>;
  readonly measured: number | undefined;
}
