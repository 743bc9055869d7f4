import type { Model } from '../../graph/index.js';
import { expand } from '../../passes/expand/expand.js';
import { Random } from '../../runtime/index.js';
import { trainOn } from '../fit.js';
import { dataName, dataPath } from '../labelled.js';
import { valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import { collageSamples } from '../simplicity/collage.js';
import { areaUnderCurve, type BlockSamples, randomized } from '../simplicity/randomized.js';
import { type SlabData, type SlabSamples, slabSamples } from '../simplicity/slabs.js';
import { pairedDifference } from '../statistics.js';
import type { Check, Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

/** How a network is trained on a data set; those of the paper but for what `deviations` says. */
interface Recipe {
  readonly width: number;
  readonly samples: number;
  readonly steps: number;
}

const SLABS: Readonly<Record<Exclude<SlabData, 'lms-7'>, Recipe>> = {
  'lms-5': { width: 100, samples: 100_000, steps: 4000 },
  'ms-5-7': { width: 100, samples: 100_000, steps: 40_000 },
  'noisy-lms-7': { width: 300, samples: 40_000, steps: 4000 },
};
const COLLAGE: Recipe = { width: 100, samples: 10_000, steps: 1500 };
const TESTS = 4000;
const [RATE, DECAY, BATCH] = [0.1, 5e-5, 256];
const NETWORKS = ['plain', 'chains'] as const;

/** What must be as the paper has it. */
const CHECKED = ['lms-5', 'ms-5-7'] as const;
const [LEAST_AUC, LOW, HIGH, LEAST_SEEDS] = [0.99, 0.47, 0.53, 5];

export const simplicityStudy: Study = {
  name: 'simplicity',
  title: 'Simplicity bias',
  question: 'Does a network use the simplest feature alone, and are chains of linear layers more biased?',
  source: 'Shah et al., The Pitfalls of Simplicity Bias, NeurIPS 2020 (arXiv 2006.07710)',
  criterion: `on LMS-5 and MS-(5,7), plain networks: standard and Sᶜ-randomized AUC at least ${LEAST_AUC}, S-randomized in [${LOW}, ${HIGH}], in the mean of at least ${LEAST_SEEDS} seeds`,
  deviations: [
    'Two hidden layers of 100 (300 on noisy LMS-7), SGD at 0.1 without momentum, weight decay 5e-5, batches of 256, as the authors; 4,000 steps on LMS-5, 40,000 on MS-(5,7), 4,000 on noisy LMS-7.',
    'The collage is of the two data sets of `data`, the simpler first (MNIST, then Fashion-MNIST): 0 beside pullover against 1 beside coat, in a network of two hidden layers of 100. The paper has MNIST above CIFAR-10 and a ResNet-50.',
    'Chains: each layer is replaced by two linear ones that compute the same at first (balanced), trained in the same way.',
  ],
  seeds: { full: 5, quick: 1 },
  metrics: {
    auc: 'area under the ROC curve of the test samples as they are',
    aucSimple: 'the same with the simple block S permuted over the samples: S-randomized',
    aucComplex: 'the same with all other features permuted: Sᶜ-randomized',
    trainLoss: 'cross-entropy of the last batch',
  },
  settings: ({ data, quick }) =>
    product({
      data: [...(quick ? (['lms-5'] as const) : Object.keys(SLABS)), ...collageOf(data)],
      network: NETWORKS,
    }),
  seconds: ({ data, network }) => {
    const { steps, width } = recipeOf(String(data));
    return steps * (width / 100) * (network === 'plain' ? 0.003 : 0.005);
  },
  run: async (settings, context) => {
    const made = await samplesOf(String(settings.data), context);
    return measured(await networkOf(settings, made, context), settings, made, context);
  },
  find: (evidence) => ({
    checks: [...CHECKED.flatMap((data) => asPublished(evidence, data))],
    ...compared(evidence),
  }),
  plots: (evidence) => [plotOf(evidence)],
};

function recipeOf(data: string): Recipe {
  return SLABS[data as keyof typeof SLABS] ?? COLLAGE;
}

/** The collage of the first two folders, under their names. */
function collageOf([simple, complex]: readonly string[]): readonly string[] {
  return simple === undefined || complex === undefined ? [] : [`${dataName(simple)}|${dataName(complex)}`];
}

async function samplesOf(data: string, { seed, data: paths, quick }: RunContext): Promise<SlabSamples> {
  const { samples } = recipeOf(data);
  const sizes = { samples: quick ? Math.min(samples, 20_000) : samples, tests: TESTS, seed };
  if (Object.hasOwn(SLABS, data)) return slabSamples(data as SlabData, sizes);
  const [simple = '', complex = ''] = data.split('|').map((name) => dataPath(name, paths));
  return collageSamples({ simple, complex, ...sizes });
}

async function networkOf(
  { data, network }: Settings,
  { test }: SlabSamples,
  { seed }: RunContext,
): Promise<Model> {
  const { width } = recipeOf(String(data));
  const model = await newNetwork('mlp', { inputs: [test.width], outputs: 2, depth: 3, width, seed });
  if (network === 'chains') await model.apply(expand({ depth: 2 }));
  return model;
}

async function measured(
  model: Model,
  { data }: Settings,
  { train, test }: SlabSamples,
  { seed, quick }: RunContext,
): Promise<Outcome> {
  const { steps } = recipeOf(String(data));
  const fit = await trainOn(model, train, {
    loss: { kind: 'cross-entropy' },
    optimizer: 'sgd',
    learningRate: RATE,
    weightDecay: DECAY,
    batch: BATCH,
    steps: quick ? Math.min(steps, 1000) : steps,
    seed,
  });
  if (!fit.isFinite) return { metrics: {}, problem: 'the training diverged' };
  const [auc, aucSimple, aucComplex] = await aucsOf(fit.model, test, seed);
  return { metrics: { auc, aucSimple, aucComplex, trainLoss: fit.loss } };
}

/** AUC of the difference of the two logits: standard, S-randomized, Sᶜ-randomized. */
export async function aucsOf(
  model: Model,
  test: BlockSamples,
  seed: number,
): Promise<readonly [number, number, number]> {
  const random = new Random(seed, 'randomized');
  const sets = [test.blocks, randomized(test, 'simple', random), randomized(test, 'complex', random)];
  const aucs: number[] = [];
  for (const blocks of sets) {
    const inputs = await test.inputs(blocks);
    const shape = [test.labels.length, test.width];
    const { data } = await valueFor(model, { type: 'float32', shape, data: inputs });
    const scores = Float64Array.from(
      test.labels,
      (_, i) => (data[2 * i + 1] as number) - (data[2 * i] as number),
    );
    aucs.push(areaUnderCurve(scores, test.labels));
  }
  const [auc = Number.NaN, simple = Number.NaN, complex = Number.NaN] = aucs;
  return [auc, simple, complex];
}

function asPublished(evidence: Evidence, data: string): Check[] {
  const of = (metric: string) => evidence.estimate(metric, { data, network: 'plain' });
  const [auc, simple, complex] = [of('auc'), of('aucSimple'), of('aucComplex')];
  const isKnown = auc.n >= LEAST_SEEDS;
  const check = (text: string, holds: boolean): Check => ({
    text: `${data}: ${text}, ${auc.n} seeds`,
    holds: isKnown ? holds : undefined,
  });
  return [
    check(`standard AUC ${auc.mean.toFixed(4)}`, auc.mean >= LEAST_AUC),
    check(`S-randomized ${simple.mean.toFixed(4)}`, simple.mean >= LOW && simple.mean <= HIGH),
    check(`Sᶜ-randomized ${complex.mean.toFixed(4)}`, complex.mean >= LEAST_AUC),
  ];
}

/** Are chains more biased: is their S-randomized AUC lower, seed by seed? */
function compared(evidence: Evidence) {
  const differences = evidence.settingsOf<string>('data').map((data) => {
    const plain = evidence.values('aucSimple', { data, network: 'plain' });
    const chains = evidence.values('aucSimple', { data, network: 'chains' });
    const pairs = [...plain].flatMap(([seed, value]) => {
      const other = chains.get(seed);
      return other === undefined ? [] : [other - value];
    });
    return { data, ...pairedDifference(pairs) };
  });
  return {
    tests: differences.map(({ data, mean, low, high, p }) => ({
      text: `${data}: S-randomized AUC, chains − plain ${mean.toFixed(4)} [${low.toFixed(4)}, ${high.toFixed(4)}]`,
      p,
    })),
    notes: [
      'A lower S-randomized AUC, nearer to 0.5, is a stronger reliance on the simple block.',
      ...(evidence.settingsOf<string>('data').some((data) => data.includes('|'))
        ? []
        : ['The collage was not run: it needs two data sets in `data`: mnist and fashion-mnist, say.']),
    ],
  };
}

function plotOf(evidence: Evidence): Plot {
  const data = evidence.settingsOf<string>('data');
  return {
    kind: 'lines',
    name: 'auc',
    title: 'AUC with the simple block permuted (S) and all others permuted (Sᶜ)',
    x: {
      label: `data: ${data.map((name, i) => `${i + 1} ${name}`).join(', ')}`,
      marks: data.map((_, i) => i + 1),
    },
    y: { label: 'area under the ROC curve' },
    series: NETWORKS.flatMap((network) =>
      (['aucSimple', 'aucComplex'] as const).map((metric) => {
        const points = data.map((one) => evidence.estimate(metric, { data: one, network }));
        return {
          name: `${network}, ${metric === 'aucSimple' ? 'S' : 'Sᶜ'}-randomized`,
          xs: data.map((_, i) => i + 1),
          ys: points.map(({ mean }) => mean),
          lows: points.map(({ low, mean }) => (Number.isNaN(low) ? mean : low)),
          highs: points.map(({ high, mean }) => (Number.isNaN(high) ? mean : high)),
        };
      }),
    ),
  };
}
