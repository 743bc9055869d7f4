import { narrow, Tensor } from '../../graph/index.js';
import { type RuntimeTensor, runGraph } from '../../runtime/index.js';
import type { ConvertType } from './options.js';

/** A weight in another type, and what of it that type does not hold. */
export interface Narrowed {
  readonly tensor: Tensor;
  /** Finite elements that would be infinite. */
  readonly overflowed: number;
  /** Elements that become 0. */
  readonly vanished: number;
}

/** Half of the distance from the largest number to what would come next: from there on, rounding makes infinity. */
const LIMITS = {
  float16: 65520,
  bfloat16: 3.3961775292304601e38,
  float32: Number.POSITIVE_INFINITY,
} as const;
/** Up to half of the smallest number, rounding makes 0. */
const LEAST = { float16: 2 ** -25, bfloat16: 2 ** -134, float32: 0 } as const;

const keep = { keepdims: { int: 0 } } as const;

/** A float32 tensor in half precision, rounded to nearest even. */
export async function narrowed(tensor: Tensor, type: ConvertType, name = tensor.name): Promise<Narrowed> {
  if (tensor.size === 0)
    return {
      tensor: Tensor.of(name, type, tensor.shape, narrow(type, new Float32Array()) as never),
      overflowed: 0,
      vanished: 0,
    };
  const data = tensor.array() as Float32Array;
  const scalar = (value: number): RuntimeTensor => ({
    type: 'float32',
    shape: [],
    data: Float32Array.of(value),
  });
  const { half, large, small } = await runGraph(
    [
      { opType: 'Abs', inputs: ['x'], outputs: ['size'] },
      { opType: 'GreaterOrEqual', inputs: ['size', 'limit'], outputs: ['above'] },
      { opType: 'Less', inputs: ['size', 'infinity'], outputs: ['finite'] },
      { opType: 'And', inputs: ['above', 'finite'], outputs: ['over'] },
      { opType: 'LessOrEqual', inputs: ['size', 'least'], outputs: ['below'] },
      { opType: 'Greater', inputs: ['size', 'zero'], outputs: ['some'] },
      { opType: 'And', inputs: ['below', 'some'], outputs: ['under'] },
      { opType: 'Cast', inputs: ['over'], outputs: ['overs'], attributes: { to: { int: 7 } } },
      { opType: 'Cast', inputs: ['under'], outputs: ['unders'], attributes: { to: { int: 7 } } },
      { opType: 'ReduceSum', inputs: ['overs'], outputs: ['large'], attributes: keep },
      { opType: 'ReduceSum', inputs: ['unders'], outputs: ['small'], attributes: keep },
      {
        opType: 'Cast',
        inputs: ['x'],
        outputs: ['half'],
        attributes: { to: { int: type === 'float16' ? 10 : 1 } },
      },
    ],
    {
      x: { type: 'float32', shape: [data.length], data },
      limit: scalar(LIMITS[type]),
      least: scalar(LEAST[type]),
      infinity: scalar(Number.POSITIVE_INFINITY),
      zero: scalar(0),
    },
    ['half', 'large', 'small'],
  );
  const bits = type === 'float16' ? half?.data : narrow(type, data);
  return {
    tensor: Tensor.of(name, type, tensor.shape, bits as never),
    overflowed: Number(large?.data[0] ?? 0),
    vanished: Number(small?.data[0] ?? 0),
  };
}
