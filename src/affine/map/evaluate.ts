import type { Node } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import { matmul } from '../../linalg/matmul.js';
import { countGarbage } from '../../runtime/garbage.js';
import type { MapOperator, Sign } from '../rule.js';
import { type Expression, partsOf } from './expression.js';
import { composeGeometry, type Geometry } from './geometry.js';
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
        return this.#own(expression);
      case 'chain': {
        const [made] = await this.#multiplied(partsOf(expression), 1);
        if (made === undefined) throw new Error('an expression without parts');
        return made;
      }
      case 'sum': {
        const terms: { sign: Sign; values: AffineValues }[] = [];
        for (const [i, term] of expression.terms.entries()) {
          terms.push({ sign: expression.operator.signs?.[i] ?? 1, values: await this.values(term) });
        }
        const values = sumValues(terms, expression.geometry);
        const own = await this.#own(expression);
        return { ...values, bias: added(values.bias, own.bias) };
      }
    }
  }

  /** What a node makes of its input; of a sum, of the sum of its data. */
  #own({
    operator,
    geometry,
    parts,
  }: Extract<Expression, { readonly operator: MapOperator }>): Promise<AffineValues> {
    return operator.values(geometry, { parts, isUnscaled: operator.node === this.#options.unscaled });
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

/** The matrix whose row m has its 1 in column order[m]. */
function permutation(order: readonly number[], geometry: Geometry): AffineValues {
  const kernel = new Float64Array(order.length ** 2);
  for (const [to, from] of order.entries()) kernel[to * order.length + from] = 1;
  return { geometry, kernel, layout: 'out-in', bias: undefined };
}
