import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/graph/index.js';
import { fitFeeds, readTensorFile, writeTensorFile } from '../../../src/runtime/io/files.js';
import { readJsonTensors, writeJsonTensors } from '../../../src/runtime/io/json.js';
import { convert, fromValues } from '../../../src/runtime/io/values.js';
import type { RuntimeTensor } from '../../../src/runtime/types.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { tensors } from '../tensors.js';

const directory = scratchDirectory('tensor-files');
const floats = (...values: number[]): RuntimeTensor => ({
  type: 'float32',
  shape: [values.length],
  data: Float32Array.from(values),
});

describe('JSON', () => {
  test('readJsonTensors(writeJsonTensors(x)) = x', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), tensors(), { maxKeys: 3, noNullPrototype: true }), (set) => {
        expect(readJsonTensors(writeJsonTensors(set))).toEqual(set);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  test('nested lists become what holds their values', () => {
    expect(
      readJsonTensors('{"x": [[1, 2], [3, 4]], "y": 0.5, "z": [true], "s": ["a"], "n": ["NaN", 1], "e": []}'),
    ).toEqual({
      x: { type: 'int64', shape: [2, 2], data: BigInt64Array.of(1n, 2n, 3n, 4n) },
      y: { type: 'float64', shape: [], data: Float64Array.of(0.5) },
      z: { type: 'bool', shape: [1], data: Uint8Array.of(1) },
      s: { type: 'string', shape: [1], data: ['a'] },
      n: { type: 'float64', shape: [2], data: Float64Array.of(Number.NaN, 1) },
      e: { type: 'float64', shape: [0], data: new Float64Array(0) },
    });
  });

  test('so do values with a shape and no type', () => {
    expect(readJsonTensors('{"x": {"shape": [2, 1], "data": [1, 0.5]}}')).toEqual({
      x: { type: 'float64', shape: [2, 1], data: Float64Array.of(1, 0.5) },
    });
  });

  test.each([
    ['{', 'this is not JSON'],
    ['[1]', 'must be an object of tensors by name'],
    ['{"x": [[1], [2, 3]]}', "'x': its lists are ragged"],
    ['{"x": null}', "'x': null is no value of a tensor"],
    ['{"x": {"type": "float", "shape": [1], "data": [1]}}', '\'x\': its "type" must be one of'],
    ['{"x": {"type": "float32", "shape": [-1], "data": [1]}}', 'its "shape" must be a list'],
    ['{"x": {"type": "float32", "shape": [2], "data": [1]}}', 'has 2 elements, but 1 are given'],
    ['{"x": {"type": "uint8", "shape": [1], "data": [256]}}', '256 is no uint8'],
    ['{"x": {"type": "int32", "shape": [1], "data": [0.5]}}', '0.5 is no int32'],
    ['{"x": {"type": "float32", "shape": [1], "data": ["one"]}}', "'one' is no float32"],
    ['{"x": {"type": "bool", "shape": [1], "data": [2]}}', 'is no bool'],
  ])('%s is refused', (text, message) => {
    expect(() => readJsonTensors(text)).toThrow(message);
    expect(() => readJsonTensors(text)).toThrow(ModelError);
  });
});

describe('conversion', () => {
  test('integers survive every type that holds them, there and back', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('int8', 'int16', 'int32', 'int64', 'uint8', 'float32', 'float64', 'float16'),
        fc.array(fc.nat(127)),
        (type, values) => {
          const tensor = fromValues('int32', [values.length], values);
          const there = convert(tensor, type);
          expect(there.type).toBe(type);
          expect(Array.from(convert(tensor, 'float64').data as Float64Array)).toEqual(values);
          if (!type.startsWith('float')) expect(convert(there, 'int32')).toEqual(tensor);
        },
      ),
      { numRuns: 100, seed: 2 },
    );
  });

  test('a float is rounded once, and never becomes an integer; nothing wraps around', () => {
    const double = { type: 'float64', shape: [1], data: Float64Array.of(0.1) } as const;
    expect(convert(double, 'float32').data).toEqual(Float32Array.of(0.1));
    expect(() => convert(double, 'int32')).toThrow('float64 cannot become int32');
    expect(() => convert(fromValues('int64', [1], [300]), 'uint8')).toThrow('300 is no uint8');
    expect(() => convert(fromValues('string', [1], ['1']), 'float32')).toThrow(
      'string cannot become float32',
    );
  });
});

describe('files', () => {
  test.each([
    'npz',
    'npy',
    'json',
  ])('what is written as .%s is read back, whatever the file is called', async (format) => {
    const path = join(directory, `out.${format}`);
    await writeTensorFile(path, { x: floats(1, 2, 3) });
    const other = join(directory, `${format}-copy`);
    await writeFile(other, await readFile(path));
    for (const file of [path, other]) {
      expect(await readTensorFile(file)).toEqual(
        format === 'npy' ? { single: floats(1, 2, 3) } : { named: { x: floats(1, 2, 3) } },
      );
    }
    await expect(writeTensorFile(path, { x: floats(1) })).rejects.toThrow('`overwrite: true`');
    await writeTensorFile(path, { x: floats(4) }, { overwrite: true });
  });

  test('what cannot be read or written is said with the name of the file', async () => {
    await expect(readTensorFile(join(directory, 'none.npy'))).rejects.toThrow(/none\.npy: no such file/);
    await expect(readTensorFile(directory)).rejects.toThrow('is a directory');
    const image = join(directory, 'cat.jpg');
    await writeFile(image, Uint8Array.of(0xff, 0xd8, 0xff));
    await expect(readTensorFile(image)).rejects.toThrow(/cat\.jpg: is an image/);
    await expect(writeTensorFile(join(directory, 'out.txt'), {})).rejects.toThrow(
      'name it .npz, .npy or .json',
    );
    const two = { x: floats(1), y: floats(2) };
    await expect(writeTensorFile(join(directory, 'two.npy'), two)).rejects.toThrow('.npy holds one tensor');
  });
});

describe('fitFeeds', () => {
  const x = { name: 'x', type: 'float32', shape: ['n'] } as const;
  const ids = { name: 'ids', type: 'int64', shape: [2] } as const;
  const named = (tensors: Record<string, RuntimeTensor>) => ({ file: 'a.npz', content: { named: tensors } });
  const single = (tensor: RuntimeTensor, name?: string) => ({
    name,
    file: 'a.npy',
    content: { single: tensor },
  });
  const two = fromValues('int32', [2], [1, 2]);

  test('gives each input its tensor in its type, and says what it converted', () => {
    expect(fitFeeds([single(floats(1))], [x])).toEqual({ feeds: { x: floats(1) }, notes: [] });
    const fitted = fitFeeds([named({ x: floats(1) }), single(two, 'ids')], [x, ids]);
    expect(fitted.feeds.ids).toEqual(fromValues('int64', [2], [1, 2]));
    expect(fitted.notes).toEqual(["input 'ids': int32 in a.npy, converted to int64"]);
  });

  test.each([
    [[single(floats(1))], [x, ids], 'a.npy: which input is it for? Name it, as in <name>=a.npy'],
    [[named({ z: floats(1) })], [x], "a.npz: the model has no input 'z'; it has 'x'"],
    [[single(floats(1)), single(floats(1))], [x], "input 'x' is given more than once"],
    [[single(floats(1))], [ids], "a.npy: input 'ids' is int64: float32 cannot become int64"],
    [[named({ x: floats(1) })], [x, ids], "input 'ids' is not given: it is int64[2]"],
  ] as const)('refuses %#', (given, inputs, message) => {
    expect(() => fitFeeds(given, inputs)).toThrow(message);
  });
});
