/** The few globals of Node that the graph library uses, for browsers: injected into the bundle. */

const latin1 = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

export const Buffer = {
  from: (data: ArrayBufferLike | Uint8Array, offset = 0, length?: number) => {
    const bytes =
      data instanceof Uint8Array
        ? data
        : new Uint8Array(data as ArrayBuffer, offset, length ?? data.byteLength - offset);
    return { toString: (encoding: 'hex' | 'latin1') => (encoding === 'hex' ? hex(bytes) : latin1(bytes)) };
  },
  compare: (a: Uint8Array, b: Uint8Array): number => {
    const length = Math.min(a.length, b.length);
    for (let i = 0; i < length; i += 1) {
      const difference = (a[i] as number) - (b[i] as number);
      if (difference !== 0) return Math.sign(difference);
    }
    return Math.sign(a.length - b.length);
  },
  concat: (parts: readonly Uint8Array[]): Uint8Array => {
    const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  },
};

/** SHA-256 (FIPS 180-4): browsers have it as a promise alone. */
class Sha256 {
  readonly #state = Uint32Array.from(fractions(8, (prime) => Math.sqrt(prime)));
  readonly #block = new Uint8Array(64);
  #length = 0;

  update(data: Uint8Array | string): this {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    for (const byte of bytes) {
      this.#block[this.#length % 64] = byte;
      this.#length += 1;
      if (this.#length % 64 === 0) this.#compress();
    }
    return this;
  }

  digest(_encoding: 'hex'): string {
    const bits = this.#length * 8;
    this.update(Uint8Array.of(0x80));
    while (this.#length % 64 !== 56) this.update(Uint8Array.of(0));
    const tail = new DataView(new ArrayBuffer(8));
    tail.setUint32(0, Math.floor(bits / 2 ** 32));
    tail.setUint32(4, bits >>> 0);
    this.update(new Uint8Array(tail.buffer));
    return Array.from(this.#state, (word) => word.toString(16).padStart(8, '0')).join('');
  }

  #compress(): void {
    const view = new DataView(this.#block.buffer);
    const w = new Uint32Array(64);
    const turn = (x: number, by: number): number => (x >>> by) | (x << (32 - by));
    for (let i = 0; i < 64; i += 1) {
      if (i < 16) {
        w[i] = view.getUint32(4 * i);
        continue;
      }
      const [a, b] = [w[i - 15] as number, w[i - 2] as number];
      const s0 = turn(a, 7) ^ turn(a, 18) ^ (a >>> 3);
      const s1 = turn(b, 17) ^ turn(b, 19) ^ (b >>> 10);
      w[i] = (w[i - 16] as number) + s0 + (w[i - 7] as number) + s1;
    }
    let [a, b, c, d, e, f, g, h] = this.#state as unknown as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (let i = 0; i < 64; i += 1) {
      const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + (K[i] as number) + (w[i] as number)) >>> 0;
      const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) >>> 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) >>> 0, c, b, a, (t1 + t2) >>> 0];
    }
    for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) (this.#state[i] as number) += value;
  }
}

/** The first 32 bits behind the point of roots of the first primes. */
function fractions(count: number, root: (prime: number) => number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return primes.map((prime) => Math.floor((root(prime) % 1) * 2 ** 32));
}

const K = Uint32Array.from(fractions(64, Math.cbrt));

const CRYPTO = {
  createHash: (): Sha256 => new Sha256(),
  randomBytes: (count: number) => Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(count))),
};

export const process = {
  pid: 0,
  getBuiltinModule: (name: string): unknown => (name === 'node:crypto' ? CRYPTO : undefined),
};
