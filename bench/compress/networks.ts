/**
 * The networks of the comparison, untrained: an MLP, a plain CNN with pooling and a ResNet with normalizations, for images of
 * 28 x 28. Usage: npx tsx bench/compress/networks.ts <folder>
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { buildModel, type Model, type NodeSpec, saveModel, Tensor } from '../../src/graph/index.js';
import { Random } from '../../src/runtime/random.js';

class Layers {
  readonly nodes: NodeSpec[] = [];
  readonly weights: Tensor[] = [];
  readonly #random: Random;
  #value = 'x';

  constructor(seed: number) {
    this.#random = new Random(seed, 'networks');
  }

  get value(): string {
    return this.#value;
  }

  /** Goes on from a value. */
  from(value: string): this {
    this.#value = value;
    return this;
  }

  tensor(name: string, shape: readonly number[], fill: number | 'kaiming'): string {
    const size = shape.reduce((product, dim) => product * dim, 1);
    const data = new Float32Array(size);
    if (fill === 'kaiming') {
      const inputs = size / (shape[0] ?? 1);
      this.weights.push(
        Tensor.of(
          name,
          'float32',
          shape,
          Float32Array.from(this.#random.fillNormal(new Float64Array(size), Math.sqrt(2 / inputs))),
        ),
      );
    } else this.weights.push(Tensor.of(name, 'float32', shape, data.fill(fill)));
    return name;
  }

  add(
    opType: string,
    name: string,
    more: readonly string[] = [],
    attributes: NodeSpec['attributes'] = {},
  ): this {
    const output = `${name}/out`;
    this.nodes.push({ opType, name, inputs: [this.#value, ...more], outputs: [output], attributes });
    return this.from(output);
  }

  dense(name: string, inputs: number, outputs: number): this {
    const parameters = [
      this.tensor(`${name}.weight`, [outputs, inputs], 'kaiming'),
      this.tensor(`${name}.bias`, [outputs], 0),
    ];
    return this.add('Gemm', name, parameters, { transB: { int: 1 } });
  }

  conv(name: string, inputs: number, outputs: number, size: number, stride: number, hasBias: boolean): this {
    const parameters = [this.tensor(`${name}.weight`, [outputs, inputs, size, size], 'kaiming')];
    if (hasBias) parameters.push(this.tensor(`${name}.bias`, [outputs], 0));
    const pad = (size - 1) / 2;
    return this.add('Conv', name, parameters, {
      kernel_shape: { ints: [size, size] },
      pads: { ints: [pad, pad, pad, pad] },
      strides: { ints: [stride, stride] },
    });
  }

  norm(name: string, channels: number): this {
    const fills = { scale: 1, shift: 0, mean: 0, variance: 1 };
    return this.add(
      'BatchNormalization',
      name,
      Object.entries(fills).map(([key, fill]) => this.tensor(`${name}.${key}`, [channels], fill)),
    );
  }

  model(input: readonly number[]): Model {
    const last = this.nodes.at(-1);
    if (last !== undefined) this.nodes[this.nodes.length - 1] = { ...last, outputs: ['y'] };
    return buildModel({
      inputs: [['x', 'float32', ['batch', ...input]]],
      outputs: [['y', 'float32', ['batch', 10]]],
      nodes: this.nodes,
      initializers: this.weights,
      opset: 17,
      ir: 8,
    });
  }
}

/** 784 - 256 - 256 - 128 - 10. */
function mlp(seed: number): Model {
  const layers = new Layers(seed);
  const widths = [784, 256, 256, 128, 10];
  for (let i = 1; i < widths.length; i += 1) {
    layers.dense(`fc${i}`, widths[i - 1] ?? 0, widths[i] ?? 0);
    if (i < widths.length - 1) layers.add('Relu', `relu${i}`);
  }
  return layers.model([784]);
}

/** Five convolutions with pooling, and two dense layers. */
function cnn(seed: number): Model {
  const layers = new Layers(seed);
  const widths = [1, 24, 32, 48, 64, 64];
  for (let i = 1; i < widths.length; i += 1) {
    layers.conv(`conv${i}`, widths[i - 1] ?? 0, widths[i] ?? 0, 3, 1, true).add('Relu', `relu${i}`);
    if (i === 2 || i === 4)
      layers.add('MaxPool', `pool${i}`, [], { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } });
  }
  layers
    .add('MaxPool', 'pool5', [], { kernel_shape: { ints: [2, 2] }, strides: { ints: [2, 2] } })
    .add('Flatten', 'flat');
  layers
    .dense('fc1', 64 * 9, 128)
    .add('Relu', 'relu6')
    .dense('fc2', 128, 10);
  return layers.model([1, 28, 28]);
}

/** A residual network of three stages with two blocks each (He et al. 2016, the form for CIFAR), from 12 channels on. */
function resnet(seed: number): Model {
  const layers = new Layers(seed);
  layers.conv('stem', 1, 12, 3, 1, false).norm('stem.norm', 12).add('Relu', 'stem.relu');
  let channels = 12;
  for (const [stage, width] of [12, 24, 48].entries()) {
    for (let block = 0; block < 2; block += 1) {
      const name = `stage${stage}.${block}`;
      const start = layers.value;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      layers.conv(`${name}.conv1`, channels, width, 3, stride, false).norm(`${name}.norm1`, width);
      layers.add('Relu', `${name}.relu1`);
      const end = layers.conv(`${name}.conv2`, width, width, 3, 1, false).norm(`${name}.norm2`, width).value;
      const around =
        stride === 1
          ? start
          : layers
              .from(start)
              .conv(`${name}.skip`, channels, width, 1, stride, false)
              .norm(`${name}.norm3`, width).value;
      layers.from(end).add('Add', `${name}.add`, [around]).add('Relu', `${name}.relu2`);
      channels = width;
    }
  }
  layers.add('GlobalAveragePool', 'pool').add('Flatten', 'flat').dense('fc', channels, 10);
  return layers.model([1, 28, 28]);
}

const [folder = '.'] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
for (const [name, make] of Object.entries({ mlp, cnn, resnet }))
  await saveModel(make(0), join(folder, `${name}-untrained.onnx`), { overwrite: true });
