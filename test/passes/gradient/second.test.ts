import { describe, test } from 'vitest';
import { checkSecond, doubles, ints, type OpCase } from './check-gradient.js';

const positive = (x: number): number => Math.abs(x) + 0.3;
const bilinear = { type: 'float32', step: 0.25, tolerance: 1e-4 } as const;
const single = { type: 'float32', step: 2e-2, tolerance: 5e-3 } as const;

const CASES: readonly OpCase[] = [
  { op: 'Exp', shapes: [[4]] },
  { op: 'Log', shapes: [[4]], map: positive },
  { op: 'Sqrt', shapes: [[4]], map: positive },
  { op: 'Sigmoid', shapes: [[4]] },
  { op: 'Tanh', shapes: [[4]] },
  { op: 'Relu', shapes: [[4]] },
  { op: 'Sin', shapes: [[4]] },
  { op: 'Erf', shapes: [[4]], ...single },
  { op: 'Softplus', shapes: [[4]], ...single },
  { op: 'Mul', shapes: [[2, 3], [3]] },
  {
    op: 'Div',
    shapes: [
      [2, 3],
      [2, 1],
    ],
    map: positive,
  },
  { op: 'Pow', shapes: [[3], [3]], map: positive },
  { op: 'Softmax', shapes: [[2, 3]] },
  { op: 'LogSoftmax', shapes: [[2, 3]] },
  { op: 'ReduceLogSumExp', shapes: [[2, 3]] },
  { op: 'ReduceL2', shapes: [[2, 3]] },
  { op: 'Gemm', shapes: [[2, 3], [4, 3], [4]], attributes: { transB: { int: 1 } } },
  {
    op: 'MatMul',
    shapes: [
      [2, 2, 3],
      [3, 2],
    ],
  },
  {
    op: 'Einsum',
    shapes: [
      [2, 3],
      [3, 2],
    ],
    attributes: { equation: { string: 'ij,jk->ik' } },
  },
  { op: 'LayerNormalization', shapes: [[2, 4], [4], [4]], tolerance: 1e-6 },
  { op: 'LayerNormalization', shapes: [[2, 4], [4], [4]], ...single },
  {
    op: 'BatchNormalization',
    shapes: [[4, 2, 2], [2], [2]],
    constants: [doubles('mean', [0, 0]), doubles('var', [1, 1])],
    tolerance: 1e-6,
  },
  { op: 'InstanceNormalization', shapes: [[1, 2, 5], [2], [2]], ...single },
  {
    op: 'Conv',
    shapes: [
      [1, 2, 5, 4],
      [2, 1, 3, 2],
    ],
    attributes: { group: { int: 2 }, pads: { ints: [1, 0, 1, 1] } },
    ...bilinear,
  },
  {
    op: 'Conv',
    shapes: [
      [2, 2, 6],
      [4, 2, 3],
    ],
    attributes: { strides: { ints: [2] } },
    ...bilinear,
  },
  {
    op: 'ConvTranspose',
    shapes: [
      [1, 2, 3],
      [2, 2, 3],
    ],
    attributes: { strides: { ints: [2] } },
    ...bilinear,
  },
  {
    op: 'MaxPool',
    shapes: [[1, 1, 4, 4]],
    map: (_, index) => (index * 7) % 16,
    attributes: { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } },
    ...bilinear,
  },
  {
    op: 'MaxPool',
    shapes: [[1, 1, 4, 4]],
    map: (_, index) => (index * 7) % 16,
    attributes: { kernel_shape: { ints: [3, 3] } },
    ...bilinear,
  },
  { op: 'AveragePool', shapes: [[1, 1, 4, 4]], attributes: { kernel_shape: { ints: [3, 3] } }, ...bilinear },
  { op: 'Gather', shapes: [[3, 2]], constants: [ints('i', [2, 0, 2])] },
  { op: 'Slice', shapes: [[6]], constants: [ints('s', [1]), ints('e', [6]), ints('x', [0]), ints('t', [2])] },
];

describe('second derivatives by applying the pass twice', () => {
  for (const [index, spec] of CASES.entries()) {
    test(`${spec.op} (${index})`, async () => checkSecond(spec));
  }
});
