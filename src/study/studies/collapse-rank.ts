import { type Model, ModelError, ValueInfo } from '../../graph/index.js';
import { matmul } from '../../linalg/index.js';
import { gradient } from '../../passes/gradient/index.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import { partOf } from '../../runtime/session/part.js';
import { singularValuesOf } from '../end-to-end.js';
import { type Samples, trainOn } from '../fit.js';
import { gaussianClasses } from '../gaussian-classes.js';
import { embeddingFigures } from '../measure.js';
import { newNetwork } from '../networks.js';
import { seriesOver } from '../plots.js';
import { spearman } from '../statistics.js';
import type { Check, Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const DECAYS = [3e-4, 1e-3, 3e-3, 6e-3, 1e-2, 2e-2, 3e-2] as const;
const QUICK_DECAYS = [1e-3, 1e-2, 3e-2] as const;
const [CLASSES, FEATURES, WIDTH, SAMPLES, DEPTH] = [4, 16, 32, 256, 3];
/** Layers behind the first whose weights are looked at: hidden ones, whose rank could exceed the number of classes. */
const LAYERS = [0, 1] as const;
/** A distance over the norm below this is zero: the rounding of float32 weights. */
const ZERO = 1e-3;
const LEAST_RHO = -0.9;
const ROUNDING = 1e-6;
/** Of L-BFGS. */
const STEPS = 2000;

export const collapseRankStudy: Study = {
  name: 'collapse-rank',
  title: 'Neural rank collapse',
  question: 'Do weight decay and the collapse of classes bound how far a weight is from rank K?',
  source: 'Zangrando et al., arXiv 2402.03991',
  criterion: `every run satisfies both bounds in each layer, and Spearman's ρ of λ and the mean distance is at most ${LEAST_RHO} in each hidden layer over the λ before it is zero`,
  deviations: [
    'The bound is derived from stationarity of L + λ/2 ‖W‖², with the same λ for all weights and none for biases: E_K(W) ≤ ‖ΔZ̃ᵀ‖_F/(λN) + r ≤ sqrt(mean ‖δ_i‖²) sqrt(TCV)/λ + r, δ_i the gradient of a sample at the output of the layer, Z̃ its inputs less their class means, TCV their mean squared norm, and r = ‖∇L + λW‖_F/λ the residual. The constant, norm and networks of the paper are not verified.',
    `A tanh network of two hidden layers of ${WIDTH}, ${CLASSES} classes of ${SAMPLES / CLASSES} samples of ${FEATURES} features each, cross-entropy, full batch, ${STEPS} steps of L-BFGS.`,
  ],
  seeds: { full: 5, quick: 2 },
  metrics: {
    ...layerMetrics(
      'distance',
      (layer) => `‖W − W_K‖_F / ‖W‖_F of layer ${layer + 1}: the distance to rank K over the norm`,
    ),
    ...layerMetrics('bound', (layer) => `‖ΔZ̃ᵀ‖_F/(λN) + r over ‖W‖_F, layer ${layer + 1}`),
    ...layerMetrics(
      'looseBound',
      (layer) => `sqrt(mean ‖δ‖²) sqrt(TCV)/λ + r over ‖W‖_F, layer ${layer + 1}`,
    ),
    ...layerMetrics('tcv', (layer) => `TCV of the inputs of layer ${layer + 1}`),
    ...layerMetrics('nc1', (layer) => `NC1 of the inputs of layer ${layer + 1}`),
    ...layerMetrics('residual', (layer) => `‖∇L + λW‖_F / ‖λW‖_F, layer ${layer + 1}`),
    trainLoss: 'cross-entropy without the penalty',
  },
  settings: ({ quick }) => product({ weightDecay: quick ? QUICK_DECAYS : DECAYS }),
  seconds: ({ weightDecay }) => (Number(weightDecay) < 0.02 ? 10 : 6),
  run: collapse,
  find: (evidence) => ({
    checks: [...LAYERS.flatMap((layer) => [bounds(evidence, layer), falls(evidence, layer)])],
    notes: [
      'The first weight has the samples themselves as inputs, whose TCV training cannot change; the others have features that can collapse.',
    ],
  }),
  plots: (evidence) => LAYERS.map((layer) => plotOf(evidence, layer)),
};

function layerMetrics(name: string, text: (layer: number) => string): Record<string, string> {
  return Object.fromEntries(LAYERS.map((layer) => [`${name}${layer + 1}`, text(layer)]));
}

async function collapse({ weightDecay }: Settings, { seed, quick }: RunContext): Promise<Outcome> {
  const lambda = Number(weightDecay);
  const samples = gaussianClasses({ classes: CLASSES, features: FEATURES, samples: SAMPLES, seed });
  const model = await newNetwork('mlp', {
    inputs: [FEATURES],
    outputs: CLASSES,
    depth: DEPTH,
    width: WIDTH,
    activation: 'tanh',
    init: 'xavier',
    seed,
  });
  const fit = await trainOn(model, samples, {
    loss: { kind: 'cross-entropy' },
    optimizer: 'lbfgs',
    optimizerOptions: { history: 20 },
    learningRate: 1,
    weightDecay: lambda,
    steps: quick ? STEPS / 4 : STEPS,
    seed,
  });
  if (!fit.isFinite) return { metrics: {}, problem: 'the training diverged' };
  const metrics: Record<string, number> = { trainLoss: fit.loss };
  for (const layer of LAYERS) {
    const figures = await layerFigures(fit.model, samples, layer, lambda);
    if (figures === undefined) return { metrics, problem: 'features are not finite' };
    for (const [name, value] of Object.entries(figures)) metrics[`${name}${layer + 1}`] = value;
  }
  return { metrics };
}

/** The distance of a layer's weight to rank K, and what bounds it. */
async function layerFigures(
  model: Model,
  samples: Samples,
  layer: number,
  lambda: number,
): Promise<Readonly<Record<string, number>> | undefined> {
  const { features, deltas } = await backward(model, samples, layer);
  const weight = Float64Array.from(
    model.graph.initializers.get(`layers.${layer}.weight`)?.array() as Float32Array,
  );
  const columns = weight.length / WIDTH;
  const values = singularValuesOf({ rows: WIDTH, columns, data: weight });
  const norm = norm2(values);
  const centred = lessClassMeans(features, samples.targets);
  const found = await embeddingFigures(
    { rows: SAMPLES, columns, data: features },
    Array.from(samples.targets.data as BigInt64Array, Number),
  );
  if (found === undefined) return undefined;
  const crossed = await matmul(
    { rows: SAMPLES, columns: WIDTH, data: deltas },
    { rows: SAMPLES, columns, data: centred },
    { transposeA: true },
  );
  const slope = await matmul(
    { rows: SAMPLES, columns: WIDTH, data: deltas },
    { rows: SAMPLES, columns, data: features },
    { transposeA: true },
  );
  const tcv = found.clusterVariation ?? Number.NaN;
  const residual = norm2(slope.data.map((g, i) => g / SAMPLES + lambda * (weight[i] as number)));
  return {
    distance: norm2(values.subarray(CLASSES)) / norm,
    bound: (norm2(crossed.data) / (lambda * SAMPLES) + residual / lambda) / norm,
    looseBound: ((norm2(deltas) / Math.sqrt(SAMPLES)) * Math.sqrt(tcv) + residual) / lambda / norm,
    tcv,
    nc1: found.nc1 ?? Number.NaN,
    residual: residual / (lambda * norm),
  };
}

/** What a layer reads, and the gradient of each sample's own loss at its output, both samples x features. */
async function backward(model: Model, { inputs, targets }: Samples, layer: number) {
  const node = model.graph.nodes.find(({ inputs: read }) => read[1] === `layers.${layer}.weight`);
  if (node === undefined) throw new ModelError(`has no layer ${layer}`);
  const [from = ''] = node.inputs;
  const [to = ''] = node.outputs;
  const features = await valueAt(model, inputs, from === 'x' ? undefined : from);
  const outputs = await valueAt(model, inputs, to);
  const given = [ValueInfo.tensor(to, 'float32', ['batch', WIDTH])];
  const rest = partOf(model, [model.graph.outputs[0]?.name ?? ''], { given });
  const made = await gradient(rest, {
    loss: 'cross-entropy',
    batch: SAMPLES,
    wrt: [to],
    weights: 'constants',
  });
  await using session = await openSession(made.model, { threads: 1 });
  const feeds: Record<string, RuntimeTensor> = { x: inputs, [made.target ?? '']: targets, [to]: outputs };
  const known = session.inputs.map(({ name }) => name);
  const results = await session.run(
    Object.fromEntries(known.map((name) => [name, feeds[name] as RuntimeTensor])),
  );
  const slopes = results[made.gradients.get(to) ?? '']?.data as Float32Array;
  return {
    features: Float64Array.from(features.data as Float32Array),
    // The loss is the mean over the samples.
    deltas: Float64Array.from(slopes, (slope) => slope * SAMPLES),
  };
}

async function valueAt(
  model: Model,
  inputs: RuntimeTensor,
  name: string | undefined,
): Promise<RuntimeTensor> {
  if (name === undefined) return inputs;
  await using session = await openSession(partOf(model, [name]), { threads: 1 });
  const { [name]: value } = await session.run({ x: inputs });
  return value as RuntimeTensor;
}

function lessClassMeans(features: Float64Array, { data }: RuntimeTensor): Float64Array {
  const columns = features.length / SAMPLES;
  const sums = new Float64Array(CLASSES * columns);
  const label = (i: number): number => Number((data as BigInt64Array)[Math.floor(i / columns)]);
  for (const [i, value] of features.entries())
    sums[label(i) * columns + (i % columns)] = (sums[label(i) * columns + (i % columns)] as number) + value;
  // Classes are of equal size.
  const share = CLASSES / SAMPLES;
  return features.map((value, i) => value - share * (sums[label(i) * columns + (i % columns)] as number));
}

function norm2(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i += 1) sum += (values[i] as number) ** 2;
  return Math.sqrt(sum);
}

