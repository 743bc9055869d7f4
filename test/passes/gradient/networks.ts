import { type Model, type NodeSpec, narrow, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { size } from './check-gradient.js';

// The networks of test/reference/gradient.py.

/** The same numbers as `wave` there. */
export function wave(seed: number, shape: readonly number[], scale = 1, shift = 0): Float64Array {
  return Float64Array.from(
    { length: size(shape) },
    (_, i) => shift + scale * Math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed),
  );
}

export function labels(count: number, classes: number): BigInt64Array {
  return BigInt64Array.from({ length: count }, (_, i) => BigInt((7 * i + 3) % classes));
}

type Type = 'float16' | 'float32' | 'float64';
type Weight = readonly [name: string, seed: number, shape: readonly number[], scale: number, shift?: number];

function weight(type: Type, [name, seed, shape, scale, shift]: Weight): Tensor {
  const numbers = wave(seed, shape, scale, shift);
  return Tensor.of(name, type, shape, narrow(type, numbers));
}

interface Network {
  readonly type: Type;
  readonly x: readonly number[];
  readonly weights: readonly Weight[];
  readonly nodes: readonly NodeSpec[];
  readonly constants?: readonly Tensor[];
}

function network({ type, x, weights, nodes, constants = [] }: Network): Model {
  return buildModel({
    nodes,
    inputs: [ValueInfo.tensor('x', type, ['batch', ...x])],
    outputs: [ValueInfo.tensor('y', type)],
    initializers: [...weights.map((one) => weight(type, one)), ...constants],
    opset: 17,
  });
}

const node = (
  opType: string,
  inputs: string,
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType,
  inputs: inputs.split(' '),
  outputs: output.split(' '),
  attributes,
});

export const MLP = (type: Type): Model =>
  network({
    type,
    x: [12],
    weights: [
      ['w1', 1, [12, 16], 0.3],
      ['b1', 2, [16], 0.1],
      ['w2', 3, [16, 16], 0.3],
      ['b2', 4, [16], 0.1],
      ['w3', 5, [16, 5], 0.3],
      ['b3', 6, [5], 0.1],
    ],
    nodes: [
      node('Gemm', 'x w1 b1', 'a1'),
      node('Relu', 'a1', 'h1'),
      node('MatMul', 'h1 w2', 'm2'),
      node('Add', 'm2 b2', 'a2'),
      node('Tanh', 'a2', 'h2'),
      node('Gemm', 'h2 w3 b3', 'y'),
    ],
  });

const conv = (pads: number, stride: number, group = 1): NodeSpec['attributes'] => ({
  pads: { ints: [pads, pads, pads, pads] },
  strides: { ints: [stride, stride] },
  group: { int: group },
});

export const CNN = (): Model =>
  network({
    type: 'float32',
    x: [2, 9, 9],
    weights: [
      ['c1', 1, [6, 2, 3, 3], 0.3],
      ['g1', 2, [6], 0.2, 1],
      ['h1', 3, [6], 0.1],
      ['c2', 4, [6, 1, 3, 3], 0.4],
      ['g2', 5, [6], 0.2, 1],
      ['h2', 6, [6], 0.1],
      ['c3', 7, [8, 6, 1, 1], 0.4],
      ['b3', 8, [8], 0.1],
      ['w', 9, [4, 8], 0.4],
      ['b', 10, [4], 0.1],
      ['m1', 11, [6], 0.1],
      ['v1', 12, [6], 0.2, 1],
      ['m2', 13, [6], 0.1],
      ['v2', 14, [6], 0.2, 1],
    ],
    constants: [
      Tensor.of('low', 'float32', [], Float32Array.of(0)),
      Tensor.of('six', 'float32', [], Float32Array.of(6)),
    ],
    nodes: [
      node('Conv', 'x c1', 'a1', conv(1, 1)),
      node('BatchNormalization', 'a1 g1 h1 m1 v1', 'n1'),
      node('Relu', 'n1', 'r1'),
      node('MaxPool', 'r1', 'p1', {
        kernel_shape: { ints: [3, 3] },
        strides: { ints: [2, 2] },
        pads: { ints: [1, 1, 1, 1] },
      }),
      node('Conv', 'p1 c2', 'a2', conv(1, 2, 6)),
      node('BatchNormalization', 'a2 g2 h2 m2 v2', 'n2'),
      node('Clip', 'n2 low six', 'r2'),
      node('Conv', 'r2 c3 b3', 'a3'),
      node('Relu', 'a3', 'r3'),
      node('GlobalAveragePool', 'r3', 'p3'),
      node('Flatten', 'p3', 'f'),
      node('Gemm', 'f w b', 'logits', { transB: { int: 1 } }),
      node('Softmax', 'logits', 'y', { axis: { int: -1 } }),
    ],
  });

