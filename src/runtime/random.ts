/**
 * A seeded generator of pseudo-random numbers. The same seed and key give the same numbers on every platform:
 * only exactly rounded operations are used, not Math.log or Math.cos, whose last bit is the engine's choice.
 *
 * The generator is xoshiro128** 1.1 (Blackman & Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS
 * 2021): 128 bits of state, period 2^128 - 1. Not for cryptography.
 *
 * @example
 * const random = new Random(0, 'layer1.weight');
 * random.uniform(); // in [0, 1)
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;
  /** The polar method makes normal numbers in pairs. */
  #spare: number | undefined;

  /**
   * @param seed any number or text; 0 and '0' are the same seed
   * @param key names a stream of its own under the seed, for one tensor, say
   */
  constructor(seed: number | string, key = '') {
    const next = splitMix(hash(`${seed}\u0000${key}`));
    this.#a = next();
    this.#b = next();
    this.#c = next();
    // The state must not be all zero.
    this.#d = next() | 1;
  }

  /** A whole number of 32 random bits, in [0, 2^32). */
  bits(): number {
    const scaled = Math.imul(this.#b, 5);
    const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** Uniform in [0, 1), of 53 random bits. */
  uniform(): number {
    const high = this.bits() >>> 5;
    const low = this.bits() >>> 6;
    return (high * 0x4000000 + low) / 2 ** 53;
  }

  /** Uniform in {0, …, n - 1}. Throws RangeError unless n is a whole number in [1, 2^53]. */
  integer(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 53) {
      throw new RangeError(`a bound must be a whole number of at least 1, not ${n}`);
    }
    return Math.min(n - 1, Math.floor(this.uniform() * n));
  }

  /** Normal with mean 0 and variance 1 (Marsaglia & Bray's polar method, SIAM Review 1964). */
  normal(): number {
    if (this.#spare !== undefined) {
      const spare = this.#spare;
      this.#spare = undefined;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square >= 1 || square === 0) continue;
      const scale = scaleOf(square);
      this.#spare = y * scale;
      return x * scale;
    }
  }

  /**
   * Fills an array with normal numbers times a deviation, those that normal() would give one after the other, and returns
   * it. In batches that takes a third of the time: nothing is called for each number, and logarithms do not wait for one
   * another.
   */
  fillNormal<A extends Float32Array | Float64Array>(array: A, deviation = 1): A {
    let at = 0;
    while (at < array.length && (this.#spare !== undefined || array.length - at === 1)) {
      array[at] = deviation * this.normal();
      at += 1;
    }
    while (array.length - at > 1) {
      const count = Math.min(BATCH, (array.length - at) >> 1);
      this.#drawPairs(count);
      for (let i = 0; i < count; i += 1, at += 2) {
        const scale = scaleOf(squares[i] as number);
        array[at] = deviation * ((xs[i] as number) * scale);
        array[at + 1] = deviation * ((ys[i] as number) * scale);
      }
    }
    if (at < array.length) array[at] = deviation * this.normal();
    return array;
  }

  /** Points within the unit circle: what is outside, or its centre, the next one overwrites. */
  #drawPairs(count: number): void {
    for (let i = 0; i < count; ) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      xs[i] = x;
      ys[i] = y;
      squares[i] = square;
      i += Number(square < 1 && square > 0);
    }
  }
}

/** Pairs of normal numbers that are made at a time: they stay in the cache. */
const BATCH = 512;
const [xs, ys, squares] = [new Float64Array(BATCH), new Float64Array(BATCH), new Float64Array(BATCH)];

/** What makes a point within the unit circle, at this squared distance from its centre, two normal numbers. */
function scaleOf(square: number): number {
  return Math.sqrt((-2 * exactLog(square)) / square);
}

/** 64 bits of a text, as two words: two multiplicative hashes over its UTF-16 units, mixed at the end. */
function hash(text: string): readonly [number, number] {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 2654435761);
    low = Math.imul(low ^ unit, 1597334677);
  }
  return [mix(high ^ (low >>> 13)), mix(low ^ (high >>> 13))];
}

/** The finalizer of MurmurHash3: every bit of the argument reaches every bit of the result. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}

/** Words from 64 bits of seed by steps of the golden ratio (Steele et al., OOPSLA 2014, in 32 bits). */
function splitMix([high, low]: readonly [number, number]): () => number {
  let state = high;
  let count = low;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    count = (count + 0x6a09e667) | 0;
    return mix(mix(state) ^ count);
  };
}

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);
/** Where the sign and the exponent of a double are: behind its lower half, or before it. */
const HIGH = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;
/** What the square of a multiple of 2^-53 may have to be multiplied with. */
const POWERS = Float64Array.from({ length: 128 }, (_, i) => 2 ** i);

/** ln x of a square from 2^-106 to 1, to some 1e-15, by +, -, * and / alone. */
function exactLog(x: number): number {
  float[0] = x;
  let exponent = ((words[HIGH] as number) >>> 20) - 1023;
  let mantissa = x * (POWERS[-exponent] as number);
  if (mantissa > Math.SQRT2) {
    mantissa /= 2;
    exponent += 1;
  }
  // ln m = 2 artanh((m - 1) / (m + 1)); |t| <= 0.172, so t^23 / 23 is below the last bit.
  const t = (mantissa - 1) / (mantissa + 1);
  const s = t * t;
  let sum = s * (1 / 21) + 1 / 19;
  sum = sum * s + 1 / 17;
  sum = sum * s + 1 / 15;
  sum = sum * s + 1 / 13;
  sum = sum * s + 1 / 11;
  sum = sum * s + 1 / 9;
  sum = sum * s + 1 / 7;
  sum = sum * s + 1 / 5;
  sum = sum * s + 1 / 3;
  sum = sum * s + 1;
  return 2 * t * sum + exponent * Math.LN2;
}
