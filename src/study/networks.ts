import { type FactorSize, taps } from '../affine/linear-site.js';
import { assertFits, buildModel, type Model, type NodeSpec, OptionError, Tensor } from '../graph/index.js';
import { checkOptions, defaultsOf, type OptionDefaults } from '../graph/option-descriptors.js';
import type { Floats } from '../linalg/floats.js';
import { matmul } from '../linalg/matmul.js';
import { freshMatrices } from '../passes/expand/fresh.js';
import { Random } from '../runtime/random.js';
import {
  type Activation,
  type Initialization,
  NETWORK_KINDS,
  NETWORK_OPTIONS,
  type NetworkKind,
  type NetworkOptions,
} from './options.js';

/** The operator of an activation; 'linear' has none. */
const OPERATORS: Readonly<Record<Exclude<Activation, 'linear'>, string>> = {
  relu: 'Relu',
  'leaky-relu': 'LeakyRelu',
  tanh: 'Tanh',
  gelu: 'Gelu',
  selu: 'Selu',
  sin: 'Sin',
};

/**
 * A network to study, as an ordinary ONNX model of the standard operators of version 20.
 *
 * An MLP is `depth` Gemm nodes, `width` features wide, with an activation between them. A CNN is `depth` convolutions of 3 x 3
 * with `width` channels, each followed by its activation; every second one has a stride of 2 as long as both axes have more than
 * 4 pixels; GlobalAveragePool, Flatten and a Gemm follow. `kernel` gives another size than 3. A residual network ('resnet') is a 3 x 3
 * convolution, of stride 2 where both axes have more than 16 pixels, and `depth` basic blocks of two convolutions (He et al., CVPR
 * 2016), each convolution without a bias and followed by a BatchNormalization; every second block halves the axes and doubles the
 * channels, with a 1 x 1 convolution in its shortcut. The same head follows. The batch is open.
 *
 * With n inputs and m outputs of a layer, times the 9 taps of a kernel, its weight is drawn from
 *
 * - 'normal': N(0, 1/n), 'uniform': U(-sqrt(3/n), sqrt(3/n)), the same variance (LeCun et al. 1998)
 * - 'kaiming': N(0, 2/n) (He et al., ICCV 2015, eq. 10), 'xavier': N(0, 2/(n + m)) (Glorot & Bengio, AISTATS 2010, eq. 16)
 * - 'orthogonal': orthonormal rows or columns, Haar (Saxe et al., ICLR 2014)
 * - 'low-rank': U V / sqrt(r n) with U of m x r and V of r x n standard normal numbers, r the `rank`: variance 1/n, rank r
 *
 * @throws OptionError where an option is out of range, or `inputs` has another number of axes
 * @example
 * const model = await newNetwork('mlp', { inputs: [784], depth: 4, width: 64, init: 'orthogonal' });
 */
export async function newNetwork(kind: NetworkKind, options: NetworkOptions = {}): Promise<Model> {
  if (!NETWORK_KINDS.includes(kind)) {
    throw new OptionError('kind', `must be one of ${NETWORK_KINDS.join(', ')}, not '${kind}'`);
  }
  const checked = checkOptions(NETWORK_OPTIONS, options);
  const settings = { ...defaultsOf(NETWORK_OPTIONS), ...checked };
  const { inputs = kind === 'mlp' ? [32] : [1, 28, 28] } = checked;
  const { outputs, depth, width } = settings;
  if (settings.kernel % 2 === 0) throw new OptionError('kernel', `must be odd, is ${settings.kernel}`);
  const axes = kind === 'mlp' ? 1 : 3;
  if (inputs.length !== axes) {
    const shape = kind === 'mlp' ? 'features' : 'channels, height, width';
    throw new OptionError(
      'inputs',
      `must be ${axes} of a network '${kind}' (${shape}), not ${inputs.length}`,
    );
  }
  const layers = new Layers(settings);
  const [features = 1, ...image] = inputs;
  let channels = features;
  if (kind === 'cnn') {
    const kernel = [settings.kernel, settings.kernel];
    for (let i = 0; i < depth; i += 1) {
      const isHalved = i % 2 === 1 && image.every((size) => size > 4);
      await layers.convolution({ inputs: channels, outputs: width, kernel }, isHalved ? 2 : 1);
      if (isHalved) for (const [axis, size] of image.entries()) image[axis] = Math.ceil(size / 2);
      layers.activate();
      channels = width;
    }
    layers.pool();
  }
  if (kind === 'resnet') {
    channels = await layers.residualBlocks(features, image);
    layers.pool();
  }
  for (let left = kind === 'mlp' ? depth : 1; left > 0; left -= 1) {
    const size = { inputs: channels, outputs: left === 1 ? outputs : width, kernel: [] };
    await layers.matrix(size, left === 1);
    if (left > 1) layers.activate();
    channels = size.outputs;
  }
  return buildModel({
    inputs: [['x', 'float32', ['batch', ...inputs]]],
    outputs: [['y', 'float32', ['batch', outputs]]],
    nodes: layers.nodes,
    initializers: layers.weights,
    opset: 20,
    ir: 9,
  });
}

type Settings = Omit<OptionDefaults<typeof NETWORK_OPTIONS>, 'inputs'>;

