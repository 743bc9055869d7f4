import { OptionError } from '../../graph/option-descriptors.js';
import { symmetricEigen } from '../../linalg/kernels/index.js';
import { Random } from '../../runtime/random.js';
import { checkCount } from '../optimizers/ranges.js';
import type { Position, SearchRule } from './search-rule.js';
import { addTo, dot, plus, scaleBy } from './vectors.js';

/** Options of CMA-ES. */
export interface CmaEsOptions {
  /** Points that are drawn in a step, λ; default 4 + ⌊3 ln n⌋ of n numbers. */
  readonly population?: number | undefined;
  /** What the covariance is: n² numbers, or its n variances alone; default 'full' up to 512 numbers. */
  readonly covariance?: 'full' | 'diagonal' | undefined;
}

/** Up to this many numbers the default is a full covariance; up to `MOST` there can be one. */
const FULL = 512;
const MOST = 4096;

/**
 * CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772, figure 6, with the defaults of its table 1 and
 * weights above zero alone) or, with a diagonal covariance, sep-CMA-ES (Ros & Hansen, PPSN 2008: rates times (n + 2) / 3). The
 * weights are the mean of the distribution; the learning rate is its first step size.
 */
export function cmaEs({ population, covariance }: CmaEsOptions = {}): SearchRule {
  if (population !== undefined) checkCount(population, 'population', 4);
  const isFull = (n: number): boolean => (covariance ?? (n <= FULL ? 'full' : 'diagonal')) === 'full';
  return {
    takesGradients: false,
    slots: (n) => {
      if (isFull(n) && n > MOST) {
        throw new OptionError(
          'covariance',
          `cannot be 'full' of ${n} numbers, which takes n² (at most ${MOST}); 'diagonal' can`,
        );
      }
      const square = isFull(n) ? [n, n] : [n];
      return {
        size: [1],
        sizePath: [n],
        path: [n],
        covariance: square,
        deviations: [n],
        ...(isFull(n) && { axes: square }),
      };
    },
    start: (x) => {
      const n = x.length;
      const deviations = new Float64Array(n).fill(1);
      if (!isFull(n)) return { covariance: deviations.slice(), deviations };
      const identity = new Float64Array(n * n);
      for (let i = 0; i < n; i += 1) identity[i * n + i] = 1;
      return { covariance: identity, axes: identity.slice(), deviations };
    },
    step: async (objective, at, { rate, step, seed }) => {
      const n = objective.size;
      const constants = constantsOf(n, population ?? 4 + Math.floor(3 * Math.log(n)), isFull(n));
      const random = new Random(seed, `cma-es ${step}`);
      const size = step === 1 ? rate : (at.slots.size?.[0] ?? rate);
      const drawn: { z: Float64Array; y: Float64Array; value: number }[] = [];
      for (let i = 0; i < constants.population; i += 1) {
        const z = random.fillNormal(new Float64Array(n));
        const y = turned(z, at.slots);
        drawn.push({ z, y, value: await objective.value(objective.rounded(plus(at.x, size, y))) });
      }
      drawn.sort((a, b) => a.value - b.value);
      return update(at, drawn, size, step, constants, (point) => objective.rounded(point));
    },
  };
}

type Slots = Position['slots'];
type Constants = ReturnType<typeof constantsOf>;

/** Table 1 of the tutorial. */
function constantsOf(n: number, population: number, isFull: boolean) {
  const raw = Array.from(
    { length: Math.floor(population / 2) },
    (_, i) => Math.log((population + 1) / 2) - Math.log(i + 1),
  );
  const sum = raw.reduce((total, w) => total + w, 0);
  const weights = raw.map((w) => w / sum);
  const parents = 1 / weights.reduce((total, w) => total + w * w, 0);
  const sizeRate = (parents + 2) / (n + parents + 5);
  const damping = 1 + 2 * Math.max(0, Math.sqrt((parents - 1) / (n + 1)) - 1) + sizeRate;
  const pathRate = (4 + parents / n) / (n + 4 + (2 * parents) / n);
  const faster = isFull ? 1 : (n + 2) / 3;
  const one = Math.min(1, (2 / ((n + 1.3) ** 2 + parents)) * faster);
  const many = Math.min(1 - one, ((2 * (parents - 2 + 1 / parents)) / ((n + 2) ** 2 + parents)) * faster);
  const length = Math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
  // The eigenvectors of so few updates ago are as good.
  const gap = Math.max(1, Math.floor(1 / (10 * n * (one + many))));
  return { population, weights, parents, sizeRate, damping, pathRate, one, many, length, gap };
}

