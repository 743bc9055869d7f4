import { expect, test } from 'vitest';
import { check, ModelError } from '../../../src/graph/index.js';
import { ownWeights, trainableWeights } from '../../../src/passes/gradient/index.js';
import { buildModel, floats, ints } from '../../support/build.js';
import { expectSameFunction } from '../laws.js';
import { copyOf } from '../models.js';

const model = () =>
  buildModel({
    opset: 13,
    inputs: [['x', 'float32', [2, 3, 4, 4]]],
    outputs: [['y', 'float32', [2, 5]]],
    nodes: [
      {
        opType: 'ConstantOfShape',
        inputs: ['sizes'],
        outputs: ['conv'],
        attributes: { value: { tensor: floats('', [1], () => 0.25) } },
      },
      { opType: 'Conv', inputs: ['x', 'conv'], outputs: ['c'] },
      // One vector of zeros for a bias and a mean.
      { opType: 'Identity', inputs: ['zeros'], outputs: ['mean'] },
      { opType: 'BatchNormalization', inputs: ['c', 'ones', 'zeros', 'mean', 'ones'], outputs: ['n'] },
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['half'],
        attributes: { value: { tensor: floats('', [], () => 0.5) } },
      },
      { opType: 'Mul', inputs: ['n', 'half'], outputs: ['h'] },
      { opType: 'GlobalAveragePool', inputs: ['h'], outputs: ['p'] },
      { opType: 'Flatten', inputs: ['p'], outputs: ['f'] },
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['stored'],
        attributes: { value: { tensor: floats('', [5, 6], (i) => Math.sin(i)) } },
      },
      { opType: 'Transpose', inputs: ['stored'], outputs: ['w'], attributes: { perm: { ints: [1, 0] } } },
      { opType: 'MatMul', inputs: ['f', 'w'], outputs: ['y'] },
    ],
    initializers: [ints('sizes', [6, 3, 3, 3]), floats('zeros', [6], () => 0), floats('ones', [6], () => 1)],
  });

test('weights that nodes hold become initializers, numbers that are none stay where they are', async () => {
  const [before, after] = [model(), await copyOf(model())];
  expect(trainableWeights(before.graph, 'y')).toEqual(['zeros', 'ones']);
  expect(ownWeights(after, 'y').sort()).toEqual(['conv', 'mean', 'stored']);
  expect(check(after)).toEqual([]);
  expect(trainableWeights(after.graph, 'y').sort()).toEqual(['conv', 'ones', 'stored', 'zeros']);
  expect(after.graph.nodes.map(({ opType }) => opType)).toContain('Constant');
  await expectSameFunction(before, after);
  expect(ownWeights(after, 'y')).toEqual([]);
});

test.each([
  ['a weight of 16 GiB', [4, 1e9]],
  ['one of no memory', [2 ** 52, 4]],
])('%s that a node makes is refused by its size', (_, sizes) => {
  const large = buildModel({
    inputs: [['x', 'float32', [1, 4]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'ConstantOfShape', inputs: ['sizes'], outputs: ['w'], name: 'fill' },
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
    ],
    initializers: [ints('sizes', sizes)],
  });
  expect(() => ownWeights(large, 'y')).toThrow(ModelError);
  expect(() => ownWeights(large, 'y')).toThrow(
    /node 'fill', tensor 'w': .* GiB of memory, more than the limit/,
  );
});
