import { expect, test } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import { inSingle } from '../../../src/graph/edit/single-precision.js';
import { type Model, narrow, Tensor, widen } from '../../../src/graph/index.js';
import { openSession, Random, randomInputs, runModel } from '../../../src/runtime/index.js';
import { tensorDataset } from '../../../src/training/data/index.js';
import { planTraining } from '../../../src/training/plan.js';
import { train } from '../../../src/training/train.js';
import { buildModel } from '../../support/build.js';

const normals = (name: string, length: number): Float32Array =>
  new Random(3, name).fillNormal(new Float32Array(length)) as Float32Array;

function weight(name: string, shape: readonly number[]): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.of(
    name,
    'bfloat16',
    shape,
    narrow(
      'bfloat16',
      normals(name, size).map((value) => value / 2),
    ),
  );
}

/** Nodes, a subgraph and casts, all in bfloat16. */
function model(): Model {
  return buildModel({
    inputs: [['x', 'bfloat16', ['n', 6]]],
    outputs: [['y', 'bfloat16', ['n', 3]]],
    nodes: [
      { opType: 'MatMul', name: 'a', inputs: ['x', 'a.weight'], outputs: ['h'] },
      { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'Cast', name: 'up', inputs: ['r'], outputs: ['f'], attributes: { to: { int: 1 } } },
      { opType: 'Cast', name: 'down', inputs: ['f'], outputs: ['g'], attributes: { to: { int: 16 } } },
      { opType: 'Gemm', name: 'b', inputs: ['g', 'b.weight', 'b.bias'], outputs: ['y'] },
    ],
    initializers: [weight('a.weight', [6, 8]), weight('b.weight', [8, 3]), weight('b.bias', [3])],
  });
}

test('bfloat16 runs in float32 where there is no kernel, and says so', async () => {
  const feeds = randomInputs(model(), { seed: 1 });
  const { outputs, widened } = await runModel(model(), feeds);
  expect(widened).toBe(true);
  const single = inSingle(model(), false).model;
  const { x } = feeds;
  const { outputs: exact, widened: isPlain } = await runModel(single, {
    x: {
      type: 'float32',
      shape: x?.shape ?? [],
      data: widen('bfloat16', x?.data as Uint16Array) as Float32Array,
    },
  });
  expect(isPlain).toBeUndefined();
  // Rounded to bfloat16 once, at the end.
  expect(outputs.y).toEqual({
    ...exact.y,
    type: 'bfloat16',
    data: narrow('bfloat16', exact.y?.data as Float32Array),
  });
  const verified = await verifyModels(model(), single);
  expect([verified.passed, verified.widened]).toEqual([true, ['a']]);
});

test('what has kernels is left to them', async () => {
  const plain = buildModel({
    inputs: [['x', 'float32', [4]]],
    outputs: [['y', 'bfloat16', [4]]],
    nodes: [{ opType: 'Cast', name: 'cast', inputs: ['x'], outputs: ['y'], attributes: { to: { int: 16 } } }],
  });
  await using session = await openSession(plain);
  expect(session.widened).toBe(false);
});

test('bfloat16 trains in float32, and the model has it again', async () => {
  const [inputs, made] = [normals('x', 32 * 6), normals('y', 32 * 3)];
  const data = tensorDataset({
    x: { type: 'float32', shape: [32, 6], data: inputs },
    y: { type: 'float32', shape: [32, 3], data: made },
  });
  const options = { loss: 'mse', epochs: 3, batch: 8, learningRate: 0.01, optimizer: 'sgd' } as const;
  const [half, single] = [model(), inSingle(model(), false).model];
  expect(planTraining(half, data, options).widened).toBe(true);
  expect(planTraining(single, data, options).widened).toBeUndefined();
  for (const one of [half, single]) await train(one, data, options).result();
  for (const [name, tensor] of half.graph.initializers) {
    expect(tensor.dataType).toBe('bfloat16');
    const wanted = single.graph.initializers.get(name)?.array() as Float32Array;
    expect(tensor.array()).toEqual(narrow('bfloat16', wanted));
  }
});
