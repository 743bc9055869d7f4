import { EPSILON, type FloatType } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';

/** Exponents of a type's smallest normal number and of the power of 2 that it ends below. */
const EXPONENTS = {
  float16: [-14, 16],
  bfloat16: [-126, 128],
  float32: [-126, 128],
  float64: [-1022, 1024],
} as const satisfies Record<FloatType, readonly [number, number]>;

/** Of the size of an output's weights and bias, what may be lost to numbers below the normal ones: in units of epsilon. */
const MOST_LOST = 8;

/** A difference at which what was folded is no longer the same function, whatever its type. */
const MOST_DIFFERENT = 0.5;

/** How a weight's elements belong to the outputs of its node. */
export interface WeightLayout {
  readonly shape: readonly number[];
  /** [outputs, inputs / groups, ...kernel] or [inputs, outputs / groups, ...kernel]; a matrix may have batches in front. */
  readonly layout: 'out-in' | 'in-out';
  readonly groups?: number;
  /** True where all axes but the last two are a batch of matrices. */
  readonly isBatched?: boolean;
}

/**
 * Watches what the rounding to an element type does to constants that were folded in float64: elements that become
 * infinite, and outputs whose weights and bias are lost below the smallest normal number. What is lost is measured by
 * output, against the sum of the magnitudes of its weights and its bias: outputs may differ in scale by any factor, and an
 * output that training has left with its bias alone may lose its weights. Not so all of them: then the node would not read
 * its input any more.
 */
export class Rounding {
  readonly #type: FloatType;
  readonly #least: number;
  readonly #end: number;
  readonly #step: number;
  /** Elements that are consecutive and belong to one output. */
  readonly #run: number;
  /** Outputs that take turns in the order of the elements, and elements until the next group of them. */
  readonly #turn: number;
  readonly #block: number;
  readonly #sizes: Float64Array;
  readonly #losses: Float64Array;
  #count = 0;
  #extreme = 0;

  constructor(type: FloatType, { shape, layout, groups = 1, isBatched = false }: WeightLayout) {
    const [low, high] = EXPONENTS[type];
    this.#type = type;
    this.#least = 2 ** low;
    this.#step = 2 ** low * EPSILON[type];
    // Half a unit above the largest number rounding goes to infinity; of float64 nothing is between.
    this.#end = type === 'float64' ? Number.POSITIVE_INFINITY : 2 ** high * (1 - EPSILON[type] / 4);
    const size = product(shape);
    const batch = isBatched ? product(shape.slice(0, -2)) : groups;
    const [first = 1, second = 1, ...kernel] = isBatched ? shape.slice(-2) : shape;
    if (layout === 'out-in') {
      const outputs = isBatched ? batch * first : first;
      this.#run = size / outputs;
      this.#turn = outputs;
      this.#block = size;
    } else {
      this.#run = product(kernel);
      this.#turn = second;
      this.#block = size / batch;
    }
    const outputs = layout === 'out-in' ? this.#turn : batch * second;
    this.#sizes = new Float64Array(outputs);
    this.#losses = new Float64Array(outputs);
  }

