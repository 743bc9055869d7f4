import type { Node } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import { matmulInto } from '../../linalg/matmul.js';
import { countGarbage, release } from '../../runtime/garbage.js';
import type { MapOperator, Sign } from '../rule.js';
import { type Expression, elementsOf } from './expression.js';
import { composeGeometry, type Geometry, isDiagonal } from './geometry.js';
import {
  type AffineValues,
  added,
  composeBias,
  composeValues,
  diagonal,
  isMatrix,
  type MatrixLayout,
  outIn,
  sumValues,
} from './values.js';

export interface EvaluateOptions {
  /** How a matrix is to stand, where both ways are possible. */
  readonly layout: MatrixLayout;
  /** A Gemm whose alpha is left out. */
  readonly unscaled?: Node | undefined;
}

/**
 * The numbers of a map whose kernel may be computed when it is asked for, in parts that need not be in memory together: each
 * is gone when the next is asked for.
 */
export interface LazyValues extends Omit<AffineValues, 'kernel'> {
  readonly kernel: Floats | (() => AsyncIterable<Floats>);
}

/** Computes the numbers of an expression in float64: who rounds them sees what is lost. */
export async function evaluateExpression(
  expression: Expression,
  options: EvaluateOptions,
): Promise<LazyValues> {
  return new Evaluation(expression, options).whole(expression);
}

/**
 * For each output, whether it follows from the input or from a bias, by which elements are zero and not by how large their
 * products are: what float64 loses below its smallest number counts.
 */
export async function reachedOutputs(expression: Expression): Promise<boolean[]> {
  const evaluation = new Evaluation(expression, { layout: 'out-in' }, true);
  const { kernel, bias } = outIn(await evaluation.values(expression));
  const { outputs } = expression.geometry;
  const each = kernel.length / outputs;
  return Array.from(
    { length: outputs },
    (_, m) => bias?.[m] === 1 || kernel.subarray(m * each, (m + 1) * each).some((value) => value !== 0),
  );
}

/** Which elements are not zero. */
function pattern({ geometry, kernel, layout, bias }: AffineValues): AffineValues {
  const isThere = (value: number): number => Number(value !== 0);
  return { geometry, layout, kernel: kernel.map(isThere), bias: bias?.map(isThere) };
}

/** Bytes of the last product that are computed at a time. */
const PART_BYTES = 48 << 20;

class Evaluation {
  readonly #options: EvaluateOptions;
  readonly #isPattern: boolean;
  /** Parts that expressions share, which are computed once; others are not kept. */
  readonly #shared: ReadonlySet<Expression>;
  readonly #known = new Map<Expression, Promise<AffineValues>>();

  /** @param isPattern computes not numbers, but which of them are not zero */
  constructor(expression: Expression, options: EvaluateOptions, isPattern = false) {
    this.#options = options;
    this.#isPattern = isPattern;
    this.#shared = sharedParts(expression);
  }

  async whole(expression: Expression): Promise<LazyValues> {
    const parts =
      expression.kind === 'chain'
        ? await this.#multiplied(this.#factorsOf(expression), 2)
        : [await this.values(expression)];
    const [first, second] = parts;
    if (first === undefined) throw new Error('an expression without parts');
    const { layout } = this.#options;
    if (second === undefined) return first;
    if (isMatrix(second) && (isMatrix(first) || isWindow(first))) {
      const own = isMatrix(first) ? layout : 'out-in';
      const [left, right] = own === 'out-in' ? [second, first] : [first, second];
      return {
        geometry: composeGeometry(first.geometry, second.geometry),
        layout: own,
        bias: await composeBias(first, second),
        kernel: () => product(left, right, own),
      };
    }
    return composeValues(first, second, layout);
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
        // Chains begin with others, as sums are nested: each begins with an empty stack.
        await Promise.resolve();
        const [made] = await this.#multiplied(this.#factorsOf(expression), 1);
        if (made === undefined) throw new Error('an expression without parts');
        return made;
      }
      case 'sum': {
        // Sums are nested as deep as a model has nodes: each begins with an empty stack.
        await Promise.resolve();
        const terms: { sign: Sign; values: AffineValues }[] = [];
        for (const [i, term] of expression.terms.entries()) {
          const sign = this.#isPattern ? 1 : (expression.operator.signs?.[i] ?? 1);
          terms.push({ sign, values: await this.values(term) });
        }
        const values = sumValues(terms, expression.geometry);
        const own = await this.#own(expression);
        return { ...values, bias: added(values.bias, own.bias) };
      }
    }
  }

  /** The parts of a chain; what it shares with others is one where that is no larger than what it is made of. */
  #factorsOf(expression: Expression): Expression[] {
    const factors: Expression[] = [];
    const stack = [expression];
    for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
      const isOne = item.kind !== 'chain' || (item !== expression && this.#shared.has(item) && isSmall(item));
      if (isOne) factors.push(item);
      else stack.push(...elementsOf(item).toReversed());
    }
    return factors;
  }

  /** What a node makes of its input; of a sum, of the sum of its data. */
  async #own({
    operator,
    geometry,
    parts,
  }: Extract<Expression, { readonly operator: MapOperator }>): Promise<AffineValues> {
    const isUnscaled =
      operator.node === this.#options.unscaled || (this.#isPattern && operator.mixing?.alpha !== 0);
    const values = await operator.values(geometry, { parts, isUnscaled });
    return this.#isPattern ? pattern(values) : values;
  }

  /** Multiplies neighbours out until so many are left, the pair that costs the fewest multiply-adds first. */
  async #multiplied(expressions: readonly Expression[], count: number): Promise<AffineValues[]> {
    const parts: (AffineValues | undefined)[] = [];
    for (const part of expressions) parts.push(await this.values(part));
    // A pair goes by the place of its first; of a part that was multiplied into the one before it, nothing is left.
    const next = parts.map((_, i) => i + 1);
    const before = parts.map((_, i) => i - 1);
    const pairs = new CheapestFirst(parts.length);
    const price = (at: number): void => {
      const [first, second] = [parts[at], parts[next[at] ?? parts.length]];
      if (first === undefined) return;
      pairs.set(at, second === undefined ? undefined : costOf(first.geometry, second.geometry));
    };
    for (const at of parts.keys()) price(at);
    for (let left = parts.length; left > count; left -= 1) {
      const at = pairs.cheapest();
      const behind = next[at ?? 0];
      if (at === undefined || behind === undefined) break;
      const [first, second] = [parts[at] as AffineValues, parts[behind] as AffineValues];
      const made = await composeValues(first, second, this.#options.layout);
      parts[at] = this.#isPattern ? pattern(made) : made;
      parts[behind] = undefined;
      pairs.set(behind, undefined);
      const after = next[behind] ?? parts.length;
      next[at] = after;
      if (after < parts.length) before[after] = at;
      price(at);
      price(before[at] ?? -1);
    }
    return parts.filter((part) => part !== undefined);
  }
}

