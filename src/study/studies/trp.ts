import { findLinearSites } from '../../affine/linear-sites.js';
import { compress } from '../../compress/compress.js';
import type { Cut } from '../../compress/factors/forms.js';
import type { Model } from '../../graph/index.js';
import { swapped } from '../../linalg/floats.js';
import { singularValuesOf } from '../end-to-end.js';
import { trainOn } from '../fit.js';
import { labelledImages, PATTERNS } from '../images.js';
import { dataName, type Labelled, labelsOf } from '../labelled.js';
import { accuracyOf, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import { pairedDifference } from '../statistics.js';
import type { Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const METHODS = ['svd', 'trp', 'trp-nuclear'] as const;
const FORMS = ['channel', 'spatial'] as const;
type Form = (typeof FORMS)[number];
/** How many times fewer multiply-adds; the first is that of the criterion. */
const SPEEDUPS = [2, 3, 4] as const;
const [WIDTH, BLOCKS, SAMPLES, TESTS, BATCH, EPOCHS] = [12, 3, 3000, 2000, 32, 6] as const;
const [RATE, MOMENTUM, DECAY] = [0.05, 0.9, 5e-4] as const;
const [INTERVAL, ENERGY, NUCLEAR] = [20, 0.1, 0.003] as const;
const LEAST_SEEDS = 5;

export const trpStudy: Study = {
  name: 'trp',
  title: 'Trained rank pruning',
  question:
    'Does a network that was trained with its ranks pruned lose less to factorization than one that was trained as usual?',
  source:
    'Xu et al., TRP: Trained Rank Pruning for Efficient Deep Neural Networks, IJCAI 2020 (arXiv 2004.14566)',
  criterion: `at ${SPEEDUPS[0]} times fewer multiply-adds, without fine-tuning, TRP with the nuclear norm is more accurate than plain training and SVD, by channel and by space: paired intervals above 0, at least ${LEAST_SEEDS} seeds`,
  deviations: [
    `A residual network of ${BLOCKS} blocks, ${WIDTH} to ${2 * WIDTH} channels, ${SAMPLES} images, ${EPOCHS} epochs of SGD (rate ${RATE}, cosine, momentum ${MOMENTUM}, weight decay ${DECAY}, batches of ${BATCH}); the authors train ResNets on CIFAR-10 and ImageNet for many more.`,
    `Ranks are pruned every ${INTERVAL} steps, as the paper says, dropping ${ENERGY} of the energy as the authors' program does, with λ = ${NUCLEAR}; their program prunes at each step, has λ = 0.0003 and adds the penalty only to the steps that prune, here to each. λ, the energy and the network were chosen on seed 100, which is not among those here.`,
    'All 3 x 3 convolutions but the first are pruned and factorized; the authors leave out those of stride 2.',
    "In the end one share of the energy, the same for all layers, is dropped so that the whole network has the multiply-adds asked for, for each method alike; the authors' program drops singular values below 0.05, and speedups differ by method.",
  ],
  seeds: { full: 5, quick: 1 },
  metrics: {
    accuracy: 'share of the test images that are classified right, before factorization',
    ...Object.fromEntries(
      SPEEDUPS.flatMap((times) => [
        [`accuracy${times}x`, `the same behind it, at ${times} times fewer multiply-adds or more`],
        [`speedup${times}x`, 'multiply-adds of the linear layers before over those behind'],
      ]),
    ),
    effectiveShare:
      'mean share of the singular values that hold 99 % of the energy of the pruned matrices, before factorization',
  },
  settings: ({ data }) =>
    product({
      data: data.length === 0 ? [PATTERNS] : data.map(dataName),
      form: FORMS,
      method: METHODS,
    }),
  seconds: (_settings, { quick }) => (quick ? 2 : 12),
  run,
  find(evidence) {
    const pairs = product({ data: evidence.settingsOf('data'), form: FORMS }).flatMap((settings) =>
      METHODS.slice(1).map((method) => ({ settings, method, ...differenceOf(evidence, settings, method) })),
    );
    const text = ({ settings, method, mean, low, high, n }: (typeof pairs)[number]): string =>
      `${settings.data}, ${settings.form}, ${SPEEDUPS[0]}x: ${NAMES[method]} − ${NAMES.svd} ${points(mean)} [${points(low)}, ${points(high)}] points of accuracy, ${n} seeds`;
    return {
      checks: pairs
        .filter(({ method }) => method === 'trp-nuclear')
        .map((pair) => ({
          text: text(pair),
          holds: pair.n < LEAST_SEEDS ? undefined : pair.low > 0,
        })),
      tests: pairs.map((pair) => ({ text: text(pair), p: pair.p })),
      notes: product({ data: evidence.settingsOf('data'), form: FORMS }).map(
        ({ data, form }) =>
          `${data}, ${form}, before and behind at ${SPEEDUPS.map((times) => `${times}x`).join(', ')}: ${METHODS.map(
            (method) =>
              `${NAMES[method]} ${['accuracy', ...SPEEDUPS.map((times) => `accuracy${times}x`)]
                .map((metric) => points(evidence.estimate(metric, { data, form, method } as Settings).mean))
                .join(', ')}`,
          ).join('; ')} %.`,
      ),
    };
  },
  plots: (evidence) =>
    product({ data: evidence.settingsOf('data'), form: FORMS }).map((settings) => plotOf(evidence, settings)),
};

const NAMES: Readonly<Record<(typeof METHODS)[number], string>> = {
  svd: 'plain and SVD',
  trp: 'TRP',
  'trp-nuclear': 'TRP and nuclear norm',
};

const points = (share: number): string => (100 * share).toFixed(1);

function differenceOf(evidence: Evidence, settings: Settings, method: string) {
  const metric = `accuracy${SPEEDUPS[0]}x`;
  const plain = evidence.values(metric, { ...settings, method: 'svd' });
  return pairedDifference(
    [...evidence.values(metric, { ...settings, method })].flatMap(([seed, value]) => {
      const other = plain.get(seed);
      return other === undefined ? [] : [value - other];
    }),
  );
}

async function run(settings: Settings, { seed, data: paths, quick }: RunContext): Promise<Outcome> {
  const { method, data: name } = settings;
  const form = settings.form as Form;
  const sizes = quick ? { samples: SAMPLES / 4, tests: 1000 } : { samples: SAMPLES, tests: TESTS };
  const data = await labelledImages(String(name), paths, { ...sizes, seed, isFlat: false });
  const model = await newNetwork('resnet', {
    inputs: data.shape,
    outputs: data.classes,
    depth: BLOCKS,
    width: WIDTH,
    seed,
  });
  const steps = Math.floor(((quick ? 2 : EPOCHS) * sizes.samples) / BATCH);
  const weights = layersOf(model, form).map(({ weight }) => weight);
  const fit = await trainOn(model, data.train, {
    loss: { kind: 'cross-entropy' },
    optimizer: 'sgd',
    optimizerOptions: { momentum: MOMENTUM, nesterov: true },
    learningRate: (step) => (RATE / 2) * (1 + Math.cos((Math.PI * step) / steps)),
    weightDecay: DECAY,
    weightDecayKind: 'l2',
    batch: BATCH,
    steps,
    seed,
    ...(method !== 'svd' && {
      rankPruning: {
        weights,
        interval: INTERVAL,
        energy: ENERGY,
        nuclear: method === 'trp' ? 0 : NUCLEAR,
        form,
      },
    }),
  });
  if (!fit.isFinite) return { metrics: {}, problem: `diverged by step ${fit.steps}` };
  const layers = layersOf(fit.model, form);
  const metrics: Record<string, number> = {
    accuracy: await testAccuracy(fit.model, data),
    effectiveShare:
      layers.reduce((sum, { values }) => sum + rankWithout(values, 0.01) / values.length, 0) / layers.length,
  };
  for (const times of SPEEDUPS) {
    const cut = fit.model.clone();
    const { multiplyAddsBefore, multiplyAddsAfter } = await factorize(cut, layers, form, times);
    metrics[`accuracy${times}x`] = await testAccuracy(cut, data);
    metrics[`speedup${times}x`] = multiplyAddsBefore / multiplyAddsAfter;
  }
  return { metrics };
}

async function testAccuracy(model: Model, { test }: Labelled): Promise<number> {
  return accuracyOf(await valueFor(model, test.inputs), labelsOf(test));
}

/** A convolution that is pruned and factorized. */
interface PrunedLayer {
  readonly name: string;
  readonly weight: string;
  /** Of the matrix that is cut, descending. */
  readonly values: Float64Array;
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
  readonly stride: number;
}

/** The convolutions of more than one tap that do not read the image. */
function layersOf(model: Model, form: Form): PrunedLayer[] {
  return findLinearSites(model).sites.flatMap(({ node, op, inputs, outputs, kernel, weight }) => {
    const { root } = weight;
    const [height = 1, width = 1] = kernel;
    if (op !== 'Conv' || height * width === 1 || root === undefined || node.inputs[0] === 'x') return [];
    const data = Float64Array.from(root.floats());
    const [rows, columns] =
      form === 'channel' ? [outputs, inputs * height * width] : [inputs * height, outputs * width];
    const matrix = form === 'channel' ? data : swapped(data, 1, outputs, rows, width);
    const values = singularValuesOf({ rows, columns, data: Float64Array.from(matrix) });
    return [
      {
        name: node.label,
        weight: root.name,
        values,
        inputs,
        outputs,
        kernel,
        stride: node.attributes.ints('strides')?.[1] ?? 1,
      },
    ];
  });
}

/** The lowest rank that leaves out no more than a share of the squares. */
function rankWithout(values: Float64Array, share: number): number {
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  let [rank, dropped] = [values.length, 0];
  while (rank > 1) {
    dropped += (values[rank - 1] as number) ** 2;
    if (dropped > share * squares) break;
    rank -= 1;
  }
  return rank;
}

/** Factorizes by SVD, the same share of the energy dropped in each layer: the smallest that makes so many times fewer multiply-adds. */
async function factorize(model: Model, layers: readonly PrunedLayer[], form: Form, times: number) {
  const [{ total: whole, layers: all }] = await model.apply(compress({ plan: [], dryRun: true }));
  const before = new Map(all.map(({ layer, multiplyAddsBefore }) => [layer, multiplyAddsBefore]));
  const planned = (share: number) =>
    layers.flatMap((layer) => {
      const cut: Cut = { form, ranks: [rankWithout(layer.values, share)] };
      const saved = (before.get(layer.name) ?? 0) * (1 - costOf(layer, cut));
      // What is no cheaper as factors stays whole.
      return saved > 0 ? [{ layer: layer.name, ...cut, saved }] : [];
    });
  const isEnough = (share: number): boolean => {
    const saved = planned(share).reduce((sum, one) => sum + one.saved, 0);
    return whole.multiplyAddsBefore >= times * (whole.multiplyAddsBefore - saved);
  };
  let [low, high] = [0, 1];
  for (let i = 0; i < 30; i += 1) {
    const middle = (low + high) / 2;
    if (isEnough(middle)) high = middle;
    else low = middle;
  }
  const plan = planned(high).map(({ layer, ranks }) => ({ layer, form, ranks }));
  const [{ total }] = await model.apply(compress({ plan }));
  return total;
}

/** Multiply-adds of a cut, relative to the whole layer. */
function costOf(layer: PrunedLayer, { form, ranks: [rank = 1] }: Cut): number {
  const { inputs, outputs, stride, kernel } = layer;
  const [height = 1, width = 1] = kernel;
  const each =
    form === 'channel'
      ? inputs * height * width + outputs
      : // The first convolution halves the rows alone.
        inputs * height * stride + outputs * width;
  return (rank * each) / (inputs * outputs * height * width);
}

function plotOf(evidence: Evidence, settings: Settings): Plot {
  return {
    kind: 'lines',
    name: `${settings.data}-${settings.form}`,
    title: `Accuracy by how many times fewer multiply-adds, ${settings.data}, by ${settings.form === 'channel' ? 'channel' : 'space'}`,
    x: { label: 'times fewer multiply-adds', marks: [1, ...SPEEDUPS] },
    y: { label: 'test accuracy' },
    series: METHODS.map((method) => {
      const all = [1, ...SPEEDUPS].map((times) => ({
        times,
        ...evidence.estimate(times === 1 ? 'accuracy' : `accuracy${times}x`, { ...settings, method }),
      }));
      const known = all.filter(({ n }) => n > 0);
      return {
        name: NAMES[method],
        xs: known.map(({ times }) => times),
        ys: known.map(({ mean }) => mean),
        lows: known.map(({ low, mean }) => (Number.isNaN(low) ? mean : low)),
        highs: known.map(({ high, mean }) => (Number.isNaN(high) ? mean : high)),
      };
    }),
  };
}
