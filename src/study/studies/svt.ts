import { Random } from '../../runtime/index.js';
import { thresholded } from '../../training/low-rank/singular-threshold.js';
import type { Samples } from '../fit.js';
import { plantedRegression } from '../planted.js';
import { seriesOver } from '../plots.js';
import type { Check, Evidence, Outcome, Plot, RunContext, Settings, Study } from '../study.js';
import { product } from '../study.js';

const [WIDTH, RANK, SAMPLES, HELD_OUT] = [32, 8, 64, 64] as const;
const NOISES = [0.1, 0.2, 0.3, 0.4] as const;
/** When the gradient of the held-out loss is taken that v follows: after the steps behind a threshold, or right behind it. */
const GRADIENTS = ['delayed', 'immediate'] as const;
const [INTERVAL, ROUNDS, RATE, RATE_OF_V, START] = [20, 240, 0.2, 1, -2] as const;
/** The setting of the criterion. */
const CLAIM = { gradient: 'delayed', noise: 0.3 } as const;
const LEAST_SHARE = 0.9;

export const svtStudy: Study = {
  name: 'svt',
  title: 'Learned singular-value thresholding',
  question: 'Does a threshold that is learned find the rank of a planted map?',
  source: 'SLR-Net (arXiv 2006.12090), whose threshold is sigmoid(v) σ₁; here as an operator of training',
  criterion: `at noise ${CLAIM.noise}, ${CLAIM.gradient} gradient: the learned threshold lies between σ₉ and σ₈ in at least ${LEAST_SHARE * 100} % of the seeds`,
  deviations: [
    'SLR-Net learns thresholds of an unrolled network for reconstruction; here W ← U max(Σ − sigmoid(v) σ₁, 0) Vᵀ every 20 steps of gradient descent, and v follows the gradient of the loss of held-out samples.',
    `Planted maps of rank ${RANK} between ${WIDTH} features, ${SAMPLES} samples to train on and ${HELD_OUT} held out, noise of the given deviation on targets of variance 1; v begins at ${START}, as in SLR-Net.`,
    "'immediate': the gradient right behind the threshold; it balances the noise that is left against the signal that was taken, so that the threshold ends below σ₉ by construction. 'delayed': the gradient after the steps that follow, which learn the signal again, with the steps between taken as the identity.",
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
  settings: ({ quick }) => product({ gradient: GRADIENTS, noise: quick ? [CLAIM.noise] : NOISES }),
  seconds: () => 1.5,
  run: learn,
  find(evidence) {
    const share = ({ gradient, noise }: Settings) =>
      evidence.estimate('isBetween', { gradient, noise } as Settings);
    const claim = share(CLAIM);
    const check: Check = {
      text: `${CLAIM.gradient}, noise ${CLAIM.noise}: between σ₉ and σ₈ in ${(100 * claim.mean).toFixed(0)} % of ${claim.n} seeds`,
      holds: claim.n < 10 ? undefined : claim.mean >= LEAST_SHARE,
    };
    const others = product({ gradient: GRADIENTS, noise: evidence.settingsOf<number>('noise') })
      .filter(({ gradient, noise }) => gradient !== CLAIM.gradient || noise !== CLAIM.noise)
      .map((settings) => {
        const { mean, n } = share(settings);
        const rank = evidence.estimate('rank', settings).mean;
        return `${settings.gradient}, noise ${settings.noise}: ${(100 * mean).toFixed(0)} % of ${n} seeds, mean rank ${rank.toFixed(1)}`;
      });
    return { checks: [check], notes: others };
  },
  plots: (evidence) => GRADIENTS.map((gradient) => plotOf(evidence, gradient)),
};

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

/** W X'X / N - Y'X / N: the gradient of half the mean squared norm of the residuals. */
function slopeOf(w: Float64Array, { xx, yx }: Moments): Float64Array {
  const slope = yx.map((value) => -value);
  for (let i = 0; i < WIDTH; i += 1) {
    for (let k = 0; k < WIDTH; k += 1) {
      const factor = w[i * WIDTH + k] as number;
      for (let j = 0; j < WIDTH; j += 1)
        slope[i * WIDTH + j] = (slope[i * WIDTH + j] as number) + factor * (xx[k * WIDTH + j] as number);
    }
  }
  return slope;
}

async function learn({ gradient, noise }: Settings, { seed }: RunContext): Promise<Outcome> {
  const data = await plantedRegression({ width: WIDTH, rank: RANK, samples: SAMPLES, tests: HELD_OUT, seed });
  const random = new Random(seed, 'noise');
  const [train, heldOut] = [data.train, data.test].map((part) => momentsOf(part, Number(noise), random)) as [
    Moments,
    Moments,
  ];
  const steps = (from: Float64Array): Float64Array => {
    let w = from;
    for (let step = 0; step < INTERVAL; step += 1) {
      const slope = slopeOf(w, train);
      w = w.map((value, i) => value - RATE * (slope[i] as number));
    }
    return w;
  };
  const start = random.fillNormal(new Float64Array(WIDTH * WIDTH), 0.05);
  let w: Float64Array = start;
  let plain: Float64Array = start;
  let v: number = START;
  let last = await thresholded({ rows: WIDTH, columns: WIDTH, data: steps(w) }, v);
  for (let round = 0; round < ROUNDS; round += 1) {
    w = steps(Float64Array.from(last.matrix.data));
    plain = steps(plain);
    const at = gradient === 'delayed' ? w : Float64Array.from(last.matrix.data);
    v -= RATE_OF_V * last.slope(slopeOf(at, heldOut));
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
  const series = (metric: string, name: string) => seriesOver(evidence, 'noise', metric, { gradient }, name);
  return {
    kind: 'lines',
    name: gradient,
    title: `The learned threshold between σ₉ and σ₈, ${gradient} gradient`,
    x: { label: 'deviation of the noise' },
    y: { label: 'singular value' },
    series: [series('sigma8', 'σ₈'), series('threshold', 'threshold'), series('sigma9', 'σ₉')],
  };
}