function bounds(evidence: Evidence, layer: number): Check {
  const rows = evidence.runs.map(({ metrics }) => ({
    distance: metrics[`distance${layer + 1}`] ?? Number.NaN,
    bound: metrics[`bound${layer + 1}`] ?? Number.NaN,
    loose: metrics[`looseBound${layer + 1}`] ?? Number.NaN,
  }));
  // The distance, of weights in float32, is known to their rounding.
  const isWithin = (distance: number, bound: number): boolean => distance <= bound + ROUNDING;
  const failed = rows.filter(
    ({ distance, bound, loose }) => !isWithin(distance, bound) || !isWithin(bound, loose),
  );
  const ratios = rows
    .filter(({ distance }) => distance > ZERO)
    .map(({ distance, bound }) => bound / distance);
  return {
    text: `layer ${layer + 1}: ${rows.length - failed.length} of ${rows.length} runs within both bounds; where the distance is not zero, the tighter is ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(1)} times as large`,
    holds: rows.length > 0 ? failed.length === 0 : undefined,
  };
}

function falls(evidence: Evidence, layer: number): Check {
  const metric = `distance${layer + 1}`;
  const means = evidence
    .settingsOf<number>('weightDecay')
    .map((weightDecay) => ({ weightDecay, ...evidence.estimate(metric, { weightDecay }) }))
    .filter(({ n }) => n > 0)
    .sort((a, b) => a.weightDecay - b.weightDecay);
  // The first zero counts; those behind it would be ties.
  const first = means.findIndex(({ mean }) => mean < ZERO);
  const counted = first < 0 ? means : means.slice(0, first + 1);
  const { rho } = spearman(
    counted.map(({ weightDecay }) => weightDecay),
    counted.map(({ mean }) => mean),
  );
  return {
    text: `layer ${layer + 1}: mean distances ${means.map(({ weightDecay, mean }) => `${mean.toPrecision(2)} at λ ${weightDecay}`).join(', ')}; Spearman's ρ ${rho.toFixed(2)}`,
    holds: Number.isNaN(rho) ? undefined : rho <= LEAST_RHO,
  };
}

function plotOf(evidence: Evidence, layer: number): Plot {
  const series = (metric: string, name: string) =>
    seriesOver(evidence, 'weightDecay', `${metric}${layer + 1}`, {}, name);
  return {
    kind: 'lines',
    name: `layer-${layer + 1}`,
    title: `Distance of layer ${layer + 1} to rank ${CLASSES}, over its norm, and its bounds`,
    x: { label: 'weight decay λ', log: true },
    y: { label: 'over ‖W‖_F', log: true },
    series: [
      series('distance', 'distance'),
      series('bound', '‖ΔZ̃ᵀ‖/(λN)'),
      series('looseBound', 'sqrt(mean ‖δ‖²) sqrt(TCV)/λ'),
    ],
  };
}
