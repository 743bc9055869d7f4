import { biasVector, linearBias } from '../../affine/linear-bias.js';
import { type FactorSize, type LinearSite, taps } from '../../affine/linear-site.js';
import { type FloatType, narrow, widen } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { type ChainPlan, factorSizes, projectionSize } from './plan.js';

/** epsilon of a BatchNormalization, the default of ONNX. */
export const NORM_EPSILON = Math.fround(1e-5);

/** The numbers of a BatchNormalization that belong to a chain's weights. Each has one number a channel. */
export interface NormStatistics {
  /** Which factor it stands behind. */
  readonly factor: number;
  readonly scale: Floats;
  readonly variance: Floats;
}

/** Matrices of the groups of a factor, outputs x (inputs * taps), consecutive. */
interface Weights {
  readonly size: FactorSize;
  readonly data: Floats;
}

/**
 * Statistics that fit: the variances behind each factor for inputs of variance 1, taking the units of each layer as independent of
 * one another (those of balanced factors are, up to the rank), so that training, which takes the statistics of its batches, begins near the function too, at the same scale for
 * each channel. The scale is the square root of the variance: in inference the normalization is the identity. What the rounding
 * of both to the weight's type leaves of a factor, the factor's rows are divided by, in their place.
 *
 * With fresh weights the scale is 1, as new layers have it.
 *
 * @param factors in the order of application
 * @param projections of the plan's learned connections, in their order
 */
export function normStatistics(
  site: LinearSite,
  plan: ChainPlan,
  factors: readonly Floats[],
  projections: readonly Floats[],
  isFresh: boolean,
): { readonly norms: NormStatistics[]; readonly factors: readonly Floats[] } {
  const type = site.weight.dataType as FloatType;
  const sizes = factorSizes(site, plan);
  const learned = plan.skips.filter(({ isLearned }) => isLearned);
  const values: Float64Array[] = [new Float64Array(site.groups * (sizes[0] as FactorSize).inputs).fill(1)];
  const norms: NormStatistics[] = [];
  const adjusted = factors.map((data, factor) => {
    const size = sizes[factor] as FactorSize;
    const isLast = factor === plan.depth - 1;
    const alpha = isLast && site.op === 'Gemm' ? site.node.attributes.float('alpha', 1) : 1;
    const taken = factor === 0 && site.op === 'ConvTranspose' ? strideVolume(site) : 1;
    let variance = variances({ size, data }, values[factor] as Float64Array, site.groups).map(
      (value) => (value * alpha ** 2) / taken,
    );
    let own = data;
    if (plan.norms.includes(factor)) {
      const rounded = roundedTo(
        type,
        variance.map((value) => Math.min(value, LARGEST[type])),
      );
      const deviation = Float64Array.from(rounded, (value) => Math.sqrt(value + NORM_EPSILON));
      const scale = isFresh ? new Float64Array(rounded.length).fill(1) : roundedTo(type, deviation);
      norms.push({ factor, scale, variance: rounded });
      if (!isFresh)
        own = dividedRows(
          data,
          scale.map((value, i) => value / (deviation[i] as number)),
        );
      else variance = variance.fill(1);
    }
    for (const [at, skip] of plan.skips.entries()) {
      if (skip.to !== factor + 1) continue;
      const from = values[skip.from] as Float64Array;
      const index = learned.indexOf(skip);
      const weights = { size: projectionSize(site, plan, skip), data: projections[index] as Floats };
      const part = plan.skips[at]?.isLearned ? variances(weights, from, site.groups) : from;
      variance = variance.map((value, i) => value + (part[i] as number));
    }
    values.push(variance);
    return own;
  });
  return { norms, factors: adjusted };
}

/**
 * The shift of a normalization, which is its mean too: the bias of the factor in front of it, so that what normalizing takes
 * away comes back.
 */
export async function shiftOf(
  site: LinearSite,
  plan: ChainPlan,
  { factor, scale }: NormStatistics,
): Promise<Float64Array> {
  const { constant } = linearBias(site.node);
  const bias = factor === plan.depth - 1 ? await biasVector(site.node, constant, scale.length) : undefined;
  return bias ?? new Float64Array(scale.length);
}

/** Half types hold no larger ones; a variance beyond is out of all proportion anyhow. */
const LARGEST = { float16: 32768, bfloat16: 1e30, float32: 1e30, float64: 1e100 } as const satisfies Record<
  FloatType,
  number
>;

/** Of sums of independent inputs: the sum of squared weights times variances. */
function variances({ size, data }: Weights, inputs: Float64Array, groups: number): Float64Array {
  const width = taps(size.kernel);
  const result = new Float64Array(groups * size.outputs);
  let at = 0;
  for (let row = 0; row < result.length; row += 1) {
    const base = Math.floor(row / size.outputs) * size.inputs;
    let sum = 0;
    for (let i = 0; i < size.inputs; i += 1) {
      const variance = inputs[base + i] as number;
      for (let tap = 0; tap < width; tap += 1, at += 1) sum += variance * (data[at] as number) ** 2;
    }
    result[row] = sum;
  }
  return result;
}

function dividedRows(data: Floats, divisors: Floats): Floats {
  const width = data.length / divisors.length;
  const result = new Float64Array(data.length);
  for (let i = 0; i < result.length; i += 1)
    result[i] = (data[i] as number) / (divisors[Math.floor(i / width)] as number);
  return result;
}

function roundedTo(type: FloatType, values: Float64Array): Floats {
  return widen(type, narrow(type, values));
}

function strideVolume({ node }: LinearSite): number {
  return (node.attributes.ints('strides') ?? []).reduce((product, stride) => product * stride, 1);
}
