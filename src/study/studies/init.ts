import { Random } from '../../runtime/index.js';
import { embeddingFigures, kernelPictures, valueFor } from '../measure.js';
import { newNetwork } from '../networks.js';
import type { Activation, Initialization } from '../options.js';
import { picturesOf, seriesOver } from '../plots.js';
import type { Check, Evidence, Plot, Study } from '../study.js';
import { product } from '../study.js';

const DEPTHS = [1, 2, 4, 8, 16] as const;
const WIDTH = 32;
const SAMPLES = 128;

/** Read off the figure of observation 1, normal weights. */
const PUBLISHED = {
  linear: [2.15, 2.0, 1.82, 1.6, 1.38],
  relu: [2.15, 2.07, 1.88, 1.67, 1.45],
} as const;
/** How near the means are to come. */
const TOLERANCE = 0.05;

type Kind = keyof typeof PUBLISHED;
const KINDS = Object.keys(PUBLISHED) as Kind[];
const INITIALIZATIONS = ['normal', 'uniform'] as const;

export const initStudy: Study = {
  name: 'init',
  title: 'Random networks',
  question: 'Do deeper networks map to embeddings of lower effective rank before they are trained?',
  source: 'Huh et al., TMLR 2023 (arXiv 2103.10427), observation 1',
  criterion: `means strictly falling with depth, intervals of neighbouring depths disjoint, each mean of normal weights within ${TOLERANCE} of the published one, at least 32 seeds`,
  deviations: [
    'The published values are read off the figure, to ±0.02.',
    'The kernel is that of cosine distances, 1 − cos(h_i, h_j): of the candidates it alone reproduces the figure (H Hᵀ gives 2.87 to 0.99 over the same depths).',
  ],
  seeds: { full: 32, quick: 32 },
  metrics: {
    cosineEntropy: 'entropy of the kernel 1 − cos(h_i, h_j), nats',
    gramEntropy: 'entropy of the kernel H Hᵀ, nats',
  },
  settings: () =>
    product({ activation: KINDS, initialization: INITIALIZATIONS, depth: DEPTHS, width: [WIDTH] }),
  seconds: () => 0.05,
  async run({ activation, initialization, depth }, { seed, isPictured }) {
    const model = await newNetwork('mlp', {
      inputs: [WIDTH],
      outputs: WIDTH,
      width: WIDTH,
      depth: Number(depth),
      activation: activation as Activation,
      init: initialization as Initialization,
      noBias: true,
      seed,
    });
    const data = new Random(seed, 'inputs').fillNormal(new Float32Array(SAMPLES * WIDTH));
    const embeddings = await valueFor(model, { type: 'float32', shape: [SAMPLES, WIDTH], data });
    const figures = await embeddingFigures(embeddings);
    if (figures === undefined) return { metrics: {}, problem: 'the embeddings are not finite' };
    const { cosineEntropy, gramEntropy } = figures;
    return {
      metrics: { cosineEntropy, gramEntropy },
      ...(isPictured && { pictures: await kernelPictures(embeddings, 'output') }),
    };
  },
  find(evidence) {
    const checks = KINDS.flatMap((activation) =>
      INITIALIZATIONS.flatMap((initialization) => falling(evidence, activation, initialization)),
    );
    const seeds = evidence.values('cosineEntropy', {
      activation: 'relu',
      initialization: 'normal',
      depth: 1,
    });
    checks.push({ text: `${seeds.size} seeds`, holds: seeds.size >= 32 });
    return { checks };
  },
  plots: (evidence) => [
    ...INITIALIZATIONS.map(
      (initialization): Plot => ({
        kind: 'lines',
        name: initialization,
        title: `Effective rank of random networks, ${initialization} weights`,
        x: { label: 'depth, linear layers', log: true, marks: DEPTHS },
        y: { label: 'entropy of the cosine kernel, nats' },
        series: KINDS.flatMap((activation) => [
          seriesOver(evidence, 'depth', 'cosineEntropy', { activation, initialization }, activation),
          ...(initialization === 'normal'
            ? [
                {
                  name: `${activation}, published`,
                  group: activation,
                  xs: DEPTHS,
                  ys: PUBLISHED[activation],
                  isPublished: true,
                },
              ]
            : []),
        ]),
      }),
    ),
    ...picturesOf(evidence, 'depth', { initialization: 'normal' }, 'activation'),
  ],
};

function falling(evidence: Evidence, activation: Kind, initialization: string): Check[] {
  const estimates = DEPTHS.map((depth) =>
    evidence.estimate('cosineEntropy', { activation, initialization, depth }),
  );
  const known = estimates.every(({ n }) => n > 1);
  const pairs = estimates.slice(1).map((next, i) => [estimates[i] ?? next, next] as const);
  const means = estimates.map(({ mean }) => mean.toFixed(3)).join(', ');
  const name = `${activation}, ${initialization}`;
  const checks: Check[] = [
    {
      text: `${name}: means ${means} fall strictly, intervals disjoint`,
      holds: known ? pairs.every(([a, b]) => b.mean < a.mean && b.high < a.low) : undefined,
    },
  ];
  if (initialization !== 'normal') return checks;
  const distances = estimates.map(({ mean }, i) => Math.abs(mean - (PUBLISHED[activation][i] ?? 0)));
  const most = Math.max(...distances);
  checks.push({
    text: `${name}: at most ${most.toFixed(3)} from the published values`,
    holds: known ? most <= TOLERANCE : undefined,
  });
  return checks;
}
