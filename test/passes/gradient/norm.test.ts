import { describe, expect, test } from 'vitest';
import { assertValid, type NodeSpec, ValueInfo } from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import { buildModel } from '../../../src/runtime/build.js';
import { evaluate, Random } from '../../../src/runtime/index.js';
import { checkOp, doubles, ints, tensor } from './check-gradient.js';

const channels = (n: number) => [
  doubles(
    'mean',
    Array.from({ length: n }, (_, i) => 0.1 * i),
  ),
  doubles(
    'var',
    Array.from({ length: n }, (_, i) => 1 + i),
  ),
];

describe('normalizations', () => {
  test('BatchNormalization with the statistics of the batch', async () => {
    for (const shape of [
      [4, 3],
      [3, 2, 5],
      [2, 3, 2, 3],
      // Long enough for dot products.
      [2, 2, 16, 33],
    ]) {
      const c = shape[1]!;
      await checkOp({
        op: 'BatchNormalization',
        shapes: [shape, [c], [c]],
        constants: channels(c),
        attributes: { epsilon: { float: 0.01 } },
        tolerance: 1e-6,
      });
    }
  });

  test('BatchNormalization by sums and products', async () => {
    for (const shape of [
      [4, 3],
      [3, 3, 2, 2],
    ]) {
      await checkOp({
        op: 'BatchNormalization',
        shapes: [shape, [3], [3]],
        constants: channels(3),
        options: { elementary: true },
      });
    }
  });

  test('BatchNormalization with stored statistics', async () => {
    await checkOp({
      op: 'BatchNormalization',
      shapes: [[2, 3, 2, 3], [3], [3]],
      constants: channels(3),
      options: { batchNorm: 'inference' },
    });
  });

  test('LayerNormalization over one and two axes, in float64 and with its own outputs in float32', async () => {
    for (const type of ['float64', 'float32'] as const) {
      await checkOp({ op: 'LayerNormalization', type, shapes: [[3, 2, 5], [5], [5]] });
      await checkOp({
        op: 'LayerNormalization',
        type,
        shapes: [
          [3, 2, 5],
          [2, 5],
        ],
        attributes: { axis: { int: 1 } },
      });
    }
  });

  test('InstanceNormalization', async () => {
    await checkOp({ op: 'InstanceNormalization', type: 'float32', shapes: [[2, 3, 4, 2], [3], [3]] });
  });

  test('GroupNormalization with a scale a group, and a scale a channel', async () => {
    const attributes = { num_groups: { int: 2 } };
    // onnxruntime computes it in float32 whatever the input is.
    const single = { step: 1e-2, tolerance: 2e-3 };
    await checkOp({ op: 'GroupNormalization', shapes: [[2, 4, 3], [2], [2]], attributes, ...single });
    await checkOp({
      op: 'GroupNormalization',
      shapes: [[2, 4, 3, 2], [4], [4]],
      attributes,
      opset: 21,
      ...single,
    });
  });

  test('LRN (onnxruntime takes windows of odd size only)', async () => {
    for (const size of [1, 3, 5]) {
      await checkOp({
        op: 'LRN',
        type: 'float32',
        shapes: [[2, 5, 2, 2]],
        attributes: {
          size: { int: size },
          alpha: { float: 0.5 },
          beta: { float: 0.75 },
          bias: { float: 1.5 },
        },
      });
    }
  });
});

