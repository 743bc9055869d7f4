import { expect, test } from 'vitest';
import { check } from '../../../src/graph/index.js';
import { untieWeights } from '../../../src/passes/gradient/index.js';
import { buildModel, floats } from '../../support/build.js';
import { expectSameFunction } from '../laws.js';
import { copyOf } from '../models.js';

const wave = (name: string, shape: number[]) => floats(name, shape, (i) => Math.sin(i + 1));

/** Two convolutions with normalizations, an equal fill wherever PyTorch's exporter merges them. */
const merged = () =>
  buildModel({
    opset: 17,
    inputs: [['x', 'float32', [2, 3, 4, 4]]],
    outputs: [['y', 'float32', [2, 3, 4, 4]]],
    nodes: [
      { opType: 'Conv', inputs: ['x', 'w1', 'zeros'], outputs: ['c1'] },
      {
        opType: 'BatchNormalization',
        inputs: ['c1', 'ones', 'zeros', 'zeros', 'ones'],
        outputs: ['n1'],
      },
      { opType: 'Conv', inputs: ['n1', 'w2', 'zeros'], outputs: ['c2'] },
      {
        opType: 'BatchNormalization',
        inputs: ['c2', 'ones', 'zeros', 'zeros', 'ones'],
        outputs: ['y'],
      },
    ],
    initializers: [
      wave('w1', [3, 3, 1, 1]),
      wave('w2', [3, 3, 1, 1]),
      floats('zeros', [3], () => 0),
      floats('ones', [3], () => 1),
    ],
  });

test('each layer gets its own bias, scale, shift and running statistics', async () => {
  const [before, after] = [merged(), await copyOf(merged())];
  // Six places of zeros and four of ones, the first of each as it was.
  expect(untieWeights(after, 'y')).toHaveLength(5 + 3);
  expect(check(after)).toEqual([]);
  const read = after.graph.nodes.flatMap(({ inputs }) => inputs.slice(1));
  expect(new Set(read).size).toBe(read.length);
  await expectSameFunction(before, after);
  expect(untieWeights(after, 'y')).toEqual([]);
});

test('a layer that is applied twice and a table that is the head too stay one', async () => {
  const twice = () =>
    buildModel({
      opset: 17,
      inputs: [['i', 'int64', [2]]],
      outputs: [['y', 'float32', [2, 5]]],
      nodes: [
        { opType: 'Gather', inputs: ['table', 'i'], outputs: ['e'] },
        { opType: 'Gemm', inputs: ['e', 'w', 'zeros'], outputs: ['a'] },
        { opType: 'Gemm', inputs: ['a', 'w', 'zeros'], outputs: ['b'] },
        { opType: 'MatMul', inputs: ['b', 'v'], outputs: ['m1'] },
        { opType: 'Add', inputs: ['m1', 'zeros'], outputs: ['s1'] },
        { opType: 'MatMul', inputs: ['s1', 'v'], outputs: ['m2'] },
        { opType: 'Add', inputs: ['zeros', 'm2'], outputs: ['s2'] },
        { opType: 'Gemm', inputs: ['s2', 'table'], outputs: ['y'], attributes: { transB: { int: 1 } } },
      ],
      initializers: [
        floats('table', [5, 4], () => 0.5),
        wave('w', [4, 4]),
        wave('v', [4, 4]),
        floats('zeros', [4], () => 0),
      ],
    });
  const [before, after] = [twice(), await copyOf(twice())];
  const [copy, ...more] = untieWeights(after, 'y');
  expect(more).toEqual([]);
  const [, first, second, , add, , again, head] = after.graph.nodes;
  expect([first!.inputs[2], second!.inputs[2]]).toEqual(['zeros', 'zeros']);
  expect([add!.inputs[1], again!.inputs[0]]).toEqual([copy, copy]);
  expect(head!.inputs[1]).toBe('table');
  await expectSameFunction(before, after);
});

test('vectors whose elements differ are taken to be one', () => {
  const model = merged();
  model.graph.setInitializer(wave('zeros', [3]));
  for (const copy of untieWeights(model, 'y')) expect(copy).toMatch(/^ones/);
  expect(model.graph.uses('zeros')).toHaveLength(6);
});