  /** Takes in the next elements of the weight, as they are before they are rounded. */
  add(values: Floats): void {
    const [least, end] = [this.#least, this.#end];
    for (let i = 0; i < values.length; ) {
      const [from, at] = [i, this.#count + i];
      const stop = Math.min(values.length, i + this.#run - (at % this.#run));
      const output =
        Math.floor(at / this.#block) * this.#turn + (Math.floor((at % this.#block) / this.#run) % this.#turn);
      // Two sums at once: an addition waits for the one before it.
      let size = 0;
      let odd = 0;
      let loss = 0;
      if ((stop - i) % 2 === 1) {
        size = Math.abs(values[i] as number);
        if (size < least) loss = this.#lossOf(size);
        i += 1;
      }
      for (; i < stop; i += 2) {
        const first = Math.abs(values[i] as number);
        const second = Math.abs(values[i + 1] as number);
        size += first;
        odd += second;
        if (first < least) loss += this.#lossOf(first);
        if (second < least) loss += this.#lossOf(second);
      }
      size += odd;
      // No element is larger than the sum.
      if (!(size < end)) this.#extreme = extremeOf(values.subarray(from, stop), end) ?? this.#extreme;
      (this.#sizes[output] as number) += size;
      (this.#losses[output] as number) += loss;
    }
    this.#count += values.length;
  }

  /** The same parts, taken in as they pass. */
  async *watch(parts: Floats | AsyncIterable<Floats>): AsyncGenerator<Floats> {
    for await (const part of ArrayBuffer.isView(parts) ? [parts] : parts) {
      this.add(part);
      yield part;
    }
  }

  /**
   * Why the constants cannot stand in for what was folded, once all elements were taken in.
   *
   * @param bias one number, or one for each output, which is added behind the weight
   * @param gain by which the node multiplies its weight
   */
  problem(bias?: Floats, gain = 1): string | undefined {
    if (this.#extreme !== 0) return this.#overflow('weight', this.#extreme);
    const extreme = bias?.find((value) => !(Math.abs(value) < this.#end));
    if (extreme !== undefined) return this.#overflow('bias', extreme);
    const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);
    if (sum(this.#losses) > MOST_LOST * EPSILON[this.#type] * sum(this.#sizes))
      return `the folded weight would vanish in ${this.#type}, ${sum(this.#sizes).toPrecision(3)} being the sum of its magnitudes`;
    for (let i = 0; i < this.#sizes.length; i += 1) {
      const added = Math.abs(bias?.[i % bias.length] ?? 0);
      const size = Math.abs(gain) * (this.#sizes[i] as number) + added;
      const loss = Math.abs(gain) * (this.#losses[i] as number) + this.#lossOf(added);
      if (loss > MOST_LOST * EPSILON[this.#type] * size)
        return `the folded constants of output channel ${i} would vanish in ${this.#type}, ${size.toPrecision(3)} being the sum of their magnitudes`;
    }
    return undefined;
  }

  /** Outputs of which nothing is left, once all elements were taken in: neither a weight nor a bias. */
  empty(bias?: Floats): number[] {
    return [...this.#sizes.keys()].filter(
      (i) => this.#sizes[i] === 0 && (bias === undefined || bias[i % bias.length] === 0),
    );
  }

  #lossOf(magnitude: number): number {
    if (magnitude === 0 || magnitude >= this.#least) return 0;
    // Of float64 what was lost is not known, but no more than a step.
    if (this.#type === 'float64') return this.#step;
    return Math.abs(magnitude - Math.round(magnitude / this.#step) * this.#step);
  }

  #overflow(what: 'weight' | 'bias', value: number): string {
    return Number.isFinite(value)
      ? `the folded ${what} would overflow ${this.#type} (${value.toPrecision(3)})`
      : `the folded ${what} would not be finite (a factor, divisor or variance is out of range)`;
  }
}

/** The last magnitude that is not below an end, or no number. */
function extremeOf(values: Floats, end: number): number | undefined {
  for (let i = values.length - 1; i >= 0; i -= 1) {
    const magnitude = Math.abs(values[i] as number);
    if (!(magnitude < end)) return magnitude;
  }
  return undefined;
}

/** Why what a probe told forbids a fold. */
export function problemOfProbe(probe: number | undefined): string | undefined {
  if (probe === undefined || probe < MOST_DIFFERENT) return undefined;
  if (Number.isNaN(probe)) return 'what the nodes compute of a random input is not finite';
  return Number.isFinite(probe)
    ? `one node would compute something else: a probe differs by ${probe.toPrecision(3)} of its largest output`
    : 'one node would compute something else: of a random input it is not finite where the nodes are';
}

function product(dims: readonly number[]): number {
  return dims.reduce((size, dim) => size * dim, 1);
}
