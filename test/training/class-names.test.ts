import { expect, test } from 'vitest';
import { classNames, keepClassNames } from '../../src/graph/names/class-names.js';
import { buildModel, modelToBytes, readModel, saveModel, tensorDataset, train } from '../../src/index.js';
import { floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('class-names');
const NAMES = ['cat', 'dog', 'fish'];
const sample = () =>
  buildModel({
    inputs: [['x', 'float32', ['n', 4]]],
    outputs: [['y', 'float32', ['n', 3]]],
    nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    initializers: [floats('w', [4, 3], Math.sin)],
    metadata: { author: 'somebody' },
  });

test('a training keeps the names of the classes in the model, in their order, and run prints them', async () => {
  const model = sample();
  const x = { type: 'float32', shape: [8, 4], data: new Float32Array(32).fill(1) } as const;
  const y = {
    type: 'int64',
    shape: [8],
    data: BigInt64Array.from({ length: 8 }, (_, i) => BigInt(i % 3)),
  } as const;
  await using data = tensorDataset({ x, y });
  const named = Object.assign(data, { classes: NAMES });
  expect(classNames(model)).toBeUndefined();
  await train(model, named, { epochs: 1, batch: 4, ranks: false }).result();
  const path = `${directory}/m.onnx`;
  await saveModel(model, path);
  const read = await readModel(path);
  expect(classNames(read)).toEqual(NAMES);
  expect(read.proto.metadata_props?.map(({ key }) => key)).toEqual(['author', 'onnx-overparam.classes']);
  const { code, out: stdout } = await runCli(['run', path, '--random']);
  expect(code).toBe(0);
  for (const name of NAMES) expect(stdout).toContain(name);
});

test('names that are there change nothing, and what is no list is none', () => {
  const model = sample();
  keepClassNames(model, NAMES);
  const [bytes, revision] = [modelToBytes(model), model.revision];
  keepClassNames(model, NAMES);
  expect(model.revision).toBe(revision);
  expect(modelToBytes(model)).toEqual(bytes);
  keepClassNames(model, ['a']);
  expect(classNames(model)).toEqual(['a']);
  const entry = model.proto.metadata_props?.find(({ key }) => key === 'onnx-overparam.classes');
  for (const value of ['{', '{}', '[1]', '']) {
    if (entry) entry.value = value;
    expect(classNames(model)).toBeUndefined();
  }
});
