import { describe, expect, test } from 'vitest';
import { check, type Model, type NodeSpec, ValueInfo } from '../../../src/graph/index.js';
import { followBatch } from '../../../src/passes/gradient/prepare/batch-axis.js';
import { openedBatch, rebatched } from '../../../src/passes/gradient/prepare/rebatch.js';
import { openSession, randomInputs } from '../../../src/runtime/index.js';
import { buildModel, floats, ints } from '../../support/build.js';

const wave = (name: string, shape: readonly number[]) =>
  floats(name, shape, (i) => Math.sin(1.7 * i + shape.length));
const node = (
  opType: string,
  inputs: string,
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType,
  inputs: inputs.split(' '),
  outputs: [output],
  attributes,
});
const perm = (...axes: number[]) => ({ perm: { ints: axes } });

/** Attention over 5 tokens with 2 heads of 3, the tokens in front, as PyTorch writes it for a batch of 1. */
const attention = (): Model =>
  buildModel({
    opset: 14,
    inputs: [['x', 'float32', [1, 4, 6]]],
    outputs: [['y', 'float32', [1, 5, 6]]],
    nodes: [
      node('Concat', 'token x', 'tokens', { axis: { int: 1 } }),
      node('Add', 'tokens position', 'placed'),
      node('Transpose', 'placed', 'first', perm(1, 0, 2)),
      ...['q', 'k', 'v'].flatMap((name) => [
        node('Reshape', 'first flat', `${name}/flat`),
        node('Gemm', `${name}/flat ${name} bias`, `${name}/mixed`),
        node('Reshape', `${name}/mixed heads`, `${name}/heads`),
        node('Transpose', `${name}/heads`, `${name}/own`, perm(1, 0, 2)),
      ]),
      node('Transpose', 'k/own', 'k/turned', perm(0, 2, 1)),
      node('MatMul', 'q/own k/turned', 'raw'),
      node('Softmax', 'raw', 'weights', { axis: { int: -1 } }),
      node('MatMul', 'weights v/own', 'mixed'),
      node('Transpose', 'mixed', 'back', perm(1, 0, 2)),
      node('Reshape', 'back flat', 'merged'),
      node('Gemm', 'merged out bias', 'projected'),
      node('Reshape', 'projected sequence', 'last'),
      node('Transpose', 'last', 'y', perm(1, 0, 2)),
    ],
    initializers: [
      wave('token', [1, 1, 6]),
      wave('position', [1, 5, 6]),
      wave('q', [6, 6]),
      wave('k', [6, 6]),
      wave('v', [6, 6]),
      wave('out', [6, 6]),
      wave('bias', [6]),
      ints('flat', [5, 6]),
      ints('heads', [5, 2, 3]),
      ints('sequence', [5, 1, 6]),
    ],
  });

/** Windows of 2 x 2, a constant for each window, as a shifted-window transformer has them. */
const windows = (): Model =>
  buildModel({
    opset: 14,
    inputs: [['x', 'float32', [1, 4, 4, 3]]],
    outputs: [['y', 'float32', [1, 3]]],
    nodes: [
      node('Reshape', 'x split', 'split/x'),
      node('Transpose', 'split/x', 'near', perm(0, 1, 3, 2, 4, 5)),
      node('Reshape', 'near parts', 'parts/x'),
      node('MatMul', 'parts/x w', 'mixed'),
      node('Reshape', 'mixed masked', 'windows'),
      node('Add', 'windows mask', 'masked/x'),
      node('ReduceMean', 'masked/x', 'y', { axes: { ints: [1, 2] }, keepdims: { int: 0 } }),
    ],
    initializers: [
      ints('split', [1, 2, 2, 2, 2, 3]),
      ints('parts', [4, 4, 3]),
      ints('masked', [1, 4, 4, 3]),
      wave('mask', [1, 4, 4, 1]),
      wave('w', [3, 3]),
    ],
  });