/** y = B D z: z along the axes of the distribution. */
function turned(z: Float64Array, { axes, deviations }: Slots): Float64Array {
  const n = z.length;
  const scaled = z.map((x, i) => x * (deviations?.[i] ?? 1));
  if (axes === undefined) return scaled;
  const y = new Float64Array(n);
  for (let i = 0; i < n; i += 1) addTo(y, scaled[i] as number, axes.subarray(i * n, (i + 1) * n));
  return y;
}

function update(
  { x, slots }: Position,
  drawn: readonly { readonly z: Float64Array; readonly y: Float64Array }[],
  size: number,
  step: number,
  constants: Constants,
  rounded: (x: Float64Array) => Float64Array,
): Position {
  const { weights, parents, sizeRate, damping, pathRate, one, many, length, gap } = constants;
  const n = x.length;
  const [z, y] = [new Float64Array(n), new Float64Array(n)];
  for (const [i, weight] of weights.entries()) {
    addTo(z, weight, drawn[i]?.z as Float64Array);
    addTo(y, weight, drawn[i]?.y as Float64Array);
  }
  // C^(-1/2) y = B z.
  const white = slots.axes === undefined ? z : turned(z, { axes: slots.axes });
  const sizePath = (slots.sizePath as Float64Array).slice();
  scaleBy(sizePath, 1 - sizeRate);
  addTo(sizePath, Math.sqrt(sizeRate * (2 - sizeRate) * parents), white);
  const reached = Math.sqrt(dot(sizePath, sizePath));
  const expected = Math.sqrt(1 - (1 - sizeRate) ** (2 * step));
  const moves = reached / expected < (1.4 + 2 / (n + 1)) * length;
  const path = (slots.path as Float64Array).slice();
  scaleBy(path, 1 - pathRate);
  if (moves) addTo(path, Math.sqrt(pathRate * (2 - pathRate) * parents), y);
  const covariance = (slots.covariance as Float64Array).slice();
  scaleBy(covariance, 1 - one - many + (moves ? 0 : one * pathRate * (2 - pathRate)));
  addSquare(covariance, one, path);
  for (const [i, weight] of weights.entries())
    addSquare(covariance, many * weight, drawn[i]?.y as Float64Array);
  const next = {
    ...slots,
    size: Float64Array.of(size * Math.exp((sizeRate / damping) * (reached / length - 1))),
    sizePath,
    path,
    covariance,
  };
  const to = rounded(plus(x, size, y));
  if (slots.axes === undefined) return { x: to, slots: { ...next, deviations: covariance.map(Math.sqrt) } };
  if (step % gap !== 0) return { x: to, slots: next };
  const { values, vectors } = symmetricEigen(covariance, n);
  const deviations = values.map((value) => Math.sqrt(Math.max(value, 0)));
  return { x: to, slots: { ...next, axes: vectors, deviations } };
}

/** C += factor v v', or its diagonal. */
function addSquare(covariance: Float64Array, factor: number, v: Float64Array): void {
  const n = v.length;
  if (covariance.length === n) {
    for (let i = 0; i < n; i += 1)
      covariance[i] = (covariance[i] as number) + factor * (v[i] as number) * (v[i] as number);
    return;
  }
  for (let i = 0; i < n; i += 1) addTo(covariance.subarray(i * n, (i + 1) * n), factor * (v[i] as number), v);
}
