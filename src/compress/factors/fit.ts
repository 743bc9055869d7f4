import { type Model, ModelError } from '../../graph/index.js';
import type { Matrix } from '../../linalg/matmul.js';
import { openSession } from '../../runtime/index.js';
import { Random } from '../../runtime/random.js';
import { batchesOf, perSampleOf, shareOf, tapped } from '../calibration/calibration.js';
import type { Moments } from '../calibration/metric.js';
import {
  addProduct,
  chosenColumns,
  MomentSum,
  type Reading,
  readingKey,
  readingOf,
  vectorCount,
  vectorsOf,
} from '../calibration/moments.js';
import type { Samples, Shapes } from '../calibration/samples.js';
import { type Outcome, timesVector, weightOf } from '../layers/candidate.js';
import type { Layer } from '../layers/layers.js';
import { rewriteLayer } from '../layers/rewrite.js';
import { alphaOf, shiftPlace, shiftReader } from '../layers/shift.js';
import { Factorizer } from './factorizer.js';
import type { Cut } from './forms.js';
import { biasValues } from './trial.js';

/** Parts of the model that are fitted one after the other, at most: each takes a pass over the data. */
const MOST_STAGES = 24;

export interface FitOptions {
  /** Undefined without data. */
  readonly samples: Samples | undefined;
  readonly shapes: Shapes;
  readonly sequential: boolean;
  readonly onProgress: (what: string, done?: number, total?: number) => void;
}

/** What a layer reads in the original and now. */
interface Paired {
  readonly now: Moments;
  /** Of what it read before. */
  readonly mean: Float64Array;
  /** E[x x'ᵀ], about the means where the layer can shift its outputs. */
  readonly cross: Float64Array | undefined;
}

/** The factors of a layer, and what goes with them. */
export interface Fit {
  readonly cut: Cut;
  readonly factors: readonly Matrix[];
  /** What is added to the outputs, for their mean to stay; undefined where there is no place for it. */
  readonly shift: Float64Array | undefined;
}

/**
 * Finds the factors of layers as it was decided, in the order of execution. With `sequential` each is fitted to give, from what the
 * factorized ones in front of it make, what the original made; the mean of what is left becomes a shift of the outputs.
 *
 * @param model a copy of the original, which gets the factors
 * @returns one fit for each outcome that is cut
 */
export async function fitLayers(
  model: Model,
  original: Model,
  outcomes: readonly Outcome[],
  options: FitOptions,
): Promise<ReadonlyMap<string, Fit>> {
  const fits = new Map<string, Fit>();
  const { samples, sequential, onProgress } = options;
  const cut = outcomes.filter((one) => one.cut !== undefined);
  const perStage = sequential && samples !== undefined ? Math.ceil(cut.length / MOST_STAGES) : cut.length;
  for (let start = 0; start < cut.length; start += perStage) {
    const stage = cut.slice(start, start + perStage);
    onProgress(`fitting ${stage[0]?.layer.name ?? ''}`, start, cut.length);
    const paired =
      samples && (await pairedMoments(original, model, stage, { ...options, samples, isFirst: start === 0 }));
    for (const one of stage) {
      const made = await fitOne(one, paired?.get(one));
      if (made === undefined) continue;
      fits.set(one.layer.name, made);
      await put(model, one.layer, made);
    }
  }
  return fits;
}

async function fitOne(
  { layer, size, cut, output }: Outcome,
  paired: Paired | undefined,
): Promise<Fit | undefined> {
  if (cut === undefined) return undefined;
  const weight = await weightOf(layer);
  const isCentred = paired !== undefined && shiftPlace(layer) !== undefined;
  const { now: input, cross } = paired ?? {};
  const factorizer = await Factorizer.of(size, weight, { input, output, isCentred, cross });
  const factors = await factorizer.factors(cut);
  if (!isCentred) return { cut, factors, shift: undefined };
  // The outputs had the mean W μ, and have W' μ'.
  const alpha = alphaOf(layer.site);
  const after = await timesVector(await factorizer.product(cut), paired.now.mean);
  const before = await timesVector(weight, paired.mean);
  return { cut, factors, shift: before.map((value, i) => alpha * (value - (after[i] as number))) };
}

/** Puts factors in the place of a layer, and the shift to its bias or to what reads its outputs. */
export async function put(model: Model, layer: Layer, { cut, factors, shift }: Fit): Promise<void> {
  const place = shift && shiftPlace(layer);
  let biases: Map<string, Float64Array> | undefined;
  if (shift !== undefined && place !== undefined) {
    const { site } = layer;
    if (place.kind === 'bias') {
      const bias = await biasValues(site);
      biases = new Map([[site.node.label, bias.map((value, i) => value + (shift[i] as number))]]);
    } else await shiftReader(model, place, shift);
  }
  await rewriteLayer(model, { layer, cut, factors, biases });
}

