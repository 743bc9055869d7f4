import { describe, test } from 'vitest';
import { Tensor } from '../../../src/graph/index.js';
import type { DifferentiableOp } from '../../../src/passes/gradient/index.js';
import { checkSecond, doubles, ints, type OpCase, singles } from './check-gradient.js';

const positive = (x: number): number => Math.abs(x) + 0.3;
/** Off the kink at 0, so that no step of the differences crosses it. */
const away = (x: number): number => x + 0.4 * Math.sign(x);
/** Off the kinks of the hard ones, at ±2.5 and ±3. */
const within = (x: number): number => 2 * Math.tanh(x);
/** Small, and no two elements near each other. */
const apart = (_: number, index: number, input: number): number => ((index * 7) % 17) / 4 - 2 + 0.1 * input;
const bilinear = { type: 'float32', step: 0.25, tolerance: 1e-4 } as const;
const single = { type: 'float32', step: 2e-2, tolerance: 5e-3 } as const;

const unary = (more: Omit<OpCase, 'op' | 'shapes'> = {}): Omit<OpCase, 'op'>[] => [
  { shapes: [[4]], ...more },
];
const pairs: OpCase['shapes'] = [[2, 3], [3]];
const reduction = (more: Omit<OpCase, 'op' | 'shapes'> = {}): Omit<OpCase, 'op'>[] => [
  { shapes: [[2, 3, 2]], constants: [ints('axes', [1])], ...more },
];
const kernel = (...sizes: number[]) => ({ kernel_shape: { ints: sizes } });