/** The nodes of a network, one layer after the other. */
class Layers {
  readonly nodes: NodeSpec[] = [];
  readonly weights: Tensor[] = [];
  readonly #settings: Settings;
  #value = 'x';
  #count = 0;
  #bytes = 0;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  async matrix(size: FactorSize, isLast: boolean): Promise<void> {
    const inputs = await this.#parameters(size, [size.outputs, size.inputs]);
    this.#add('Gemm', inputs, { transB: { int: 1 } }, isLast ? 'y' : undefined);
  }

  async convolution(size: FactorSize, stride: number, hasBias = true): Promise<void> {
    const inputs = await this.#parameters(size, [size.outputs, size.inputs, ...size.kernel], hasBias);
    const pads = size.kernel.map((extent) => (extent - 1) / 2);
    this.#add('Conv', inputs, {
      kernel_shape: { ints: size.kernel },
      pads: { ints: [...pads, ...pads] },
      strides: { ints: [stride, stride] },
    });
  }

  /** @returns the channels that they make */
  async residualBlocks(inputs: number, image: readonly number[]): Promise<number> {
    const { depth, width, kernel: extent } = this.#settings;
    const kernel = [extent, extent];
    const isLarge = image.every((size) => size > 16);
    await this.#normalized({ inputs, outputs: width, kernel: [3, 3] }, isLarge ? 2 : 1);
    this.activate();
    let axes = image.map((size) => (isLarge ? Math.ceil(size / 2) : size));
    let channels = width;
    for (let i = 0; i < depth; i += 1) {
      const isHalved = i % 2 === 1 && axes.every((size) => size > 4);
      const [outputs, stride] = isHalved ? [2 * channels, 2] : [channels, 1];
      const from = this.#value;
      await this.#normalized({ inputs: channels, outputs, kernel }, stride);
      this.activate();
      await this.#normalized({ inputs: outputs, outputs, kernel }, 1);
      const made = this.#value;
      this.#value = from;
      if (isHalved) await this.#normalized({ inputs: channels, outputs, kernel: [1, 1] }, stride);
      this.#add('Add', [made]);
      this.activate();
      if (isHalved) axes = axes.map((size) => Math.ceil(size / 2));
      channels = outputs;
    }
    return channels;
  }

  /** A convolution without a bias, and a BatchNormalization behind it that begins as the identity. */
  async #normalized(size: FactorSize, stride: number): Promise<void> {
    await this.convolution(size, stride, false);
    const layer = `norms.${this.#count - 1}`;
    const start = { scale: 1, bias: 0, mean: 0, var: 1 };
    const names = Object.entries(start).map(([part, value]) => {
      const data = new Float32Array(size.outputs).fill(value);
      this.weights.push(Tensor.of(`${layer}.${part}`, 'float32', [size.outputs], data));
      return `${layer}.${part}`;
    });
    this.#add('BatchNormalization', names);
  }

  activate(): void {
    const { activation } = this.#settings;
    if (activation !== 'linear') this.#add(OPERATORS[activation]);
  }

  pool(): void {
    this.#add('GlobalAveragePool');
    this.#add('Flatten');
  }

  /** The names of a new layer's weight and bias. */
  async #parameters(size: FactorSize, shape: readonly number[], hasBias = true): Promise<string[]> {
    const { init, rank, noBias, seed } = this.#settings;
    const layer = `layers.${this.#count}`;
    this.#count += 1;
    // What it is drawn in, and all that the network holds with it.
    const elements = size.outputs * size.inputs * taps(size.kernel);
    this.#bytes += 4 * elements;
    assertFits(this.#bytes + 8 * elements, `the weights of the network up to '${layer}'`);
    const random = new Random(seed, layer);
    const weight = await drawWeight(size, init, rank, random);
    this.weights.push(Tensor.of(`${layer}.weight`, 'float32', shape, Float32Array.from(weight)));
    if (noBias || !hasBias) return [`${layer}.weight`];
    this.weights.push(Tensor.of(`${layer}.bias`, 'float32', [size.outputs], new Float32Array(size.outputs)));
    return [`${layer}.weight`, `${layer}.bias`];
  }

  #add(
    opType: string,
    parameters: readonly string[] = [],
    attributes: NodeSpec['attributes'] = {},
    output = `v${this.nodes.length}`,
  ): void {
    const isLayer = parameters[0]?.startsWith('layers.') === true;
    const name = isLayer
      ? (parameters[0] as string).replace('.weight', '')
      : `${opType.toLowerCase()}.${this.nodes.length}`;
    this.nodes.push({ opType, name, inputs: [this.#value, ...parameters], outputs: [output], attributes });
    this.#value = output;
  }
}

/** The variance of weights, by the inputs n and outputs m of a layer times the taps of its kernel. */
const VARIANCES = {
  normal: (n) => 1 / n,
  uniform: (n) => 1 / n,
  kaiming: (n) => 2 / n,
  xavier: (n, m) => 2 / (n + m),
} satisfies Partial<Record<Initialization, (n: number, m: number) => number>>;

async function drawWeight(
  size: FactorSize,
  init: Initialization,
  rank: number,
  random: Random,
): Promise<Floats> {
  const { outputs, inputs, kernel } = size;
  const [n, m] = [inputs * taps(kernel), outputs * taps(kernel)];
  if (init === 'low-rank') {
    const r = Math.min(rank, outputs, n);
    const left = random.fillNormal(new Float64Array(outputs * r), 1 / Math.sqrt(r * n));
    const right = random.fillNormal(new Float64Array(r * n));
    return (await matmul({ rows: outputs, columns: r, data: left }, { rows: r, columns: n, data: right }))
      .data;
  }
  // Orthogonal factors are scaled by the root of outputs / n where that is more than 1.
  const scale =
    init === 'orthogonal' ? 1 / Math.sqrt(Math.max(1, outputs / n)) : Math.sqrt(VARIANCES[init](n, m));
  return freshMatrices(size, 1, { init: `fresh:${init}`, scale, isDouble: true }, random);
}