const ints = (name: string, ...numbers: number[]): Tensor =>
  Tensor.of(name, 'int64', [numbers.length], BigInt64Array.from(numbers, BigInt));
const scalar = (name: string, number: number): Tensor =>
  Tensor.of(name, 'float32', [], Float32Array.of(number));

const linear = (input: string, name: string, output: string): NodeSpec[] => [
  node('MatMul', `${input} ${name}`, `${output}/product`),
  node('Add', `${output}/product ${name}_b`, output),
];

export const VIT = (): Model =>
  network({
    type: 'float32',
    x: [1, 8, 8],
    weights: [
      ['patch', 1, [8, 1, 4, 4], 0.3],
      ['patch_b', 2, [8], 0.1],
      ['cls', 3, [1, 1, 8], 0.5],
      ['pos', 4, [1, 5, 8], 0.5],
      ['n1', 5, [8], 0.2, 1],
      ['n1_b', 6, [8], 0.1],
      ['qkv', 7, [8, 24], 0.4],
      ['qkv_b', 8, [24], 0.1],
      ['proj', 9, [8, 8], 0.4],
      ['proj_b', 10, [8], 0.1],
      ['n2', 11, [8], 0.2, 1],
      ['n2_b', 12, [8], 0.1],
      ['up', 13, [8, 16], 0.4],
      ['up_b', 14, [16], 0.1],
      ['down', 15, [16, 8], 0.4],
      ['down_b', 16, [8], 0.1],
      ['head', 17, [8, 3], 0.5],
      ['head_b', 18, [3], 0.1],
    ],
    constants: [
      ints('tokens_shape', 0, 8, -1),
      ints('zero', 0),
      ints('one_list', 1),
      ints('rest', 1, 8),
      ints('heads_shape', 0, 5, 3, 2, 4),
      ints('merged_shape', 0, 5, 8),
      Tensor.of('i0', 'int64', [], BigInt64Array.of(0n)),
      Tensor.of('i1', 'int64', [], BigInt64Array.of(1n)),
      Tensor.of('i2', 'int64', [], BigInt64Array.of(2n)),
      scalar('scale', 0.5),
      scalar('root2', Math.SQRT2),
      scalar('one', 1),
      scalar('half', 0.5),
    ],
    nodes: [
      node('Conv', 'x patch patch_b', 'patches', { strides: { ints: [4, 4] } }),
      node('Reshape', 'patches tokens_shape', 'channels'),
      node('Transpose', 'channels', 'tokens', { perm: { ints: [0, 2, 1] } }),
      // The batch found out at run time, as exporters write it.
      node('Shape', 'x', 'x_shape'),
      node('Slice', 'x_shape zero one_list', 'batch_size'),
      node('Concat', 'batch_size rest', 'cls_shape', { axis: { int: 0 } }),
      node('Expand', 'cls cls_shape', 'cls_rows'),
      node('Concat', 'cls_rows tokens', 'all', { axis: { int: 1 } }),
      node('Add', 'all pos', 'h0'),
      node('LayerNormalization', 'h0 n1 n1_b', 'y1', { axis: { int: -1 } }),
      ...linear('y1', 'qkv', 'mixed'),
      node('Reshape', 'mixed heads_shape', 'split'),
      node('Transpose', 'split', 'parts', { perm: { ints: [2, 0, 3, 1, 4] } }),
      node('Gather', 'parts i0', 'q', { axis: { int: 0 } }),
      node('Gather', 'parts i1', 'k', { axis: { int: 0 } }),
      node('Gather', 'parts i2', 'v', { axis: { int: 0 } }),
      node('Transpose', 'k', 'kt', { perm: { ints: [0, 1, 3, 2] } }),
      node('MatMul', 'q kt', 'raw'),
      node('Mul', 'raw scale', 'scaled'),
      node('Softmax', 'scaled', 'attention', { axis: { int: -1 } }),
      node('MatMul', 'attention v', 'heads'),
      node('Transpose', 'heads', 'turned', { perm: { ints: [0, 2, 1, 3] } }),
      node('Reshape', 'turned merged_shape', 'merged'),
      ...linear('merged', 'proj', 'attended'),
      node('Add', 'h0 attended', 'h1'),
      node('LayerNormalization', 'h1 n2 n2_b', 'y2', { axis: { int: -1 } }),
      ...linear('y2', 'up', 'wide'),
      node('Div', 'wide root2', 'g0'),
      node('Erf', 'g0', 'g1'),
      node('Add', 'g1 one', 'g2'),
      node('Mul', 'wide g2', 'g3'),
      node('Mul', 'g3 half', 'gelu'),
      ...linear('gelu', 'down', 'narrow'),
      node('Add', 'h1 narrow', 'h2'),
      node('Gather', 'h2 i0', 'first', { axis: { int: 1 } }),
      node('Gemm', 'first head head_b', 'y'),
    ],
  });
