import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assertValid, type NodeSpec, ValueInfo } from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import { evaluate, Random } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { checkOp, doubles, ints, type OpCase, tensor } from './check-gradient.js';
import { axesOf, axisOf, checkCases, shapes } from './draw.js';

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

/** [N, C, ...] of a batch that has something to normalize by. */
const batches = fc
  .tuple(fc.integer({ min: 2, max: 4 }), fc.integer({ min: 1, max: 4 }), shapes(0, 3, 3))
  .map(([n, c, rest]) => [n, c, ...rest]);

describe('normalizations', () => {
  const batchNorm = (options: OpCase['options']) =>
    fc.tuple(batches, fc.constantFrom(1e-5, 0.01, 0.5)).map(([shape, epsilon]): OpCase => {
      const c = shape[1]!;
      return {
        op: 'BatchNormalization',
        shapes: [shape, [c], [c]],
        constants: channels(c),
        attributes: { epsilon: { float: epsilon } },
        // Two samples of one number are always -1 and 1: only the epsilon lets them move.
        map: (x, index, input) => (input === 0 ? x + 2 * (index % 2) + index / 50 : x),
        options,
        tolerance: 1e-5,
      };
    });

  test('BatchNormalization with the statistics of the batch, also long enough for dot products', async () => {
    await checkCases(batchNorm({}), 10);
    await checkOp({
      op: 'BatchNormalization',
      shapes: [[2, 2, 16, 33], [2], [2]],
      constants: channels(2),
      tolerance: 1e-6,
    });
  });

  test('BatchNormalization by sums and products, and with stored statistics', async () => {
    await checkCases(batchNorm({ elementary: true }));
    await checkCases(batchNorm({ batchNorm: 'inference' }));
  });

  test('LayerNormalization over the last axes, with a bias and without, in float64 and with its own outputs in float32', async () => {
    for (const type of ['float64', 'float32'] as const) {
      const drawn = shapes(1, 3).chain((shape) =>
        fc.tuple(fc.constant([...shape, 5]), axisOf([...shape, 5]), fc.boolean()),
      );
      await checkCases(
        drawn.map(([shape, axis, hasBias]): OpCase => {
          const inner = shape.slice(axis);
          return {
            op: 'LayerNormalization',
            type,
            shapes: [shape, inner, ...(hasBias ? [inner] : [])],
            attributes: { axis: { int: axis }, epsilon: { float: 0.01 } },
          };
        }),
      );
    }
  });

  test('InstanceNormalization', async () => {
    await checkCases(
      fc.tuple(shapes(2, 2, 3), shapes(1, 3, 3)).map(
        ([[n = 1, c = 1], rest]): OpCase => ({
          op: 'InstanceNormalization',
          type: 'float32',
          shapes: [[n, c, ...rest, 4], [c], [c]],
          attributes: { epsilon: { float: 0.1 } },
        }),
      ),
    );
  });

  test('GroupNormalization with a scale a group, and a scale a channel', async () => {
    await checkCases(
      fc
        .tuple(shapes(3, 3, 3), shapes(0, 2, 3), fc.boolean())
        .map(([[n = 1, groups = 1, each = 1], rest, isChannel]): OpCase => {
          const count = isChannel ? groups * each : groups;
          return {
            op: 'GroupNormalization',
            // onnxruntime computes it in float32 whatever the input is.
            step: 1e-2,
            tolerance: 2e-3,
            shapes: [[n, groups * each, ...rest, 3], [count], [count]],
            attributes: { num_groups: { int: groups }, epsilon: { float: 0.1 } },
            opset: isChannel ? 21 : 18,
          };
        }),
    );
  });

  test('LRN (onnxruntime takes windows of odd size only)', async () => {
    await checkCases(
      fc.tuple(fc.constantFrom(1, 3, 5, 7), shapes(4, 4, 3), fc.constantFrom(0.5, 0.75, 1)).map(
        ([size, [n = 1, c = 1, h = 1, w = 1], beta]): OpCase => ({
          op: 'LRN',
          type: 'float32',
          shapes: [[n, c + 2, h, w]],
          attributes: {
            size: { int: size },
            alpha: { float: 0.5 },
            beta: { float: beta },
            bias: { float: 1.5 },
          },
        }),
      ),
    );
  });
});

describe('reductions', () => {
  const positive = (x: number): number => Math.abs(x) + 0.2;
  const spread = (x: number, index: number): number => x + 2 * index;
  const cases: readonly (readonly [string, ((x: number, index: number) => number)?])[] = [
    ['ReduceSum'],
    ['ReduceMean'],
    ['ReduceMax', spread],
    ['ReduceMin', spread],
    ['ReduceL1', positive],
    ['ReduceL2', positive],
    ['ReduceSumSquare'],
    ['ReduceLogSum', positive],
    ['ReduceLogSumExp'],
  ];
  for (const [op, map] of cases) {
    test(`${op} over any axes, all, none; kept or dropped`, async () => {
      const drawn = shapes(1, 4, 3).chain((shape) =>
        fc.tuple(fc.constant(shape), fc.option(axesOf(shape)), fc.nat(1), fc.nat(1)),
      );
      await checkCases(
        drawn.map(
          ([shape, axes, keep, noop]): OpCase => ({
            op,
            shapes: [shape],
            constants: axes === null ? [] : [ints('axes', axes)],
            map,
            attributes: { keepdims: { int: keep }, noop_with_empty_axes: { int: noop } },
            tolerance: 1e-6,
          }),
        ),
        8,
      );
    });
  }

  test('Softmax and LogSoftmax along any axis', async () => {
    for (const op of ['Softmax', 'LogSoftmax']) {
      await checkCases(
        shapes(1, 4).chain((shape) =>
          axisOf(shape).map((axis): OpCase => ({ op, shapes: [shape], attributes: { axis: { int: axis } } })),
        ),
      );
    }
  });

  test('operator sets before 13: Softmax over all axes behind its own, axes as attributes', async () => {
    const drawn = shapes(2, 4).chain((shape) =>
      fc.tuple(fc.constant(shape), axesOf(shape, 1), fc.constantFrom(9, 11)),
    );
    await checkCases(
      drawn.chain(([shape, axes, opset]) =>
        fc.constantFrom<OpCase>(
          { op: 'Softmax', shapes: [shape], opset, type: 'float32' },
          { op: 'LogSoftmax', shapes: [shape], opset, type: 'float32' },
          // Axes count from the front before version 11.
          ...['ReduceSum', 'ReduceMean'].map((op) => ({
            op,
            shapes: [shape],
            opset,
            attributes: { axes: { ints: axes.map((axis) => (axis + shape.length) % shape.length) } },
          })),
        ),
      ),
      8,
    );
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
