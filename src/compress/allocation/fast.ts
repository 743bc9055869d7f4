import type { Model } from '../../graph/index.js';
import { OptionError } from '../../graph/option-descriptors.js';
import { Random } from '../../runtime/random.js';
import type { Samples } from '../calibration/samples.js';
import { type Cut, factorSizes, isSameCut, parametersOf } from '../factors/forms.js';
import type { Candidate, Outcome } from '../layers/candidate.js';
import { findLayers, type Layer, type LayerChoice } from '../layers/layers.js';
import { rewriteLayer } from '../layers/rewrite.js';
import { outcomesOf } from '../layers/rows.js';
import { allocated, type Before, RESOURCES, type Shares, unreachable } from './budget.js';
import { type LayerTimes, latencyRatio } from './layer-times.js';

const LATENCY = RESOURCES.indexOf('latency');
const MACS = RESOURCES.indexOf('macs');
/** Cuts of each form that are measured before anything is chosen. */
const PROBES = 4;
/** What runs within this share of the layer's time is not faster: so far apart are two measurements of one thing. */
const FASTER = 0.95;
/** Times that what was chosen is measured and chosen anew; and that the whole model is. */
const ROUNDS = 6;
const ATTEMPTS = 4;

type Choice = Candidate['choices'][number];

/**
 * Candidates with the time of each choice: some of each form are measured, those between interpolated by their multiply-adds. Choices
 * that are not faster than the layer are left out.
 */
export async function timedCandidates(
  candidates: readonly Candidate[],
  times: LayerTimes,
  onProgress: (layer: string, done: number, total: number) => void,
): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const [i, one] of candidates.entries()) {
    onProgress(one.layer.name, i, candidates.length);
    const probes = probed(one.choices);
    const measured = await times.of(one.layer, probes);
    if (measured === undefined) {
      found.push({
        ...one,
        choices: one.choices.slice(0, 1),
        kept: 'it does not run by itself, so its time is not known',
      });
      continue;
    }
    const [whole = 0, ...rest] = measured;
    found.push(withTimes(one, whole, new Map(probes.map((cut, k) => [cut, rest[k] as number]))));
  }
  return found;
}

/** Of each form some, from the least multiply-adds to the most. */
function probed(choices: readonly Choice[]): Cut[] {
  const forms = new Map<string, Choice[]>();
  for (const choice of choices)
    if (choice.cut !== undefined) forms.set(choice.cut.form, [...(forms.get(choice.cut.form) ?? []), choice]);
  return [...forms.values()].flatMap((own) => {
    const sorted = own.sort((a, b) => (a.costs[MACS] as number) - (b.costs[MACS] as number));
    const places = new Set(
      Array.from({ length: PROBES }, (_, i) => Math.round((i * (sorted.length - 1)) / (PROBES - 1))),
    );
    return [...places].flatMap((i) => sorted[i]?.cut ?? []);
  });
}

function withTimes(one: Candidate, whole: number, known: ReadonlyMap<Cut, number>): Candidate {
  const timeOf = ({ cut, costs }: Choice): number => {
    if (cut === undefined) return whole;
    const own = known.get(cut);
    if (own !== undefined) return own;
    const points = one.choices
      .flatMap((other) => {
        const time = other.cut?.form === cut.form ? known.get(other.cut as Cut) : undefined;
        return time === undefined ? [] : [{ macs: other.costs[MACS] as number, time }];
      })
      .sort((a, b) => a.macs - b.macs);
    return interpolated(points, costs[MACS] as number);
  };
  const timed = one.choices.map((choice) => ({
    ...choice,
    costs: choice.costs.with(LATENCY, timeOf(choice)),
  }));
  const choices = timed.filter(
    ({ cut, costs }) => cut === undefined || (costs[LATENCY] as number) < FASTER * whole,
  );
  const isKept = choices.length === 1 && one.choices.length > 1;
  return { ...one, choices, ...(isKept && { kept: 'onnxruntime runs none of its factorizations faster' }) };
}

function interpolated(
  points: readonly { readonly macs: number; readonly time: number }[],
  macs: number,
): number {
  const at = points.findIndex((point) => point.macs >= macs);
  const right = points[at < 0 ? points.length - 1 : at];
  const left = points[at < 0 ? points.length - 2 : at - 1];
  if (right === undefined) return Number.POSITIVE_INFINITY;
  if (left === undefined || right.macs === left.macs) return right.time;
  return left.time + ((right.time - left.time) * (macs - left.macs)) / (right.macs - left.macs);
}

