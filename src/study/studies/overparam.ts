import { findLinearSites } from '../../affine/linear-sites.js';
import { spectrumMetrics } from '../../analysis/spectra/metrics.js';
import type { Model } from '../../graph/index.js';
import { gram } from '../../linalg/index.js';
import { symmetricEigenvalues } from '../../linalg/kernels/index.js';
import { collapse } from '../../passes/collapse/collapse.js';
import { expand } from '../../passes/expand/expand.js';
import { type FitOptions, trainOn } from '../fit.js';
import { labelledImages, PATTERNS } from '../images.js';
import { dataName, labelsOf } from '../labelled.js';
import { accuracyOf, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import { matchPenalty, SEARCH } from '../overparam/matched-penalty.js';
import { gain, type Tuned, tuned } from '../overparam/tuned.js';
import {
  PLAIN,
  RATES,
  STUDIED,
  type StudiedOptimizer,
  type Variant,
  variantOf,
} from '../overparam/variants.js';
import { seriesOf } from '../plots.js';
import { holm, LEVEL } from '../statistics.js';
import type { Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

/** How long networks are trained, by the number of samples. */
const RECIPES = {
  100: { batch: 20, epochs: 60 },
  1000: { batch: 50, epochs: 20 },
  10000: { batch: 100, epochs: 6 },
} as const;
const SIZES = [100, 1000, 10_000] as const;
/** 5 x 5 kernels compose of two of 3 x 3. */
const NETWORKS = {
  mlp: { depth: 3, width: 64 },
  cnn: { depth: 3, width: 8, kernel: 5 },
} as const;
type NetworkName = keyof typeof NETWORKS;
const [VALIDATION, TESTS, MOMENTUM, CLIP, INTERVAL, LEAST_SEEDS] = [1000, 4000, 0.9, 1, 20, 5] as const;
/** How far in share of full rank a match may be off before it is none. */
const UNMATCHED = 0.03;
const OPTIMIZERS = Object.keys(RATES) as StudiedOptimizer[];

export const overparamStudy: Study = {
  name: 'overparam',
  title: 'Chains against plain networks',
  question:
    'At equal deployed size and both with a tuned rate, are networks more accurate that were trained with chains of linear layers?',
  source: 'Huh et al., The Low-Rank Simplicity Bias in Deep Networks, TMLR 2023 (arXiv 2103.10427)',
  criterion: `for some data, network, number of samples and optimizer chains of some kind are more accurate than the plain network: the paired interval is above 0 and p below ${LEVEL} after Holm's correction over all comparisons, at least ${LEAST_SEEDS} seeds`,
  deviations: [
    `Small networks: an MLP of ${NETWORKS.mlp.depth} layers, ${NETWORKS.mlp.width} wide, and a CNN of ${NETWORKS.cnn.depth} convolutions of 5 x 5 with ${NETWORKS.cnn.width} channels; the paper has larger ones on CIFAR and ImageNet.`,
    `Rates: ${OPTIMIZERS.map((name) => `${name} ${RATES[name].join(', ')}`).join('; ')}; a cosine down to 0, momentum ${MOMENTUM} with SGD, gradients clipped to a norm of ${CLIP}, no weight decay. ${VALIDATION} other samples choose the rate, the same number of trials for each variant; the test samples have no say.`,
    'All layers of a network have chains of one depth, so a step size by depth is another rate, which the tuning finds. What Adam does to chains is studied by balanced factors and by Muon, which normalizes the step of each factor.',
    `Nuclear norm: λ ‖W‖* of all weights but the last, the sub-gradient anew every ${INTERVAL} steps; at matched rank: λ is bisected for each rate and seed until the weights end within ${SEARCH.tolerance} of the share of full rank that the chains end with at that rate and seed; runs further off than ${UNMATCHED} are listed and not averaged.`,
  ],
  seeds: { full: 5, quick: 2 },
  metrics: {
    accuracy: 'share of the test images that are classified right',
    validation: 'the same of the samples that choose the rate',
    trainLoss: 'cross-entropy of the last batch, without a penalty',
    effectiveShare: 'mean effective rank exp(H) of the deployed weights but the last, relative to full rank',
    parameters: 'of the deployed network',
    penalty: 'λ of the nuclear norm, where it was searched for',
  },
  settings: ({ data, quick }) =>
    (data.length === 0 ? [PATTERNS] : data.map(dataName)).flatMap((name) =>
      (quick ? (['mlp'] as const) : (['mlp', 'cnn'] as const)).flatMap((network) =>
        (quick ? SIZES.slice(0, 1) : SIZES).flatMap((samples) =>
          (quick ? (['sgd'] as const) : OPTIMIZERS).flatMap((optimizer) =>
            STUDIED[optimizer]
              .filter((variant) => [undefined, network].includes(variantOf(variant).only))
              .flatMap((variant) =>
                product({
                  data: [name],
                  network: [network],
                  samples: [samples],
                  optimizer: [optimizer],
                  variant: [variant],
                  learningRate: quick ? RATES[optimizer].slice(1, 3) : RATES[optimizer],
                }),
              ),
          ),
        ),
      ),
    ),
  seconds: ({ network, samples, variant }) =>
    ((network === 'mlp' ? 0.8 : 4) + Number(samples) * 2e-4) *
    (variantOf(String(variant)).matched === undefined ? 1 : 1 + SEARCH.trials / 2),
  run,
  find(evidence) {
    const pairs = placesOf(evidence).flatMap((place) => comparisonsAt(evidence, place));
    const known = pairs.filter(({ p }) => !Number.isNaN(p));
    const corrected = holm(known.map(({ p }) => p));
    const isBetter = ({ low, n }: Comparison, i: number): boolean =>
      n >= LEAST_SEEDS && low > 0 && (corrected[i] ?? 1) < LEVEL;
    const chains = known.map((pair, i) => ({ pair, i })).filter(({ pair }) => pair.isChain);
    const winners = chains.filter(({ pair, i }) => isBetter(pair, i));
    const losers = chains.filter(({ pair: { high, n }, i }) => {
      return n >= LEAST_SEEDS && high < 0 && (corrected[i] ?? 1) < LEVEL;
    });
    const isEnough = chains.some(({ pair: { n } }) => n >= LEAST_SEEDS);
    const sizes = sizesOf(evidence);
    return {
      checks: [
        {
          text: `chains are more accurate beyond the interval in ${winners.length} of ${chains.length} comparisons${winners.length === 0 ? '' : `: ${winners.map(({ pair }) => pair.text).join('; ')}`}`,
          holds: isEnough ? winners.length > 0 : undefined,
        },
        {
          text: 'all variants of a network are of one size when they are deployed',
          holds: sizes.size === 0 ? undefined : [...sizes.values()].every((found) => found.size === 1),
        },
      ],
      tests: known.map(({ text, p }) => ({ text, p })),
      notes: [
        losers.length === 0
          ? 'Chains are less accurate beyond the interval nowhere.'
          : `Chains are less accurate beyond the interval in ${losers.length} of ${chains.length} comparisons: ${losers.map(({ pair }) => pair.text).join('; ')}.`,
        ...placesOf(evidence).flatMap((place) => matchedAt(evidence, place)),
        ...placesOf(evidence).flatMap((place) => atEnds(evidence, place)),
      ],
    };
  },
  plots: (evidence) => placesOf(evidence).flatMap((place) => plotsAt(evidence, place)),
};

/** Data, network, samples and optimizer. */
type Place = Settings;

function placesOf(evidence: Evidence): Place[] {
  const all = evidence.runs.map(({ settings: { data, network, samples, optimizer } }) =>
    JSON.stringify({ data, network, samples, optimizer }),
  );
  return [...new Set(all)].map((text) => JSON.parse(text) as Place);
}

const placeText = ({ data, network, samples, optimizer }: Place): string =>
  `${network}, ${samples} of ${data}, ${optimizer}`;

/** The variants at a place, tuned: in the order of their table. */
function tunedAt(evidence: Evidence, place: Place): Tuned[] {
  return STUDIED[place.optimizer as StudiedOptimizer].flatMap(
    (variant) => tuned(evidence, { ...place, variant }) ?? [],
  );
}

interface Comparison {
  readonly text: string;
  readonly isChain: boolean;
  readonly low: number;
  readonly high: number;
  readonly n: number;
  readonly p: number;
}

const points = (share: number): string => `${share > 0 ? '+' : ''}${(100 * share).toFixed(2)}`;

function comparisonsAt(evidence: Evidence, place: Place): Comparison[] {
  const all = tunedAt(evidence, place);
  const plain = all.find(({ variant }) => variant === PLAIN);
  if (plain === undefined) return [];
  return all.flatMap((one) => {
    if (one === plain) return [];
    const { mean, low, high, n, p } = gain(one, plain);
    const text = `${placeText(place)}: ${one.variant} − plain ${points(mean)} [${points(low)}, ${points(high)}] points (${(100 * one.accuracy).toFixed(1)} %, rank ${(100 * one.effectiveShare).toFixed(0)} % against ${(100 * plain.effectiveShare).toFixed(0)} %)`;
    return [{ text, isChain: variantOf(one.variant).chains !== undefined, low, high, n, p }];
  });
}

function isPenalized(name: string): boolean {
  const { nuclear, matched } = variantOf(name);
  return nuclear !== undefined || matched !== undefined;
}

/** Each kind of chains beside the nuclear norm of nearest rank. */
function matchedAt(evidence: Evidence, place: Place): string[] {
  const all = tunedAt(evidence, place);
  const penalized = all.filter(({ variant }) => isPenalized(variant));
  const lines = all.flatMap((one) => {
    if (variantOf(one.variant).chains === undefined) return [];
    const distance = ({ effectiveShare }: Tuned): number => Math.abs(effectiveShare - one.effectiveShare);
    const [nearest] = [...penalized].sort((a, b) => distance(a) - distance(b));
    if (nearest === undefined) return [];
    return [nearest, ...matchedAtRateOf(evidence, place, one)].map((other) => againstPenalty(one, other));
  });
  return lines.length === 0
    ? []
    : [`At the nearest rank, ${placeText(place)}, points of accuracy: ${lines.join('; ')}.`];
}

/** The nuclear norm that was matched to these chains, at their rate rather than at its own best. */
function matchedAtRateOf(evidence: Evidence, place: Place, { variant, learningRate }: Tuned): Tuned[] {
  return STUDIED[place.optimizer as StudiedOptimizer].flatMap((name) =>
    variantOf(name).matched === variant
      ? (tuned(evidence, { ...place, variant: name, learningRate }) ?? [])
      : [],
  );
}

function againstPenalty(one: Tuned, other: Tuned): string {
  const { mean, low, high, n } = gain(one, other);
  const told = ({ variant, effectiveShare, learningRate }: Tuned): string =>
    `${variant} (rank ${(100 * effectiveShare).toFixed(0)} %, rate ${learningRate})`;
  return `${told(one)} − ${told(other)} ${points(mean)} [${points(low)}, ${points(high)}], ${n} seeds`;
}

function atEnds(evidence: Evidence, place: Place): string[] {
  const names = tunedAt(evidence, place).filter(({ isAtEnd }) => isAtEnd);
  return names.length === 0
    ? []
    : [
        `${placeText(place)}: the best rate is the lowest or highest of the grid of ${names.map(({ variant, learningRate }) => `${variant} (${learningRate})`).join(', ')}.`,
      ];
}

/** The sizes of deployed networks, by data and network. */
function sizesOf(evidence: Evidence): ReadonlyMap<string, ReadonlySet<number>> {
  const sizes = new Map<string, Set<number>>();
  for (const { settings, metrics } of evidence.runs) {
    const key = `${settings.data} ${settings.network}`;
    const found = sizes.get(key) ?? new Set<number>();
    found.add(metrics.parameters ?? Number.NaN);
    sizes.set(key, found);
  }
  return sizes;
}

async function run(settings: Settings, { seed, data: paths, quick }: RunContext): Promise<Outcome> {
  const network = settings.network as NetworkName;
  const samples = Number(settings.samples) as keyof typeof RECIPES;
  const { batch, epochs } = RECIPES[samples];
  const data = await labelledImages(String(settings.data), paths, {
    samples: samples + VALIDATION,
    tests: quick ? TESTS / 4 : TESTS,
    seed,
    isFlat: network === 'mlp',
  });
  const [train, validation] = [part(data.train, 0, samples), part(data.train, samples, VALIDATION)];
  const options = { ...NETWORKS[network], inputs: data.shape, outputs: data.classes, seed };
  const steps = epochs * Math.floor(samples / batch);
  const rate = Number(settings.learningRate);
  const accuracy = async (of: typeof train, deployed: Model): Promise<number> =>
    accuracyOf(await valueFor(deployed, of.inputs), labelsOf(of));
  const outcomeOf = async (variant: Variant): Promise<Outcome> => {
    const model = await newNetwork(network, options);
    const last = model.graph.initializers.get(`layers.${options.depth - (network === 'mlp' ? 1 : 0)}.weight`);
    if (variant.chains !== undefined)
      await model.apply(expand({ ...variant.chains, ...(variant.ops && { ops: variant.ops }), seed }));
    const weights = findLinearSites(model).sites.flatMap(({ weight: { root } }) =>
      root === undefined || root.name === last?.name ? [] : [root.name],
    );
    const fit = await trainOn(model, train, {
      loss: { kind: 'cross-entropy' },
      optimizer: settings.optimizer as FitOptions['optimizer'],
      ...(settings.optimizer === 'sgd' && { optimizerOptions: { momentum: MOMENTUM, nesterov: true } }),
      learningRate: (step) => (rate / 2) * (1 + Math.cos((Math.PI * step) / steps)),
      steps,
      batch,
      clipNorm: CLIP,
      seed,
      ...(variant.nuclear !== undefined && {
        rankPruning: { weights, interval: INTERVAL, energy: 0, nuclear: variant.nuclear },
      }),
    });
    if (!fit.isFinite) return { metrics: {}, problem: `diverged by step ${fit.steps}` };
    const { secondsPerStep } = fit;
    const deployed = fit.model;
    await deployed.apply(collapse({ chainsOnly: true }));
    return {
      metrics: {
        accuracy: await accuracy(data.test, deployed),
        validation: await accuracy(validation, deployed),
        trainLoss: fit.loss,
        effectiveShare: await effectiveShare(deployed, last?.name),
        parameters: [...deployed.graph.initializers.values()].reduce((sum, { size }) => sum + size, 0),
      },
      times: { secondsPerStep },
    };
  };
  const variant = variantOf(String(settings.variant));
  return variant.matched === undefined
    ? outcomeOf(variant)
    : matchedOutcome(variantOf(variant.matched), outcomeOf);
}

/** Of the nuclear norm that ends at the effective rank of chains. */
async function matchedOutcome(
  chains: Variant,
  outcomeOf: (variant: Variant) => Promise<Outcome>,
): Promise<Outcome> {
  const target = (await outcomeOf(chains)).metrics.effectiveShare;
  if (target === undefined) return { metrics: {}, problem: 'the chains diverged' };
  const found = await matchPenalty(target, async (nuclear) => {
    const result = await outcomeOf({ nuclear });
    return { share: result.metrics.effectiveShare ?? Number.NaN, result };
  });
  if (found === undefined) return { metrics: {}, problem: 'diverged with each penalty' };
  const { penalty, share, result } = found;
  const metrics = { ...result.metrics, penalty };
  return Math.abs(share - target) > UNMATCHED
    ? {
        ...result,
        metrics,
        problem: `no penalty ends at the chains' share of full rank, ${target.toFixed(3)}: nearest ${share.toFixed(3)}`,
      }
    : { ...result, metrics };
}

/** Samples from one on, so many. */
function part<Tensors extends { readonly inputs: Tensor; readonly targets: Tensor }>(
  { inputs, targets }: Tensors,
  from: number,
  count: number,
) {
  const rows = (tensor: Tensor): Tensor => {
    const data = tensor.data as Float32Array;
    const size = data.length / (tensor.shape[0] ?? 1);
    return {
      ...tensor,
      shape: [count, ...tensor.shape.slice(1)],
      data: data.subarray(from * size, (from + count) * size),
    };
  };
  return { inputs: rows(inputs), targets: rows(targets) };
}

type Tensor = Parameters<typeof valueFor>[1];

/** The mean of exp(H) over the smaller side, of all weights but the last. */
async function effectiveShare(model: Model, last: string | undefined): Promise<number> {
  const shares: number[] = [];
  for (const { weight, outputs, rows, columns } of findLinearSites(model).sites) {
    const { root } = weight;
    if (root === undefined || root.name === last) continue;
    const of = { rows: outputs, columns: (rows * columns) / outputs };
    const isWide = of.rows <= of.columns;
    const n = Math.min(of.rows, of.columns);
    if (n < 2) continue;
    const squares = await gram({ ...of, data: root.floats() }, isWide ? 'rows' : 'columns');
    const values = Float64Array.from(symmetricEigenvalues(squares, n), (square) =>
      Math.sqrt(Math.max(0, square)),
    )
      .sort()
      .reverse();
    shares.push(spectrumMetrics(values, { ...of, resolution: 0 }).effectiveRank / n);
  }
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}

/** Chains by depth and the nuclear norm by λ: accuracy against the rank that each ends with. */
function plotsAt(evidence: Evidence, place: Place): Plot[] {
  const all = tunedAt(evidence, place);
  const families = {
    plain: all.filter(({ variant }) => variant === PLAIN),
    chains: all.filter(({ variant }) => variantOf(variant).chains !== undefined),
    'nuclear norm': all.filter(({ variant }) => isPenalized(variant)),
  };
  return [
    {
      kind: 'lines',
      name: `rank-${Object.values(place).join('-')}`,
      title: `Accuracy against rank at the tuned rate, ${placeText(place)}`,
      x: { label: 'effective rank of the deployed weights over full rank' },
      y: { label: 'test accuracy' },
      series: Object.entries(families)
        .filter(([, members]) => members.length > 0)
        .map(([name, members]) =>
          seriesOf(
            name,
            members.map(({ learningRate, variant, effectiveShare }) => ({
              x: effectiveShare,
              ...evidence.estimate('accuracy', { ...place, variant, learningRate }),
            })),
          ),
        ),
    },
  ];
}
