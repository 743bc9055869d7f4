import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DataType, isFloatType, ModelError, widen } from '../../../src/graph/index.js';
import { readNpy, writeNpy } from '../../../src/runtime/io/npy.js';
import { readNpz, writeNpz } from '../../../src/runtime/io/npz.js';
import { crc32, readZip, writeZip } from '../../../src/runtime/io/zip.js';
import type { RuntimeTensor } from '../../../src/runtime/types.js';
import { tensors } from '../tensors.js';

interface Reference {
  readonly cases: readonly { name: string; shape: number[]; values: string[]; base64: string }[];
  readonly refused: readonly { name: string; base64: string }[];
  readonly archives: readonly { name: string; base64: string }[];
}
const REFERENCE = JSON.parse(readFileSync('test/runtime/io/npy-reference.json', 'utf8')) as Reference;
const bytesOf = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'));

/** A number of C's %a, as Python's float.hex writes it. */
function fromHex(text: string): number {
  const [, sign, whole, fraction = '', exponent] =
    /^(-?)0x([01])(?:\.([0-9a-f]+))?p([+-]\d+)$/.exec(text) ?? [];
  const mantissa =
    Number(whole) + (fraction === '' ? 0 : Number.parseInt(fraction, 16) / 16 ** fraction.length);
  return (sign === '-' ? -1 : 1) * mantissa * 2 ** Number(exponent);
}

function elements({ type, data }: RuntimeTensor): (number | string)[] {
  if (isFloatType(type)) return Array.from(widen(type, data as never) as Iterable<number>);
  if (type === 'bool') return Array.from(data as Uint8Array, (value) => (value === 1 ? 'True' : 'False'));
  return Array.from(data as Iterable<unknown>, String);
}

describe("NumPy's files", () => {
  test.each(REFERENCE.cases)('$name', ({ shape, values, base64 }) => {
    const file = Buffer.from(base64, 'base64');
    const tensor = readNpy(file);
    expect(file.toString('base64')).toBe(base64);
    expect(tensor.shape).toEqual(shape);
    expect(elements(tensor)).toEqual(isFloatType(tensor.type) ? values.map(fromHex) : values);
  });

  test.each(REFERENCE.refused)('$name are refused', ({ base64 }) => {
    expect(() => readNpy(bytesOf(base64))).toThrow(ModelError);
  });

  test('what is written is byte for byte what numpy.save writes', () => {
    const plain = REFERENCE.cases.filter(({ name }) => !/big-endian|Fortran|bytes|version/.test(name));
    expect(plain.length).toBeGreaterThan(14);
    for (const { base64, name } of plain) {
      const bytes = bytesOf(base64);
      expect(Buffer.compare(writeNpy(readNpy(bytes)), bytes), name).toBe(0);
    }
  });

  test.each(REFERENCE.archives)('an archive, $name', ({ base64 }) => {
    expect(readNpz(bytesOf(base64))).toEqual({
      x: { type: 'float32', shape: [2, 3], data: Float32Array.of(0, 1, 2, 3, 4, 5) },
      'ids/0': { type: 'int64', shape: [3], data: BigInt64Array.of(1n, 2n, 3n) },
    });
  });
});

describe('laws', () => {
  // NumPy has no bfloat16, and cuts zeros off the end of a text.
  const kept = tensors().filter(
    ({ type, data }) => type !== 'string' || !(data as string[]).some((text) => text.endsWith('\0')),
  );

  test('readNpy(writeNpy(x)) = x; bfloat16 comes back as the same numbers in float32', () => {
    fc.assert(
      fc.property(kept, (tensor) => {
        const back = readNpy(writeNpy(tensor));
        if (tensor.type === 'bfloat16') {
          const data = widen('bfloat16', tensor.data as Uint16Array);
          expect(back).toEqual({ ...tensor, type: 'float32', data });
        } else expect(back).toEqual(tensor);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  test('readNpz(writeNpz(x)) = x, stored and deflated; the same tensors, the same bytes', () => {
    const named = fc.dictionary(
      fc.string({ minLength: 1 }),
      kept.filter(({ type }) => type !== 'bfloat16'),
      {
        minKeys: 1,
        maxKeys: 4,
        noNullPrototype: true,
      },
    );
    fc.assert(
      fc.property(named, fc.boolean(), (set, compress) => {
        const bytes = writeNpz(set, { compress });
        expect(readNpz(bytes)).toEqual(set);
        expect(Buffer.compare(bytes, writeNpz(set, { compress }))).toBe(0);
      }),
      { numRuns: 100, seed: 2 },
    );
  });

  test('a file that is cut short or damaged is refused in words, or reads as some tensor; nothing else is thrown', () => {
    const files = [...REFERENCE.cases, ...REFERENCE.archives].map(({ base64 }) => bytesOf(base64));
    const attempt = (bytes: Uint8Array): void => {
      try {
        if (bytes[0] === 0x50) readNpz(bytes);
        else readNpy(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(ModelError);
      }
    };
    fc.assert(
      fc.property(fc.constantFrom(...files), fc.nat(), fc.nat(255), fc.boolean(), (file, at, byte, cut) => {
        if (cut) attempt(file.slice(0, at % file.length));
        else attempt(file.map((old, index) => (index === at % file.length ? byte : old)));
      }),
      { numRuns: 2000, seed: 3 },
    );
    for (const { base64 } of REFERENCE.archives) {
      const bytes = bytesOf(base64);
      expect(() => readNpz(bytes.slice(0, -30))).toThrow(ModelError);
    }
  });

  test('one wrong bit of the contents is noticed', () => {
    const data = Uint8Array.from({ length: 200 }, (_, index) => index % 7);
    for (const compress of [false, true]) {
      const bytes = writeZip([{ name: 'a', data }], { compress });
      expect(readZip(bytes)).toEqual([{ name: 'a', data }]);
      const at = 31 + 5;
      bytes[at] = (bytes[at] as number) ^ 4;
      expect(() => readZip(bytes)).toThrow("'a' in the ZIP archive is damaged");
    }
  });

  test('the checksum is that of zlib, where Node has it', () => {
    const { crc32: theirs } = zlib as { crc32?: (bytes: Uint8Array) => number };
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(crc32(bytes)).toBe(theirs?.(bytes) ?? crc32(bytes));
      }),
    );
    expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  });
});

test('types that NumPy has not are refused', () => {
  const tensor = { type: 'int4' as DataType, shape: [2], data: new Uint8Array(1) };
  expect(() => writeNpy(tensor)).toThrow('NumPy has no arrays of type int4');
});
