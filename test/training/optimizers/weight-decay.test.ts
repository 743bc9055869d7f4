import { expect, test } from 'vitest';
import { expand } from '../../../src/passes/expand/expand.js';
import { trainableWeights } from '../../../src/passes/gradient/index.js';
import { decayedWeights, inputsFirst } from '../../../src/training/optimizers/weight-decay.js';
import { buildModel, floats } from '../../support/build.js';

const network = () =>
  buildModel({
    inputs: [
      ['image', 'float32', [1, 3, 8, 8]],
      ['token', 'int64', [1]],
    ],
    outputs: [['y', 'float32', [1, 5]]],
    opset: 18,
    nodes: [
      { opType: 'Conv', inputs: ['image', 'conv.w', 'conv.b'], outputs: ['c'] },
      { opType: 'BatchNormalization', inputs: ['c', 'bn.w', 'bn.b', 'mean', 'var'], outputs: ['n'] },
      { opType: 'PRelu', inputs: ['n', 'slope'], outputs: ['r'] },
      { opType: 'GlobalAveragePool', inputs: ['r'], outputs: ['p'] },
      { opType: 'Flatten', inputs: ['p'], outputs: ['f'] },
      { opType: 'Transpose', inputs: ['up.w'], outputs: ['up.t'], attributes: { perm: { ints: [1, 0] } } },
      { opType: 'MatMul', inputs: ['f', 'up.t'], outputs: ['u'] },
      { opType: 'Add', inputs: ['u', 'up.b'], outputs: ['ub'] },
      { opType: 'Gather', inputs: ['embedding', 'token'], outputs: ['e'] },
      { opType: 'Add', inputs: ['ub', 'e'], outputs: ['s'] },
      { opType: 'LayerNormalization', inputs: ['s', 'ln.w', 'ln.b'], outputs: ['l'] },
      {
        opType: 'Gemm',
        inputs: ['l', 'head.w', 'head.b'],
        outputs: ['y'],
        attributes: { transB: { int: 1 } },
      },
    ],
    initializers: [
      floats('conv.w', [4, 3, 3, 3]),
      floats('conv.b', [4]),
      floats('bn.w', [4]),
      floats('bn.b', [4]),
      floats('mean', [4]),
      floats('var', [4]),
      floats('slope', [4, 1, 1]),
      floats('up.w', [6, 4]),
      // Of rank 2, and a bias all the same.
      floats('up.b', [1, 6]),
      floats('embedding', [10, 6]),
      floats('ln.w', [6]),
      floats('ln.b', [6]),
      floats('head.w', [5, 6]),
      floats('head.b', [5]),
    ],
  });

test('what linear layers and embeddings multiply by is decayed, biases and norms are not', () => {
  const { graph } = network();
  const weights = trainableWeights(graph, 'y');
  expect(weights).toHaveLength(12);
  expect([...decayedWeights(graph, weights)]).toEqual(['conv.w', 'up.w', 'embedding', 'head.w']);
});

test('a matrix has a row an input where MatMul reads it so, views and transpositions looked through', () => {
  const { graph } = network();
  expect([...inputsFirst(graph, trainableWeights(graph, 'y'))]).toEqual([]);
  const model = buildModel({
    inputs: [['x', 'float32', [1, 4]]],
    outputs: [['y', 'float32', [1, 5]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'a'], outputs: ['h'] },
      { opType: 'Gemm', inputs: ['h', 'b'], outputs: ['g'] },
      { opType: 'Transpose', inputs: ['c'], outputs: ['ct'], attributes: { perm: { ints: [1, 0] } } },
      { opType: 'Gemm', inputs: ['g', 'ct'], outputs: ['y'], attributes: { transB: { int: 1 } } },
    ],
    initializers: [floats('a', [4, 4]), floats('b', [4, 4]), floats('c', [4, 5])],
  });
  expect([...inputsFirst(model.graph, ['a', 'b', 'c'])]).toEqual(['a', 'b', 'c']);
});

test('every factor of a chain is decayed', async () => {
  const model = network();
  await model.apply(expand({ depth: 3 }));
  const weights = trainableWeights(model.graph, 'y');
  const decayed = decayedWeights(model.graph, weights);
  const kept = weights.filter((name) => !decayed.has(name)).sort();
  expect(kept).toEqual(['bn.b', 'bn.w', 'conv.b', 'head.b', 'ln.b', 'ln.w', 'slope', 'up.b']);
  expect(decayed.size).toBe(10);
});
