/**
 * float16 and bfloat16 values, held as their bits in a Uint16Array, to and from float32.
 *
 * Widening goes through a table of all 65,536 patterns; narrowing rounds to nearest, ties to even.
 */

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

let float16Table: Float32Array | undefined;

function widenedFloat16(): Float32Array {
  if (float16Table === undefined) {
    float16Table = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits += 1) {
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = (bits >> 10) & 0x1f;
      const fraction = bits & 0x3ff;
      float16Table[bits] =
        exponent === 0
          ? sign * fraction * 2 ** -24
          : exponent === 31
            ? fraction === 0
              ? sign * Number.POSITIVE_INFINITY
              : Number.NaN
            : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
  }
  return float16Table;
}

export function float16ToFloat32(bits: Uint16Array): Float32Array {
  const table = widenedFloat16();
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i += 1) out[i] = table[bits[i] as number] as number;
  return out;
}

export function float32ToFloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    scratchFloat[0] = values[i] as number;
    out[i] = narrow(scratchBits[0] as number);
  }
  return out;
}

function narrow(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to infinity from 65520 on
  if (magnitude >= 0x38800000) {
    // Normal: drop 13 bits, rebias the exponent by 112.
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half of the smallest subnormal
  const exponent = magnitude >>> 23;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - exponent;
  const half = 1 << (shift - 1);
  const kept = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

export function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const out = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i += 1) out[i] = (bits[i] as number) << 16;
  return new Float32Array(out.buffer);
}

export function float32ToBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const value = bits[i] as number;
    const isNotANumber = (value & 0x7fffffff) > 0x7f800000;
    out[i] = isNotANumber ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16;
  }
  return out;
}

/**
 * float64 values as float32, rounded so that rounding once more, to a 16-bit type, gives what rounding the float64
 * directly would: what float32 cannot hold goes to the neighbour with an odd last bit (Boldo and Melquiond 2008).
 */
export function roundToOdd(values: Float32Array | Float64Array): Float32Array {
  if (values instanceof Float32Array) return values;
  const out = new Float32Array(values);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < values.length; i += 1) {
    const [exact, rounded] = [values[i] as number, out[i] as number];
    if (rounded === exact || Number.isNaN(exact)) continue;
    // The bits of a float32 order its magnitudes: one less is the next towards zero.
    const towardsZero = (bits[i] as number) - (Math.abs(rounded) > Math.abs(exact) ? 1 : 0);
    bits[i] = towardsZero | 1;
  }
  return out;
}