/** The product of two matrices, in blocks of rows where the first stands as the product does. */
async function* product(
  left: AffineValues,
  right: AffineValues,
  layout: MatrixLayout,
): AsyncGenerator<Floats> {
  const a = storedShape(left);
  const b = { ...storedShape(right), data: right.kernel };
  const options = { transposeA: left.layout !== layout, transposeB: right.layout !== layout };
  const [count, width] = [options.transposeA ? a.columns : a.rows, options.transposeB ? b.rows : b.columns];
  const step = options.transposeA
    ? count
    : Math.max(1, Math.floor(PART_BYTES / (8 * Math.max(a.columns, b.rows, b.columns))));
  const part = new Float64Array(Math.min(step, count) * width);
  for (let start = 0; start < count; start += step) {
    const rows = Math.min(step, count - start);
    const made = part.subarray(0, rows * width);
    if (options.transposeA) await matmulInto(made, { ...a, data: left.kernel }, b, options);
    else {
      const data =
        left.rows?.(start, rows) ?? left.kernel.subarray(start * a.columns, (start + rows) * a.columns);
      await matmulInto(made, { ...a, rows, data }, b, options);
      countGarbage(data.byteLength);
    }
    yield made;
  }
  release(part);
  countGarbage(b.data.byteLength);
}

/** Costs by place, of which the least is known, of equal ones the first: a tree of winners. */
class CheapestFirst {
  readonly #size: number;
  readonly #costs: Float64Array;
  /** Of each pair of branches the place that won; the leaves are the places. */
  readonly #winners: Int32Array;

  constructor(count: number) {
    this.#size = 2 ** Math.ceil(Math.log2(Math.max(1, count)));
    this.#costs = new Float64Array(this.#size).fill(Number.POSITIVE_INFINITY);
    this.#winners = Int32Array.from({ length: 2 * this.#size }, (_, i) => Math.max(0, i - this.#size));
    for (let at = this.#size - 1; at > 0; at -= 1) this.#winners[at] = this.#winners[2 * at] ?? 0;
  }

  /** @param cost undefined for a place that is none any more */
  set(place: number, cost: number | undefined): void {
    this.#costs[place] = cost === undefined ? Number.POSITIVE_INFINITY : Math.min(cost, Number.MAX_VALUE);
    for (let at = (place + this.#size) >> 1; at > 0; at >>= 1) {
      const [left = 0, right = 0] = [this.#winners[2 * at], this.#winners[2 * at + 1]];
      this.#winners[at] = (this.#costs[right] as number) < (this.#costs[left] as number) ? right : left;
    }
  }

  /** undefined where no place has a cost. */
  cheapest(): number | undefined {
    const place = this.#winners[1] ?? 0;
    return this.#costs[place] === Number.POSITIVE_INFINITY ? undefined : place;
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
    queue.push(...elementsOf(part));
  }
  return shared;
}

function isSmall(expression: Expression): boolean {
  const sizeOf = ({ geometry }: Expression): number =>
    (geometry.outputs / geometry.groups) * geometry.inputs * geometry.taps.length;
  return sizeOf(expression) <= elementsOf(expression).reduce((size, part) => size + sizeOf(part), 0);
}

/** True of a window over all inputs: its kernel is a matrix of outputs x (inputs times taps). */
function isWindow({ geometry, layout }: AffineValues): boolean {
  return geometry.groups === 1 && layout === 'out-in' && !isDiagonal(geometry);
}

/** The shape of a matrix as it stands; of a window, each input with its taps. */
function storedShape({ geometry, layout }: AffineValues): Omit<Matrix, 'data'> {
  const { inputs, outputs, taps } = geometry;
  return layout === 'out-in'
    ? { rows: outputs, columns: inputs * taps.length }
    : { rows: inputs, columns: outputs };
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