/** Cases of every operator that has a rule: those that are float32 have no float64 kernel on the CPU. */
const CASES: Readonly<Record<DifferentiableOp, readonly Omit<OpCase, 'op'>[]>> = {
  Abs: unary({ map: away }),
  Add: [{ shapes: pairs }],
  Asinh: unary(single),
  Atan: unary(single),
  AveragePool: [
    { shapes: [[1, 1, 4, 4]], attributes: kernel(3, 3), ...bilinear },
    {
      shapes: [[1, 2, 5]],
      attributes: { ...kernel(3), strides: { ints: [2] }, pads: { ints: [1, 1] } },
      ...bilinear,
    },
  ],
  BatchNormalization: [
    {
      shapes: [[2, 1, 516], [1], [1]],
      constants: [doubles('mean', [0]), doubles('var', [1])],
      tolerance: 1e-6,
    },
    {
      shapes: [[4, 2, 2], [2], [2]],
      constants: [doubles('mean', [0, 0]), doubles('var', [1, 1])],
      tolerance: 1e-6,
    },
    {
      shapes: [[4, 2, 2], [2], [2]],
      constants: [doubles('mean', [0.5, 0]), doubles('var', [1, 2])],
      options: { batchNorm: 'inference' },
    },
  ],
  Cast: unary({ attributes: { to: { int: 11 } } }),
  CastLike: unary({ constants: [doubles('like', [0])] }),
  Celu: unary({ ...single, map: away, attributes: { alpha: { float: 2 } } }),
  Clip: unary({ map: away, constants: [doubles('low', [-1], []), doubles('high', [0.2], [])] }),
  Col2Im: [
    {
      shapes: [[1, 4, 4]],
      constants: [ints('image', [3, 3]), ints('block', [2, 2])],
      ...bilinear,
    },
  ],
  Concat: [
    {
      shapes: [
        [2, 3],
        [2, 1],
      ],
      attributes: { axis: { int: 1 } },
    },
  ],
  Conv: [
    {
      shapes: [
        [1, 2, 5, 4],
        [2, 1, 3, 2],
      ],
      attributes: { group: { int: 2 }, pads: { ints: [1, 0, 1, 1] } },
      ...bilinear,
    },
    {
      shapes: [
        [2, 2, 6],
        [4, 2, 3],
      ],
      attributes: { strides: { ints: [2] } },
      ...bilinear,
    },
    {
      shapes: [[1, 2, 7], [2, 2, 2], [2]],
      attributes: { dilations: { ints: [3] }, strides: { ints: [2] } },
      ...bilinear,
    },
  ],
  ConvTranspose: [
    {
      shapes: [
        [1, 2, 3],
        [2, 2, 3],
      ],
      attributes: { strides: { ints: [2] } },
      ...bilinear,
    },
    {
      shapes: [
        [1, 4, 3],
        [4, 1, 2],
      ],
      attributes: { group: { int: 2 }, pads: { ints: [1, 0] } },
      ...bilinear,
    },
  ],
  Cos: unary(),
  Cosh: unary(single),
  CumSum: [{ shapes: [[3, 4]], constants: [ints('axis', [1], [])], attributes: { reverse: { int: 1 } } }],
  DepthToSpace: [{ shapes: [[1, 4, 2, 2]], attributes: { blocksize: { int: 2 } } }],
  Div: [
    {
      shapes: [
        [2, 3],
        [2, 1],
      ],
      map: positive,
    },
  ],
  Dropout: unary({ constants: [doubles('ratio', [0.5], [])], options: { dropout: 'inference' } }),
  Einsum: [
    {
      shapes: [
        [2, 3],
        [3, 2],
      ],
      attributes: { equation: { string: 'ij,jk->ik' } },
    },
    {
      shapes: [
        [2, 3, 2],
        [2, 2],
      ],
      attributes: { equation: { string: 'bij,bj->i' } },
    },
  ],
  Elu: unary({ ...single, map: away, attributes: { alpha: { float: 1.5 } } }),
  Erf: unary(single),
  Exp: unary(),
  Expand: [{ shapes: [[3, 1]], constants: [ints('s', [2, 3, 4])] }],
  Flatten: [{ shapes: [[2, 3, 2]], attributes: { axis: { int: 2 } } }],
  Gather: [{ shapes: [[3, 2]], constants: [ints('i', [2, 0, 2])] }],
  GatherElements: [{ shapes: [[3, 2]], constants: [ints('i', [0, 2, 0, 1], [2, 2])] }],
  GatherND: [{ shapes: [[3, 2, 2]], constants: [ints('i', [0, 1, 0, 1, 2, 0], [3, 2])] }],
  Gelu: [
    ...unary({ ...single, opset: 20 }),
    ...unary({ ...single, opset: 20, attributes: { approximate: { string: 'tanh' } } }),
  ],
  Gemm: [{ shapes: [[2, 3], [4, 3], [4]], attributes: { transB: { int: 1 } } }],
  GlobalAveragePool: [{ shapes: [[1, 2, 3, 2]], ...bilinear }],
  GlobalMaxPool: [{ shapes: [[1, 2, 3, 2]], map: apart, ...bilinear, step: 0.1 }],
  GroupNormalization: [{ shapes: [[1, 4, 3], [2], [2]], attributes: { num_groups: { int: 2 } }, ...single }],
  HardSigmoid: unary({ ...single, map: within }),
  HardSwish: unary({ ...single, map: within }),
  Identity: unary(),
  InstanceNormalization: [{ shapes: [[1, 2, 5], [2], [2]], ...single }],
  LayerNormalization: [
    { shapes: [[2, 4], [4], [4]], tolerance: 1e-6 },
    { shapes: [[2, 4], [4], [4]], ...single },
  ],
  LeakyRelu: unary({ ...single, map: away, attributes: { alpha: { float: 0.3 } } }),
  Log: unary({ map: positive }),
  LogSoftmax: [{ shapes: [[2, 3]] }],
  LRN: [
    {
      shapes: [[1, 4, 2, 1]],
      attributes: { size: { int: 3 }, alpha: { float: 0.5 }, beta: { float: 0.75 } },
      ...single,
    },
  ],
  MatMul: [
    {
      shapes: [
        [2, 2, 3],
        [3, 2],
      ],
    },
    {
      shapes: [
        [2, 1, 2, 3],
        [2, 3, 2],
      ],
    },
  ],
  Max: [{ shapes: pairs, map: apart }],
  MaxPool: [
    {
      shapes: [[1, 1, 4, 4]],
      map: (_, index) => (index * 7) % 16,
      attributes: { ...kernel(2, 2), strides: { ints: [2, 2] } },
      ...bilinear,
    },
    { shapes: [[1, 1, 4, 4]], map: (_, index) => (index * 7) % 16, attributes: kernel(3, 3), ...bilinear },
  ],
  Mean: [{ shapes: [[2, 3], [3]], ...bilinear }],
  Min: [{ shapes: pairs, map: apart }],
  Mish: unary({ ...single, opset: 18 }),
  Mul: [{ shapes: pairs }],
  Neg: unary(),
  Pad: [
    { shapes: [[2, 3]], constants: [ints('p', [0, 1, 1, -1])] },
    { shapes: [[2, 3]], constants: [ints('p', [0, 2, 0, 1])], attributes: { mode: { string: 'reflect' } } },
  ],
  Pow: [
    { shapes: [[3], [3]], map: positive },
    { shapes: [[3]], constants: [doubles('p', [3], [])] },
    { shapes: [[3]], constants: [doubles('p', [-1.5], [])], map: positive },
  ],
  PRelu: [{ shapes: [[2, 3], [3]], map: away, ...single }],
  Reciprocal: unary({ map: positive }),
  ReduceL1: reduction({ map: away }),
  ReduceL2: reduction(),
  ReduceLogSum: reduction({ map: positive }),
  ReduceLogSumExp: reduction(),
  ReduceMax: reduction({ map: apart }),
  ReduceMean: reduction(),
  ReduceMin: reduction({ map: apart }),
  ReduceSum: reduction({ attributes: { keepdims: { int: 0 } } }),
  ReduceSumSquare: reduction(),
  Relu: unary({ map: away }),
  Reshape: [{ shapes: [[2, 3, 2]], constants: [ints('s', [0, -1])] }],
  Resize: [
    {
      shapes: [[1, 1, 2, 3]],
      constants: ['', singles('s', [1, 1, 2, 1.5])],
      attributes: { mode: { string: 'linear' } },
      ...bilinear,
    },
    { shapes: [[1, 1, 2, 3]], constants: ['', singles('s', [1, 1, 2, 2])], ...bilinear },
  ],
  ScatterElements: [
    {
      shapes: [
        [3, 2],
        [2, 2],
      ],
      constants: [ints('i', [0, 2, 0, 1], [2, 2])],
      order: [0, 2, 1],
      attributes: { reduction: { string: 'add' } },
    },
  ],
  ScatterND: [
    {
      shapes: [
        [3, 2],
        [2, 2],
      ],
      constants: [ints('i', [1, 1], [2, 1])],
      order: [0, 2, 1],
      attributes: { reduction: { string: 'add' } },
    },
  ],
  Selu: unary({ ...single, map: away }),
  Sigmoid: unary(),
  Sin: unary(),
  Sinh: unary(single),
  Slice: [{ shapes: [[6]], constants: [ints('s', [1]), ints('e', [6]), ints('x', [0]), ints('t', [2])] }],
  Softmax: [{ shapes: [[2, 3]] }, { shapes: [[2, 3, 2]], attributes: { axis: { int: 1 } } }],
  Softplus: unary(single),
  Softsign: unary({ ...single, map: away }),
  SpaceToDepth: [{ shapes: [[1, 1, 2, 4]], attributes: { blocksize: { int: 2 } } }],
  Split: [0, 1].map((output) => ({
    shapes: [[2, 5]],
    constants: [ints('s', [2, 3])],
    attributes: { axis: { int: 1 } },
    outputs: 2,
    output,
  })),
  Sqrt: unary({ map: positive }),
  Squeeze: [{ shapes: [[2, 1, 3]], constants: [ints('s', [1])] }],
  Sub: [{ shapes: pairs }],
  Sum: [{ shapes: [[2, 3], [3], [1]] }],
  Tan: unary({ ...single, map: Math.sin }),
  Tanh: unary(),
  ThresholdedRelu: unary({ ...single, map: away, attributes: { alpha: { float: 0.1 } } }),
  Tile: [{ shapes: [[2, 1]], constants: [ints('r', [1, 3])] }],
  TopK: [
    { shapes: [[3, 4]], constants: [ints('k', [2])], outputs: 2, map: apart },
    {
      shapes: [[4, 3]],
      constants: [ints('k', [3])],
      outputs: 2,
      attributes: { axis: { int: 0 }, largest: { int: 0 } },
      map: apart,
    },
  ],
  Transpose: [{ shapes: [[2, 3, 2]], attributes: { perm: { ints: [1, 2, 0] } } }],
  Trilu: [{ shapes: [[3, 3]], constants: [ints('k', [1], [])], attributes: { upper: { int: 0 } } }],
  Unsqueeze: [{ shapes: [[2, 3]], constants: [ints('s', [0, -1])] }],
  Where: [
    {
      shapes: [[2, 3], [3]],
      constants: [Tensor.of('z', 'bool', [2, 1], Uint8Array.of(1, 0))],
      order: [2, 0, 1],
    },
  ],
};

describe('second derivatives by applying the pass twice', () => {
  for (const [op, cases] of Object.entries(CASES)) {
    for (const [index, spec] of cases.entries()) {
      test(`${op} (${index})`, async () => checkSecond({ op, ...spec }));
    }
  }
});
