import type { ConstantValue, Node } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { swapped } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/session/constant.js';
import type { AffineOperator, MatrixOperator, NormOperator } from '../operators.js';
import { placesInSpread } from './broadcast.js';
import type { Plan } from './expression.js';
import { composeGeometry, type Geometry } from './geometry.js';
import type { Layout } from './layout.js';
import { alignedShape, normShape } from './step-geometry.js';
import {
  type AffineValues,
  added,
  type ComposeOptions,
  composeValues,
  diagonal,
  sumValues,
} from './values.js';

/** Computes the numbers of a plan in float64: who rounds them sees what is lost. */
export async function evaluatePlan(plan: Plan, options: ComposeOptions): Promise<AffineValues> {
  return new Evaluation(options).values(plan);
}

class Evaluation {
  readonly #options: ComposeOptions;
  /** Parts that plans share are computed once. */
  readonly #known = new Map<Plan, Promise<AffineValues>>();

  constructor(options: ComposeOptions) {
    this.#options = options;
  }

  values(plan: Plan): Promise<AffineValues> {
    let values = this.#known.get(plan);
    if (values === undefined) {
      values = this.#compute(plan);
      this.#known.set(plan, values);
    }
    return values;
  }

  async #compute(plan: Plan): Promise<AffineValues> {
    switch (plan.kind) {
      case 'identity':
        return diagonal(plan.geometry, new Float64Array(plan.geometry.inputs).fill(1));
      case 'permute':
        return permutation(plan.order, plan.geometry);
      case 'step':
        return stepValues(plan.operator, plan.geometry, plan.parts);
      case 'chain': {
        const parts: AffineValues[] = [];
        for (const part of flatten(plan)) parts.push(await this.values(part));
        return this.#multiply(parts);
      }
      case 'sum': {
        const terms: { sign: 1 | -1; values: AffineValues }[] = [];
        for (const [i, term] of plan.terms.entries()) {
          terms.push({ sign: plan.operator.signs[i] ?? 1, values: await this.values(term) });
        }
        const values = sumValues(terms, plan.geometry);
        const own = await constantsSum(plan.operator, plan.geometry.outputs, plan.parts);
        return { ...values, bias: added(values.bias, own) };
      }
    }
  }

  /** Multiplies neighbours out, the pair that costs the fewest multiply-adds first. */
  async #multiply(parts: AffineValues[]): Promise<AffineValues> {
    while (parts.length > 1) {
      let at = 0;
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < parts.length; i += 1) {
        const cost = costOf((parts[i] as AffineValues).geometry, (parts[i + 1] as AffineValues).geometry);
        if (cost < least) [at, least] = [i, cost];
      }
      const [first, second] = [parts[at] as AffineValues, parts[at + 1] as AffineValues];
      parts.splice(at, 2, await composeValues(first, second, this.#options));
    }
    return parts[0] as AffineValues;
  }
}

/** The parts of nested chains in one row. Parts that other plans share stay whole only if they are no chains. */
function flatten(plan: Plan): Plan[] {
  return plan.kind === 'chain' ? plan.parts.flatMap(flatten) : [plan];
}

function costOf(first: Geometry, second: Geometry): number {
  const { groups, outputs, inputs } = composeGeometry(first, second);
  return (outputs / groups) * inputs * first.outputs * first.taps.length * second.taps.length;
}

async function read({ graph, value }: ConstantValue): Promise<Floats> {
  return (await evaluateConstant(graph, value)).floats();
}

/** A constant of one number, or one a channel, as one a channel; of a value whose axes are parts of them, too. */
async function vector(
  constant: ConstantValue,
  length: number,
  parts?: { readonly layout: Layout; readonly shape: readonly number[] | undefined },
): Promise<Float64Array> {
  const values = await read(constant);
  if (parts !== undefined) {
    const places = placesInSpread(parts.layout, parts.shape ?? constant.shape, length);
    if (places === undefined) throw new Error(`'${constant.value}' is not one number a channel`);
    return Float64Array.from(places, (place) => values[place] as number);
  }
  return values.length === length ? Float64Array.from(values) : new Float64Array(length).fill(values[0] ?? 0);
}

async function constantsSum(
  operator: AffineOperator,
  length: number,
  layout: Layout | undefined,
): Promise<Float64Array | undefined> {
  let sum: Float64Array | undefined;
  if (operator.kind !== 'sum') return sum;
  for (const { sign, value } of operator.constants) {
    const part = await vector(value, length, partsOf(value, operator.node, layout));
    sum = added(sum, sign === 1 ? part : part.map((element) => -element));
  }
  return sum;
}