/** Half of the target is computed, and says 1 all the same. */
const computed = (): Model =>
  buildModel({
    opset: 14,
    inputs: [['x', 'float32', [1, 2, 3, 3]]],
    outputs: [['y', 'float32', [1, 4]]],
    nodes: [
      node('Conv', 'x conv', 'c'),
      node('Shape', 'c', 's'),
      node('Gather', 's channel', 'channels'),
      node('Concat', 'one channels', 'target', { axis: { int: 0 } }),
      node('Reshape', 'c target', 'f'),
      node('Gemm', 'f w b', 'y'),
    ],
    initializers: [
      wave('conv', [5, 2, 3, 3]),
      ints('channel', [1]),
      ints('one', [1]),
      wave('w', [5, 4]),
      wave('b', [4]),
    ],
  });

const fed = (model: Model, batch: number): ValueInfo[] =>
  model.graph.inputs.map(({ name, shape }) => ValueInfo.tensor(name, 'float32', [batch, ...shape!.slice(1)]));

describe('a model that was written for a batch of 1', () => {
  test.each([
    ['attention with tokens in front', attention],
    ['windows', windows],
    ['a target that is computed', computed],
  ] as const)('%s takes another, each sample by itself', async (_, make) => {
    const model = make();
    const made = await openedBatch(model, fed(model, 3));
    expect(check(made)).toEqual([]);
    // It is for any batch, and there is nothing left to do.
    expect(await openedBatch(made, fed(model, 7))).toBe(made);
    const [open] = made.graph.inputs;
    const [name, shape] = [open!.name, open!.shape!];
    expect(shape[0]).toBe('batch');
    await using single = await openSession(model);
    await using many = await openSession(made);
    const samples = [1, 2, 3].map((seed) => randomInputs(model, { seed })[name]!);
    const data = Float32Array.from(samples.flatMap((sample) => [...(sample.data as Float32Array)]));
    const { y } = await many.run({
      [name]: { type: 'float32', shape: [3, ...shape.slice(1).map(Number)], data },
    });
    const found = [...(y!.data as Float32Array)];
    const expected: number[] = [];
    for (const sample of samples)
      expected.push(...((await single.run({ [name]: sample })).y!.data as Float32Array));
    expect(found).toHaveLength(expected.length);
    const largest = Math.max(...expected.map(Math.abs));
    for (const [i, wanted] of expected.entries())
      expect(Math.abs(found[i]! - wanted) / largest).toBeLessThan(1e-5);
  });

  test('one whose batch is open, or wanted to be 1, stays as it is', async () => {
    const model = attention();
    expect(await rebatched(model, fed(model, 1))).toBe(model);
  });

  test('one that mixes samples is refused', async () => {
    const model = buildModel({
      opset: 14,
      inputs: [['x', 'float32', [1, 4]]],
      outputs: [['y', 'float32', [1, 4]]],
      nodes: [
        node('Reshape', 'x flat', 'f'),
        // Normalizes over all there is, which only at a batch of 1 is one sample.
        node('MeanVarianceNormalization', 'f', 'n', { axes: { ints: [0, 1] } }),
        node('Reshape', 'n back', 'y'),
      ],
      initializers: [ints('flat', [1, 4]), ints('back', [1, 4])],
    });
    await expect(rebatched(model, fed(model, 2))).rejects.toThrow(
      "is written for a batch of 1, and at another its output 'y' mixes samples",
    );
  });
});

test.each([
  [11, 'Softmax'],
  [11, 'LogSoftmax'],
  [13, 'Softmax'],
])('the batch beside the default axis of operator set %i: %s', (opset, opType) => {
  // [2, B, 3]: until operator set 13, all axes from the first on are one.
  const { graph } = buildModel({
    opset,
    inputs: [['x', 'float32', [1, 2, 3]]],
    outputs: [['y', 'float32']],
    nodes: [node('Transpose', 'x', 't', perm(1, 0, 2)), node(opType, 't', 'y')],
  });
  const shapes = new Map([
    ['x', [1, 2, 3]],
    ['t', [2, 1, 3]],
    ['y', [2, 1, 3]],
  ]);
  const plan = followBatch(graph, graph.nodes, ['x'], shapes);
  expect(plan?.labels.get('y')).toEqual(opset < 13 ? undefined : { axis: 1, outer: 1, inner: 1 });
});
