import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ByteSource, MemorySource, ModelError, type NativeArray } from '../../../src/graph/index.js';
import { readSafetensors, safetensors } from '../../../src/runtime/io/safetensors.js';
import type { RuntimeTensor } from '../../../src/runtime/types.js';
import { tensors } from '../tensors.js';

const REFERENCE = JSON.parse(readFileSync('test/runtime/io/safetensors-reference.json', 'utf8')) as {
  file: string;
  tensors: Record<string, { shape: number[]; base64: string }>;
};

const bytesOf = (source: ByteSource): Uint8Array => source.read(0, source.length);
const read = (bytes: Uint8Array) => readSafetensors(new MemorySource(bytes));

/** A file with any header. */
function fileOf(header: string, data: Uint8Array): Uint8Array {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

test('what the reference implementation writes is read', () => {
  const { tensors: found, metadata } = read(Buffer.from(REFERENCE.file, 'base64'));
  expect(metadata).toEqual({ 'made by': 'the reference' });
  expect([...found.keys()].sort()).toEqual(Object.keys(REFERENCE.tensors).sort());
  for (const [name, { shape, base64 }] of Object.entries(REFERENCE.tensors)) {
    const tensor = found.get(name)!;
    expect(tensor.shape).toEqual(shape);
    const { buffer, byteOffset, byteLength } = tensor.data as NativeArray;
    expect(Buffer.from(buffer, byteOffset, byteLength).toString('base64'), name).toBe(base64);
  }
});

test('the same tensors in the same order are written to the bytes of the reference', () => {
  const file = Buffer.from(REFERENCE.file, 'base64');
  const { tensors: found, metadata } = read(file);
  expect(Buffer.compare(bytesOf(safetensors(found, metadata)), file)).toBe(0);
});

describe('laws', () => {
  const stored = tensors().filter(({ type }) => type !== 'string');
  // A text with half a surrogate pair does not survive UTF-8.
  const name = fc.string({ unit: 'grapheme' }).filter((text) => text !== '__metadata__');
  const sets = fc.array(fc.tuple(name, stored), { maxLength: 6 }).map((entries) => new Map(entries));
  const texts = fc.dictionary(
    fc.string({ minLength: 1, unit: 'grapheme' }),
    fc.string({ unit: 'grapheme' }),
    {
      maxKeys: 3,
    },
  );

  test('read(write(x)) = x', () => {
    fc.assert(
      fc.property(sets, texts, (set, metadata) => {
        const back = read(bytesOf(safetensors(set, metadata)));
        expect(new Map(back.tensors)).toEqual(set);
        expect(back.metadata).toEqual(metadata);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  test('a file that is cut short or damaged is refused in words, or reads as some tensors', () => {
    fc.assert(
      fc.property(sets, fc.nat(), fc.nat(255), fc.boolean(), (set, at, byte, cut) => {
        const file = bytesOf(safetensors(set));
        try {
          if (cut) read(file.slice(0, at % file.length));
          else read(file.map((old, index) => (index === at % file.length ? byte : old)));
          expect(cut).toBe(false);
        } catch (error) {
          expect(error).toBeInstanceOf(ModelError);
        }
      }),
      { numRuns: 500, seed: 2 },
    );
  });
});

describe('is refused', () => {
  const entry = (dtype: string, shape: string, offsets: string): string =>
    `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;
  test.each([
    ['a gap', `{"a":${entry('U8', '[1]', '[1,2]')}}`, 2, "'a' begins at 1, where 0 is expected"],
    [
      'an overlap',
      `{"a":${entry('U8', '[2]', '[0,2]')},"b":${entry('U8', '[1]', '[1,2]')}}`,
      2,
      "'b' begins at 1, where 2 is expected",
    ],
    ['what is left over', `{"a":${entry('U8', '[1]', '[0,1]')}}`, 3, '2 bytes are of no tensor'],
    ['too few elements', `{"a":${entry('F32', '[2]', '[0,4]')}}`, 4, '[2] of F32 needs 8'],
    ['a type that is none', `{"a":${entry('F6_E2M3', '[1]', '[0,1]')}}`, 1, 'the unknown type F6_E2M3'],
    ['a negative size', `{"a":${entry('U8', '[-1]', '[0,1]')}}`, 1, "the shape of 'a' is none"],
    ['a list', '[]', 0, 'its header is not a JSON object'],
    ['space before the brace', ' {}', 0, 'its header is not a JSON object'],
    ['numbers as metadata', '{"__metadata__":{"a":1}}', 0, 'its metadata is no map of texts'],
  ])('%s', (_, header, length, message) => {
    expect(() => read(fileOf(header, new Uint8Array(length)))).toThrow(message);
  });

  test('a header longer than the file, or than any', () => {
    expect(() => read(Uint8Array.of(200, 0, 0, 0, 0, 0, 0, 0, 123))).toThrow('it is cut short');
    expect(() => read(new Uint8Array(16).fill(255))).toThrow('its header would have');
  });

  test('a type that the format has no name for', () => {
    const text = new Map<string, RuntimeTensor>([['a', { type: 'string', shape: [1], data: ['x'] }]]);
    expect(() => safetensors(text)).toThrow("tensor 'a': safetensors has no tensors of type string");
  });
});
