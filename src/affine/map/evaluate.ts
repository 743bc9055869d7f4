import type { ConstantValue, Node } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { swapped } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import { matmul } from '../../linalg/matmul.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { countGarbage } from '../../runtime/garbage.js';
import type { AffineOperator, MatrixOperator, NormOperator } from '../operators.js';
import { placesInBroadcast } from './broadcast.js';
import { type Expression, partsOf } from './expression.js';
import { composeGeometry, type Geometry } from './geometry.js';
import type { AxisLayout } from './layout.js';
import { alignedShape, normShape } from './step-geometry.js';
import {
  type AffineValues,
  added,
  composeBias,
  composeValues,
  diagonal,
  isMatrix,
  type MatrixLayout,
  sumValues,
} from './values.js';

export interface EvaluateOptions {
  /** How a matrix is to stand, where both ways are possible. */
  readonly layout: MatrixLayout;
  /** A Gemm whose alpha is left out. */
  readonly unscaled?: Node | undefined;
}

/** The numbers of a map whose kernel is computed when it is asked for, in parts that need not be in memory together. */
export interface LazyValues extends Omit<AffineValues, 'kernel'> {
  readonly kernel: () => AsyncIterable<Floats>;
}

/** Computes the numbers of an expression in float64: who rounds them sees what is lost. */
export async function evaluateExpression(
  expression: Expression,
  options: EvaluateOptions,
): Promise<LazyValues> {
  return new Evaluation(expression, options).whole(expression);
}

/** Bytes of the last product that are computed at a time. */
const PART_BYTES = 96 << 20;

class Evaluation {
  readonly #options: EvaluateOptions;
  /** Parts that expressions share, which are computed once; others are not kept. */
  readonly #shared: ReadonlySet<Expression>;
  readonly #known = new Map<Expression, Promise<AffineValues>>();

  constructor(expression: Expression, options: EvaluateOptions) {
    this.#options = options;
    this.#shared = sharedParts(expression);
  }

  async whole(expression: Expression): Promise<LazyValues> {
    const parts =
      expression.kind === 'chain'
        ? await this.#multiplied(partsOf(expression), 2)
        : [await this.values(expression)];
    const [first, second] = parts;
    if (first === undefined) throw new Error('an expression without parts');
    const { layout } = this.#options;
    const { geometry } = expression;
    if (second !== undefined && isMatrix(first) && isMatrix(second)) {
      const factors = layout === 'out-in' ? ([second, first] as const) : ([first, second] as const);
      return {
        geometry,
        layout,
        bias: await composeBias(first, second),
        kernel: () => this.#product(...factors),
      };
    }
    const made = second === undefined ? first : await composeValues(first, second, layout);
    const { kernel, ...rest } = made;
    return {
      ...rest,
      kernel: async function* () {
        yield kernel;
      },
    };
  }

  /** The product of two matrices, in blocks of rows where the first stands as the product does. */
  async *#product(left: AffineValues, right: AffineValues): AsyncGenerator<Floats> {
    const { layout } = this.#options;
    const { geometry } = left;
    const isOutIn = left.layout === 'out-in';
    const [count, columns] = isOutIn
      ? [geometry.outputs, geometry.inputs]
      : [geometry.inputs, geometry.outputs];
    const b = storedMatrix(right);
    const options = { transposeA: left.layout !== layout, transposeB: right.layout !== layout };
    if (options.transposeA) {
      yield (await matmul(storedMatrix(left), b, options)).data;
      return;
    }
    const step = Math.max(1, Math.floor(PART_BYTES / (8 * Math.max(columns, b.rows, b.columns))));
    for (let start = 0; start < count; start += step) {
      const rows = Math.min(step, count - start);
      const data =
        left.rows?.(start, rows) ?? left.kernel.subarray(start * columns, (start + rows) * columns);
      const part = await matmul({ rows, columns, data }, b, options);
      countGarbage(data.byteLength + part.data.byteLength);
      yield part.data;
    }
    countGarbage(b.data.byteLength);
  }

  values(expression: Expression): Promise<AffineValues> {
    if (!this.#shared.has(expression)) return this.#compute(expression);
    let values = this.#known.get(expression);
    if (values === undefined) {
      values = this.#compute(expression);
      this.#known.set(expression, values);
    }
    return values;
  }

  async #compute(expression: Expression): Promise<AffineValues> {
    switch (expression.kind) {
      case 'identity':
        return diagonal(expression.geometry, new Float64Array(expression.geometry.inputs).fill(1));
      case 'permute':
        return permutation(expression.order, expression.geometry);
      case 'step':
        return stepValues(expression.operator, expression.geometry, expression.parts, this.#options.unscaled);
      case 'chain': {
        const [made] = await this.#multiplied(partsOf(expression), 1);
        if (made === undefined) throw new Error('an expression without parts');
        return made;
      }
      case 'sum': {
        const terms: { sign: 1 | -1; values: AffineValues }[] = [];
        for (const [i, term] of expression.terms.entries()) {
          terms.push({ sign: expression.operator.signs[i] ?? 1, values: await this.values(term) });
        }
        const values = sumValues(terms, expression.geometry);
        const own = await constantsSum(expression.operator, expression.geometry.outputs, expression.parts);
        return { ...values, bias: added(values.bias, own) };
      }
    }
  }

  /** Multiplies neighbours out until so many are left, the pair that costs the fewest multiply-adds first. */
  async #multiplied(expressions: readonly Expression[], count: number): Promise<AffineValues[]> {
    const parts: AffineValues[] = [];
    for (const expression of expressions) parts.push(await this.values(expression));
    while (parts.length > count) {
      let at = 0;
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < parts.length; i += 1) {
        const cost = costOf((parts[i] as AffineValues).geometry, (parts[i + 1] as AffineValues).geometry);
        if (cost < least) [at, least] = [i, cost];
      }
      const [first, second] = [parts[at] as AffineValues, parts[at + 1] as AffineValues];
      parts.splice(at, 2, await composeValues(first, second, this.#options.layout));
    }
    return parts;
  }
}

