import { describe, expect, test } from 'vitest';
import type { Model } from '../../../src/graph/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/options.js';
import { withComposedChains } from '../../../src/passes/gradient/prepare/compose-chains.js';
import { settledInputs } from '../../../src/passes/gradient/prepare/infer-shapes.js';
import { openEngine } from '../../../src/training/engine/engine.js';
import { HEAVY_BALL, randomChunk } from '../../training/support.js';
import { expanded, expectSameFunction } from '../laws.js';
import { oneLayer, opsOf, relativeError, weight } from '../models.js';
import { CNN, MLP, VIT } from './networks.js';

const ints = (...values: number[]) => ({ ints: values });

const LAYERS: Readonly<Record<string, Model>> = {
  'Gemm with transB': oneLayer({
    opType: 'Gemm',
    x: [5, 6],
    y: [5, 4],
    weight: weight('w', [4, 6], 'float64'),
    bias: weight('b', [4], 'float64'),
    attributes: { transB: { int: 1 } },
  }),
  Gemm: oneLayer({ opType: 'Gemm', x: [5, 6], y: [5, 4], weight: weight('w', [6, 4], 'float64') }),
  MatMul: oneLayer({ opType: 'MatMul', x: [2, 5, 6], y: [2, 5, 4], weight: weight('w', [6, 4], 'float64') }),
  'MatMul with the weight on the left': oneLayer({
    opType: 'MatMul',
    x: [2, 6, 5],
    y: [2, 4, 5],
    weight: weight('w', [4, 6], 'float64'),
    isWeightLeft: true,
  }),
  Conv: oneLayer({
    opType: 'Conv',
    x: [2, 3, 9, 8],
    y: [2, 5, 5, 8],
    weight: weight('w', [5, 3, 3, 3]),
    bias: weight('b', [5]),
    attributes: { strides: ints(2, 1), pads: ints(1, 1, 1, 1) },
  }),
};

const composed = (model: Model, steps: 'auto' | 'product', batch = 2): Promise<Model> =>
  withComposedChains(model, settledInputs(model, { batch }), steps);

describe.each(Object.entries(LAYERS))('a chain of %s', (_, layer) => {
  test.each([2, 3, 4])('of %i factors is one node, whose weight is their product', async (depth) => {
    const { model } = await expanded(layer, { depth, init: 'fresh:normal' });
    const whole = await composed(model, 'product');
    expect(opsOf(whole).filter((op) => op === layer.graph.nodes[0]!.opType)).toHaveLength(
      layer.graph.nodes[0]!.opType === 'MatMul' ? depth : 1,
    );
    expect(whole.graph.nodes.at(-1)!.outputs).toEqual(['y']);
    await expectSameFunction(model, whole);
    for (const [name, tensor] of model.graph.initializers)
      expect(whole.graph.initializers.get(name)).toEqual(tensor);
  });
});

test.each<[string, ExpandOptions]>([
  ['normalizations', { batchNorm: true }],
  ['residual connections', { residual: true }],
  ['two kernels', { kernelSizes: [[2, 2]] }],
])('%s keep a chain as it is', async (_, options) => {
  const square = oneLayer({
    opType: 'Conv',
    x: [2, 4, 9, 8],
    y: [2, 4, 9, 8],
    weight: weight('w', [4, 4, 3, 3]),
    attributes: { pads: ints(1, 1, 1, 1) },
  });
  const { model } = await expanded(square, { depth: 2, ...options });
  expect(await composed(model, 'product')).toBe(model);
});

test('auto multiplies out where the positions are many', async () => {
  const square = oneLayer({
    opType: 'MatMul',
    x: ['n', 32] as never,
    y: ['n', 32] as never,
    weight: weight('w', [32, 32]),
  });
  const { model } = await expanded(square, { depth: 3 });
  // p 32^2 + 2 * 32^3 < 3 p 32^2 from 33 positions on.
  expect(await composed(model, 'auto', 32)).toBe(model);
  expect(await composed(model, 'auto', 33)).not.toBe(model);
});

describe.each<[string, () => Model, number, number]>([
  ['MLP in float64', () => MLP('float64'), 5, 1e-12],
  ['CNN with BatchNormalization', CNN, 4, 1e-4],
  ['vision transformer', VIT, 3, 1e-4],
])('%s, expanded', (_, build, classes, tolerance) => {
  test('trains to the same factors, whichever way a step goes', async () => {
    const { model } = await expanded(build(), { depth: 3 });
    const chunk = randomChunk(model, { steps: 5, batch: 6, classes });
    const base = { loss: 'cross-entropy', batch: 6, optimizer: HEAVY_BALL } as const;
    const trained = async (chainSteps: 'product' | 'factors') => {
      await using engine = await openEngine(model, { ...base, chainSteps });
      const { losses } = await engine.run(chunk);
      return { losses, weights: (await engine.state()).weights };
    };
    const [short, long] = [await trained('product'), await trained('factors')];
    expect(relativeError(short.losses, long.losses)).toBeLessThan(tolerance);
    expect([...short.weights.keys()]).toEqual([...long.weights.keys()]);
    for (const [name, { data }] of long.weights)
      expect(
        relativeError(short.weights.get(name)!.data as Float32Array, data as Float32Array),
        name,
      ).toBeLessThan(tolerance);
  });
});

test('of a transformer, whose sizes its graph computes, the positions are those of a run', async () => {
  const { model } = await expanded(VIT(), { depth: 3 });
  expect(await composed(model, 'auto', 1024)).not.toBe(model);
});
