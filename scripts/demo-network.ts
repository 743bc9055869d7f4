import { type Model, type NodeSpec, Tensor, ValueInfo } from '../src/graph/index.js';
import { Random } from '../src/runtime/random.js';
import { buildModel } from '../src/runtime/session/small-model.js';

const CLASSES = 10;

/** A small convolutional network for 28 x 28 grey images and ten classes, with weights that mean nothing yet. */
export function demoNetwork(): Model {
  const weight = (name: string, shape: readonly number[], deviation: number): Tensor => {
    const random = new Random('demo', name);
    const size = shape.reduce((a, b) => a * b, 1);
    return Tensor.of(
      name,
      'float32',
      shape,
      Float32Array.from({ length: size }, () => deviation * random.normal()),
    );
  };
  const layer = (name: string, shape: readonly number[]): Tensor[] => [
    weight(`${name}.weight`, shape, 0.1),
    weight(`${name}.bias`, shape.slice(0, 1), 0),
  ];
  const node = (
    opType: string,
    name: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
  ): NodeSpec => ({
    opType,
    name,
    inputs: [...inputs],
    outputs: [name === 'classify' ? 'logits' : name],
    attributes,
  });
  const linear = (
    opType: string,
    name: string,
    input: string,
    attributes: NodeSpec['attributes'],
  ): NodeSpec => node(opType, name, [input, `${name}.weight`, `${name}.bias`], attributes);
  const same = { pads: { ints: [1, 1, 1, 1] } };
  const half = { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } };
  const transposed = { transB: { int: 1 } };
  return buildModel({
    inputs: [ValueInfo.tensor('image', 'float32', ['batch', 1, 28, 28])],
    outputs: [ValueInfo.tensor('logits', 'float32', ['batch', CLASSES])],
    initializers: [
      ...layer('conv1', [16, 1, 3, 3]),
      ...layer('conv2', [32, 16, 3, 3]),
      ...layer('hidden', [64, 32 * 7 * 7]),
      ...layer('classify', [CLASSES, 64]),
    ],
    nodes: [
      linear('Conv', 'conv1', 'image', same),
      node('Relu', 'relu1', ['conv1']),
      node('MaxPool', 'pool1', ['relu1'], half),
      linear('Conv', 'conv2', 'pool1', same),
      node('Relu', 'relu2', ['conv2']),
      node('MaxPool', 'pool2', ['relu2'], half),
      node('Flatten', 'flat', ['pool2']),
      linear('Gemm', 'hidden', 'flat', transposed),
      node('Relu', 'relu3', ['hidden']),
      linear('Gemm', 'classify', 'relu3', transposed),
    ],
    opset: 17,
  });
}
