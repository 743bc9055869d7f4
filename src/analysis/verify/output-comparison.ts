import {
  type DataType,
  EPSILON,
  type FloatType,
  isFloatType,
  type NativeArrays,
  SMALLEST,
  widen,
} from '../../graph/index.js';
import { sha256 } from '../../graph/io/digest.js';
import type { RuntimeTensor } from '../../runtime/types.js';

/** How one output of two models compares, over all samples. */
export interface OutputComparison {
  readonly name: string;
  readonly type: DataType;
  /** Of the second model, where that is another: floats of another width. */
  readonly otherType?: DataType | undefined;
  /** max |a - b|, over the elements that are finite in both. */
  readonly maxDifference: number;
  /** max |a|, over finite elements. */
  readonly maxValue: number;
  /** maxDifference / maxValue; 0 where both are 0, Infinity where maxValue alone is. */
  readonly relativeDifference: number;
  /** Root mean square of a - b relative to that of a. */
  readonly relativeRms: number;
  /** Elements where one is NaN or infinite and the other is not the same. */
  readonly nonFiniteDifferences: number;
  /** Fraction of elements that are not equal, NaN being equal to NaN: what decides for integers, bool and strings. */
  readonly differingFraction: number;
  /** Of all samples. */
  readonly elements: number;
  /** Elements that a verdict rests on: those that are finite in both or, of types that have only such, all. */
  readonly compared: number;
  /** Whether the first model puts out the same in every sample; false where there is only one. */
  readonly isConstant: boolean;
  /** What relativeDifference was held against; 0 for types that are compared exactly. */
  readonly tolerance: number;
  /**
   * How far rounding alone moves the output of one model (Verification.rounds), relative to its largest value: when its floating-point inputs,
   * weights and inner values change in their last bits. Measured only where the difference is past a tolerance that was not given.
   */
  readonly rounding: number | undefined;
  readonly passed: boolean;
}

const DEFAULT_TOLERANCE = 1e-4;
/** Units in the last place that outputs of coarse types may differ by. */
const COARSE_ULPS = 8;
/** Times the rounding of the first model that outputs may differ by: both round. */
const ROUNDINGS = 2;
/** An output that rounding moves by more of its largest value is noise, of which nothing can be said. */
const MOST_ROUNDING = 0.1;

function coarsestEpsilon(types: readonly (DataType | undefined)[]): number {
  return Math.max(...types.map((type) => (type !== undefined && isFloatType(type) ? EPSILON[type] : 0)));
}

/** What is rounded to 0 by one of the types, or not, at chance. */
function coarsestStep(types: readonly (DataType | undefined)[]): number {
  return Math.max(...types.map((type) => (type !== undefined && isFloatType(type) ? SMALLEST[type] : 0)));
}

/** So many of the smallest numbers of a type are no difference. */
const UNDERFLOWS = 2;

function ratio(part: number, whole: number): number {
  return part === 0 ? 0 : part / whole;
}

/** Tells the outputs of one sample from those of another. */
function digest({ data, shape }: RuntimeTensor): string {
  const hash = sha256().update(shape.join());
  return (ArrayBuffer.isView(data) ? hash.update(data) : hash.update(JSON.stringify(data))).digest('base64');
}

/** The figures of one output, gathered sample by sample. */
export class Comparison {
  readonly #name: string;
  readonly #type: DataType;
  readonly #otherType: DataType | undefined;
  readonly #tolerance: number;
  #maxDifference = 0;
  #maxValue = 0;
  #squaredDifference = 0;
  #squaredValue = 0;
  #nonFinite = 0;
  /** Infinite or NaN in both, but not the same: of an output without a finite element that is no difference, it has overflowed. */
  #otherwise = 0;
  #differing = 0;
  #elements = 0;
  #compared = 0;
  #rounding: number | undefined;
  #digests: string[] = [];
  /** A difference that passes whatever its relative size. */
  readonly #step: number;