/** One pass over the data through both models, for all layers of a stage. */
async function pairedMoments(
  original: Model,
  model: Model,
  stage: readonly Outcome[],
  options: FitOptions & { readonly samples: Samples; readonly isFirst: boolean },
): Promise<ReadonlyMap<Outcome, Paired>> {
  const { samples, shapes, isFirst } = options;
  const readings = new Map<string, Reading>();
  for (const { layer } of stage)
    for (const site of layer.sites) readings.set(readingKey(readingOf(site)), readingOf(site));
  const sums = new Map(
    [...readings].map(([key, { size }]) => [
      key,
      {
        now: new MomentSum(size),
        before: new Float64Array(size),
        cross: new Float64Array(isFirst ? 0 : size * size),
      },
    ]),
  );
  const values = [...new Set([...readings.values()].map(({ value }) => value))];
  const randoms = new Map([...readings.keys()].map((key) => [key, new Random(samples.seed, key)]));
  const [partNow, partBefore] = [tapped(model, values), tapped(original, values)];
  await using now = await openSession(partNow.model, samples.session);
  await using before = isFirst ? undefined : await openSession(partBefore.model, samples.session);
  for (const indices of batchesOf(samples, 2 * perSampleOf([...readings.values()], shapes))) {
    const { feeds } = await samples.feeder.feeds(indices);
    const made = partNow.named(await now.run(feeds));
    const were = before === undefined ? made : partBefore.named(await before.run(feeds));
    for (const [key, reading] of readings) {
      const [x, was] = [made[reading.value], were[reading.value]];
      const sum = sums.get(key);
      if (x === undefined || was === undefined || sum === undefined)
        throw new ModelError(`'${reading.value}' did not come out of the run`);
      const count = vectorCount(reading, x.shape);
      const columns = chosenColumns(
        count,
        shareOf(reading, count, indices.length, samples),
        randoms.get(key) as Random,
      );
      const vectors = await vectorsOf(reading, x, columns);
      await sum.now.add(vectors.data, vectors.count);
      if (isFirst) continue;
      const earlier = await vectorsOf(reading, was, columns);
      const { size: rows } = reading;
      await addProduct(
        sum.cross,
        { rows, columns: earlier.count, data: earlier.data },
        { rows, columns: vectors.count, data: vectors.data },
      );
      for (let i = 0; i < rows; i += 1)
        for (let j = i * earlier.count; j < (i + 1) * earlier.count; j += 1)
          sum.before[i] = (sum.before[i] as number) + (earlier.data[j] as number);
    }
    await new Promise(setImmediate);
  }
  const found = new Map<Outcome, Paired>();
  for (const one of stage) {
    const own = one.layer.sites.map((site) => {
      const sum = sums.get(readingKey(readingOf(site))) as NonNullable<ReturnType<typeof sums.get>>;
      const moments = sum.now.moments(`what '${site.node.label}' reads`);
      const count = Math.max(1, moments.count);
      return {
        now: moments,
        mean: isFirst ? moments.mean : sum.before.map((value) => value / count),
        cross: isFirst ? undefined : sum.cross.map((value) => value / count),
      };
    });
    found.set(one, joined(own, shiftPlace(one.layer) !== undefined));
  }
  return found;
}

function joined(own: readonly Paired[], isCentred: boolean): Paired {
  const [first] = own;
  if (first === undefined) throw new RangeError('a layer without nodes');
  const { size, count } = first.now;
  const mean = (arrays: readonly Float64Array[]): Float64Array =>
    (arrays[0] as Float64Array).map(
      (_, i) => arrays.reduce((sum, array) => sum + (array[i] as number), 0) / arrays.length,
    );
  const now: Moments =
    own.length === 1
      ? first.now
      : {
          size,
          count,
          gram: mean(own.map((one) => one.now.gram)),
          mean: mean(own.map((one) => one.now.mean)),
        };
  const means = mean(own.map((one) => one.mean));
  if (first.cross === undefined) return { now, mean: means, cross: undefined };
  const cross = mean(own.map((one) => one.cross as Float64Array));
  if (isCentred)
    for (let i = 0; i < size; i += 1)
      for (let j = 0; j < size; j += 1)
        cross[i * size + j] =
          (cross[i * size + j] as number) - (means[i] as number) * (now.mean[j] as number);
  return { now, mean: means, cross };
}
