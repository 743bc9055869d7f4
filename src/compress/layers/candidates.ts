import type { Model } from '../../graph/index.js';
import { ModelError } from '../../graph/index.js';
import { needsZeroBias } from '../../passes/expand/write.js';
import { GradientError } from '../../passes/gradient/index.js';
import { inputMoments, outputMoments } from '../calibration/calibration.js';
import type { Divergence } from '../calibration/divergence.js';
import type { Moments } from '../calibration/metric.js';
import { type Divided, largest, type Samples, type Shapes } from '../calibration/samples.js';
import { Corrections, type Ratio, TRIED } from '../factors/correction.js';
import { Factorizer } from '../factors/factorizer.js';
import {
  type Cut,
  type Form,
  isSameCut,
  type LayerSize,
  multiplyAddsOf,
  parametersOf,
} from '../factors/forms.js';
import { Trials } from '../factors/trial.js';
import type { PlannedLayer } from '../options.js';
import { type Candidate, weightOf } from './candidate.js';
import type { Layer } from './layers.js';
import { shiftPlace } from './shift.js';

/** Multiply-adds that all trials may take, and samples of one. */
const TRIAL_WORK = 4e11;
const TRIAL_SAMPLES = { least: 64, most: 512 } as const;
/** Bytes that a node and its note take in a file, about. */
const NODE_BYTES = 450;

/** What candidates are found with. */
export interface CandidateOptions extends Divided {
  readonly shapes: Shapes;
  /** Undefined without data. */
  readonly divergence: Divergence | undefined;
  /** Multiply-adds of the whole model. */
  readonly work: number;
  readonly multiple: number;
  /** The type that the result is written in; undefined for that of the weights. */
  readonly type?: 'float16' | 'bfloat16' | undefined;
  /** Those that are tried; undefined for all. */
  readonly forms?: readonly Form[] | undefined;
  readonly plan?: readonly PlannedLayer[] | undefined;
  readonly onProgress: (what: string, done?: number, total?: number) => void;
  readonly onNote: (text: string) => void;
}

/** Each layer with its choices: what they cost and what they lose; and what many lose together over the sum. */
export async function candidatesOf(
  model: Model,
  layers: readonly Layer[],
  options: CandidateOptions,
): Promise<{ readonly candidates: Candidate[]; readonly together: readonly Ratio[] }> {
  const { shapes, fitting, checking, divergence, work, onProgress, onNote } = options;
  const outputs = divergence && (await curvatures(model, layers, divergence, options));
  const found: Candidate[] = [];
  const add = async (
    layer: Layer,
    input: Moments | undefined,
    corrections: Corrections | undefined,
  ): Promise<void> => {
    onProgress(layer.name, found.length, layers.length);
    found.push(await candidateOf(layer, { input, output: outputs?.get(layer) }, corrections, options));
  };
  if (divergence === undefined) {
    for (const layer of layers) await add(layer, undefined, undefined);
    return { candidates: found, together: [] };
  }
  const share = Math.min(TRIAL_SAMPLES.most, TRIAL_WORK / Math.max(1, work * layers.length * TRIED.length));
  const count = Math.max(TRIAL_SAMPLES.least, Math.floor(share));
  const subset = { ...checking, indices: checking.indices.slice(0, count) };
  const trials = await opened(model, layers, subset, divergence, largest(shapes), onNote);
  const corrections = trials && new Corrections(trials, layers);
  try {
    for await (const { layer, moments } of inputMoments(model, layers, shapes, fitting, (name) =>
      onProgress(`what ${name} reads`),
    ))
      await add(layer, moments, corrections);
    return { candidates: found, together: (await corrections?.together()) ?? [] };
  } finally {
    await trials?.[Symbol.asyncDispose]();
  }
}

