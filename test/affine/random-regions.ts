import { Net } from './net.js';

/** A value and the sizes of its windowed axes. */
interface Value {
  readonly name: string;
  readonly sizes: readonly number[];
}

/** Draws graphs that are affine in their input, of convolutions and what stands between them. */
export class RandomConvolutions {
  readonly net: Net;

  constructor(seed: number) {
    const probe = new Net([], `shape ${seed}`).random;
    const rank = 1 + probe.integer(2) + (probe.integer(6) === 0 ? 1 : 0);
    const sizes = Array.from({ length: rank }, (_, axis) => 12 + axis + probe.integer(3));
    this.net = new Net([2, 4 * (1 + probe.integer(2)), ...sizes], seed);
  }

  get start(): Value {
    return { name: 'x', sizes: this.net.shape.slice(2) };
  }

  #pick<T>(...choices: readonly T[]): T {
    return choices[this.net.random.integer(choices.length)] as T;
  }

  #chance(one: number): boolean {
    return this.net.random.integer(one) === 0;
  }

  /** Divisors of both numbers of channels. */
  #groups(inputs: number, outputs: number): number {
    return this.#pick(
      ...[1, 1, 2, 4, inputs].filter((groups) => inputs % groups === 0 && outputs % groups === 0),
    );
  }

  steps(value: Value, count: number, branches = 2): Value {
    for (let i = 0; i < count; i += 1)
      value = this.#chance(4) && branches > 0 ? this.#branch(value, branches) : this.#step(value);
    return value;
  }

  #step(value: Value): Value {
    const kinds = [
      'conv',
      'conv',
      'conv',
      'pointwise',
      'pointwise',
      'norm',
      'scale',
      'shift',
      'transpose',
      'pool',
      'pad',
      'nothing',
      'turned',
      'merged',
      'shuffled',
      'unit',
    ] as const;
    const kind = this.#pick(...kinds);
    const { net } = this;
    const c = net.channels(value.name);
    const outputs = this.#pick(4, 8, c);
    const same = (name: string): Value => ({ name, sizes: value.sizes });
    const vector = (): readonly number[] =>
      this.#pick<readonly number[]>(
        [],
        [c, ...value.sizes.map(() => 1)],
        [1, c, ...value.sizes.map(() => 1)],
      );
    switch (kind) {
      case 'pointwise':
        return same(
          net.conv(value.name, outputs, { groups: this.#groups(c, outputs), bias: this.#chance(4) }),
        );
      case 'norm':
        return same(net.norm(value.name, { centered: this.#chance(2) }));
      case 'scale': {
        const factor = net.constant('scale', vector(), () => 0.5 + net.random.uniform());
        const op = this.#pick('Mul', 'Div');
        return same(net.node(op, [value.name, factor]));
      }
      case 'shift': {
        const shift = net.weight('shift', vector(), 1);
        const op = this.#pick('Add', 'Sub');
        if (this.#chance(2)) return same(net.node(op, [value.name, shift]));
        return same(net.node(op, [shift, value.name], {}, c));
      }
      case 'nothing':
        return same(net.node(this.#pick('Identity', 'Dropout', 'Neg'), [value.name]));
      case 'pad': {
        const pads = Array.from({ length: 2 * net.windowRank }, () => this.#pick(0, 0, 1, 2, -1));
        return this.#sized(
          value,
          (before, axis) => before + (pads[axis] ?? 0) + (pads[axis + net.windowRank] ?? 0),
          () => net.pad(value.name, pads),
        );
      }
      case 'pool': {
        const [kernel, stride, pads] = [this.#pick(2, 3), this.#pick(1, 1, 2), this.#pick(0, 1)];
        return this.#sized(
          value,
          (before) => Math.floor((before + 2 * pads - kernel) / stride) + 1,
          () => net.averagePool(value.name, kernel, { stride, pads }),
        );
      }
      case 'transpose': {
        const [kernel, dilation] = [this.#pick(1, 2, 3), this.#pick(1, 2)];
        const pads = this.#pick(0, 1);
        const groups = this.#groups(c, outputs);
        const stride = this.#pick(1, 1, 2);
        const outputPadding = stride === 2 ? this.#pick(0, 1) : 0;
        return this.#sized(
          value,
          (before) => stride * (before - 1) + dilation * (kernel - 1) + 1 - 2 * pads + outputPadding,
          () =>
            net.convTranspose(value.name, outputs, {
              ...{ kernel, dilation, pads, groups, stride, outputPadding },
              bias: this.#chance(4),
            }),
        );
      }
      case 'turned':
        return same(this.#turned(value.name));
      case 'merged': {
        const all = value.sizes.reduce((product, size) => product * size, 1);
        const merged = net.reshape(value.name, [0, c, this.#pick(-1, all)]);
        const made = this.#chance(2)
          ? net.node('MatMul', [net.weight('a', [outputs, c], c), merged], {}, outputs)
          : net.node('Conv', [merged, net.weight('k', [outputs, c, 1], c)], {}, outputs);
        return same(net.reshape(made, [this.#pick(0, -1, 2), this.#pick(outputs, 0), ...value.sizes]));
      }
      case 'shuffled': {
        const groups = this.#pick(2, 4);
        const cut = net.reshape(value.name, [2, groups, c / groups, ...value.sizes]);
        // One number a group, or one of each place within a group.
        const places = this.#pick([groups, 1], [1, c / groups], [groups, c / groups]);
        const factor = (): string => {
          const shape = [...places, ...value.sizes.map(() => 1)];
          return net.constant('scale', shape, () => 0.5 + net.random.uniform());
        };
        const scaled = this.#chance(2) ? cut : net.node(this.#pick('Mul', 'Add'), [cut, factor()], {}, c);
        const turned = net.transpose(scaled, [0, 2, 1, ...value.sizes.map((_, axis) => axis + 3)]);
        return same(net.reshape(turned, [2, c, ...value.sizes]));
      }
      case 'unit': {
        const axes = net.integers('axes', [this.#pick(2, 2 + net.windowRank)]);
        return same(net.node('Squeeze', [net.node('Unsqueeze', [value.name, axes]), axes]));
      }
      case 'conv': {
        const kernel = Array.from({ length: net.windowRank }, () => this.#pick(1, 2, 3));
        const [stride, dilation] = [this.#pick(1, 1, 1, 2), this.#pick(1, 1, 2)];
        const pads = this.#chance(2)
          ? []
          : Array.from({ length: 2 * net.windowRank }, () => this.#pick(0, 0, 1, 2));
        const all = Array.from({ length: 2 * net.windowRank }, (_, i) => pads[i] ?? 0);
        const groups = this.#groups(c, outputs);
        const after = (before: number, axis: number): number => {
          const span = dilation * ((kernel[axis] ?? 1) - 1) + 1;
          return (
            Math.floor((before + (all[axis] ?? 0) + (all[axis + net.windowRank] ?? 0) - span) / stride) + 1
          );
        };
        return this.#sized(value, after, () =>
          net.conv(value.name, outputs, {
            kernel,
            stride,
            dilation,
            pads: all,
            groups,
            bias: this.#chance(4),
          }),
        );
      }
    }
  }

  /** A few maps of the last axis, to which the channels are brought, and back. */
  #turned(value: string): string {
    const { net } = this;
    const windows = Array.from({ length: net.windowRank }, (_, axis) => axis + 2);
    let inner = net.transpose(value, [0, ...windows, 1]);
    for (let i = net.random.integer(3); i >= 0; i -= 1) {
      const width = net.channels(inner);
      const kind = this.#pick('product', 'bias', 'scale');
      const made = this.#pick(4, 8);
      if (kind === 'product')
        inner = net.node('MatMul', [inner, net.weight('w', [width, made], width)], {}, made);
      else inner = net.node(kind === 'bias' ? 'Add' : 'Mul', [inner, net.weight(kind, [width], 1)]);
    }
    return net.transpose(inner, [0, net.windowRank + 1, ...windows.map((axis) => axis - 1)]);
  }

  /** The step if something is left of every axis, else nothing. */
  #sized(value: Value, size: (before: number, axis: number) => number, make: () => string): Value {
    const sizes = value.sizes.map(size);
    return sizes.every((length) => length >= 1 && length < 40) ? { name: make(), sizes } : value;
  }

  /** Two or three ways from one value to a sum, all of which leave sizes as they are, or halve them. */
  #branch(value: Value, branches: number): Value {
    const { net } = this;
    const c = net.channels(value.name);
    const outputs = this.#pick(c, c, 8);
    const stride = value.sizes.every((size) => size > 5) ? this.#pick(1, 1, 2) : 1;
    const way = (): Value => {
      const kind = this.#pick('kxk', 'kxk', 'pointwise', 'identity', 'pool', 'two', 'inner');
      const groups = this.#groups(c, outputs);
      const [kernel, dilation] = [this.#pick(1, 3), this.#pick(1, 2)];
      const options = { kernel, dilation, stride, pads: (dilation * (kernel - 1)) / 2, groups };
      const sizes = value.sizes.map((size) => Math.floor((size - 1) / stride) + 1);
      const made = (name: string): Value => ({ name, sizes });
      if (kind === 'identity' && outputs === c && stride === 1) return value;
      if (kind === 'pool' && outputs === c) return made(net.averagePool(value.name, 3, { pads: 1, stride }));
      if (kind === 'two') return made(net.conv(net.conv(value.name, 4), outputs, { ...options, groups: 1 }));
      if (kind === 'inner' && stride === 1 && branches > 1) {
        const inner = this.#branch(value, branches - 1);
        const isSame = inner.sizes.join() === value.sizes.join();
        if (isSame) return made(net.conv(inner.name, outputs, { groups: 1 }));
      }
      if (kind === 'pointwise')
        return made(net.conv(value.name, outputs, { stride, groups, bias: this.#chance(3) }));
      return made(net.conv(value.name, outputs, { ...options, bias: this.#chance(3) }));
    };
    const ways = Array.from({ length: 2 + net.random.integer(2) }, () => {
      const made = way();
      return this.#chance(3) ? net.norm(made.name) : made.name;
    });
    const sizes = value.sizes.map((size) => Math.floor((size - 1) / stride) + 1);
    const sum = this.#chance(3)
      ? net.node('Sum', ways, {}, outputs)
      : ways
          .slice(1)
          .reduce(
            (total, name) => net.node(this.#pick('Add', 'Add', 'Sub'), [total, name], {}, outputs),
            ways[0] as string,
          );
    return { name: sum, sizes };
  }
}

/** Draws graphs that are affine in the last axis of their input, or the last but one. */
export class RandomMatrices {
  readonly net: Net;
  readonly rank: number;
  readonly side: 'last' | 'left';
  readonly #isMatrix: boolean;
  #width: number;

  constructor(seed: number) {
    const { random } = new Net([], `shape ${seed}`);
    this.side = random.integer(3) === 0 ? 'left' : 'last';
    this.rank = 2 + random.integer(3);
    this.#isMatrix = this.rank === 2 && this.side === 'last';
    this.#width = 6;
    const outer = [3, 2, 4].slice(0, this.rank - 1);
    const shape = this.side === 'last' ? [...outer, this.#width] : [...outer.slice(0, -1), this.#width, 5];
    this.net = new Net(shape, seed, 'float64');
  }

  #pick<T>(...choices: readonly T[]): T {
    return choices[this.net.random.integer(choices.length)] as T;
  }

  /** A product, and what it makes the width. */
  #product(value: string, width: number): string {
    const { net } = this;
    const inputs = this.#width;
    if (this.side === 'left') return net.node('MatMul', [net.weight('a', [width, inputs], inputs), value]);
    if (!this.#isMatrix || net.random.integer(3) === 0)
      return net.node('MatMul', [value, net.weight('w', [inputs, width], inputs)]);
    const isTurned = net.random.integer(2) === 0;
    const weight = net.weight('w', isTurned ? [width, inputs] : [inputs, width], inputs);
    const bias = this.#pick(
      [],
      [net.weight('b', [width], 1)],
      [net.weight('b', [1, width], 1)],
      [net.weight('b', [], 1)],
    );
    const scales = { alpha: { float: this.#pick(1, 0.5) }, beta: { float: this.#pick(1, 2) } };
    return net.node('Gemm', [value, weight, ...bias], { transB: { int: Number(isTurned) }, ...scales });
  }

  #vector(): string {
    const w = this.#width;
    const shapes = this.side === 'left' ? [[w, 1], []] : [[w], [1, w], []];
    return this.net.constant('v', this.#pick(...shapes), () => 0.5 + this.net.random.uniform());
  }

  /** A product of rows in one axis, or from the other side of swapped axes. */
  #relabelled(value: string): string {
    const { net } = this;
    const [inputs, width] = [this.#width, this.#pick(4, 6)];
    this.#width = width;
    const isLast = this.side === 'last';
    const outer = net.shape.slice(0, isLast ? -1 : -2);
    if (isLast && this.#pick(true, false)) {
      const rows = net.reshape(value, [-1, inputs]);
      const product = net.node('MatMul', [rows, net.weight('w', [inputs, width], inputs)]);
      return net.reshape(product, [...outer.slice(0, -1), this.#pick(-1, outer.at(-1) ?? 1), width]);
    }
    const order = [...outer.slice(isLast ? 1 : 0).map((_, axis) => axis), this.rank - 1, this.rank - 2];
    const swapped = net.transpose(value, order);
    const product = isLast
      ? net.node('MatMul', [net.weight('a', [width, inputs], inputs), swapped])
      : net.node('MatMul', [swapped, net.weight('w', [inputs, width], inputs)]);
    return net.transpose(product, order);
  }

  steps(count: number): string {
    const { net } = this;
    let value = 'x';
    for (let i = 0; i < count; i += 1) {
      const kind = this.#pick(
        'product',
        'product',
        'residual',
        'scale',
        'shift',
        'norm',
        'nothing',
        'relabelled',
      );
      if (kind === 'product') {
        const width = this.#pick(4, 6, 8);
        value = this.#product(value, width);
        this.#width = width;
      } else if (kind === 'relabelled') value = this.#relabelled(value);
      else if (kind === 'residual') {
        const ways = [
          this.#product(value, this.#width),
          this.#pick(value, this.#product(value, this.#width)),
        ];
        value = net.node(this.#pick('Add', 'Sub', 'Sum'), ways);
      } else if (kind === 'scale') value = net.node(this.#pick('Mul', 'Div'), [value, this.#vector()]);
      else if (kind === 'shift')
        value = net.node(
          this.#pick('Add', 'Sub'),
          this.#pick([value, this.#vector()], [this.#vector(), value]),
        );
      else if (kind === 'norm' && this.#isMatrix) {
        const stats = [0, 1, 2, 3].map((at) =>
          net.constant(`s${at}`, [this.#width], () => 0.5 + net.random.uniform()),
        );
        value = net.node('BatchNormalization', [value, ...stats]);
      } else value = net.node(this.#pick('Identity', 'Neg'), [value]);
    }
    return value;
  }
}
