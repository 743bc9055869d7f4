import type { Model } from '../../graph/index.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import { type Fit, trainOn } from '../fit.js';
import { dataName, dataPath, labelledSamples, labelsOf } from '../labelled.js';
import { accuracyOf, embeddingFigures, kernelPictures, penultimate, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import { ACTIVATIONS, type Activation, type Initialization } from '../options.js';
import { plantedRegression } from '../planted.js';
import { picturesOf, seriesOver } from '../plots.js';
import { holm, LEVEL, spearman, type Trend } from '../statistics.js';
import type { Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const PLANTED = 'planted';
const DEPTHS = [2, 4, 8, 16] as const;
const WIDTH = 32;
const RANK = 8;
const SAMPLES = 128;
/** Train loss, of a variance of 1, at which the networks are compared. */
const TARGET = 0.01;

/** Of data of the user's own. */
const IMAGE_DEPTHS = [2, 4, 8] as const;
const IMAGE_WIDTH = 64;
const IMAGE_SAMPLES = 4096;
const IMAGE_TESTS = 256;
const EPOCHS = 5;
const BATCH = 64;

/** Weights that keep the variance of the signal, about. */
const INITIALIZATIONS: Readonly<Record<Activation, Initialization>> = {
  linear: 'normal',
  relu: 'kaiming',
  'leaky-relu': 'kaiming',
  gelu: 'kaiming',
  tanh: 'normal',
  selu: 'normal',
  sin: 'normal',
};

/** Read off the figure of observation 2, depths 4, 8 and 16. */
const PUBLISHED_DEPTHS = [4, 8, 16] as const;
const PUBLISHED: Readonly<Record<Activation, readonly number[]>> = {
  sin: [2.04, 1.89, 1.82],
  selu: [1.97, 1.81, 1.74],
  linear: [1.97, 1.83, 1.68],
  gelu: [2.03, 1.88, 1.64],
  relu: [1.97, 1.7, 1.57],
  'leaky-relu': [1.98, 1.69, 1.54],
  tanh: [1.89, 1.49, 1.38],
};

export const trainStudy: Study = {
  name: 'train',
  title: 'Before and after training',
  question: 'Are the embeddings of deeper networks of lower effective rank after training, too?',
  source: 'Huh et al., TMLR 2023 (arXiv 2103.10427), observation 2',
  criterion: `the entropy of the penultimate cosine kernel of samples that were not trained on falls with depth, after training, for each of the seven activations and each data set: Spearman's ρ < 0, significant after Holm's correction`,
  deviations: [
    `The task, width and number of samples of the paper are not known: here a planted linear map of rank ${RANK} between ${WIDTH} features from ${SAMPLES} samples, full batch, Adam at 0.001 to a train loss of ${TARGET} (targets have variance 1). Published curves are read off the figure, to ±0.02.`,
    'Weights are drawn so that the signal keeps its variance: kaiming for relu, leaky-relu and gelu, N(0, 1/n) otherwise; no biases.',
    `Images: ${IMAGE_SAMPLES} to train on, ${EPOCHS} epochs in batches of ${BATCH}, cross-entropy, Adam at 0.001, width ${IMAGE_WIDTH}; the kernel is that of ${IMAGE_TESTS} test images.`,
  ],
  seeds: { full: 10, quick: 2 },
  metrics: {
    cosineEntropyBefore: 'entropy of the penultimate kernel 1 − cos(h_i, h_j) before training, nats',
    cosineEntropy: 'the same after training',
    change: 'after − before, of the same network',
    trainLoss: 'at the end: mean squared error, or the cross-entropy of the last batch',
    steps: 'of the optimizer',
    accuracy: 'share of the test images that are classified right',
    nc1: 'within-class variability of the penultimate features of the test images: towards 0 as classes collapse',
  },
  settings: ({ data }) => [
    ...settingsOf(PLANTED, DEPTHS, WIDTH),
    ...data.flatMap((path) => settingsOf(dataName(path), IMAGE_DEPTHS, IMAGE_WIDTH)),
  ],
  seconds: ({ data, depth }) => (data === PLANTED ? 0.3 + 0.08 * Number(depth) : 1.5 + 0.25 * Number(depth)),
  run: (settings, context) =>
    settings.data === PLANTED ? planted(settings, context) : images(settings, context),
  find(evidence) {
    const families = evidence.settingsOf<string>('data').flatMap((data) =>
      ACTIVATIONS.map((activation) => ({
        data,
        activation,
        trend: trendOf(evidence, { data, activation }),
      })),
    );
    const corrected = holm(families.map(({ trend }) => trend.p));
    return {
      checks: families.map(({ data, activation, trend: { rho, low, high } }, i) => ({
        text: `${data}, ${activation}: Spearman's ρ of depth and entropy ${rho.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`,
        holds: Number.isNaN(rho) ? undefined : rho < 0 && (corrected[i] ?? 1) < LEVEL,
      })),
      tests: families.map(({ data, activation, trend }) => ({
        text: `${data}, ${activation}: entropy after training against depth`,
        trend,
        p: trend.p,
      })),
    };
  },
  plots: (evidence) => evidence.settingsOf<string>('data').flatMap((data) => plotsOf(evidence, data)),
};

function settingsOf(data: string, depths: readonly number[], width: number): readonly Settings[] {
  return ACTIVATIONS.flatMap((activation) =>
    product({
      data: [data],
      activation: [activation],
      initialization: [INITIALIZATIONS[activation]],
      depth: depths,
      width: [width],
    }),
  );
}

function trendOf(evidence: Evidence, settings: Settings): Trend {
  const points = evidence.settingsOf<number>('depth').flatMap((depth) => {
    const values = [...evidence.values('cosineEntropy', { ...settings, depth }).values()];
    return values.map((value) => [depth, value] as const);
  });
  return spearman(
    points.map(([depth]) => depth),
    points.map(([, value]) => value),
  );
}

async function network(settings: Settings, inputs: number, outputs: number, seed: number): Promise<Model> {
  return newNetwork('mlp', {
    inputs: [inputs],
    outputs,
    width: Number(settings.width),
    depth: Number(settings.depth),
    activation: settings.activation as Activation,
    init: settings.initialization as Initialization,
    noBias: true,
    seed,
  });
}

async function planted(settings: Settings, context: RunContext): Promise<Outcome> {
  const { seed } = context;
  const data = await plantedRegression({ width: WIDTH, rank: RANK, samples: SAMPLES, tests: SAMPLES, seed });
  const model = await network(settings, WIDTH, WIDTH, seed);
  const made = await trainOn(model, data.train, {
    loss: { kind: 'mse' },
    optimizer: 'adam',
    learningRate: 0.001,
    steps: 10_000,
    target: TARGET,
    seed,
  });
  const problem = made.isDone ? undefined : `train loss above ${TARGET} after ${made.steps} steps`;
  return compared(model, made, data.test.inputs, { context, problem });
}

async function images(settings: Settings, context: RunContext): Promise<Outcome> {
  const { seed, data, quick } = context;
  const path = dataPath(String(settings.data), data);
  const samples = quick ? IMAGE_SAMPLES / 4 : IMAGE_SAMPLES;
  const found = await labelledSamples(path, { samples, tests: IMAGE_TESTS, seed });
  const model = await network(settings, found.shape[0] ?? 0, found.classes, seed);
  const made = await trainOn(model, found.train, {
    loss: { kind: 'cross-entropy' },
    optimizer: 'adam',
    learningRate: 0.001,
    steps: Math.floor((EPOCHS * (found.train.inputs.shape[0] ?? 0)) / BATCH),
    batch: BATCH,
    seed,
  });
  const labels = labelsOf(found.test);
  const outcome = await compared(model, made, found.test.inputs, { context, labels });
  const accuracy = accuracyOf(await valueFor(made.model, found.test.inputs), labels);
  return { ...outcome, metrics: { ...outcome.metrics, accuracy } };
}

async function compared(
  before: Model,
  made: Fit,
  inputs: RuntimeTensor,
  more: {
    readonly context: RunContext;
    readonly problem?: string | undefined;
    readonly labels?: readonly number[];
  },
): Promise<Outcome> {
  const { labels, context } = more;
  const value = penultimate(before);
  const embeddings = [
    await valueFor(before, inputs, value),
    await valueFor(made.model, inputs, value),
  ] as const;
  const first = await embeddingFigures(embeddings[0], labels);
  const last = made.isFinite ? await embeddingFigures(embeddings[1], labels) : undefined;
  if (first === undefined || last === undefined)
    return { metrics: {}, problem: `diverged by step ${made.steps}` };
  return {
    metrics: {
      cosineEntropyBefore: first.cosineEntropy,
      cosineEntropy: last.cosineEntropy,
      change: last.cosineEntropy - first.cosineEntropy,
      trainLoss: made.loss,
      steps: made.steps,
      ...(last.nc1 !== undefined && { nc1: last.nc1 }),
    },
    problem: more.problem,
    ...(context.isPictured && { pictures: await kernelPictures(embeddings[1], 'after', labels) }),
  };
}

function plotsOf(evidence: Evidence, data: string): Plot[] {
  const depths = data === PLANTED ? DEPTHS : IMAGE_DEPTHS;
  const x = { label: 'depth, linear layers', log: true, marks: depths };
  const y = { label: 'entropy of the penultimate kernel, nats' };
  const curves = (metric: string) =>
    ACTIVATIONS.map((activation) => seriesOver(evidence, 'depth', metric, { data, activation }, activation));
  const published = ACTIVATIONS.map((activation) => ({
    name: activation,
    xs: PUBLISHED_DEPTHS,
    ys: PUBLISHED[activation],
    isPublished: true,
  }));
  return [
    {
      kind: 'lines',
      name: `${data}-before`,
      title: `Before training, ${data}`,
      x,
      y,
      series: curves('cosineEntropyBefore'),
    },
    {
      kind: 'lines',
      name: `${data}-after`,
      title: `After training, ${data}`,
      x,
      y,
      series: curves('cosineEntropy'),
    },
    ...(data === PLANTED
      ? [
          {
            kind: 'lines' as const,
            name: 'published',
            title: 'After training, as published (task not known)',
            x: { ...x, marks: DEPTHS },
            y,
            series: published,
          },
        ]
      : []),
    ...picturesOf(evidence, 'depth', { data }, 'activation', 'after')
      .filter(({ kind }) => kind === 'pictures')
      .map((plot) => ({
        ...plot,
        name: `${data}-${plot.name}`,
        title: `${plot.title}, ${data}, ${data === PLANTED ? 'ordered by likeness' : 'ordered by class'}`,
      })),
  ];
}