async function candidateOf(
  layer: Layer,
  { input, output }: { readonly input: Moments | undefined; readonly output: Moments | undefined },
  corrections: Corrections | undefined,
  { shapes, multiple, forms, plan, type }: CandidateOptions,
): Promise<Candidate> {
  const size = sizeOf(layer, shapes);
  const place = shiftPlace(layer);
  const weight = await weightOf(layer);
  const factorizer = await Factorizer.of(size, weight, { input, output, isCentred: place !== undefined });
  const extra = place?.kind === 'bias' && input !== undefined ? place.extra : 0;
  const costs = layerCosts(layer, size, { extra, type });
  let points = await factorizer.curve(multiple, forms);
  const own = plan?.find((one) => one.layer === layer.name);
  const known = own && own.form !== 'keep' ? ({ form: own.form, ranks: own.ranks } as Cut) : undefined;
  if (known !== undefined && !points.some(({ cut }) => isSameCut(cut, known)))
    points = [...points, { cut: known, error: await factorizer.errorOf(await factorizer.product(known)) }];
  const cuts = points.map(({ cut, error }) => ({ cut, error, costs: costs(cut) }));
  const corrected =
    corrections === undefined || input === undefined
      ? cuts
      : await corrections.of(layer, cuts, factorizer, place === undefined ? undefined : { weight, input });
  const { conditioning } = factorizer;
  return {
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
  };
}

/** Undefined of a model that has no gradient, which is noted. */
export async function curvatures(
  model: Model,
  layers: readonly Layer[],
  divergence: Divergence,
  {
    shapes,
    fitting,
    onProgress,
    onNote,
  }: Pick<CandidateOptions, 'shapes' | 'fitting' | 'onProgress' | 'onNote'>,
): Promise<ReadonlyMap<Layer, Moments> | undefined> {
  try {
    return await outputMoments(model, layers, shapes, fitting, divergence, (name) =>
      onProgress(`the curvature at ${name}`),
    );
  } catch (error) {
    if (!(error instanceof GradientError)) throw error;
    onNote(`the loss's curvature is not known, for the model has no gradient: ${error.message}`);
    return undefined;
  }
}

/** Undefined of a model that cannot be taken apart, which is noted. */
export async function opened(
  model: Model,
  layers: readonly Layer[],
  samples: Samples,
  divergence: Divergence,
  perSample: number,
  onNote: (text: string) => void,
): Promise<Trials | undefined> {
  try {
    return await Trials.open(model, layers, samples, divergence, perSample);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    onNote(`single layers are not tried out: ${error.message}`);
    return undefined;
  }
}

/** Parameters, multiply-adds and bytes of a layer with a cut; its time is not known yet. */
function layerCosts(
  layer: Layer,
  size: LayerSize,
  { extra, type }: { readonly extra: number } & Pick<CandidateOptions, 'type'>,
): (cut: Cut | undefined) => number[] {
  const { dataType } = layer.site.weight;
  const stored = dataType === 'float32' ? (type ?? dataType) : dataType;
  const bytes = { float16: 2, bfloat16: 2, float32: 4, float64: 8 }[stored as 'float32'] ?? 4;
  const nodes = layer.sites.length;
  // The C that Gemm needs in old files.
  const zeros = layer.sites.filter(needsZeroBias).length;
  return (cut) => {
    const params = parametersOf(size, cut) + (cut === undefined ? 0 : extra + zeros);
    const added = cut === undefined ? 0 : (cut.form === 'tucker' ? 3 : 2) * nodes * NODE_BYTES;
    return [params, nodes * multiplyAddsOf(size, cut), params * bytes + added, 0];
  };
}

export function sizeOf({ site, inputs, outputs, kernel }: Layer, shapes: Shapes): LayerSize {
  const [input, output] = [shapes.get(site.data) ?? [], shapes.get(site.node.outputs[0] ?? '') ?? []];
  if (kernel.length > 0)
    return { inputs, outputs, kernel, inputPlaces: input.slice(2), outputPlaces: output.slice(2) };
  const count = output.reduce((product, dim) => product * dim, 1) / outputs;
  return { inputs, outputs, kernel, inputPlaces: [count], outputPlaces: [count] };
}
