import { Random } from '../../runtime/index.js';
import { thresholded } from '../../training/low-rank/singular-threshold.js';
import type { Samples } from '../fit.js';
import { plantedRegression } from '../planted.js';
import { seriesOver } from '../plots.js';
import type { Check, Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const [WIDTH, RANK] = [32, 8] as const;
/** To train on; twice as many are held out. */
const SAMPLES = [64, 128] as const;
const NOISES = [0.1, 0.2, 0.3, 0.4] as const;
/** How the gradient of the held-out loss is taken that v follows: see `deviations`. */
const GRADIENTS = ['unrolled', 'delayed', 'immediate'] as const;
const [INTERVAL, ROUNDS, RATE, RATE_OF_V, START] = [40, 240, 0.2, 1, -2] as const;
/** The setting of the criterion. */
const CLAIM = { gradient: 'unrolled', samples: 128, noise: 0.3 } as const;
const LEAST_SHARE = 0.9;

export const svtStudy: Study = {
  name: 'svt',
  title: 'Learned singular-value thresholding',
  question: 'Does a threshold that is learned find the rank of a planted map?',
  source: 'SLR-Net (arXiv 2006.12090), whose threshold is sigmoid(v) σ₁; here as an operator of training',
  criterion: `at noise ${CLAIM.noise}, ${CLAIM.samples} samples, ${CLAIM.gradient} gradient: the learned threshold lies between σ₉ and σ₈ in at least ${LEAST_SHARE * 100} % of the seeds`,
  deviations: [
    'SLR-Net learns thresholds of an unrolled network for reconstruction; here W ← U max(Σ − sigmoid(v) σ₁, 0) Vᵀ every 40 steps of gradient descent, and v follows the gradient of the loss of held-out samples, at a rate that falls to 0 by a cosine.',
    `Planted maps of rank ${RANK} between ${WIDTH} features, twice as many samples held out as to train on, noise of the given deviation on targets of variance 1; v begins at ${START}, as in SLR-Net.`,
    "'unrolled': the gradient of the loss after the steps that follow a threshold, taken through them, as SLR-Net takes it through its cells. 'delayed': the same with these steps taken as the identity. 'immediate': of the loss right behind the threshold; it balances the noise that is left against the signal that was taken, so that the threshold ends below σ₉ by construction.",
    'The interval, the samples and the unrolled gradient were chosen on seeds 100 to 119, which are not among those here.',
  ],
  seeds: { full: 20, quick: 3 },
  metrics: {
    threshold: 'the learned threshold, in the end',
    sigma8: 'σ₈ of the weight before the last threshold',
    sigma9: 'σ₉ of it',
    isBetween: '1 where σ₉ <= threshold < σ₈',
    rank: 'singular values that are left',
    share: 'sigmoid(v)',
    error: '‖W − T‖_F / ‖T‖_F, T the planted map, behind the last threshold',
    plainError: 'the same of gradient descent without thresholds',
  },
  settings: ({ quick }) =>
    product({
      gradient: GRADIENTS,
      samples: quick ? [CLAIM.samples] : SAMPLES,
      noise: quick ? [CLAIM.noise] : NOISES,
    }),
  seconds: () => 0.4,
  run: learn,
  find(evidence) {
    const share = (settings: Settings) => evidence.estimate('isBetween', settings);
    const claim = share(CLAIM);
    const check: Check = {
      text: `${textOf(CLAIM)}: between σ₉ and σ₈ in ${(100 * claim.mean).toFixed(0)} % of ${claim.n} seeds`,
      holds: claim.n < 10 ? undefined : claim.mean >= LEAST_SHARE,
    };
    const others = product({
      gradient: GRADIENTS,
      samples: evidence.settingsOf('samples'),
      noise: evidence.settingsOf('noise'),
    })
      .filter((settings) => textOf(settings) !== textOf(CLAIM))
      .map((settings) => {
        const { mean, n } = share(settings);
        const rank = evidence.estimate('rank', settings).mean;
        return `${textOf(settings)}: ${(100 * mean).toFixed(0)} % of ${n} seeds, mean rank ${rank.toFixed(1)}`;
      });
    return { checks: [check], notes: others };
  },
  plots: (evidence) => GRADIENTS.map((gradient) => plotOf(evidence, gradient)),
};

const textOf = ({ gradient, samples, noise }: Settings): string =>
  `${gradient}, ${samples} samples, noise ${noise}`;

/** What the mean squared error of linear outputs needs of samples: X'X / N and Y'X / N. */
interface Moments {
  readonly xx: Float64Array;
  readonly yx: Float64Array;
}

function momentsOf({ inputs, targets }: Samples, noise: number, random: Random): Moments {
  const [x, y] = [inputs.data as Float32Array, targets.data as Float32Array];
  const count = x.length / WIDTH;
  const [xx, yx] = [new Float64Array(WIDTH * WIDTH), new Float64Array(WIDTH * WIDTH)];
  for (let row = 0; row < count; row += 1) {
    for (let i = 0; i < WIDTH; i += 1) {
      const xi = x[row * WIDTH + i] as number;
      const yi = (y[row * WIDTH + i] as number) + noise * random.normal();
      for (let j = 0; j < WIDTH; j += 1) {
        const xj = (x[row * WIDTH + j] as number) / count;
        xx[i * WIDTH + j] = (xx[i * WIDTH + j] as number) + xi * xj;
        yx[i * WIDTH + j] = (yx[i * WIDTH + j] as number) + yi * xj;
      }
    }
  }
  return { xx, yx };
}

/** Matrices of WIDTH x WIDTH. */
function times(a: Float64Array, b: Float64Array): Float64Array {
  const made = new Float64Array(WIDTH * WIDTH);
  for (let i = 0; i < WIDTH; i += 1) {
    for (let k = 0; k < WIDTH; k += 1) {
      const factor = a[i * WIDTH + k] as number;
      for (let j = 0; j < WIDTH; j += 1)
        made[i * WIDTH + j] = (made[i * WIDTH + j] as number) + factor * (b[k * WIDTH + j] as number);
    }
  }
  return made;
}

const plus = (a: Float64Array, b: Float64Array, factor = 1): Float64Array =>
  a.map((value, i) => value + factor * (b[i] as number));

/** W X'X / N - Y'X / N: the gradient of half the mean squared norm of the residuals. */
const slopeOf = (w: Float64Array, { xx, yx }: Moments): Float64Array => plus(times(w, xx), yx, -1);

/** So many steps of gradient descent: affine in W, so that they are one product, W A + B, and their derivative is A. */
function stepsOf(
  { xx, yx }: Moments,
  count: number,
): {
  readonly run: (w: Float64Array) => Float64Array;
  readonly back: (gradient: Float64Array) => Float64Array;
} {
  const once = xx.map((value, i) => (i % (WIDTH + 1) === 0 ? 1 : 0) - RATE * value);
  let power: Float64Array = once;
  let shift: Float64Array = yx.map((value) => RATE * value);
  for (let step = 1; step < count; step += 1) {
    shift = plus(times(shift, once), yx, RATE);
    power = times(power, once);
  }
  // A is symmetric, as X'X is.
  return { run: (w) => plus(times(w, power), shift), back: (gradient) => times(gradient, power) };
}

async function learn({ gradient, samples, noise }: Settings, { seed }: RunContext): Promise<Outcome> {
  const data = await plantedRegression({
    width: WIDTH,
    rank: RANK,
    samples: Number(samples),
    tests: 2 * Number(samples),
    seed,
  });
  const random = new Random(seed, 'noise');
  const [train, heldOut] = [data.train, data.test].map((part) => momentsOf(part, Number(noise), random)) as [
    Moments,
    Moments,
  ];
  const steps = stepsOf(train, INTERVAL);
  const start = random.fillNormal(new Float64Array(WIDTH * WIDTH), 0.05);
  let w: Float64Array = start;
  let plain: Float64Array = start;
  let v: number = START;
  let last = await thresholded({ rows: WIDTH, columns: WIDTH, data: steps.run(w) }, v);
  for (let round = 0; round < ROUNDS; round += 1) {
    w = steps.run(Float64Array.from(last.matrix.data));
    plain = steps.run(plain);
    const rate = (RATE_OF_V / 2) * (1 + Math.cos((Math.PI * round) / ROUNDS));
    const slope = slopeOf(gradient === 'immediate' ? Float64Array.from(last.matrix.data) : w, heldOut);
    v -= rate * last.slope(gradient === 'unrolled' ? steps.back(slope) : slope);
    last = await thresholded({ rows: WIDTH, columns: WIDTH, data: w }, v);
  }
  const [sigma8, sigma9] = [last.values[RANK - 1] ?? 0, last.values[RANK] ?? 0];
  const size = Math.hypot(...data.map);
  const distance = (to: ArrayLike<number>): number =>
    Math.hypot(...data.map.map((value, i) => value - (to[i] as number))) / size;
  return {
    metrics: {
      threshold: last.threshold,
      sigma8,
      sigma9,
      isBetween: last.threshold >= sigma9 && last.threshold < sigma8 ? 1 : 0,
      rank: last.rank,
      share: 1 / (1 + Math.exp(-v)),
      error: distance(last.matrix.data),
      plainError: distance(plain),
    },
  };
}

function plotOf(evidence: Evidence, gradient: string): Plot {
  const samples = Math.max(...evidence.settingsOf<number>('samples'));
  const series = (metric: string, name: string) =>
    seriesOver(evidence, 'noise', metric, { gradient, samples }, name);
  return {
    kind: 'lines',
    name: gradient,
    title: `The learned threshold between σ₉ and σ₈, ${gradient} gradient, ${samples} samples`,
    x: { label: 'deviation of the noise' },
    y: { label: 'singular value' },
    series: [series('sigma8', 'σ₈'), series('threshold', 'threshold'), series('sigma9', 'σ₉')],
  };
}
