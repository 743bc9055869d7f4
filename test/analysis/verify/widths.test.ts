import { describe, expect, test } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import { type FloatType, type Model, narrow, Tensor } from '../../../src/graph/index.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { Random } from '../../../src/runtime/index.js';
import { buildModel } from '../../support/build.js';

const SIZE = 24;
const numbers = (key: string): Float64Array =>
  new Random(0, key).fillNormal(new Float64Array(SIZE * SIZE), 1 / Math.sqrt(SIZE));

/** y = relu(x w1) w2, in a type; `change` multiplies w2. */
function net(
  type: FloatType,
  { change = 1, hidden = 'h', io = type }: { change?: number; hidden?: string; io?: FloatType } = {},
): Model {
  const weight = (name: string, factor = 1): Tensor =>
    Tensor.of(
      name,
      type,
      [SIZE, SIZE],
      narrow(
        type,
        numbers(name).map((value) => value * factor),
      ) as never,
    );
  const to = (value: FloatType) => ({
    to: { int: value === 'float16' ? 10 : value === 'bfloat16' ? 16 : 1 },
  });
  return buildModel({
    inputs: [['x', io, ['n', SIZE]]],
    outputs: [['y', io, ['n', SIZE]]],
    nodes: [
      { opType: 'Cast', inputs: ['x'], outputs: ['in'], attributes: to(type) },
      { opType: 'MatMul', inputs: ['in', 'w1'], outputs: [hidden], name: 'fc1' },
      { opType: 'Relu', inputs: [hidden], outputs: ['r'], name: 'relu' },
      { opType: 'MatMul', inputs: ['r', 'w2'], outputs: ['z'], name: 'fc2' },
      { opType: 'Cast', inputs: ['z'], outputs: ['y'], attributes: to(io) },
    ],
    initializers: [weight('w1'), weight('w2', change)],
  });
}

test('bfloat16 inside, expanded, is the same to its own rounding, and another weight is not', async () => {
  const model = net('bfloat16', { io: 'float32' });
  const expanded = model.clone();
  await expanded.apply(expand());
  expect(await verifyModels(model, expanded)).toMatchObject({ verdict: 'same' });
  expect(await verifyModels(model, net('bfloat16', { io: 'float32', change: 1.2 }))).toMatchObject({
    verdict: 'different',
  });
});

describe('models of different float types', () => {
  test.each([
    ['with half inputs and outputs', net('float16')],
    ['with half inside alone', net('float16', { io: 'float32' })],
  ])('agree to the rounding of the coarser: %s', async (_, half) => {
    const wide = net('float32');
    for (const [a, b] of [
      [wide, half],
      [half, wide],
    ] as const) {
      const { passed, outputs, problems, rounds } = await verifyModels(a, b, { dims: { n: 8 } });
      expect([passed, problems, rounds]).toEqual([true, [], b === half ? 'b' : undefined]);
      expect(outputs[0]!.tolerance).toBeCloseTo(0.0078, 4);
      expect(outputs[0]!.relativeDifference).toBeGreaterThan(1e-5);
    }
    const { outputs } = await verifyModels(wide, half);
    expect([outputs[0]!.type, outputs[0]!.otherType]).toEqual([
      'float32',
      half.graph.outputs[0]!.dataType === 'float32' ? undefined : 'float16',
    ]);
  });

  test('a change of 15 % is more than that', async () => {
    const { passed, problems } = await verifyModels(net('float32'), net('float16', { change: 1.15 }));
    expect([passed, problems]).toEqual([false, []]);
  });

  test('integers are still of one type', async () => {
    const of = (type: 'int32' | 'int64') =>
      buildModel({
        inputs: [['x', type, [2]]],
        outputs: [['y', type, [2]]],
        nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
      });
    const { passed, problems } = await verifyModels(of('int32'), of('int64'));
    expect([passed, problems[0]]).toEqual([false, expect.stringContaining('in the first model')]);
  });
});

describe('the first inner value that differs', () => {
  test('is the one behind the weight that changed', async () => {
    const { divergence } = await verifyModels(net('float32'), net('float32', { change: 1.01 }), {
      trace: true,
    });
    const fc2 = { name: 'fc2', opType: 'MatMul' };
    expect(divergence).toMatchObject({ value: 'z', nodes: [fc2, fc2], agreeing: 3, tolerance: 1e-4 });
    expect(divergence!.relativeDifference).toBeCloseTo(0.01, 4);
  });

  test('skips values of other names, and is not looked for unasked or without a difference', async () => {
    const renamed = await verifyModels(net('float32'), net('float16', { change: 1.1, hidden: 'g' }), {
      trace: true,
    });
    expect(renamed.divergence).toMatchObject({ value: 'z', agreeing: 2 });
    expect((await verifyModels(net('float32'), net('float32', { change: 2 }))).divergence).toBe(undefined);
    expect((await verifyModels(net('float32'), net('float32'), { trace: true })).divergence).toBe(undefined);
  });
});

test('several given samples are compared one by one', async () => {
  const inputs = [1, 2, 3].map((seed) => ({
    x: {
      type: 'float32' as const,
      shape: [2, SIZE],
      data: new Random(seed).fillNormal(new Float32Array(2 * SIZE)),
    },
  }));
  const { samples, passed, outputs } = await verifyModels(net('float32'), net('float16'), { inputs });
  expect([samples, passed, outputs[0]!.elements]).toEqual([3, true, 3 * 2 * SIZE]);
  await expect(verifyModels(net('float32'), net('float32'), { inputs: [] })).rejects.toThrow(/no sample/);
});
