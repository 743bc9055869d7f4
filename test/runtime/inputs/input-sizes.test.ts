import { expect, test } from 'vitest';
import type { Dimension } from '../../../src/graph/index.js';
import { outputShape } from '../../../src/passes/gradient/output-shape.js';
import { settledInputs } from '../../../src/passes/gradient/prepare/infer-shapes.js';
import { evaluate, randomInputs } from '../../../src/runtime/index.js';
import { tensorDataset } from '../../../src/training/data/index.js';
import { planTraining } from '../../../src/training/plan.js';
import { train } from '../../../src/training/train.js';
import { buildModel, floats } from '../../support/build.js';

const added = (...shapes: (readonly Dimension[])[]) =>
  buildModel({
    inputs: shapes.map((shape, index) => [`x${index}`, 'float32', shape]),
    outputs: [['y', 'float32']],
    nodes: [{ opType: 'Sum', inputs: shapes.map((_, index) => `x${index}`), outputs: ['y'] }],
  });

test.each<[string, (readonly Dimension[])[], { batch?: number; dims?: Record<string, number> }]>([
  ['a name gives its size wherever it stands', [['n', 4], [4]], { batch: 3 }],
  [
    'also where another input has it elsewhere',
    [
      ['n', 'm'],
      [1, 'm'],
    ],
    { batch: 3, dims: { m: 2 } },
  ],
  ['the name of the batch stands behind too', [['n', 'n']], { batch: 5 }],
  ['a place wins over a name', [['m', 'm']], { dims: { m: 4, 'x0[1]': 2 } }],
  ['an open size without a name is the batch', [[undefined, 3]], { batch: 2 }],
  ['-1 is one', [[-1, 3]], { batch: 2 }],
])('what runs is what trains: %s', async (_, shapes, options) => {
  const model = added(...shapes);
  const run = Object.entries(randomInputs(model, options)).map(([name, { shape }]) => [name, shape]);
  const trained = settledInputs(model, options).map(({ name, shape }) => [name, shape]);
  // Training may write a model of one sample for another batch.
  const isOne = shapes.map(([first]) => first === 1);
  expect(trained.filter((__, index) => !isOne[index])).toEqual(run.filter((__, index) => !isOne[index]));
  if (!isOne.includes(true)) {
    const { y } = await evaluate(model, randomInputs(model, options));
    expect(await outputShape(model, options)).toEqual(y?.shape);
  }
});

test('training takes no open dimension for 1', () => {
  expect(randomInputs(added(['n', 'm'])).x0?.shape).toEqual([1, 1]);
  expect(() => settledInputs(added(['n', 'm']), { batch: 2 })).toThrow(
    "dimension 1 of input 'x0' is open (m), and a gradient has fixed sizes; give it with `dims: { 'm': 16 }`",
  );
});

test('samples settle open dimensions, with a name or without', async () => {
  for (const open of ['m', undefined, -1]) {
    const model = buildModel({
      inputs: [['x', 'float32', ['n', open, 3]]],
      outputs: [['y', 'float32']],
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['z'] },
        { opType: 'ReduceMean', inputs: ['z'], outputs: ['y'], attributes: { axes: { ints: [1] } } },
      ],
      initializers: [floats('w', [3, 1], (index) => index)],
    });
    const data = tensorDataset({
      x: {
        type: 'float32',
        shape: [8, 5, 3],
        data: Float32Array.from({ length: 120 }, (_, index) => Math.sin(index)),
      },
      y: { type: 'float32', shape: [8], data: new Float32Array(8) },
    });
    expect(planTraining(model, data, { epochs: 1, batch: 4 }).stepsPerEpoch).toBe(2);
    const trained = await train(model, data, { epochs: 1, batch: 4, ranks: false }).result();
    expect(trained.epochs).toBe(1);
  }
});

test('indices stay within an axis of which only the nodes tell', async () => {
  const model = buildModel({
    inputs: [
      ['a', 'float32', [2, 3]],
      ['b', 'float32', ['k', 3]],
      ['i', 'int64', [200]],
    ],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'Concat', inputs: ['a', 'b'], outputs: ['table'], attributes: { axis: { int: 0 } } },
      { opType: 'Gather', inputs: ['table', 'i'], outputs: ['y'] },
    ],
  });
  const inputs = randomInputs(model, { dims: { k: 5 } });
  expect(Math.max(...Array.from(inputs.i?.data as BigInt64Array, Number))).toBe(6);
  await evaluate(model, inputs);
});
