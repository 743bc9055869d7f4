import { type FloatType, type Model, type NodeSpec, narrow, Tensor } from '../../src/graph/index.js';
import { Random } from '../../src/runtime/random.js';
import { buildModel } from '../support/build.js';

export interface ConvOptions {
  readonly kernel?: readonly number[] | number;
  readonly pads?: readonly number[] | number;
  readonly stride?: number;
  readonly dilation?: number;
  readonly groups?: number;
  readonly bias?: boolean;
  readonly autoPad?: string;
  /** Of a transposed convolution. */
  readonly outputPadding?: number;
}

/** Writes a graph node by node, with random weights; every method returns the name of the value it makes. */
export class Net {
  readonly random: Random;
  readonly type: FloatType;
  readonly nodes: NodeSpec[] = [];
  readonly initializers: Tensor[] = [];
  readonly shape: readonly number[];
  #count = 0;
  readonly #channels = new Map<string, number>();

  constructor(shape: readonly number[], seed: number | string = 0, type: FloatType = 'float32') {
    this.random = new Random(seed, 'net');
    this.type = type;
    this.shape = shape;
    this.#channels.set('x', shape[1] ?? 0);
  }

  channels(value: string): number {
    return this.#channels.get(value) ?? 0;
  }

  get windowRank(): number {
    return this.shape.length - 2;
  }

  constant(name: string, shape: readonly number[], make: () => number): string {
    const size = shape.reduce((product, dim) => product * dim, 1);
    const data = narrow(this.type, Float64Array.from({ length: size }, make));
    const full = `${name}_${this.#next()}`;
    this.initializers.push(Tensor.of(full, this.type, shape, data));
    return full;
  }

  weight(name: string, shape: readonly number[], fanIn: number): string {
    return this.constant(name, shape, () => this.random.normal() / Math.sqrt(fanIn));
  }

  integers(name: string, values: readonly number[]): string {
    const full = `${name}_${this.#next()}`;
    this.initializers.push(Tensor.of(full, 'int64', [values.length], BigInt64Array.from(values, BigInt)));
    return full;
  }

  node(
    opType: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
    channels?: number,
  ): string {
    const name = `${opType.toLowerCase()}_${this.#next()}`;
    const output = `${name}_out`;
    this.nodes.push({ opType, name, inputs, outputs: [output], attributes });
    this.#channels.set(output, channels ?? this.channels(inputs[0] ?? ''));
    return output;
  }

  #windowAttributes(options: ConvOptions): {
    kernel: readonly number[];
    attributes: NonNullable<NodeSpec['attributes']>;
  } {
    const rank = this.windowRank;
    const all = (value: readonly number[] | number, count: number): readonly number[] =>
      typeof value === 'number' ? new Array<number>(count).fill(value) : value;
    const kernel = all(options.kernel ?? 1, rank);
    return {
      kernel,
      attributes: {
        kernel_shape: { ints: kernel },
        strides: { ints: all(options.stride ?? 1, rank) },
        ...(options.autoPad === undefined
          ? { pads: { ints: all(options.pads ?? 0, 2 * rank) } }
          : { auto_pad: { string: options.autoPad } }),
      },
    };
  }

  conv(x: string, outputs: number, options: ConvOptions = {}): string {
    const { kernel, attributes } = this.#windowAttributes(options);
    const groups = options.groups ?? 1;
    const inputs = this.channels(x) / groups;
    const taps = kernel.reduce((product, extent) => product * extent, 1);
    const weight = this.weight('conv.weight', [outputs, inputs, ...kernel], inputs * taps);
    const bias = options.bias ? [this.weight('conv.bias', [outputs], 1)] : [];
    const dilations = { ints: new Array<number>(this.windowRank).fill(options.dilation ?? 1) };
    return this.node(
      'Conv',
      [x, weight, ...bias],
      { ...attributes, dilations, group: { int: groups } },
      outputs,
    );
  }

  convTranspose(x: string, outputs: number, options: ConvOptions = {}): string {
    const { kernel, attributes } = this.#windowAttributes(options);
    const groups = options.groups ?? 1;
    const inputs = this.channels(x);
    const taps = kernel.reduce((product, extent) => product * extent, 1);
    const weight = this.weight(
      'deconv.weight',
      [inputs, outputs / groups, ...kernel],
      (inputs * taps) / groups,
    );
    const bias = options.bias ? [this.weight('deconv.bias', [outputs], 1)] : [];
    const dilations = { ints: new Array<number>(this.windowRank).fill(options.dilation ?? 1) };
    const { outputPadding = 0 } = options;
    const output_padding = { ints: new Array<number>(this.windowRank).fill(outputPadding) };
    return this.node(
      'ConvTranspose',
      [x, weight, ...bias],
      { ...attributes, dilations, group: { int: groups }, ...(outputPadding > 0 && { output_padding }) },
      outputs,
    );
  }

  /** Inference form, with statistics as training leaves them. `centered`: it adds nothing. */
  norm(x: string, options: { centered?: boolean } = {}, c = this.channels(x)): string {
    const normal = () => (options.centered ? 0 : this.random.normal());
    const inputs = [
      x,
      this.constant('bn.weight', [c], () => 0.5 + this.random.uniform()),
      this.constant('bn.bias', [c], normal),
      this.constant('bn.mean', [c], normal),
      this.constant('bn.var', [c], () => 0.5 + this.random.uniform()),
    ];
    return this.node('BatchNormalization', inputs, { epsilon: { float: 1e-3 } });
  }

  transpose(x: string, order: readonly number[]): string {
    return this.node('Transpose', [x], { perm: { ints: order } });
  }

  reshape(x: string, shape: readonly number[]): string {
    return this.node('Reshape', [x, this.integers('shape', shape)]);
  }

  add(...values: readonly string[]): string {
    return values.slice(1).reduce((sum, value) => this.node('Add', [sum, value]), values[0] ?? '');
  }

  averagePool(x: string, kernel: number, options: { pads?: number; stride?: number } = {}): string {
    const { attributes } = this.#windowAttributes({ kernel, ...options });
    return this.node('AveragePool', [x], { ...attributes, count_include_pad: { int: options.pads ? 1 : 0 } });
  }

  pad(x: string, pads: readonly number[]): string {
    const rank = this.windowRank;
    const all = [0, 0, ...pads.slice(0, rank), 0, 0, ...pads.slice(rank)];
    return this.node('Pad', [x, this.integers('pads', all)]);
  }

  model(output: string, options: { symbolic?: boolean | 'batch'; opset?: number } = {}): Model {
    const isSymbolic = (axis: number): boolean =>
      options.symbolic === 'batch' ? axis === 0 : options.symbolic === true && axis !== 1;
    const dims = this.shape.map((dim, axis) => (isSymbolic(axis) ? `d${axis}` : dim));
    return buildModel({
      opset: options.opset ?? 17,
      inputs: [['x', this.type, dims]],
      outputs: [[output, this.type]],
      nodes: this.nodes,
      initializers: this.initializers,
    });
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }
}
