import { endToEnd, rankOfMatrix, singularValuesOf } from '../end-to-end.js';
import { type FitOptions, trainOn } from '../fit.js';
import { meanSquare, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import { plantedRegression } from '../planted.js';
import { seriesOver } from '../plots.js';
import { spearman } from '../statistics.js';
import type { Check, Evidence, Plot, Study } from '../study.js';
import { product } from '../study.js';

const DEPTHS = [1, 2, 4, 8] as const;
const WIDTH = 32;
const RANK = 8;
const SAMPLES = 16;
const TESTS = 128;
/** Train loss that all gradient methods go down to. */
const TARGET = 1e-6;

/** Steps of the methods without a gradient are this many times fewer when it is to be quick. */
const QUICKER = 10;

interface Method {
  readonly options: Pick<FitOptions, 'optimizer' | 'optimizerOptions' | 'learningRate' | 'steps'>;
  /** Follows a gradient; the others are compared at the loss that they reach. */
  readonly isGradient: boolean;
  /** About how many seconds a run takes, by depth. */
  readonly seconds: readonly number[];
  /** Read off the figure of observation 3. */
  readonly published?: readonly number[];
}

const METHODS = {
  sgd: {
    options: { optimizer: 'sgd', learningRate: 0.3, steps: 100_000 },
    isGradient: true,
    seconds: [0.2, 0.4, 1.5, 12],
    published: [2.92, 2.82, 2.66, 2.38],
  },
  nesterov: {
    options: {
      optimizer: 'sgd',
      optimizerOptions: { momentum: 0.9, nesterov: true },
      learningRate: 0.05,
      steps: 60_000,
    },
    isGradient: true,
    seconds: [0.2, 0.3, 1, 4],
    published: [2.86, 2.76, 2.53, 2.1],
  },
  adam: {
    options: { optimizer: 'adam', learningRate: 0.001, steps: 20_000 },
    isGradient: true,
    seconds: [0.2, 0.4, 1, 2.5],
    published: [2.85, 2.74, 2.45, 2.08],
  },
  muon: {
    options: { optimizer: 'muon', learningRate: (step) => 0.002 * 10 ** (-step / 5000), steps: 20_000 },
    isGradient: true,
    seconds: [0.5, 0.6, 2, 6],
  },
  lbfgs: {
    options: { optimizer: 'lbfgs', learningRate: 1, steps: 3000 },
    isGradient: true,
    seconds: [0.2, 1, 2, 7],
    published: [2.86, 2.75, 2.51, 2.15],
  },
  'cma-es': {
    options: { optimizer: 'cma-es', learningRate: 0.02, steps: 500 },
    isGradient: false,
    seconds: [2.5, 6, 10, 40],
    published: [3.0, 2.91, 2.72, 2.46],
  },
  'random-search': {
    options: { optimizer: 'random-search', learningRate: 1, steps: 100 },
    isGradient: false,
    seconds: [2.5, 5, 9, 24],
    published: [3.23, 3.06, 2.75, 2.3],
  },
} as const satisfies Readonly<Record<string, Method>>;

type Name = keyof typeof METHODS;
const NAMES = Object.keys(METHODS) as Name[];
const methodOf = (name: unknown): Method => METHODS[name as Name];

export const optimizersStudy: Study = {
  name: 'optimizers',
  title: 'Depth and the optimizer',
  question: 'Is the solution of a deeper linear network of lower rank whatever the optimizer?',
  source: 'Huh et al., TMLR 2023 (arXiv 2103.10427), observation 3',
  criterion: `the entropy of the end-to-end matrix falls with depth for each gradient method, at a train loss of ${TARGET}; methods without a gradient at the loss that they reach`,
  deviations: [
    `The task of the paper is not known: here a planted map of rank ${RANK}, ${WIDTH} x ${WIDTH}, from ${SAMPLES} samples, full batch. Published curves are read off the figure, to ±0.02.`,
    'Learning rates: SGD 0.3, Nesterov 0.05 with momentum 0.9, Adam 0.001, Muon 0.002 falling tenfold in 5,000 steps; L-BFGS with its line search. CMA-ES has a diagonal covariance, a step size of 0.02 and 500 steps, random search 100 steps of 100 points. Weights N(0, 1/32), no biases.',
  ],
  seeds: { full: 10, quick: 3 },
  metrics: {
    spectralEntropy: 'entropy of the singular values of the end-to-end matrix, nats',
    effectiveRank: 'its exponential',
    trainLoss: 'mean squared error, at the end',
    testLoss: `of ${TESTS} other samples`,
    steps: 'steps to that loss',
  },
  settings: () => product({ optimizer: NAMES, depth: DEPTHS }),
  seconds: ({ optimizer, depth }, { quick }) => {
    const { seconds, isGradient } = methodOf(optimizer);
    const all = seconds[DEPTHS.indexOf(depth as (typeof DEPTHS)[number])] ?? 1;
    return quick && !isGradient ? all / QUICKER : all;
  },
  async run({ optimizer, depth }, { seed, isPictured, quick }) {
    const { options, isGradient } = methodOf(optimizer);
    const steps = quick && !isGradient ? options.steps / QUICKER : options.steps;
    const data = await plantedRegression({ width: WIDTH, rank: RANK, samples: SAMPLES, tests: TESTS, seed });
    const model = await newNetwork('mlp', {
      inputs: [WIDTH],
      outputs: WIDTH,
      width: WIDTH,
      depth: Number(depth),
      activation: 'linear',
      init: 'normal',
      noBias: true,
      seed,
    });
    const made = await trainOn(model, data.train, {
      ...options,
      steps,
      loss: { kind: 'mse' },
      target: TARGET,
      seed,
    });
    if (!made.isFinite) return { metrics: {}, problem: `diverged by step ${made.steps}` };
    const matrix = await endToEnd(made.model);
    const outputs = await valueFor(made.model, data.test.inputs);
    const problem =
      made.isDone || !isGradient ? undefined : `train loss above ${TARGET} after ${made.steps} steps`;
    return {
      metrics: {
        ...rankOfMatrix(matrix),
        trainLoss: made.loss,
        testLoss: meanSquare(outputs, data.test.targets),
        steps: made.steps,
      },
      problem,
      ...(isPictured && {
        pictures: {
          spectra: { output: [...singularValuesOf(matrix)].map((value) => Number(value.toPrecision(5))) },
        },
      }),
    };
  },
  find(evidence) {
    const known = NAMES.filter((name) => evidence.estimate('spectralEntropy', { optimizer: name }).n > 0);
    return {
      checks: known.flatMap((name) => (methodOf(name).isGradient ? fallsWithDepth(evidence, name) : [])),
      tests: known.map((optimizer) => {
        const runs = evidence.runs.filter(({ settings }) => settings.optimizer === optimizer);
        const trend = spearman(
          runs.map(({ settings }) => Number(settings.depth)),
          runs.map(({ metrics }) => metrics.spectralEntropy ?? Number.NaN),
        );
        return { text: `${optimizer}: entropy against depth`, trend, p: trend.p };
      }),
      notes: known
        .filter((name) => !methodOf(name).isGradient)
        .map((optimizer) => {
          const losses = DEPTHS.map((depth) => evidence.estimate('trainLoss', { optimizer, depth }).mean);
          return `${optimizer} reaches train losses of ${losses.map((loss) => loss.toPrecision(2)).join(', ')} at depths ${DEPTHS.join(', ')}.`;
        }),
    };
  },
  plots(evidence) {
    const x = { label: 'depth, linear layers', log: true, marks: DEPTHS };
    const spectra = (depth: number): Plot => ({
      kind: 'lines',
      name: `spectrum-${depth}`,
      title: `Singular values of the end-to-end matrix, depth ${depth}, seed 0`,
      x: { label: 'index' },
      y: { label: 'singular value' },
      series: evidence.runs
        .filter(({ settings, pictures }) => settings.depth === depth && pictures !== undefined)
        .map(({ settings, pictures }) => {
          const ys = pictures?.spectra?.output ?? [];
          return { name: String(settings.optimizer), xs: ys.map((_, index) => index + 1), ys };
        }),
    });
    return [
      {
        kind: 'lines',
        name: 'entropy',
        title: 'Rank of the solution',
        x,
        y: { label: 'entropy of the end-to-end matrix, nats' },
        series: NAMES.flatMap((name) => {
          const { published } = methodOf(name);
          return [
            seriesOver(evidence, 'depth', 'spectralEntropy', { optimizer: name }, name),
            ...(published === undefined
              ? []
              : [{ name: `${name}, published`, group: name, xs: DEPTHS, ys: published, isPublished: true }]),
          ];
        }),
      },
      {
        kind: 'lines',
        name: 'test-loss',
        title: 'Error on other samples',
        x,
        y: { label: 'mean squared error' },
        series: NAMES.map((name) => seriesOver(evidence, 'depth', 'testLoss', { optimizer: name }, name)),
      },
      spectra(2),
      spectra(8),
    ];
  },
};

/** Means fall from each depth to the next, and the paired differences are below zero. */
function fallsWithDepth(evidence: Evidence, optimizer: string): Check[] {
  const estimates = DEPTHS.map((depth) => evidence.estimate('spectralEntropy', { optimizer, depth }));
  const isKnown = estimates.every(({ n }) => n > 0);
  const means = estimates.map(({ mean, n }) => (n === 0 ? '–' : mean.toFixed(3)));
  return [
    {
      text: `${optimizer}: means ${means.join(', ')} fall`,
      holds: isKnown
        ? estimates.slice(1).every(({ mean }, i) => mean < (estimates[i]?.mean ?? 0))
        : undefined,
    },
  ];
}