/** The parts that an expression holds more than once. */
function sharedParts(expression: Expression): Set<Expression> {
  const seen = new Set<Expression>();
  const shared = new Set<Expression>();
  const queue = [expression];
  for (let part = queue.pop(); part !== undefined; part = queue.pop()) {
    if (seen.has(part)) {
      shared.add(part);
      continue;
    }
    seen.add(part);
    queue.push(...(part.kind === 'chain' ? part.parts : []));
    if (part.kind === 'sum') queue.push(...part.terms);
  }
  return shared;
}

function storedMatrix({ geometry, kernel, layout }: AffineValues): Matrix {
  const { inputs, outputs } = geometry;
  return layout === 'out-in'
    ? { rows: outputs, columns: inputs, data: kernel }
    : { rows: inputs, columns: outputs, data: kernel };
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
  parts?: { readonly layout: AxisLayout; readonly shape: readonly number[] | undefined },
): Promise<Float64Array> {
  const values = await read(constant);
  if (parts !== undefined) {
    const places = placesInBroadcast(parts.layout, parts.shape ?? constant.shape, length);
    if (places === undefined) throw new Error(`'${constant.value}' is not one number a channel`);
    return Float64Array.from(places, (place) => values[place] as number);
  }
  return values.length === length ? Float64Array.from(values) : new Float64Array(length).fill(values[0] ?? 0);
}

async function constantsSum(
  operator: AffineOperator,
  length: number,
  layout: AxisLayout | undefined,
): Promise<Float64Array | undefined> {
  let sum: Float64Array | undefined;
  if (operator.kind !== 'sum') return sum;
  for (const { sign, value } of operator.constants) {
    const part = await vector(value, length, besideParts(value, operator.node, layout));
    sum = added(sum, sign === 1 ? part : part.map((element) => -element));
  }
  return sum;
}

/** Where a constant stands beside a value whose axes are parts of the channels. */
function besideParts(constant: ConstantValue, node: Node, layout: AxisLayout | undefined) {
  return layout && { layout, shape: alignedShape(constant, node, layout.axes.length) };
}

async function stepValues(
  operator: AffineOperator,
  geometry: Geometry,
  parts: AxisLayout | undefined,
  unscaled: Node | undefined,
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
      return matrixValues(operator, geometry, unscaled === operator.node);
    case 'norm':
      return normValues(operator, geometry, parts);
    case 'scale': {
      const { factor, node } = operator;
      const factors = await vector(factor, outputs, besideParts(factor, node, parts));
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

async function matrixValues(
  operator: MatrixOperator,
  geometry: Geometry,
  isUnscaled: boolean,
): Promise<AffineValues> {
  const { layout } = operator;
  const alpha = isUnscaled ? 1 : operator.alpha;
  const { groups, inputs, outputs } = geometry;
  const tensor = await evaluateConstant(operator.weight.graph, operator.weight.value);
  if (alpha === 1 && operator.batch === undefined) {
    const columns = layout === 'out-in' ? inputs : outputs;
    let kernel: Floats | undefined;
    return {
      geometry,
      layout,
      bias: await matrixBias(operator, geometry),
      // A large one that is multiplied row by row is never read as a whole.
      get kernel() {
        kernel ??= tensor.floats();
        return kernel;
      },
      rows: (start, count) =>
        kernel?.subarray(start * columns, (start + count) * columns) ??
        tensor.floats(start * columns, count * columns),
    };
  }
  const weight = tensor.floats();
  if (operator.batch !== undefined) {
    const kernel = layout === 'out-in' ? weight : swapped(weight, groups, inputs / groups, outputs / groups);
    return { geometry, kernel, layout: 'out-in', bias: undefined };
  }
  const kernel = alpha === 1 ? weight : Float64Array.from(weight, (value) => alpha * value);
  return { geometry, kernel, layout, bias: await matrixBias(operator, geometry) };
}

async function matrixBias(
  { bias, beta }: MatrixOperator,
  { hasBias, outputs }: Geometry,
): Promise<Float64Array | undefined> {
  if (bias === undefined || !hasBias) return undefined;
  return (await vector(bias, outputs)).map((value) => beta * value);
}

/** gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015, algorithm 2). */
async function normValues(
  operator: NormOperator,
  geometry: Geometry,
  layout: AxisLayout | undefined,
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
