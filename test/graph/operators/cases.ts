import { type AttributeValue, Tensor } from '../../../src/graph/index.js';
import type { StandardOperator } from '../../../src/graph/operators/index.js';
import { Random } from '../../../src/runtime/random.js';

/** One run of an operator. */
export interface Case {
  /** Constants, '' for one left out; the first is what is varied. */
  readonly inputs: readonly (Tensor | '')[];
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly outputs?: number;
}

const random = new Random(26, 'operators');

export function floats(shape: readonly number[], map = (x: number): number => x): Tensor {
  const data = random.fillNormal(new Float32Array(shape.reduce((a, b) => a * b, 1))).map((x) => map(1.5 * x));
  return Tensor.of('', 'float32', shape, data);
}
const of = (...data: number[]): Tensor => Tensor.of('', 'float32', [data.length], Float32Array.from(data));
const scalar = (x: number): Tensor => Tensor.of('', 'float32', [], Float32Array.of(x));
const ints = (...data: number[]): Tensor =>
  Tensor.of('', 'int64', [data.length], BigInt64Array.from(data, BigInt));
const int = (x: number): Tensor => Tensor.of('', 'int64', [], BigInt64Array.of(BigInt(x)));
const table = (shape: readonly number[], ...data: number[]): Tensor =>
  Tensor.of('', 'int64', shape, BigInt64Array.from(data, BigInt));
const bools = (shape: readonly number[]): Tensor =>
  Tensor.of(
    '',
    'bool',
    shape,
    Uint8Array.from(floats(shape).floats(), (x) => (x > 0 ? 1 : 0)),
  );
const bytes = (shape: readonly number[]): Tensor =>
  Tensor.of(
    '',
    'uint8',
    shape,
    Uint8Array.from(floats(shape).floats(), (x) => 128 + 20 * x),
  );
const words = (shape: readonly number[]): Tensor =>
  Tensor.of(
    '',
    'uint32',
    shape,
    Uint32Array.from(floats(shape).floats(), (x) => 8 + 2 * Math.abs(x)),
  );

const CUBE = [2, 3, 4];
const IMAGE = [2, 4, 6, 5];
const positive = (x: number): number => Math.abs(x) + 0.1;

/** The same run for several operators. */
function each<N extends StandardOperator>(names: readonly N[], make: () => Case): Record<N, Case> {
  return Object.fromEntries(names.map((name) => [name, make()])) as Record<N, Case>;
}

const recurrent = (gates: number): Case => ({
  inputs: [floats([5, 2, 3]), floats([1, 4 * gates, 3]), floats([1, 4 * gates, 4])],
  attributes: { hidden_size: { int: 4 } },
});
const reduce = (): Case => ({ inputs: [floats(CUBE), ints(1)] });
const window = { kernel_shape: { ints: [2, 3] } };

