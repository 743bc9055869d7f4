import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fitFeeds, readTensorFile, writeTensorFile } from '../../../src/runtime/io/files.js';
import { readJsonTensors, writeJsonTensors } from '../../../src/runtime/io/json.js';
import { readNpz, writeNpz } from '../../../src/runtime/io/npz.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('names');
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''];
const tensor = (value: number) => ({ type: 'float32', shape: [1], data: Float32Array.of(value) }) as const;

test('tensors by names that objects have of their own are tensors as others', async () => {
  const tensors = Object.fromEntries(NAMES.map((name, index) => [name, tensor(index)]));
  expect(Object.keys(tensors)).toEqual(NAMES);
  const json = readJsonTensors(writeJsonTensors(tensors));
  expect(Object.entries(json)).toEqual(Object.entries(tensors));
  const named = Object.fromEntries(Object.entries(tensors).filter(([name]) => name !== ''));
  expect(Object.entries(readNpz(writeNpz(named)))).toEqual(Object.entries(named));
  const path = join(directory, 'tensors.json');
  await writeTensorFile(path, named);
  const content = await readTensorFile(path);
  for (const name of Object.keys(named)) {
    const { feeds } = fitFeeds([{ name, file: path, content }], [{ name, type: 'float32', shape: [1] }]);
    expect(Object.entries(feeds)).toEqual([[name, tensors[name]]]);
  }
});

test('no file has a tensor that it does not hold', async () => {
  const path = join(directory, 'two.json');
  writeFileSync(path, '{"a": [1], "b": [2]}');
  const content = await readTensorFile(path);
  for (const name of NAMES) {
    const inputs = [{ name, type: 'float32', shape: [1] }] as const;
    expect(() => fitFeeds([{ name, file: path, content }], inputs)).toThrow(`holds no tensor '${name}'`);
  }
});
