import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  isFloatType,
  ModelError,
  modelToBytes,
  narrow,
  readModel,
  Tensor,
  widen,
} from '../../../src/graph/index.js';
import { float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from '../../../src/graph/tensor/float16.js';
import { drawFrom, drawTensor, type Storage, typedValues } from '../../support/arbitraries.js';
import { buildModel } from '../../support/build.js';
import { encodeTree, type Tree } from '../../support/wire.js';

async function readTensor(tree: Tree, random?: (limit: number) => number): Promise<Tensor> {
  const model = {
    ir_version: 10n,
    opset_import: [{ version: 17n }],
    graph: { initializer: [{ ...tree, name: 't' }] },
  };
  return (await readModel(encodeTree('ModelProto', model, { random }))).graph.initializers.get('t') as Tensor;
}

const TYPES = (Object.keys(DATA_TYPES) as DataType[]).filter(
  (type) => type !== 'undefined' && type !== 'string',
);

describe.each(TYPES)('%s', (type) => {
  test('the same elements in every storage form', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.boolean(), async (seed, wild) => {
        const forms: Tensor[] = [];
        let bytes = new Uint8Array(0);
        for (const storage of ['raw', 'typed'] satisfies Storage[]) {
          const draft = drawTensor(drawFrom(seed), 't', { type, storage });
          bytes = new Uint8Array(draft.bytes as Uint8Array);
          forms.push(await readTensor(draft.tree, wild ? drawFrom(seed) : undefined));
        }
        for (const tensor of forms) {
          expect(tensor.dataType).toBe(type);
          expect(tensor.byteLength).toBe(bytes.length);
          expect([...tensor.bytes()]).toEqual([...bytes]);
          tensor.checkData();
          if (isFloatType(type)) expect([...tensor.floats()]).toEqual([...(forms[0] as Tensor).floats()]);
          if (DATA_TYPES[type].bits < 8) continue;
          const start = seed % (tensor.size + 1);
          const count = Math.floor((tensor.size - start) / 2);
          const width = DATA_TYPES[type].bits / 8;
          const range = tensor.elements(start, count);
          expect([...new Uint8Array(range.buffer, range.byteOffset, range.byteLength)]).toEqual([
            ...bytes.slice(start * width, (start + count) * width),
          ]);
          expect(() => tensor.elements(start, tensor.size - start + 1)).toThrow(ModelError);
          expect(() => tensor.elements(-1, 1)).toThrow(ModelError);
        }
      }),
      { seed: 2, numRuns: 12 },
    );
  });

  test('too little or too much data is named', async () => {
    for (const [size, stored] of [
      [16, 8],
      [8, 16],
      [8, 0],
    ] as const) {
      const bytes = new Uint8Array(byteLengthOf(type, stored));
      for (const data of [
        { raw_data: bytes },
        { [DATA_TYPES[type].field as string]: typedValues(type, bytes) },
      ]) {
        const tensor = await readTensor({ dims: [BigInt(size)], data_type: DATA_TYPES[type].code, ...data });
        expect(() => tensor.checkData()).toThrow(/^tensor 't': its data has/);
        expect(() => tensor.bytes()).toThrow(ModelError);
      }
    }
  });
});

describe('Tensor', () => {
  test('is made of typed arrays, and refuses data that does not fill its shape', () => {
    const tensor = Tensor.of('w', 'int64', [2], BigInt64Array.of(2n ** 60n, -1n));
    expect(tensor.array()).toEqual(BigInt64Array.of(2n ** 60n, -1n));
    expect(Tensor.of('n', 'int64', [2], BigInt64Array.of(3n, -1n)).integers()).toEqual([3, -1]);
    expect(() => Tensor.of('w', 'float32', [3], new Float32Array(2))).toThrow(
      "tensor 'w': 8 bytes do not fill the shape [3] of float32, which needs 12",
    );
    expect(Tensor.of('s', 'float32', [], Float32Array.of(7)).size).toBe(1);
  });

  test('reads unaligned data out of a Buffer', async () => {
    for (const name of ['w', 'ww', 'www', 'wwww']) {
      const built = buildModel({
        nodes: [],
        initializers: [Tensor.of(name, 'float64', [2], Float64Array.of(1.5, -2))],
      });
      const bytes = Buffer.from(modelToBytes(built));
      const tensor = (await readModel(bytes)).graph.initializers.get(name);
      expect([...(tensor?.floats() ?? [])]).toEqual([1.5, -2]);
    }
  });

  test('an empty raw_data beside a typed field does not hide it', async () => {
    const tensor = await readTensor({
      dims: [2n],
      data_type: 1,
      raw_data: new Uint8Array(0),
      float_data: [1, 2],
    });
    expect([...tensor.floats()]).toEqual([1, 2]);
  });

  test('an impossible shape is a ModelError', async () => {
    const tensor = await readTensor({ dims: [2n ** 60n], data_type: 1 });
    expect(() => tensor.shape).toThrow(ModelError);
    expect(() => tensor.checkData()).toThrow(ModelError);
  });

  test('elements in a field of other types are refused', async () => {
    const tensor = await readTensor({ dims: [2n], data_type: DATA_TYPES.float16.code, float_data: [1, 2] });
    expect(() => tensor.bytes()).toThrow("tensor 't': its float16 elements stand in the field float_data");
  });

  test('renamed shares the data and keeps every other field', async () => {
    const tree: Tree = {
      dims: [2n],
      data_type: 1,
      float_data: [1, 2],
      doc_string: 'd',
      $unknown: [Uint8Array.of(0xc0, 0x3e, 5)],
    };
    const tensor = await readTensor(tree);
    const other = tensor.renamed('other');
    expect(tensor.name).toBe('t');
    const model = buildModel({ nodes: [], initializers: [other] });
    const expected = buildModel({ nodes: [] });
    const reread = (await readModel(modelToBytes(model))).graph.initializers.get('other');
    expect([...(reread?.floats() ?? [])]).toEqual([1, 2]);
    const wanted = encodeTree('TensorProto', { ...tree, name: 'other' });
    expect(Buffer.from(modelToBytes(model)).includes(Buffer.from(wanted))).toBe(true);
    expect(expected.graph.initializers.size).toBe(0);
  });
});