/** A random input for each operator that onnxruntime's CPU provider has a kernel for, of sizes that tell its axes apart. */
export const CASES: Partial<Record<StandardOperator, Case>> = {
  ...each(
    [
      ...(['Abs', 'Acos', 'Acosh', 'Asin', 'Asinh', 'Atan', 'Atanh', 'Ceil', 'Celu', 'Cos', 'Cosh'] as const),
      ...(['Elu', 'Erf', 'Exp', 'Floor', 'Gelu', 'HardSigmoid', 'HardSwish', 'Identity', 'IsInf'] as const),
      ...(['IsNaN', 'LeakyRelu', 'Log', 'Mish', 'Neg', 'Reciprocal', 'Relu', 'Round', 'Selu'] as const),
      ...([
        'Sigmoid',
        'Sign',
        'Sin',
        'Sinh',
        'Softplus',
        'Softsign',
        'Sqrt',
        'Swish',
        'Tan',
        'Tanh',
      ] as const),
      ...(['Dropout', 'Shape', 'Size', 'NonZero', 'RandomNormalLike', 'RandomUniformLike'] as const),
      ...(['Softmax', 'LogSoftmax', 'Hardmax', 'LpNormalization', 'Flatten', 'Transpose'] as const),
    ],
    () => ({ inputs: [floats(CUBE)] }),
  ),
  ThresholdedRelu: { inputs: [floats(CUBE)], attributes: { alpha: { float: 0.5 } } },
  Shrink: { inputs: [floats(CUBE)], attributes: { lambd: { float: 0.5 } } },
  Bernoulli: { inputs: [floats([40, 30], () => 0.5)] },
  Cast: { inputs: [floats(CUBE)], attributes: { to: { int: 7 } } },
  BitCast: { inputs: [floats(CUBE)], attributes: { to: { int: 6 } } },
  CastLike: { inputs: [floats(CUBE), int(1)] },
  Clip: { inputs: [floats(CUBE), scalar(-1), scalar(0.5)] },
  PRelu: { inputs: [floats(CUBE), floats(CUBE)] },
  Not: { inputs: [bools(CUBE)] },
  BitwiseNot: { inputs: [words(CUBE)] },
  ...each(
    [
      ...(['Add', 'Div', 'Max', 'Mean', 'Min', 'Mul', 'Sub', 'Sum'] as const),
      ...(['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'] as const),
    ],
    () => ({ inputs: [floats([2, 1, 4]), floats([3, 1])] }),
  ),
  Pow: { inputs: [floats([2, 1, 4], positive), floats([3, 1])] },
  Mod: { inputs: [floats([2, 1, 4]), floats([3, 1], positive)], attributes: { fmod: { int: 1 } } },
  Where: { inputs: [bools([3, 1]), floats([2, 1, 4]), floats([1, 4])] },
  ...each(['And', 'Or', 'Xor'], () => ({ inputs: [bools([2, 1, 4]), bools([3, 1])] })),
  ...each(['BitwiseAnd', 'BitwiseOr', 'BitwiseXor'], () => ({ inputs: [words([2, 1, 4]), words([3, 1])] })),
  BitShift: { inputs: [words([2, 1, 4]), words([3, 1])], attributes: { direction: { string: 'LEFT' } } },

  Reshape: { inputs: [floats(CUBE), ints(4, -1)] },
  Squeeze: { inputs: [floats([2, 1, 4]), ints(1)] },
  Unsqueeze: { inputs: [floats(CUBE), ints(1)] },
  Concat: { inputs: [floats(CUBE), floats(CUBE)], attributes: { axis: { int: 1 } } },
  Split: { inputs: [floats([4, 2, 6])], attributes: { num_outputs: { int: 2 } }, outputs: 2 },
  Slice: { inputs: [floats(CUBE), ints(1), ints(3), ints(2)] },
  Pad: { inputs: [floats(CUBE), ints(0, 1, 0, 0, 0, 2)] },
  CenterCropPad: { inputs: [floats(CUBE), ints(3, 3, 3)] },
  Expand: { inputs: [floats([2, 1, 4]), ints(5, 2, 3, 4)] },
  Tile: { inputs: [floats(CUBE), ints(1, 2, 1)] },
  DepthToSpace: { inputs: [floats([1, 8, 2, 3])], attributes: { blocksize: { int: 2 } } },
  SpaceToDepth: { inputs: [floats([1, 2, 4, 6])], attributes: { blocksize: { int: 2 } } },
  ReverseSequence: { inputs: [floats([4, 3, 2]), ints(4, 2, 3)] },
  Trilu: { inputs: [floats([2, 3, 3])] },

  Gather: { inputs: [floats([3, 4]), ints(2, 0)] },
  GatherElements: { inputs: [floats([3, 4]), table([2, 4], 0, 1, 2, 0, 2, 2, 1, 0)] },
  GatherND: { inputs: [floats([3, 4]), table([2, 1], 2, 0)] },
  Compress: {
    inputs: [floats([3, 4]), Tensor.of('', 'bool', [3], Uint8Array.of(1, 0, 1))],
    attributes: { axis: { int: 0 } },
  },
  ScatterElements: { inputs: [floats([3, 4]), table([2, 4], 0, 1, 2, 0, 2, 2, 1, 1), floats([2, 4])] },
  Scatter: { inputs: [floats([3, 4]), table([2, 4], 0, 1, 2, 0, 2, 2, 1, 1), floats([2, 4])] },
  ScatterND: { inputs: [floats([3, 4]), table([2, 1], 2, 0), floats([2, 4])] },
  TensorScatter: { inputs: [floats([2, 3, 4]), floats([2, 1, 4]), ints(1, 2)] },
  ArgMax: { inputs: [floats(CUBE)] },
  ArgMin: { inputs: [floats(CUBE)] },
  TopK: { inputs: [floats(CUBE), ints(2)], outputs: 2 },
  OneHot: { inputs: [table([2], 1, 0), int(3), of(-1, 2)] },
  NonMaxSuppression: {
    inputs: [
      Tensor.of('', 'float32', [1, 3, 4], Float32Array.of(0, 0, 1, 1, 0, 0.1, 1, 1.1, 0, 2, 1, 3)),
      Tensor.of('', 'float32', [1, 1, 3], Float32Array.of(0.9, 0.7, 0.6)),
      ints(3),
      of(0.5),
    ],
  },
  Unique: { inputs: [of(3, 1, 2, 1)] },

  Conv: { inputs: [floats(IMAGE), floats([3, 4, 2, 2])] },
  ConvTranspose: { inputs: [floats(IMAGE), floats([4, 3, 2, 2])] },
  Col2Im: { inputs: [floats([1, 4, 4]), ints(3, 3), ints(2, 2)] },
  DeformConv: { inputs: [floats([1, 1, 4, 4]), floats([2, 1, 2, 2]), floats([1, 8, 3, 3])] },
  Gemm: { inputs: [floats([2, 3]), floats([3, 4])] },
  MatMul: { inputs: [floats([2, 3]), floats([3, 4])] },
  Einsum: { inputs: [floats([2, 3]), floats([3, 4])], attributes: { equation: { string: 'ij,jk->ik' } } },
  Attention: { inputs: [floats([1, 2, 3, 4]), floats([1, 2, 5, 4]), floats([1, 2, 5, 6])] },
  RotaryEmbedding: { inputs: [floats([1, 2, 3, 4]), floats([5, 2]), floats([5, 2]), table([1, 3], 0, 2, 4)] },
  Det: { inputs: [floats([2, 3, 3])] },

  BatchNormalization: {
    inputs: [floats(IMAGE), floats([4]), floats([4]), floats([4]), floats([4], positive)],
  },
  GroupNormalization: {
    inputs: [floats(IMAGE), floats([4]), floats([4])],
    attributes: { num_groups: { int: 2 } },
  },
  InstanceNormalization: { inputs: [floats(IMAGE), floats([4]), floats([4])] },
  LayerNormalization: { inputs: [floats(CUBE), floats([4])] },
  RMSNormalization: { inputs: [floats(CUBE), floats([4])] },
  LRN: { inputs: [floats(IMAGE)], attributes: { size: { int: 3 } } },
  MeanVarianceNormalization: { inputs: [floats(IMAGE)] },

  ...each(['AveragePool', 'LpPool', 'MaxPool'], () => ({ inputs: [floats(IMAGE)], attributes: window })),
  ...each(['GlobalAveragePool', 'GlobalLpPool', 'GlobalMaxPool'], () => ({ inputs: [floats(IMAGE)] })),
  MaxUnpool: {
    inputs: [floats([1, 1, 2, 2]), table([1, 1, 2, 2], 0, 3, 8, 10)],
    attributes: { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } },
  },
  MaxRoiPool: {
    inputs: [floats([1, 2, 6, 6]), Tensor.of('', 'float32', [1, 5], Float32Array.of(0, 0, 0, 4, 4))],
    attributes: { pooled_shape: { ints: [2, 2] } },
  },
  RoiAlign: {
    inputs: [floats([1, 2, 6, 6]), Tensor.of('', 'float32', [1, 4], Float32Array.of(0, 0, 4, 4)), ints(0)],
  },
  AffineGrid: { inputs: [floats([1, 2, 3]), ints(1, 1, 4, 5)] },
  GridSample: { inputs: [floats([1, 2, 4, 5]), floats([1, 3, 2, 2], (x) => x / 4)] },
  Resize: { inputs: [floats([1, 1, 2, 3]), '', of(1, 1, 2, 2)] },
  Upsample: { inputs: [floats([1, 1, 2, 3]), of(1, 1, 2, 2)] },

  ...each(
    [
      'ReduceL1',
      'ReduceL2',
      'ReduceMax',
      'ReduceMean',
      'ReduceMin',
      'ReduceProd',
      'ReduceSum',
      'ReduceSumSquare',
      'ReduceLogSumExp',
    ],
    reduce,
  ),
  ReduceLogSum: { inputs: [floats(CUBE, positive), ints(1)] },
  CumSum: { inputs: [floats(CUBE), int(1)] },
  NegativeLogLikelihoodLoss: { inputs: [floats([2, 3]), ints(0, 2)] },
  SoftmaxCrossEntropyLoss: { inputs: [floats([2, 3]), ints(0, 2)] },
  RNN: recurrent(1),
  GRU: recurrent(3),
  LSTM: recurrent(4),

  QuantizeLinear: {
    inputs: [floats(CUBE), of(0.1, 0.2, 0.3), Tensor.of('', 'uint8', [3], Uint8Array.of(128, 128, 128))],
  },
  DynamicQuantizeLinear: { inputs: [floats(CUBE)], outputs: 3 },
  DequantizeLinear: { inputs: [bytes(CUBE), of(0.1, 0.2, 0.3)] },
  ConvInteger: { inputs: [bytes([1, 1, 4, 4]), bytes([1, 1, 2, 2])] },
  MatMulInteger: { inputs: [bytes([2, 3]), bytes([3, 4])] },
  QLinearMatMul: {
    inputs: [
      ...[bytes([2, 3]), scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
      ...[bytes([3, 4]), scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
      ...[scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
    ],
  },
  QLinearConv: {
    inputs: [
      ...[bytes([1, 1, 4, 4]), scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
      ...[bytes([1, 1, 2, 2]), scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
      ...[scalar(0.1), Tensor.of('', 'uint8', [], Uint8Array.of(128))],
    ],
  },

  Constant: { inputs: [], attributes: { value_floats: { floats: [1, 2] } } },
  ConstantOfShape: { inputs: [ints(2, 3)] },
  EyeLike: { inputs: [floats([3, 4])] },
  ...each(['BlackmanWindow', 'HammingWindow', 'HannWindow'], () => ({ inputs: [int(8)] })),
  MelWeightMatrix: { inputs: [int(4), int(16), int(8000), scalar(0), scalar(4000)] },
  Range: { inputs: [scalar(0.25), scalar(3), scalar(0.5)] },
  ...each(['RandomNormal', 'RandomUniform'], () => ({ inputs: [], attributes: { shape: { ints: [2, 3] } } })),
  Multinomial: { inputs: [floats([1, 5])], attributes: { sample_size: { int: 64 } } },
  DFT: { inputs: [floats([1, 5, 1]), '', int(1)] },
  STFT: { inputs: [floats([1, 16, 1]), int(4), of(1, 1, 1, 1, 1, 1, 1, 1)] },
};

/** The operators that are not run, and why. */
export const NOT_RUN: Partial<Record<StandardOperator, string>> = {
  CumProd: 'no kernel',
  ImageDecoder: 'no kernel',
  If: 'does what is in its graphs',
  Loop: 'does what is in its graph',
  Scan: 'does what is in its graph',
  SequenceMap: 'does what is in its graph',
  ConcatFromSequence: 'reads a sequence',
  SequenceAt: 'reads a sequence',
  SequenceConstruct: 'makes a sequence',
  SequenceEmpty: 'makes a sequence',
  SequenceErase: 'makes a sequence',
  SequenceInsert: 'makes a sequence',
  SequenceLength: 'reads a sequence',
  SplitToSequence: 'makes a sequence',
  Optional: 'makes an optional value',
  OptionalGetElement: 'reads an optional value',
  OptionalHasElement: 'reads an optional value',
  RegexFullMatch: 'reads strings',
  StringConcat: 'reads strings',
  StringNormalizer: 'reads strings',
  StringSplit: 'reads strings',
  TfIdfVectorizer: 'counts n-grams that its attributes list',
};