describe('reductions', () => {
  const positive = (x: number): number => Math.abs(x) + 0.2;
  const spread = (x: number, index: number): number => x + index;
  const cases: readonly (readonly [string, ((x: number, index: number) => number)?])[] = [
    ['ReduceSum'],
    ['ReduceMean'],
    ['ReduceMax', spread],
    ['ReduceMin', spread],
    ['ReduceL1', positive],
    ['ReduceL2'],
    ['ReduceSumSquare'],
    ['ReduceLogSum', positive],
    ['ReduceLogSumExp'],
  ];
  for (const [op, map] of cases) {
    test(op, async () => {
      for (const [axes, keep] of [
        [[1], 1],
        [[0, -1], 0],
        [undefined, 0],
        [[2], 0],
      ] as const) {
        const constants = axes === undefined ? [] : [ints('axes', axes)];
        await checkOp({
          op,
          shapes: [[3, 2, 4]],
          constants,
          map,
          attributes: { keepdims: { int: keep } },
          tolerance: 1e-6,
        });
      }
      await checkOp({ op, shapes: [[3, 2]], map, attributes: { noop_with_empty_axes: { int: 1 } } });
    });
  }

  test('Softmax and LogSoftmax along any axis', async () => {
    for (const op of ['Softmax', 'LogSoftmax']) {
      for (const axis of [0, 1, -1])
        await checkOp({ op, shapes: [[3, 4, 2]], attributes: { axis: { int: axis } } });
    }
  });

  test('operator sets before 13: Softmax over all axes behind its own, axes as attributes', async () => {
    for (const opset of [9, 11]) {
      await checkOp({ op: 'Softmax', shapes: [[3, 4, 2]], opset, type: 'float32' });
      await checkOp({ op: 'ReduceSum', shapes: [[3, 4]], opset, attributes: { axes: { ints: [1] } } });
      await checkOp({ op: 'ReduceMean', shapes: [[3, 4]], opset, attributes: { axes: { ints: [0] } } });
    }
  });
});

describe('a LayerNormalization that is spelled out', () => {
  const n = (opType: string, inputs: string[], output: string, attributes = {}): NodeSpec => ({
    opType,
    inputs,
    outputs: [output],
    attributes,
  });
  const spelled = (axes: number) =>
    buildModel({
      nodes: [
        n('ReduceMean', ['a'], 'mean', { axes: { ints: [axes] } }),
        n('Sub', ['a', 'mean'], 'd'),
        n('Pow', ['d', 'two'], 'p'),
        n('ReduceMean', ['p'], 'var', { axes: { ints: [axes] } }),
        n('Add', ['var', 'eps'], 've'),
        n('Sqrt', ['ve'], 's'),
        n('Div', ['d', 's'], 'xhat'),
        n('Mul', ['xhat', 'b'], 'm'),
        n('Add', ['m', 'c'], 'y0'),
      ],
      inputs: [ValueInfo.tensor('a', 'float64', [3, 2, 5])],
      outputs: ['y0'],
      initializers: [
        doubles('two', [2], []),
        doubles('eps', [0.01], []),
        doubles('b', [1, 2, 3, 4, 5]),
        doubles('c', [1, 0, 1, 0, 1]),
      ],
      opset: 13,
    });

  test('is made one, with the same gradients as the pieces have', async () => {
    // The last axis by its number from the front is left alone: without the rank it could be any.
    const feeds = { a: tensor('float64', [3, 2, 5], new Random(1).fillNormal(new Float64Array(30))) };
    const run = async (axes: number) => {
      const made = await gradient(spelled(axes), {
        loss: { kind: 'mse' },
        wrt: ['a', 'b', 'c'],
        weights: 'constants',
      });
      assertValid(made.model);
      const target = { [made.target!]: tensor('float64', [3, 2, 5], new Float64Array(30)) };
      const results = await evaluate(made.model, { ...feeds, ...target });
      const count = made.model.graph.nodes.filter((node) => node.is('LayerNormalization')).length;
      return {
        count,
        all: ['a', 'b', 'c'].map((name) => results[made.gradients.get(name)!]!.data as Float64Array),
      };
    };
    const [fused, pieces] = [await run(-1), await run(2)];
    expect([fused.count, pieces.count]).toEqual([1, 0]);
    for (const [i, found] of fused.all.entries()) {
      for (const [k, number] of found.entries()) expect(number).toBeCloseTo(pieces.all[i]![k]!, 6);
    }
  });
});
