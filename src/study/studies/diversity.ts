import { trainDiverseOn } from '../fit-diverse.js';
import { newNetwork } from '../networks.js';
import { seriesOver } from '../plots.js';
import { slabSamples } from '../simplicity/slabs.js';
import type { Evidence, Outcome, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';
import { aucsOf } from './simplicity.js';

const [COORDINATES, MODELS, HIDDEN, SAMPLES, TESTS] = [2, 4, 64, 20_000, 2000] as const;
const ALIGNMENTS = [0, 1, 3, 10] as const;
const [STEPS, BATCH, RATE] = [6000, 128, 0.001] as const;
const [LEAST_SIMPLE, LEAST_STANDARD, LEAST_SEEDS] = [0.7, 0.9, 5] as const;

export const diversityStudy: Study = {
  name: 'diversity',
  title: 'Models that rely on different features',
  question:
    'Does a penalty on aligned input gradients make one of several models use more than the simplest feature?',
  source: 'Teney et al., Evading the Simplicity Bias, CVPR 2022 (arXiv 2105.05612)',
  criterion: `for some λ > 0 there is at least one model with an S-randomized AUC of at least ${LEAST_SIMPLE} and a standard AUC of at least ${LEAST_STANDARD}, among at least ${LEAST_SEEDS} seeds`,
  deviations: [
    `Data: one linear coordinate and one of five slabs (LMS-5 of Shah et al. in ${COORDINATES} dimensions); ${MODELS} networks of two hidden layers of ${HIDDEN}, Adam at ${RATE}, ${STEPS} steps of ${BATCH}.`,
    'The penalty is λ Σ_{i≠j} mean cos²(∇g_i, ∇g_j), g the largest logit less their mean: the product of the gradients has no lower bound, and gradients of the largest logit alone can be turned by what both logits share.',
  ],
  seeds: { full: 5, quick: 1 },
  metrics: {
    bestSimple: `largest S-randomized AUC among the models whose standard AUC is at least ${LEAST_STANDARD}`,
    bestOf: 'how many models that are',
    meanAuc: 'mean standard AUC of the models',
    objective: 'Σ CE + λ Σ cos², of the last batch',
  },
  settings: ({ quick }) => product({ alignment: quick ? ALIGNMENTS.slice(0, 3) : ALIGNMENTS }),
  seconds: (_settings, { quick }) => (quick ? 6 : 25),
  run: diverse,
  find(evidence) {
    const found = evidence
      .settingsOf<number>('alignment')
      .map((alignment) => ({ alignment, ...evidence.estimate('bestSimple', { alignment }) }));
    const [plain, ...penalized] = found.sort((a, b) => a.alignment - b.alignment);
    const known = penalized.filter(({ n }) => n > 0);
    const text = ({ alignment, mean, low, high, n }: (typeof found)[number]): string =>
      `λ ${alignment}: ${mean.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}], ${n} seeds`;
    return {
      checks: [
        {
          text: `best S-randomized AUC, ${known.map(text).join('; ')}`,
          holds:
            known.length === 0 || known.some(({ n }) => n < LEAST_SEEDS)
              ? undefined
              : known.some(({ alignment }) => reached(evidence, alignment) > 0),
        },
      ],
      notes: [
        ...(plain === undefined ? [] : [`Without the penalty: ${text(plain)}.`]),
        ...known.map(({ alignment }) => {
          const { n } = evidence.estimate('bestSimple', { alignment });
          return `λ ${alignment}: ${reached(evidence, alignment)} of ${n} seeds have such a model.`;
        }),
      ],
    };
  },
  plots: (evidence) => [
    {
      kind: 'lines',
      name: 'best',
      title: 'S-randomized AUC of the model that relies least on the simple coordinate',
      x: { label: 'weight of the alignment, λ', marks: ALIGNMENTS },
      y: { label: 'area under the ROC curve' },
      series: [
        seriesOver(evidence, 'alignment', 'bestSimple', {}, 'best S-randomized'),
        seriesOver(evidence, 'alignment', 'meanAuc', {}, 'mean standard'),
      ],
    },
  ],
};

/** Seeds with a model that is above both limits. */
function reached(evidence: Evidence, alignment: number): number {
  return [...evidence.values('bestSimple', { alignment }).values()].filter((value) => value >= LEAST_SIMPLE)
    .length;
}

async function diverse({ alignment }: Settings, { seed, quick }: RunContext): Promise<Outcome> {
  const { train, test } = await slabSamples('lms-5', {
    samples: SAMPLES,
    tests: TESTS,
    seed,
    width: COORDINATES,
  });
  const options = { inputs: [COORDINATES], outputs: 2, depth: 3, width: HIDDEN };
  const members = [];
  for (let i = 0; i < MODELS; i += 1)
    members.push(await newNetwork('mlp', { ...options, seed: 1000 * seed + i }));
  const fit = await trainDiverseOn(members, train, {
    alignment: Number(alignment),
    batch: BATCH,
    steps: quick ? STEPS / 5 : STEPS,
    learningRate: RATE,
    seed,
  });
  if (!fit.isFinite) return { metrics: {}, problem: 'the training diverged' };
  const aucs = [];
  for (const model of fit.models) aucs.push(await aucsOf(model, test, seed));
  const good = aucs.filter(([standard]) => standard >= LEAST_STANDARD);
  if (good.length === 0)
    return { metrics: {}, problem: `no model reaches a standard AUC of ${LEAST_STANDARD}` };
  return {
    metrics: {
      bestSimple: Math.max(...good.map(([, simple]) => simple)),
      bestOf: good.length,
      meanAuc: aucs.reduce((sum, [standard]) => sum + standard, 0) / aucs.length,
      objective: fit.loss,
    },
  };
}
