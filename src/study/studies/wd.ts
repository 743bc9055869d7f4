import { spectrumMetrics } from '../../analysis/spectra/metrics.js';
import type { Model } from '../../graph/index.js';
import { singularValuesOf } from '../end-to-end.js';
import { trainOn } from '../fit.js';
import { gaussianClasses } from '../gaussian-classes.js';
import { newNetwork } from '../networks.js';
import { seriesOver } from '../plots.js';
import { holm, LEVEL, spearman } from '../statistics.js';
import type { Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const AXES = {
  batch: [4, 16, 64],
  learningRate: [0.03, 0.1, 0.3],
  weightDecay: [0, 1e-3, 3e-3],
} as const;
type Axis = keyof typeof AXES;
const AXIS_NAMES = Object.keys(AXES) as Axis[];
/** How the rank goes with each, where there is weight decay. */
const SIGNS: Readonly<Record<Axis, 1 | -1>> = { batch: 1, learningRate: -1, weightDecay: -1 };

const [FEATURES, CLASSES, WIDTH, DEPTH, SAMPLES, EPOCHS] = [16, 4, 32, 4, 256, 100] as const;
/** Of the largest singular value: smaller ones do not count for the numerical rank. */
const SHARE = 1e-3;

export const wdStudy: Study = {
  name: 'wd',
  title: 'Batch size, rate and weight decay',
  question:
    'Does SGD with weight decay find weights of lower rank with smaller batches, higher rates and more decay?',
  source: 'Galanti et al., arXiv 2206.05794',
  criterion:
    "with weight decay, the mean effective rank of the hidden weights rises with the batch and falls with the rate and the decay: Spearman's ρ of each over all runs has that sign, significant after Holm's correction",
  deviations: [
    `A relu network of ${DEPTH} layers, ${WIDTH} wide, on ${SAMPLES} samples of ${CLASSES} Gaussian classes, ${EPOCHS} epochs of SGD at a constant rate whatever the batch, so smaller batches take more steps; the networks and data of the paper are larger.`,
    'All combinations are run, and a trend is over all values of the two others, those without weight decay apart.',
  ],
  seeds: { full: 5, quick: 1 },
  metrics: {
    effectiveRank: 'mean effective rank exp(H) of the hidden weights',
    numericalRank: `mean number of singular values above ${SHARE} of the largest, of the hidden weights`,
    trainLoss: 'cross-entropy of the last batch, without the penalty',
  },
  settings: () => product(AXES),
  seconds: ({ batch }) => (EPOCHS * SAMPLES * 0.0002) / Number(batch) + 0.5,
  run: decay,
  find(evidence) {
    const trends = AXIS_NAMES.map((axis) => ({ axis, trend: trendOf(evidence, axis, true) }));
    const corrected = holm(trends.map(({ trend }) => trend.p));
    return {
      checks: trends.map(({ axis, trend: { rho, low, high, n } }, i) => ({
        text: `effective rank against ${NAMES[axis]}: Spearman's ρ ${rho.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}], ${n} runs; ${SIGNS[axis] > 0 ? 'rises' : 'falls'} as claimed?`,
        holds: Number.isNaN(rho) ? undefined : rho * SIGNS[axis] > 0 && (corrected[i] ?? 1) < LEVEL,
      })),
      tests: trends.map(({ axis, trend }) => ({
        text: `effective rank against ${NAMES[axis]}, with weight decay`,
        trend,
        p: trend.p,
      })),
      notes: (['batch', 'learningRate'] as const).map((axis) => {
        const { rho, low, high } = trendOf(evidence, axis, false);
        return `Without weight decay, against ${NAMES[axis]}: ρ ${rho.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}].`;
      }),
    };
  },
  plots: (evidence) => AXIS_NAMES.map((axis) => plotOf(evidence, axis)),
};

const NAMES: Readonly<Record<Axis, string>> = {
  batch: 'the batch',
  learningRate: 'the learning rate',
  weightDecay: 'weight decay',
};

function trendOf(evidence: Evidence, axis: Axis, decays: boolean) {
  const runs = evidence.runs.filter(
    ({ settings }) => axis === 'weightDecay' || Number(settings.weightDecay) > 0 === decays,
  );
  return spearman(
    runs.map(({ settings }) => Number(settings[axis])),
    runs.map(({ metrics }) => metrics.effectiveRank ?? Number.NaN),
  );
}

async function decay(settings: Settings, { seed, quick }: RunContext): Promise<Outcome> {
  const batch = Number(settings.batch);
  const model = await newNetwork('mlp', {
    inputs: [FEATURES],
    outputs: CLASSES,
    depth: DEPTH,
    width: WIDTH,
    seed,
  });
  const fit = await trainOn(
    model,
    gaussianClasses({ classes: CLASSES, features: FEATURES, samples: SAMPLES, seed }),
    {
      loss: { kind: 'cross-entropy' },
      optimizer: 'sgd',
      learningRate: Number(settings.learningRate),
      weightDecay: Number(settings.weightDecay),
      batch,
      steps: ((quick ? EPOCHS / 4 : EPOCHS) * SAMPLES) / batch,
      seed,
    },
  );
  if (!fit.isFinite) return { metrics: {}, problem: 'the training diverged' };
  return { metrics: { ...ranksOf(fit.model), trainLoss: fit.loss } };
}

function ranksOf({ graph }: Model) {
  const layers = Array.from({ length: DEPTH - 2 }, (_, i) => {
    const data = Float64Array.from(graph.initializers.get(`layers.${i + 1}.weight`)?.array() as Float32Array);
    const values = singularValuesOf({ rows: WIDTH, columns: WIDTH, data });
    const { effectiveRank } = spectrumMetrics(values, { rows: WIDTH, columns: WIDTH, resolution: 0 });
    const least = SHARE * (values[0] ?? 0);
    return { effectiveRank, numericalRank: values.filter((value) => value > least).length };
  });
  const mean = (key: 'effectiveRank' | 'numericalRank'): number =>
    layers.reduce((sum, layer) => sum + layer[key], 0) / layers.length;
  return { effectiveRank: mean('effectiveRank'), numericalRank: mean('numericalRank') };
}

/** Over one axis, at the middle of the others, with the most decay and without. */
function plotOf(evidence: Evidence, axis: Axis): Plot {
  const middle: Record<string, number> = { batch: AXES.batch[1], learningRate: AXES.learningRate[1] };
  const { [axis]: _, ...others } = middle;
  const lines = axis === 'weightDecay' ? [undefined] : [0, AXES.weightDecay[2]];
  return {
    kind: 'lines',
    name: axis,
    title: `Effective rank of the hidden weights against ${NAMES[axis]}`,
    x: { label: NAMES[axis], log: axis !== 'weightDecay', marks: AXES[axis] },
    y: { label: 'effective rank' },
    series: lines.map((weightDecay) =>
      seriesOver(
        evidence,
        axis,
        'effectiveRank',
        weightDecay === undefined ? others : { ...others, weightDecay },
        weightDecay === undefined ? 'SGD' : `weight decay ${weightDecay}`,
      ),
    ),
  };
}
