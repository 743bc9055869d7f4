import fc from 'fast-check';
import { describe, test } from 'vitest';
import { Tensor } from '../../../src/graph/index.js';
import { checkOp, ints, singles } from './check-gradient.js';

describe('operators that move elements', () => {
  test('Reshape, Flatten, Squeeze, Unsqueeze, Transpose', async () => {
    await checkOp({ op: 'Reshape', shapes: [[2, 3, 4]], constants: [ints('s', [0, -1])] });
    await checkOp({ op: 'Flatten', shapes: [[2, 3, 4]], attributes: { axis: { int: 2 } } });
    await checkOp({ op: 'Squeeze', shapes: [[2, 1, 4, 1]], constants: [ints('s', [1])] });
    await checkOp({ op: 'Squeeze', shapes: [[2, 1, 4, 1]] });
    await checkOp({ op: 'Unsqueeze', shapes: [[2, 4]], constants: [ints('s', [0, -1])] });
    await checkOp({ op: 'Transpose', shapes: [[2, 3, 4]] });
    await checkOp({ op: 'Transpose', shapes: [[2, 3, 4]], attributes: { perm: { ints: [1, 2, 0] } } });
  });

  test('Concat and Split', async () => {
    await checkOp({
      op: 'Concat',
      shapes: [
        [2, 3],
        [2, 1],
        [2, 2],
      ],
      attributes: { axis: { int: -1 } },
    });
    for (const output of [0, 1]) {
      await checkOp({
        op: 'Split',
        shapes: [[2, 5]],
        constants: [ints('s', [2, 3])],
        attributes: { axis: { int: 1 } },
        outputs: 2,
        output,
      });
    }
  });

  test('Slice: bounds beyond the ends, steps, backwards', async () => {
    const bound = fc.integer({ min: -8, max: 8 });
    const step = fc.constantFrom(1, 1, 2, 3, -1, -2);
    await fc.assert(
      fc.asyncProperty(bound, bound, step, bound, bound, step, async (a, b, s, c, d, t) => {
        // Python's rule tells what is empty.
        const indices = (start: number, end: number, by: number): number => {
          const clamp = (x: number) =>
            by > 0
              ? Math.min(Math.max(x < 0 ? x + 6 : x, 0), 6)
              : Math.min(Math.max(x < 0 ? x + 6 : x, -1), 5);
          return Math.ceil((clamp(end) - clamp(start)) / by);
        };
        fc.pre(indices(a, b, s) > 0 && indices(c, d, t) > 0);
        await checkOp({
          op: 'Slice',
          shapes: [[6, 2, 6]],
          constants: [
            ints('starts', [a, c]),
            ints('ends', [b, d]),
            ints('axes', [0, -1]),
            ints('steps', [s, t]),
          ],
        });
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  test('Expand and Tile', async () => {
    await checkOp({ op: 'Expand', shapes: [[3, 1]], constants: [ints('s', [2, 3, 4])] });
    await checkOp({ op: 'Expand', shapes: [[3, 4]], constants: [ints('s', [1, 1])] });
    await checkOp({ op: 'Tile', shapes: [[2, 1, 3]], constants: [ints('s', [2, 3, 1])] });
  });

  test('Gather along any axis, indices that repeat and count from the end', async () => {
    for (const axis of [0, 1, -1]) {
      const constants = [ints('i', [0, 2, -1, 0], [2, 2])];
      await checkOp({ op: 'Gather', shapes: [[3, 3, 3]], constants, attributes: { axis: { int: axis } } });
    }
    await checkOp({ op: 'Gather', shapes: [[3, 2]], constants: [ints('i', [1], [])] });
  });

  test('GatherND, GatherElements, ScatterND, ScatterElements', async () => {
    await checkOp({
      op: 'GatherND',
      shapes: [[3, 2, 2]],
      constants: [ints('i', [0, 1, 2, -1, 0, 1], [3, 2])],
    });
    await checkOp({
      op: 'GatherND',
      shapes: [[2, 3, 2]],
      constants: [ints('i', [0, 2, 2, 1], [2, 2, 1])],
      attributes: { batch_dims: { int: 1 } },
    });
    await checkOp({ op: 'GatherElements', shapes: [[3, 2]], constants: [ints('i', [0, 2, 0, 1], [2, 2])] });
    const reduction = { reduction: { string: 'add' } };
    await checkOp({
      op: 'ScatterND',
      shapes: [
        [3, 2],
        [2, 2],
      ],
      constants: [ints('i', [1, 1], [2, 1])],
      order: [0, 2, 1],
      attributes: reduction,
    });
    await checkOp({
      op: 'ScatterElements',
      shapes: [
        [3, 2],
        [2, 2],
      ],
      constants: [ints('i', [0, 2, 0, 1], [2, 2])],
      order: [0, 2, 1],
      attributes: reduction,
    });
  });

  test('Pad: zeros, negative, reflected, edge, wrapped', async () => {
    for (const mode of ['constant', 'reflect', 'edge', 'wrap']) {
      const opset = mode === 'wrap' ? 19 : 18;
      await checkOp({
        op: 'Pad',
        shapes: [[2, 3, 4]],
        constants: [ints('p', [0, 1, 2, 0, 2, 1])],
        attributes: { mode: { string: mode } },
        opset,
      });
    }
    await checkOp({ op: 'Pad', shapes: [[4, 4]], constants: [ints('p', [-1, 1, 2, -1])] });
    await checkOp({ op: 'Pad', shapes: [[2, 3]], constants: [ints('p', [1, 2]), '', ints('axes', [-1])] });
  });

  test('Resize: nearest and linear, up and down, in every coordinate mode', async () => {
    const modes = ['asymmetric', 'half_pixel', 'align_corners', 'pytorch_half_pixel'];
    for (const mode of ['nearest', 'linear', 'cubic']) {
      for (const coordinates of modes) {
        await checkOp({
          op: 'Resize',
          type: 'float32',
          step: 0.5,
          tolerance: 3e-5,
          shapes: [[1, 2, 3, 4]],
          constants: ['', singles('s', [1, 1, 2, 1.5])],
          attributes: { mode: { string: mode }, coordinate_transformation_mode: { string: coordinates } },
        });
      }
    }
    for (const sizes of [
      [1, 2, 5, 2],
      [1, 2, 2, 7],
    ]) {
      await checkOp({
        op: 'Resize',
        type: 'float32',
        step: 0.5,
        tolerance: 3e-5,
        shapes: [[1, 2, 3, 4]],
        constants: ['', '', ints('s', sizes)],
        attributes: { mode: { string: 'linear' } },
      });
    }
  });

  test('DepthToSpace, SpaceToDepth', async () => {
    for (const mode of ['DCR', 'CRD']) {
      await checkOp({
        op: 'DepthToSpace',
        shapes: [[2, 8, 2, 3]],
        attributes: { blocksize: { int: 2 }, mode: { string: mode } },
      });
    }
    await checkOp({ op: 'SpaceToDepth', shapes: [[2, 2, 4, 6]], attributes: { blocksize: { int: 2 } } });
  });

  test('CumSum and Trilu', async () => {
    for (const [exclusive, reverse] of [
      [0, 0],
      [1, 0],
      [0, 1],
      [1, 1],
    ] as const) {
      await checkOp({
        op: 'CumSum',
        shapes: [[3, 4]],
        constants: [ints('axis', [1], [])],
        attributes: { exclusive: { int: exclusive }, reverse: { int: reverse } },
      });
    }
    for (const upper of [0, 1]) {
      await checkOp({
        op: 'Trilu',
        shapes: [[2, 3, 4]],
        constants: [ints('k', [1], [])],
        attributes: { upper: { int: upper } },
      });
    }
  });

  test('Cast, Where', async () => {
    await checkOp({ op: 'Cast', shapes: [[3, 2]], attributes: { to: { int: 11 } } });
    const condition = Tensor.of('z', 'bool', [2, 1], Uint8Array.of(1, 0));
    await checkOp({ op: 'Where', shapes: [[2, 3], [3]], constants: [condition], order: [2, 0, 1] });
  });

  test('a gradient that is the same all along an axis arrives in full', async () => {
    const sum = { sum: true } as const;
    await checkOp({ op: 'Transpose', shapes: [[2, 3, 4]], ...sum });
    await checkOp({ op: 'Reshape', shapes: [[2, 3, 4]], constants: [ints('s', [6, 4])], ...sum });
    await checkOp({ op: 'Expand', shapes: [[3, 1]], constants: [ints('s', [2, 3, 4])], ...sum });
    await checkOp({
      op: 'Concat',
      shapes: [
        [2, 3],
        [2, 1],
      ],
      attributes: { axis: { int: 1 } },
      ...sum,
    });
    await checkOp({
      op: 'MatMul',
      shapes: [
        [2, 5, 3],
        [3, 4],
      ],
      ...sum,
    });
    await checkOp({ op: 'Gemm', shapes: [[2, 3], [3, 4], [4]], ...sum });
    await checkOp({ op: 'Softmax', shapes: [[2, 3]], ...sum });
    await checkOp({ op: 'Exp', shapes: [[2, 3]], ...sum });
    await checkOp({ op: 'Identity', shapes: [[2, 3]], ...sum });
    for (const keep of [0, 1]) {
      for (const op of ['ReduceL2', 'ReduceSum', 'ReduceMax']) {
        await checkOp({
          op,
          shapes: [[2, 3, 4]],
          constants: [ints('axes', [1])],
          attributes: { keepdims: { int: keep } },
          ...sum,
        });
      }
    }
    const condition = Tensor.of('z', 'bool', [2, 1], Uint8Array.of(1, 0));
    await checkOp({ op: 'Where', shapes: [[2, 3], [3]], constants: [condition], order: [2, 0, 1], ...sum });
  });
});
