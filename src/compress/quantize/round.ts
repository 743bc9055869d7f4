import { type NodeSpec, Tensor } from '../../graph/index.js';
import type { Matrix } from '../../linalg/matmul.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import { runGraph } from '../../runtime/session/run-graph.js';

/** A weight in a few bits, as com.microsoft's MatMulNBits takes it. */
export interface Rounded {
  /** rows x blocks x (block * bits / 8), the first element in the lowest bits. */
  readonly packed: Uint8Array;
  /** rows * blocks; the zero point is half of the range. */
  readonly scales: Float32Array;
  readonly blocks: number;
  /** What the packed weight stands for, as the weight is laid out. */
  readonly values: Matrix;
}

const int64 = (values: readonly number[]): RuntimeTensor => ({
  type: 'int64',
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const float = (value: number): RuntimeTensor => ({
  type: 'float32',
  shape: [],
  data: Float32Array.of(value),
});

function nodes(bits: number): NodeSpec[] {
  const half = 2 ** (bits - 1);
  const scalar = (name: string, value: number): NodeSpec => ({
    opType: 'Constant',
    inputs: [],
    outputs: [name],
    attributes: { value: { tensor: Tensor.of(name, 'float32', [], Float32Array.of(value)) } },
  });
  const node = (
    opType: string,
    inputs: string[],
    output: string,
    attributes: NodeSpec['attributes'] = {},
  ): NodeSpec => ({
    opType,
    inputs,
    outputs: [output],
    attributes,
  });
  const last = { axes: { ints: [-1] } };
  return [
    scalar('least', -half),
    scalar('most', half - 1),
    scalar('half', half),
    node('Pad', ['x', 'pads', 'zero'], 'padded'),
    node('Reshape', ['padded', 'blocked'], 'b'),
    // The element that is farthest from zero becomes the least number, exactly: that end of the range reaches farther.
    node('ReduceMax', ['b'], 'high', last),
    node('ReduceMin', ['b'], 'low', last),
    node('Add', ['high', 'low'], 'both'),
    node('Greater', ['both', 'zero'], 'isHigh'),
    node('Where', ['isHigh', 'high', 'low'], 'far'),
    node('Div', ['far', 'least'], 'raw'),
    node('Equal', ['raw', 'zero'], 'isEmpty'),
    node('Where', ['isEmpty', 'one', 'raw'], 'scale'),
    node('Div', ['b', 'scale'], 'wide'),
    node('Round', ['wide'], 'near'),
    node('Clip', ['near', 'least', 'most'], 'q'),
    node('Mul', ['q', 'scale'], 'back'),
    node('Reshape', ['back', 'flat'], 'values'),
    node('Add', ['q', 'half'], 'shifted'),
    ...(bits === 4
      ? [
          node('Reshape', ['shifted', 'paired'], 'pairs'),
          node('Mul', ['pairs', 'places'], 'placed'),
          node('ReduceSum', ['placed', 'end'], 'bytes', { keepdims: { int: 0 } }),
        ]
      : [node('Identity', ['shifted'], 'bytes')]),
    node('Cast', ['bytes'], 'packed', { to: { int: 2 } }),
  ];
}

/**
 * Rounds a matrix to a few bits, block by block along its rows, to the nearest of numbers that are even spaced about zero.
 *
 * @param weight outputs x inputs
 * @param bits 4 or 8
 */
export async function rounded(weight: Matrix, bits: number, block: number): Promise<Rounded> {
  const { rows, columns } = weight;
  const blocks = Math.ceil(columns / block);
  const { packed, scale, values } = await runGraph(
    nodes(bits),
    {
      x: { type: 'float32', shape: [rows, columns], data: Float32Array.from(weight.data) },
      zero: float(0),
      one: float(1),
      pads: int64([0, 0, 0, blocks * block - columns]),
      blocked: int64([rows, blocks, block]),
      flat: int64([rows, blocks * block]),
      ...(bits === 4 && {
        paired: int64([rows, (blocks * block) / 2, 2]),
        places: { type: 'float32', shape: [2], data: Float32Array.of(1, 16) } as const,
        end: int64([-1]),
      }),
    },
    ['packed', 'scale', 'values'],
  );
  const whole = values?.data as Float32Array;
  const data = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row += 1)
    data.set(whole.subarray(row * blocks * block, row * blocks * block + columns), row * columns);
  return {
    packed: packed?.data as Uint8Array,
    scales: scale?.data as Float32Array,
    blocks,
    values: { rows, columns, data },
  };
}
