import { type FactorSize, type LinearSite, taps } from '../../affine/linear-site.js';
import { findConstant, isConstant, isView, type Node, traitsOf } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { semiOrthogonal } from '../../linalg/orthogonal.js';
import { Random } from '../../runtime/random.js';
import type { SiteFactors } from './factors.js';
import { PLAIN } from './factors.js';
import type { ChainSettings, FreshInit } from './options.js';
import { type ChainPlan, type ChainSizes, factorSizes } from './plan.js';

/** Weights of one sum, and sums that one input goes into. */
interface Fans {
  readonly in: number;
  readonly out: number;
}

/** How the factors of a fresh chain are drawn: a standard deviation for each, but for orthogonal ones a scale. */
export interface FreshScales {
  readonly init: FreshInit;
  /** Of each factor, in the order of application. */
  readonly scales: readonly number[];
}

/**
 * The scales of a fresh chain. With gains g_i, 1 within the chain and that of the activation at its end:
 *
 * - kaiming: normal, std = g / sqrt(fan), fan-in of matrices and transposed convolutions, fan-out of convolutions
 *   (He et al., ICCV 2015, eq. 10 and 14); in front of a Relu that is how overparam's own layers begin
 * - xavier: normal, std = g sqrt(2 / (fan-in + fan-out)) (Glorot & Bengio, AISTATS 2010, eq. 16), all of them times the one
 *   number that gives the chain the variance of the one layer that it stands for; without it hidden layers that are wider
 *   or narrower than the ends change the signal
 * - normal: std = g / sqrt(fan-in); uniform: within g sqrt(3 / fan-in), the same variance (LeCun et al. 1998)
 * - orthogonal: g sqrt(max(1, outputs / fan-in)) times orthonormal rows or columns (Saxe et al., ICLR 2014)
 *
 * Each factor multiplies the variance of the signal by g^2 times fan-in std^2, so that the chain's product is that of a
 * single layer of the same init. Fans are of one group; those of a transposed convolution count the taps that meet one
 * output.
 */
export function freshScales(site: LinearSite, plan: ChainSizes, init: FreshInit, gain: number): FreshScales {
  const sizes = factorSizes(site, plan);
  const fans = sizes.map((size) => fansOf(site, size));
  const alpha = site.op === 'Gemm' ? Math.abs(site.node.attributes.float('alpha', 1)) : 1;
  const gains = sizes.map((_, i) => (i === sizes.length - 1 ? gain / (alpha || 1) : 1));
  const first = sizes[0] as FactorSize;
  const last = sizes.at(-1) as FactorSize;
  const whole = fansOf(site, { inputs: first.inputs, outputs: last.outputs, kernel: site.kernel });
  const through = fans.reduce((product, fan) => product * fan.in * glorot(fan), 1);
  const correction = (whole.in * glorot(whole)) / through;
  const share = init === 'fresh:xavier' ? Math.sqrt(correction ** (1 / fans.length)) : 1;
  return { init, scales: fans.map((fan, i) => layerScale(site, fan, init) * share * (gains[i] as number)) };
}

/** The scale of a projection beside a chain: that of a layer of its own, of gain 1. */
export function freshProjectionScale(site: LinearSite, size: FactorSize, init: FreshInit): number {
  return layerScale(site, fansOf(site, size), init);
}

/** The variance of Xavier's weights. */
function glorot(fan: Fans): number {
  return 2 / (fan.in + fan.out);
}

function layerScale(site: LinearSite, fan: Fans, init: FreshInit): number {
  switch (init) {
    case 'fresh:kaiming':
      return 1 / Math.sqrt(site.op === 'Conv' ? fan.out : fan.in);
    case 'fresh:xavier':
      return Math.sqrt(glorot(fan));
    case 'fresh:normal':
    case 'fresh:uniform':
      return 1 / Math.sqrt(fan.in);
    case 'fresh:orthogonal':
      return 1;
  }
}

function fansOf(site: LinearSite, { inputs, outputs, kernel }: FactorSize): Fans {
  const size = taps(kernel);
  const isCarrier = size > 1 || site.kernel.every((extent) => extent === 1);
  const stride =
    isCarrier && site.op === 'ConvTranspose' ? taps(site.node.attributes.ints('strides') ?? []) : 1;
  return { in: Math.max(1, (inputs * size) / stride), out: outputs * size };
}

/** One factor of a fresh chain: the matrices out x (in * kernel) of the groups, consecutive. */
export async function freshMatrices(
  size: FactorSize,
  groups: number,
  { init, scale, isDouble }: { readonly init: FreshInit; readonly scale: number; readonly isDouble: boolean },
  random: Random,
): Promise<Floats> {
  const columns = size.inputs * taps(size.kernel);
  const each = size.outputs * columns;
  const data = isDouble ? new Float64Array(groups * each) : new Float32Array(groups * each);
  if (init === 'fresh:uniform') {
    const bound = scale * Math.sqrt(3);
    for (let i = 0; i < data.length; i += 1) data[i] = bound * (2 * random.uniform() - 1);
  } else if (init === 'fresh:orthogonal') {
    for (let group = 0; group < groups; group += 1) {
      const q = await semiOrthogonal(size.outputs, columns, isDouble, random);
      const factor = scale * Math.sqrt(Math.max(1, size.outputs / columns));
      for (let i = 0; i < each; i += 1) data[group * each + i] = factor * (q.data[i] as number);
    }
  } else {
    random.fillNormal(data, scale);
  }
  return data;
}

const REACH = 8;

/** The gain of the activation that reads a node's output, through a bias or a normalization; 1 where there is none. */
export function activationGain(node: Node): number {
  let value = node.outputs[0] ?? '';
  const { graph } = node;
  for (let step = 0; step < REACH; step += 1) {
    const readers = graph.uses(value).map((use) => use.node);
    for (const reader of readers) {
      if (reader.is('LeakyRelu')) return Math.sqrt(2 / (1 + reader.attributes.float('alpha', 0.01) ** 2));
      const { gain } = traitsOf(reader);
      if (gain !== undefined) return gain;
    }
    const [next] = readers;
    if (readers.length !== 1 || next === undefined || !isTransparent(next, value)) return 1;
    value = next.outputs[0] ?? '';
  }
  return 1;
}

/** True for what may stand between a layer and its activation: a normalization, a bias, other axes for the same elements. */
function isTransparent(node: Node, value: string): boolean {
  const { shape, weights, matrices } = traitsOf(node);
  const isNormalization = shape === 'first' && weights !== undefined && matrices === undefined;
  if (isNormalization || isView(node) || node.is('Dropout')) return node.inputs[0] === value;
  const isBias = (input: string): boolean => input === value || isConstant(findConstant(node.graph, input));
  return node.is('Add') && node.inputs.every(isBias);
}

/** Random factors that keep nothing of the weight but its shape and type. */
export function freshFactors(
  site: LinearSite,
  plan: ChainPlan,
  { seed, gain }: ChainSettings,
  init: FreshInit,
): SiteFactors {
  const { scales } = freshScales(site, plan, init, gain ?? activationGain(site.node));
  const isDouble = site.weight.dataType === 'float64';
  return {
    ...PLAIN,
    rank: undefined,
    error: undefined,
    factors: factorSizes(site, plan).map((size, index) => ({
      index,
      make: async () => {
        const random = new Random(`${seed}/${site.weight.value}/fresh/${index}`);
        const scale = scales[index] as number;
        const data = await freshMatrices(size, site.groups, { init, scale, isDouble }, random);
        return site.factorOfOutIn(data, size);
      },
    })),
  };
}