/** Where a constant stands beside a value whose axes are parts of the channels. */
function partsOf(constant: ConstantValue, node: Node, layout: Layout | undefined) {
  return layout && { layout, shape: alignedShape(constant, node, layout.axes.length) };
}

async function stepValues(
  operator: AffineOperator,
  geometry: Geometry,
  parts: Layout | undefined,
): Promise<AffineValues> {
  const { outputs, inputs, groups, taps, hasBias } = geometry;
  switch (operator.kind) {
    case 'conv':
    case 'convTranspose':
    case 'up': {
      const weight = await read(operator.weight);
      const bias = operator.bias && hasBias ? await vector(operator.bias, outputs) : undefined;
      // A transposed one's is [inputs][outputs / groups][taps].
      const kernel =
        operator.kind === 'conv'
          ? weight
          : swapped(weight, groups, inputs / groups, outputs / groups, taps.length);
      return { geometry, kernel, layout: 'out-in', bias };
    }
    case 'matrix':
      return matrixValues(operator, geometry);
    case 'norm':
      return normValues(operator, geometry, parts);
    case 'scale': {
      const { factor, node } = operator;
      const factors = await vector(factor, outputs, partsOf(factor, node, parts));
      return diagonal(geometry, operator.isDivision ? factors.map((value) => 1 / value) : factors);
    }
    case 'sum': {
      const signs = new Float64Array(outputs).fill(operator.signs[0] ?? 1);
      return diagonal(geometry, signs, hasBias ? await constantsSum(operator, outputs, parts) : undefined);
    }
    case 'pool':
      return {
        geometry,
        kernel: new Float64Array(outputs * taps.length).fill(1 / taps.length),
        layout: 'out-in',
        bias: undefined,
      };
    case 'pad':
      return diagonal(geometry, new Float64Array(outputs).fill(1));
    case 'relabel':
      throw new Error(`'${operator.node.label}' is no map of channels`);
  }
}

/** The matrix whose row m has its 1 in column order[m]. */
function permutation(order: readonly number[], geometry: Geometry): AffineValues {
  const kernel = new Float64Array(order.length ** 2);
  for (const [to, from] of order.entries()) kernel[to * order.length + from] = 1;
  return { geometry, kernel, layout: 'out-in', bias: undefined };
}

async function matrixValues(operator: MatrixOperator, geometry: Geometry): Promise<AffineValues> {
  const { alpha, beta, layout } = operator;
  const weight = await read(operator.weight);
  const kernel = alpha === 1 ? weight : Float64Array.from(weight, (value) => alpha * value);
  const bias =
    operator.bias && geometry.hasBias
      ? (await vector(operator.bias, geometry.outputs)).map((value) => beta * value)
      : undefined;
  return { geometry, kernel, layout, bias };
}

/** gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015, algorithm 2). */
async function normValues(
  operator: NormOperator,
  geometry: Geometry,
  layout: Layout | undefined,
): Promise<AffineValues> {
  const { outputs } = geometry;
  const parts = layout && { layout, shape: normShape(operator.scale.shape[0] ?? 0, layout) };
  const [scale, shift, mean, variance] = [
    await vector(operator.scale, outputs, parts),
    await vector(operator.shift, outputs, parts),
    await vector(operator.mean, outputs, parts),
    await vector(operator.variance, outputs, parts),
  ];
  const { epsilon } = operator;
  const factors = Float64Array.from(
    scale,
    (gamma, i) => gamma / Math.sqrt((variance[i] as number) + epsilon),
  );
  const bias = factors.map((factor, i) => (shift[i] as number) - (mean[i] as number) * factor);
  return diagonal(geometry, factors, geometry.hasBias ? bias : undefined);
}

/** What a BatchNormalization knows of its input. */
export async function statisticsOf(
  norm: Node,
): Promise<{ readonly mean: Floats; readonly variance: Floats; readonly epsilon: number }> {
  const [mean, variance] = [
    await evaluateConstant(norm.graph, norm.inputs[3] ?? ''),
    await evaluateConstant(norm.graph, norm.inputs[4] ?? ''),
  ];
  const epsilon = norm.attributes.float('epsilon', Math.fround(1e-5));
  return { mean: mean.floats(), variance: variance.floats(), epsilon };
}