/** The value of a 16-bit pattern, by the definition of IEEE 754. */
function patternValue(bits: number, exponentBits: number, fractionBits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
  const fraction = bits & ((1 << fractionBits) - 1);
  const bias = (1 << (exponentBits - 1)) - 1;
  if (exponent === (1 << exponentBits) - 1)
    return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * (fraction / 2 ** fractionBits) * 2 ** (1 - bias);
  return sign * (1 + fraction / 2 ** fractionBits) * 2 ** (exponent - bias);
}

describe.each([
  { type: 'float16', exponentBits: 5, fractionBits: 10 },
  { type: 'bfloat16', exponentBits: 8, fractionBits: 7 },
] as const)('$type', ({ type, exponentBits, fractionBits }) => {
  const patterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  const values = Array.from(patterns, (bits) => patternValue(bits, exponentBits, fractionBits));
  // Non-negative finite values and infinity in rising order: the pattern is the index.
  const rising = values.slice(0, ((1 << exponentBits) - 1) * (1 << fractionBits) + 1);

  /** Round to nearest, ties to even, by binary search among all values; exact in float64 arithmetic. */
  const slow = (value: number): number => {
    if (Number.isNaN(value)) return Number.NaN;
    const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
    const magnitude = Math.abs(value);
    let low = 0;
    let high = rising.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((rising[middle] as number) <= magnitude) low = middle;
      else high = middle;
    }
    if (magnitude >= (rising[high] as number)) return sign | high;
    // Infinity rounds as the next power of two would.
    const above =
      high === rising.length - 1
        ? 2 * (rising[1 << fractionBits] as number) * 2 ** ((1 << exponentBits) - 3)
        : (rising[high] as number);
    const middle = (rising[low] as number) / 2 + above / 2;
    if (magnitude === middle) return sign | (low % 2 === 0 ? low : high);
    return sign | (magnitude < middle ? low : high);
  };

  test('all 65,536 patterns widen to their value and narrow back', () => {
    const wide = widen(type, patterns);
    for (const [bits, value] of values.entries())
      if (!Object.is(wide[bits], value)) expect(wide[bits], `${bits}`).toBe(value);
    const back = narrow(type, wide as Float32Array);
    for (const [bits, value] of values.entries()) {
      if (Number.isNaN(value)) {
        expect(Number.isNaN(patternValue(back[bits] as number, exponentBits, fractionBits))).toBe(true);
      } else if (back[bits] !== bits) expect(back[bits]).toBe(bits);
    }
  });

  const narrowed = (value: number, wide: boolean): number =>
    narrow(type, wide ? Float64Array.of(value) : Float32Array.of(value))[0] as number;

  test('what stands between two neighbours rounds to the nearer, ties to the even one', () => {
    for (let bits = 0; bits < rising.length - 2; bits += 1) {
      const tie = ((rising[bits] as number) + (rising[bits + 1] as number)) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      for (const wide of [false, true]) {
        if (wide || Math.fround(tie) === tie) {
          if (narrowed(tie, wide) !== even) expect(narrowed(tie, wide), `${tie}`).toBe(even);
          if (narrowed(-tie, wide) !== (even | 0x8000)) expect(narrowed(-tie, wide)).toBe(even | 0x8000);
        }
      }
      // In float64 a hair beside the tie decides; rounding by way of float32 would lose it.
      const [below, above] = [tie * (1 - 2 ** -50), tie * (1 + 2 ** -50)];
      if (narrowed(below, true) !== bits) expect(narrowed(below, true), `below ${tie}`).toBe(bits);
      if (narrowed(above, true) !== bits + 1) expect(narrowed(above, true), `above ${tie}`).toBe(bits + 1);
    }
  });

  test('random floats, subnormals, infinities and NaN as a slow reference', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.float(),
          fc.double().map(Math.fround),
          fc.float({ min: Math.fround(-1e-4), max: Math.fround(1e-4) }),
        ),
        (value) => {
          const bits = narrowed(value, false);
          if (Number.isNaN(value))
            expect(Number.isNaN(patternValue(bits, exponentBits, fractionBits))).toBe(true);
          else expect(bits).toBe(slow(value));
        },
      ),
      { seed: 3, numRuns: 5000 },
    );
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: -160, max: 140 }),
        (mantissa, exponent) => {
          const value = (mantissa % 1) * 2 ** exponent;
          expect(narrowed(value, true)).toBe(slow(value));
        },
      ),
      { seed: 4, numRuns: 5000 },
    );
  });
});

test('narrowing keeps the sign of NaN, and never makes an infinity of it', () => {
  for (const bits of [0x7f800001, 0x7fc00000, 0xff800001, 0xffffffff]) {
    const float = new Float32Array(Uint32Array.of(bits).buffer);
    expect(Number.isNaN(float16ToFloat32(float32ToFloat16(float))[0])).toBe(true);
    expect(((float32ToBfloat16(float)[0] as number) & 0x7fff) > 0x7f80).toBe(true);
  }
});
