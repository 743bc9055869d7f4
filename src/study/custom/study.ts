import { type Model, readModel } from '../../graph/index.js';
import { expand } from '../../passes/expand/expand.js';
import { inputSpecs } from '../../training/data/index.js';
import { type FitOptions, trainOn } from '../fit.js';
import { labelledSamples, labelsOf } from '../labelled.js';
import { accuracyOf, embeddingFigures, kernelPictures, penultimate, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import type { Activation, Initialization } from '../options.js';
import { picturesOf, seriesOver } from '../plots.js';
import { holm, LEVEL, pairedDifference, spearman, type Trend } from '../statistics.js';
import type { Check, Evidence, Plot, RunContext, Settings, SettingValue, Study } from '../study.js';
import { product } from '../study.js';
import { PLAN_DEFAULTS, type PlanClaim, type StudyPlan } from './plan.js';

const METRICS = {
  testAccuracy: 'share of the test samples that are classified right',
  trainLoss: 'cross-entropy of the last batch',
  cosineEntropy:
    'entropy of the kernel 1 − cos(h_i, h_j) of the penultimate features of the test samples, nats',
  rankMe: 'exp of the entropy of their singular values',
  nc1: 'within-class variability of them: towards 0 as classes collapse',
  clusterVariationRatio: 'share of their variance within classes',
} as const;

/** The study that a plan describes. */
export function customStudy(plan: StudyPlan): Study {
  return {
    name: 'custom',
    title: plan.title,
    question: 'What do the settings of the plan change?',
    source: 'a plan of the user',
    criterion:
      plan.claims.length === 0
        ? 'the plan claims nothing'
        : plan.claims.map(({ metric, over, direction }) => `${metric} ${direction} with ${over}`).join('; '),
    seeds: { full: plan.seeds, quick: Math.min(2, plan.seeds) },
    metrics: METRICS,
    settings: () => product({ ...PLAN_DEFAULTS_AS_LISTS, ...plan.settings }),
    seconds: ({ epochs }) => (Number(epochs) * plan.samples) / 4000,
    run: (settings, context) => run(plan, settings, context),
    find: (evidence) => find(plan, evidence),
    plots: (evidence) => plotsOf(plan, evidence),
  };
}

const PLAN_DEFAULTS_AS_LISTS: Readonly<Record<string, readonly SettingValue[]>> = Object.fromEntries(
  Object.entries(PLAN_DEFAULTS).map(([name, value]) => [name, [value]]),
);

async function run(plan: StudyPlan, settings: Settings, { seed, isPictured, quick }: RunContext) {
  const read = plan.model === undefined ? undefined : await readModel(plan.model);
  const data = await labelledSamples(plan.data, {
    samples: quick ? Math.ceil(plan.samples / 4) : plan.samples,
    tests: plan.tests,
    seed,
    spec: read && inputSpecs(read)[0],
    isFlat: read === undefined && plan.network === 'mlp',
  });
  const model = read ?? (await made(plan, settings, data.shape, data.classes, seed));
  const value = penultimate(model);
  if (settings.chainDepth !== 1)
    await model.apply(expand({ depth: Number(settings.chainDepth), init: 'fresh:kaiming', seed }));
  const count = data.train.inputs.shape[0] ?? 0;
  const batch = Math.min(Number(settings.batch), count);
  const steps = Math.max(1, Number(settings.epochs) * Math.floor(count / batch));
  const rate = Number(settings.learningRate);
  const isSgd = settings.optimizer === 'sgd';
  const fitted = await trainOn(model, data.train, {
    loss: { kind: 'cross-entropy' },
    optimizer: settings.optimizer as FitOptions['optimizer'],
    ...(isSgd && { optimizerOptions: { momentum: Number(settings.momentum) } }),
    learningRate: (step) => (rate / 2) * (1 + Math.cos((Math.PI * step) / steps)),
    steps,
    batch,
    weightDecay: Number(settings.weightDecay),
    seed,
  });
  const labels = labelsOf(data.test);
  const embeddings = await valueFor(fitted.model, data.test.inputs, value);
  const figures = fitted.isFinite ? await embeddingFigures(embeddings, labels) : undefined;
  if (figures === undefined) return { metrics: {}, problem: `diverged by step ${fitted.steps}` };
  const right = accuracyOf(await valueFor(fitted.model, data.test.inputs), labels);
  const { cosineEntropy, rankMe, nc1, clusterVariationRatio } = figures;
  return {
    metrics: {
      testAccuracy: right,
      trainLoss: fitted.loss,
      cosineEntropy,
      rankMe,
      ...(nc1 !== undefined && { nc1 }),
      ...(clusterVariationRatio !== undefined && { clusterVariationRatio }),
    },
    ...(isPictured && { pictures: await kernelPictures(embeddings, 'after', labels) }),
  };
}

function made(
  plan: StudyPlan,
  { depth, width, activation, initialization }: Settings,
  inputs: readonly number[],
  outputs: number,
  seed: number,
): Promise<Model> {
  return newNetwork(plan.network ?? 'mlp', {
    inputs,
    outputs,
    depth: depth as number | undefined,
    width: width as number | undefined,
    activation: activation as Activation | undefined,
    init: initialization as Initialization | undefined,
    seed,
  });
}

/** Settings of several values. */
function varying(plan: StudyPlan): readonly (readonly [name: string, values: readonly SettingValue[]])[] {
  return Object.entries(plan.settings).filter(([, values]) => values.length > 1);
}

function trendOver(evidence: Evidence, metric: string, over: string): Trend {
  const points = evidence.runs.flatMap(({ settings, metrics }) =>
    metrics[metric] === undefined ? [] : [[Number(settings[over]), metrics[metric]] as const],
  );
  return spearman(
    points.map(([x]) => x),
    points.map(([, y]) => y),
  );
}

function find(plan: StudyPlan, evidence: Evidence) {
  const claims = plan.claims.map((claim) => ({
    claim,
    trend: trendOver(evidence, claim.metric, claim.over),
  }));
  const corrected = holm(claims.map(({ trend }) => trend.p));
  const checks = claims.map(({ claim, trend }, i) => checkOf(claim, trend, corrected[i] ?? Number.NaN));
  const tests = varying(plan).flatMap(([name, values]) =>
    Object.keys(METRICS).flatMap((metric) => {
      if (typeof values[0] === 'number' && values.length > 2) {
        const trend = trendOver(evidence, metric, name);
        return [{ text: `${metric} over ${name}`, trend, p: trend.p }];
      }
      return values
        .slice(1)
        .map((value) => pairTest(evidence, metric, name, [values[0] as SettingValue, value]));
    }),
  );
  const notes = plan.claims.length === 0 ? ['The plan claims nothing, so there is no verdict.'] : [];
  return { checks, tests, notes };
}

function checkOf({ metric, over, direction }: PlanClaim, { rho, low, high }: Trend, p: number): Check {
  const isRight = direction === 'falls' ? rho < 0 : rho > 0;
  return {
    text: `${metric} ${direction} with ${over}: Spearman's ρ ${rho.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`,
    holds: Number.isNaN(rho) ? undefined : isRight && p < LEVEL,
  };
}

/** The paired difference between two values of a setting, over all other settings and seeds. */
function pairTest(
  evidence: Evidence,
  metric: string,
  name: string,
  [first, second]: readonly [SettingValue, SettingValue],
) {
  const key = ({ settings, seed }: { settings: Settings; seed: number }): string =>
    JSON.stringify([seed, { ...settings, [name]: null }]);
  const of = (value: SettingValue) =>
    new Map(
      evidence.runs
        .filter(({ settings }) => settings[name] === value)
        .map((one) => [key(one), one.metrics[metric]] as const),
    );
  const [a, b] = [of(first), of(second)];
  const differences = [...b].flatMap(([at, value]) => {
    const other = a.get(at);
    return value === undefined || other === undefined ? [] : [value - other];
  });
  const { mean, low, high, n, p } = pairedDifference(differences);
  const text = `${metric}, ${name} ${second} − ${first}: ${mean.toPrecision(3)} [${low.toPrecision(3)}, ${high.toPrecision(3)}] of ${n} pairs`;
  return { text, p };
}

/** Each metric over the first setting that is a number, a curve for each combination of the others. */
function plotsOf(plan: StudyPlan, evidence: Evidence): Plot[] {
  const all = varying(plan);
  const axis = all.find(([, values]) => typeof values[0] === 'number');
  if (axis === undefined) return [];
  const [name, values] = axis;
  const others = product(Object.fromEntries(all.filter(([other]) => other !== name)));
  const lines = Object.keys(METRICS).map(
    (metric): Plot => ({
      kind: 'lines',
      name: metric,
      title: metric,
      x: { label: name, marks: values as readonly number[] },
      y: { label: metric },
      series: others.map((settings) =>
        seriesOver(evidence, name, metric, settings, Object.values(settings).join(', ') || metric),
      ),
    }),
  );
  const [by] = all.find(([other]) => other !== name) ?? [undefined];
  return by === undefined
    ? lines
    : [...lines, ...picturesOf(evidence, name, {}, by, 'after').filter(({ kind }) => kind === 'pictures')];
}