/** What fast models are chosen with. */
export interface FastOptions {
  readonly before: Before;
  readonly shares: Shares & { readonly latency: number };
  readonly times: LayerTimes;
  readonly samples: Samples;
  readonly layers: LayerChoice;
  readonly onProgress: (what: string, done?: number, total?: number) => void;
}

/**
 * Chooses within all budgets, of which one is time. What is chosen is measured, and chosen anew until nothing changes; then the whole
 * model is run beside the original, and the budget drawn tighter where it is not as fast as the sum of its layers said.
 *
 * @throws OptionError where no choice is fast enough
 */
export async function fastest(
  model: Model,
  candidates: readonly Candidate[],
  options: FastOptions,
): Promise<{ readonly candidates: readonly Candidate[]; readonly picks: readonly number[] }> {
  const { before, shares, samples, layers, onProgress } = options;
  let target = shares.latency;
  let [own, ratio] = [candidates, 1];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    onProgress('running it beside the original', attempt, ATTEMPTS);
    const found = await settled(own, { ...options, shares: { ...shares, latency: target } });
    if (found === undefined) break;
    own = found.candidates;
    ratio = await latencyRatio(model, await shaped(model, outcomesOf(own, found.picks), layers), samples);
    if (ratio <= shares.latency) return found;
    target *= Math.min(0.97, shares.latency / ratio);
  }
  if (ratio < 1)
    throw new OptionError(
      'latency',
      `of ${shares.latency} is not reached: the fastest that was found takes ${ratio.toPrecision(3)} of the original's time; allow more layers, or a larger share`,
    );
  throw unreachable(own, before, shares);
}

async function settled(
  candidates: readonly Candidate[],
  { before, shares, times }: FastOptions,
): Promise<{ readonly candidates: readonly Candidate[]; readonly picks: readonly number[] } | undefined> {
  let own = [...candidates];
  const exact = new Map<Layer, Map<string, number>>();
  for (let round = 0; ; round += 1) {
    const picks = allocated(own, before, shares);
    if (picks === undefined) return undefined;
    let isExact = true;
    for (const [i, one] of own.entries()) {
      const cut = one.choices[picks[i] as number]?.cut;
      const known = exact.get(one.layer) ?? new Map<string, number>();
      exact.set(one.layer, known);
      if (cut === undefined || known.has(JSON.stringify(cut)) || round >= ROUNDS) continue;
      const [whole = 0, time = 0] = (await times.of(one.layer, [cut])) ?? [];
      known.set(JSON.stringify(cut), time);
      const choices = one.choices
        .map((choice) =>
          choice.cut !== undefined && isSameCut(choice.cut, cut)
            ? { ...choice, costs: choice.costs.with(LATENCY, time) }
            : choice,
        )
        .filter(
          ({ cut: other, costs }) => other === undefined || (costs[LATENCY] as number) < FASTER * whole,
        );
      own = own.with(i, { ...one, choices });
      isExact = false;
    }
    if (isExact) return { candidates: own, picks };
  }
}

/** The model with factors of the sizes that were chosen, and random numbers in them: it takes the time of the real one. */
async function shaped(model: Model, outcomes: readonly Outcome[], choice: LayerChoice): Promise<Model> {
  const copy = model.clone();
  const own = findLayers(copy, choice).layers;
  for (const [i, { cut }] of outcomes.entries()) {
    const layer = own[i];
    if (cut === undefined || layer === undefined) continue;
    const factors = factorSizes(layer, cut).map((size) => {
      const columns = parametersOf({ ...size, outputs: 1 }, undefined);
      const values = new Float64Array(size.outputs * columns);
      const data = new Random(i, 'shaped').fillNormal(values, 1 / Math.sqrt(columns));
      return { rows: size.outputs, columns, data };
    });
    await rewriteLayer(copy, { layer, cut, factors });
  }
  return copy;
}

/** The times of what was chosen, for the account. */
export async function withMicroseconds(
  outcomes: readonly Outcome[],
  times: LayerTimes,
  onProgress: (layer: string, done: number, total: number) => void,
): Promise<Outcome[]> {
  const found: Outcome[] = [];
  for (const [i, one] of outcomes.entries()) {
    onProgress(one.layer.name, i, outcomes.length);
    const [before, after] = (await times.of(one.layer, one.cut === undefined ? [] : [one.cut])) ?? [];
    found.push(before === undefined ? one : { ...one, microseconds: { before, after: after ?? before } });
  }
  return found;
}