  /**
   * @param tolerance undefined for the default, and for what rounding explains
   * @param step what the kernel that makes the output may be off by, as stepOf tells
   * @param options.otherType of the second model, a float where the first's is one
   * @param options.coarsest the coarsest type that either computes in
   */
  constructor(
    name: string,
    type: DataType,
    tolerance: number | undefined,
    step = 0,
    options: { readonly otherType?: DataType | undefined; readonly coarsest?: FloatType | undefined } = {},
  ) {
    const { otherType, coarsest } = options;
    this.#name = name;
    this.#type = type;
    this.#otherType = otherType === type ? undefined : otherType;
    this.#step = tolerance === undefined ? Math.max(step, UNDERFLOWS * coarsestStep([type, otherType])) : 0;
    this.#tolerance = isFloatType(type)
      ? (tolerance ?? Math.max(DEFAULT_TOLERANCE, COARSE_ULPS * coarsestEpsilon([type, otherType, coarsest])))
      : 0;
  }

  /** Takes up two outputs of the same shape. */
  add(a: RuntimeTensor, b: RuntimeTensor): void {
    this.#elements += a.data.length;
    this.#digests.push(digest(a));
    if (isFloatType(this.#type)) {
      this.#addFloats(this.#floats(a), this.#floats(b));
      return;
    }
    this.#compared += a.data.length;
    for (let i = 0; i < a.data.length; i += 1) if (a.data[i] !== b.data[i]) this.#differing += 1;
  }

  /** Takes up two outputs of the first model that should be the same but for rounding. */
  addRounding(a: RuntimeTensor, b: RuntimeTensor): void {
    const moved = new Comparison(this.#name, this.#type, undefined);
    moved.#addFloats(moved.#floats(a), moved.#floats(b));
    this.#rounding = Math.max(this.#rounding ?? 0, ratio(moved.#maxDifference, this.#maxValue));
  }

  get #nonFiniteDifferences(): number {
    return this.#nonFinite + (this.#compared > 0 ? this.#otherwise : 0);
  }

  /** Floats that are past the tolerance, but finite where they should be: rounding may be why. */
  isNearby(): boolean {
    return isFloatType(this.#type) && this.#nonFiniteDifferences === 0 && !this.result().passed;
  }

  result(): OutputComparison {
    const relativeDifference = ratio(this.#maxDifference, this.#maxValue);
    const rounding = this.#rounding;
    const allowed =
      rounding === undefined || rounding > MOST_ROUNDING
        ? this.#tolerance
        : Math.max(this.#tolerance, ROUNDINGS * rounding);
    const differs = isFloatType(this.#type)
      ? (relativeDifference > allowed && this.#maxDifference > this.#step) || this.#nonFiniteDifferences > 0
      : this.#differing > 0;
    return {
      name: this.#name,
      type: this.#type,
      ...(this.#otherType !== undefined && { otherType: this.#otherType }),
      maxDifference: this.#maxDifference,
      maxValue: this.#maxValue,
      relativeDifference,
      relativeRms: ratio(Math.sqrt(this.#squaredDifference), Math.sqrt(this.#squaredValue)),
      nonFiniteDifferences: this.#nonFiniteDifferences,
      differingFraction: ratio(this.#differing, this.#elements),
      elements: this.#elements,
      compared: this.#compared,
      isConstant: this.#digests.length > 1 && new Set(this.#digests).size === 1,
      tolerance: this.#tolerance,
      rounding,
      passed: !differs,
    };
  }

  #floats(tensor: RuntimeTensor): Float32Array | Float64Array {
    const { type, data } = tensor;
    if (!isFloatType(type)) throw new TypeError(`${type} is not a floating-point type`);
    return widen(type, data as NativeArrays[typeof type]);
  }

  #addFloats(a: Float32Array | Float64Array, b: Float32Array | Float64Array): void {
    for (let i = 0; i < a.length; i += 1) {
      const left = a[i] as number;
      const right = b[i] as number;
      // Not Object.is, which tells 0 from -0.
      const isDifferent = left !== right && !(Number.isNaN(left) && Number.isNaN(right));
      if (isDifferent) this.#differing += 1;
      if (Number.isFinite(left) && Number.isFinite(right)) {
        this.#compared += 1;
        const difference = Math.abs(left - right);
        this.#maxDifference = Math.max(this.#maxDifference, difference);
        this.#maxValue = Math.max(this.#maxValue, Math.abs(left));
        this.#squaredDifference += difference * difference;
        this.#squaredValue += left * left;
      } else if (isDifferent) {
        if (Number.isFinite(left) || Number.isFinite(right)) this.#nonFinite += 1;
        else this.#otherwise += 1;
      }
    }
  }
}
