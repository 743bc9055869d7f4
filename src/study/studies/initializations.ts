import { trainOn } from '../fit.js';
import { embeddingFigures, kernelPictures, matrixOf, meanSquare, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import type { Initialization } from '../options.js';
import { plantedRegression } from '../planted.js';
import { picturesOf, seriesOver } from '../plots.js';
import { pairedDifference } from '../statistics.js';
import type { Check, Evidence, Plot, PlotSeries, Study } from '../study.js';
import { product } from '../study.js';

const DEPTHS = [1, 4, 8, 16, 32] as const;
const WIDTH = 32;
const SAMPLES = 64;
const TESTS = 128;
const STEPS = 10_000;
/** Of each layer with low-rank weights. */
const RANK = 8;
const INITIALIZATIONS = ['normal', 'low-rank'] as const;

/** Read off the figures of observation 4: at the end of training. */
const PUBLISHED: Readonly<Record<(typeof INITIALIZATIONS)[number], readonly number[]>> = {
  normal: [2.15, 2.07, 1.98, 1.91, 1.75],
  'low-rank': [2.15, 1.95, 1.85, 1.82, 1.78],
};

export const initializationsStudy: Study = {
  name: 'initializations',
  title: 'Where training begins',
  question: 'Does the bias to low rank come from the initialization alone?',
  source: 'Huh et al., TMLR 2023 (arXiv 2103.10427), observation 4',
  criterion:
    'from a low-rank start the entropy rises at each depth, and at depths of 8 and more it ends below that of the target: paired intervals above and below 0',
  deviations: [
    `The task of the paper is not known: here a planted linear map of full rank between ${WIDTH} features from ${SAMPLES} samples, linear layers without biases, full batch, ${STEPS} steps of Adam, from 0.001 down to 0 by a cosine. Published curves are read off the figure, to ±0.02.`,
    `The paper's low-rank initialization is not known: here each weight is U V / sqrt(r n), U and V standard normal, r = ${RANK}.`,
    'All runs have the same number of steps, as deep ones do not reach a common loss: the train loss is told.',
  ],
  seeds: { full: 10, quick: 2 },
  metrics: {
    cosineEntropyBefore:
      'entropy of the kernel 1 − cos(y_i, y_j) of the outputs for other samples, before training, nats',
    cosineEntropy: 'the same after training',
    cosineEntropyTarget: 'the same of the targets',
    change: 'after − before',
    belowTarget: 'after − target',
    trainLoss: 'mean squared error',
    testLoss: `of ${TESTS} other samples`,
  },
  settings: () => product({ initialization: INITIALIZATIONS, depth: DEPTHS }),
  seconds: ({ depth }, { quick }) => (quick ? 0.5 : 1) * (0.8 + 0.45 * Number(depth)),
  async run({ initialization, depth }, { seed, isPictured, quick }) {
    const data = await plantedRegression({ width: WIDTH, rank: WIDTH, samples: SAMPLES, tests: TESTS, seed });
    const model = await newNetwork('mlp', {
      inputs: [WIDTH],
      outputs: WIDTH,
      width: WIDTH,
      depth: Number(depth),
      activation: 'linear',
      init: initialization as Initialization,
      rank: RANK,
      noBias: true,
      seed,
    });
    const steps = quick ? STEPS / 2 : STEPS;
    const made = await trainOn(model, data.train, {
      loss: { kind: 'mse' },
      optimizer: 'adam',
      learningRate: (step) => 0.0005 * (1 + Math.cos((Math.PI * step) / steps)),
      steps,
      seed,
    });
    const outputs = await valueFor(made.model, data.test.inputs);
    const before = await embeddingFigures(await valueFor(model, data.test.inputs));
    const after = made.isFinite ? await embeddingFigures(outputs) : undefined;
    const target = await embeddingFigures(matrixOf(data.test.targets));
    if (before === undefined || after === undefined || target === undefined)
      return { metrics: {}, problem: `diverged by step ${made.steps}` };
    return {
      metrics: {
        cosineEntropyBefore: before.cosineEntropy,
        cosineEntropy: after.cosineEntropy,
        cosineEntropyTarget: target.cosineEntropy,
        change: after.cosineEntropy - before.cosineEntropy,
        belowTarget: after.cosineEntropy - target.cosineEntropy,
        trainLoss: made.loss,
        testLoss: meanSquare(outputs, data.test.targets),
      },
      ...(isPictured && { pictures: await kernelPictures(outputs, 'after') }),
    };
  },
  find(evidence) {
    const deep = DEPTHS.filter((depth) => depth >= 8);
    const lows = DEPTHS.map((depth) => ({ initialization: 'low-rank', depth }));
    return {
      checks: [
        ...DEPTHS.map((depth) => sign(evidence, 'change', 'low-rank', depth, 1)),
        ...deep.map((depth) => sign(evidence, 'belowTarget', 'low-rank', depth, -1)),
      ],
      tests: [
        ...lows.map((settings) => testOf(evidence, 'change', settings, 'the entropy rises')),
        ...INITIALIZATIONS.flatMap((initialization) =>
          deep.map((depth) =>
            testOf(evidence, 'belowTarget', { initialization, depth }, 'the end is not the target'),
          ),
        ),
      ],
      notes: INITIALIZATIONS.map((initialization) => {
        const losses = DEPTHS.map((depth) => evidence.estimate('trainLoss', { initialization, depth }).mean);
        return `${initialization}: train losses ${losses.map((loss) => loss.toPrecision(2)).join(', ')} at depths ${DEPTHS.join(', ')}.`;
      }),
    };
  },
  plots: (evidence) => [
    ...INITIALIZATIONS.map((initialization) => entropyPlot(evidence, initialization)),
    ...(['trainLoss', 'testLoss'] as const).map(
      (metric): Plot => ({
        kind: 'lines',
        name: metric,
        title: metric === 'trainLoss' ? 'Train loss' : 'Error on other samples',
        x: { label: 'depth, linear layers', log: true, marks: DEPTHS },
        y: { label: 'mean squared error' },
        series: INITIALIZATIONS.map((initialization) =>
          seriesOver(evidence, 'depth', metric, { initialization }, initialization),
        ),
      }),
    ),
    ...picturesOf(evidence, 'depth', {}, 'initialization', 'after'),
  ],
};

function entropyPlot(evidence: Evidence, initialization: (typeof INITIALIZATIONS)[number]): Plot {
  const curve = (metric: string, name: string): PlotSeries =>
    seriesOver(evidence, 'depth', metric, { initialization }, name);
  return {
    kind: 'lines',
    name: initialization,
    title: `From ${initialization} weights`,
    x: { label: 'depth, linear layers', log: true, marks: DEPTHS },
    y: { label: 'entropy of the cosine kernel, nats' },
    series: [
      curve('cosineEntropy', 'after training'),
      {
        name: 'after, published',
        group: 'after training',
        xs: DEPTHS,
        ys: PUBLISHED[initialization],
        isPublished: true,
      },
      curve('cosineEntropyBefore', 'before training'),
      curve('cosineEntropyTarget', 'target'),
    ],
  };
}

function sign(
  evidence: Evidence,
  metric: 'change' | 'belowTarget',
  initialization: string,
  depth: number,
  direction: 1 | -1,
): Check {
  const { mean, low, high, n } = evidence.estimate(metric, { initialization, depth });
  const what = metric === 'change' ? 'after − before' : 'after − target';
  return {
    text: `${initialization}, depth ${depth}: ${what} ${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}] is ${direction > 0 ? 'above' : 'below'} 0`,
    holds: n < 2 ? undefined : direction > 0 ? low > 0 : high < 0,
  };
}

function testOf(
  evidence: Evidence,
  metric: string,
  settings: { readonly initialization: string; readonly depth: number },
  what: string,
) {
  const { p } = pairedDifference([...evidence.values(metric, settings).values()]);
  return { text: `${settings.initialization}, depth ${settings.depth}: ${what}, paired t-test`, p };
}
