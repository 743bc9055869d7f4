/** Small models for the fuzz command, drawn from a seed: valid ones, and ones that are wrong in the ways of real files. */
import { buildGraph, modelProto } from '../src/graph/build.js';
import {
  createModel,
  type FloatType,
  type FunctionSpec,
  type ModelSpec,
  modelToBytes,
  type NodeSpec,
  narrow,
  Tensor,
  type ValueSpec,
} from '../src/graph/index.js';
import { Random } from '../src/runtime/random.js';

/** A change of the bytes of a file, at a fraction of its length. */
interface ByteEdit {
  readonly kind: 'flip' | 'cut' | 'insert' | 'repeat';
  readonly at: number;
  readonly value: number;
}

/** A model as the parts that minimization leaves out one by one. */
export interface Draft {
  readonly spec: ModelSpec & {
    readonly nodes: readonly NodeSpec[];
    readonly initializers: readonly Tensor[];
  };
  readonly edits: readonly ByteEdit[];
}

export function bytesOf({ spec, edits }: Draft): Uint8Array {
  let bytes = modelToBytes(createModel(modelProto(spec)));
  for (const { kind, at, value } of edits) {
    const place = Math.floor(at * bytes.length);
    const [head, tail] = [bytes.subarray(0, place), bytes.subarray(place)];
    if (kind === 'cut') bytes = head;
    else if (kind === 'insert') bytes = Buffer.concat([head, Uint8Array.of(value), tail]);
    else if (kind === 'repeat') bytes = Buffer.concat([head, tail.subarray(0, value), tail]);
    else bytes = Buffer.concat([head, Uint8Array.of((tail[0] ?? 0) ^ value), tail.subarray(1)]);
  }
  return bytes;
}

/** What is smaller than a draft by one part or by many, the smallest first. */
export function* smaller(draft: Draft): Generator<Draft> {
  const { spec, edits } = draft;
  for (const [index] of edits.entries()) yield { spec, edits: edits.filter((_, at) => at !== index) };
  for (let size = spec.nodes.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < spec.nodes.length; from += size) {
      yield { spec: withoutNodes(draft.spec, from, from + size), edits };
    }
  }
  const read = new Set([
    ...[...spec.nodes, ...(spec.functions ?? []).flatMap(({ nodes }) => nodes)].flatMap(
      ({ inputs }) => inputs,
    ),
    ...(spec.outputs ?? []).map((output) => (Array.isArray(output) ? output[0] : '')),
  ]);
  const unread = spec.initializers.filter(({ name }) => !read.has(name));
  if (unread.length > 0) {
    const initializers = spec.initializers.filter(({ name }) => read.has(name));
    yield { spec: { ...spec, initializers }, edits };
  }
  const { functions = [], values = [] } = spec;
  for (const one of functions) {
    yield { spec: { ...spec, functions: functions.filter((other) => other !== one) }, edits };
  }
  if (values.length > 0) yield { spec: { ...spec, values: [] }, edits };
}

/** Without some nodes; what they made is now what they read first. */
function withoutNodes(spec: Draft['spec'], from: number, to: number): Draft['spec'] {
  const renamed = new Map<string, string>();
  const now = (name: string): string => {
    let found = name;
    const seen = new Set<string>();
    for (let next = renamed.get(found); next !== undefined && !seen.has(next); next = renamed.get(found)) {
      seen.add(found);
      found = next;
    }
    return found;
  };
  for (const { inputs, outputs } of spec.nodes.slice(from, to)) {
    const [source] = inputs;
    if (source !== undefined) for (const output of outputs) renamed.set(output, source);
  }
  return {
    ...spec,
    nodes: spec.nodes
      .filter((_, index) => index < from || index >= to)
      .map((node) => ({ ...node, inputs: node.inputs.map(now) })),
    outputs: (spec.outputs ?? []).map(
      (output): ValueSpec => (Array.isArray(output) ? [now(output[0]), output[1]] : output),
    ),
  };
}

const EXTREMES = [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -1n, 2n ** 31n, 0n];
const ODD = ["'", '"', '\n', '\t', '\\', '\u001b[31m', '\u0007', '/', ' ', '日本', '{', '=', '__proto__', ''];
type Scales =
  | 'plain'
  | 'row'
  | 'column'
  | 'element'
  | 'outlier'
  | 'whole'
  | 'zeros'
  | 'rank one'
  | 'not finite';

export function drawDraft(seed: number): Draft {
  return new Drawer(seed).draft();
}

class Drawer {
  readonly #random: Random;
  readonly #type: FloatType;
  readonly #nodes: NodeSpec[] = [];
  readonly #initializers: Tensor[] = [];
  readonly #functions: FunctionSpec[] = [];
  readonly #values: ValueSpec[] = [];
  readonly #outputs: ValueSpec[] = [];
  readonly #odd: boolean;
  readonly #wild: boolean;
  #count = 0;
  #value = 'x';
  /** Of the value: batch, channels, then windowed axes. */
  #shape: number[];

  constructor(seed: number) {
    this.#random = new Random(seed, 'fuzz');
    const type = this.#pick<FloatType>(
      'float32',
      'float32',
      'float32',
      'float32',
      'float32',
      'float32',
      'float16',
      'float64',
      this.#chance(3) ? 'bfloat16' : 'float32',
    );
    this.#type = type;
    this.#odd = this.#chance(5);
    this.#wild = this.#chance(2);
    this.#shape = this.#pick([3, 6], [3, 6], [2, 4, 7], [2, 4, 6, 5]);
  }

  draft(): Draft {
    const input: ValueSpec = ['x', this.#type, [...this.#shape]];
    for (let left = 1 + this.#random.integer(7); left > 0; left -= 1) this.#step();
    if (this.#chance(6)) this.#hostile();
    this.#outputs.unshift([this.#value, this.#type]);
    return { spec: this.#faults(input), edits: this.#chance(8) ? this.#edits() : [] };
  }

  #pick<T>(...choices: readonly T[]): T {
    return choices[this.#random.integer(choices.length)] as T;
  }

  #chance(one: number): boolean {
    return this.#random.integer(one) === 0;
  }

  #name(base: string): string {
    this.#count += 1;
    return `${base}${this.#odd ? this.#pick(...ODD) : '.'}${this.#count}`;
  }

  /** A number of any size up to 1e12 and down to its inverse. */
  #scale(): number {
    return 10 ** (this.#random.uniform() * 24 - 12);
  }

  #constant(base: string, shape: readonly number[], make: (index: number) => number): string {
    const name = this.#name(base);
    const length = shape.reduce((product, size) => product * size, 1);
    const data = narrow(
      this.#type,
      Float64Array.from({ length }, (_, index) => make(index)),
    );
    this.#initializers.push(Tensor.of(name, this.#type, shape, data));
    return name;
  }

  #ints(values: readonly (number | bigint)[], isScalar = false): string {
    const name = this.#name('ints');
    this.#initializers.push(
      Tensor.of(name, 'int64', isScalar ? [] : [values.length], BigInt64Array.from(values, BigInt)),
    );
    return name;
  }

  /** A weight, mostly of ordinary numbers; rows are its first axis. */
  #weight(shape: readonly number[]): string {
    const kind: Scales = this.#wild
      ? this.#pick<Scales>(
          'plain',
          'row',
          'column',
          'element',
          'outlier',
          'outlier',
          'whole',
          'zeros',
          'rank one',
          'not finite',
        )
      : 'plain';
    const size = shape.reduce((product, axis) => product * axis, 1);
    const columns = Math.max(1, size / (shape[0] ?? 1));
    const axis = Array.from({ length: kind === 'column' ? columns : (shape[0] ?? 1) }, () => this.#scale());
    const others = Array.from({ length: columns }, () => this.#random.normal());
    const at = this.#random.integer(Math.max(1, size));
    const scale = kind === 'whole' ? this.#scale() : 1;
    const far = this.#pick(1e6, 1e7, 1e9, 1e12, 1e30);
    const gone = this.#pick(Number.NaN, Number.POSITIVE_INFINITY);
    const made = this.#constant('w', shape, (index) => {
      const [row, column] = [Math.floor(index / columns), index % columns];
      const one = this.#random.normal();
      if (kind === 'row') return one * (axis[row] ?? 1);
      if (kind === 'column') return one * (axis[column] ?? 1);
      if (kind === 'element') return one * this.#scale();
      if (kind === 'outlier') return index === at ? far : one;
      if (kind === 'zeros') return 0;
      if (kind === 'rank one') return (others[column] ?? 0) * (1 + row);
      if (kind === 'not finite' && index === at) return gone;
      return one * scale;
    });
    return this.#chance(8) ? this.#computed(made, shape) : made;
  }

  /** The same weight, or another of its shape, as the result of nodes. */
  #computed(weight: string, shape: readonly number[]): string {
    const kind = this.#pick(
      'identity',
      'mul',
      'concat',
      'expand',
      'constant of shape',
      'reshape',
      'neg chain',
    );
    const dims = (): string => this.#ints(shape);
    if (kind === 'mul') return this.#add('Mul', [weight, this.#constant('g', [], () => this.#factor())]);
    if (kind === 'expand') return this.#add('Expand', [this.#constant('g', [], () => 0.5), dims()]);
    if (kind === 'constant of shape') {
      const value = Tensor.of('', this.#type, [1], narrow(this.#type, Float64Array.of(0.25)));
      return this.#add('ConstantOfShape', [dims()], { value: { tensor: value } });
    }
    if (kind === 'reshape') return this.#add('Reshape', [weight, dims()]);
    if (kind === 'concat' && shape.length === 2 && (shape[0] ?? 0) % 2 === 0) {
      const half = this.#weight([(shape[0] ?? 0) / 2, shape[1] ?? 0]);
      return this.#add('Concat', [half, half], { axis: { int: 0 } });
    }
    if (kind !== 'neg chain') return this.#add('Identity', [weight]);
    let value = weight;
    for (let left = this.#pick(2, 30, 30, 3000); left > 0; left -= 1) value = this.#add('Neg', [value]);
    return value;
  }

  /** A node that makes one value beside the main chain. */
  #add(
    opType: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
    domain?: string,
  ): string {
    const output = this.#name(opType.toLowerCase());
    const name = this.#chance(6) ? '' : this.#name(`n_${opType}`);
    this.#nodes.push({ opType, name, inputs, outputs: [output], attributes, ...(domain && { domain }) });
    return output;
  }

  /** A node of the main chain. */
  #then(
    opType: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
    domain?: string,
  ): void {
    this.#value = this.#add(opType, inputs, attributes, domain);
  }

  #factor(): number {
    return this.#wild && this.#chance(3)
      ? this.#pick(0, -0, 1e-38, 1e38, -1, 1e-45, 65504, this.#scale())
      : 0.5 + this.#random.uniform();
  }

  #step(): void {
    const [batch = 1, c = 1, ...windows] = this.#shape;
    const width = this.#pick(4, 6, 8);
    const perChannel = [c, ...windows.map(() => 1)];
    if (this.#chance(windows.length > 0 ? 12 : 24)) this.#outputs.push([this.#value, this.#type]);
    const kinds = [
      'linear',
      'linear',
      'linear',
      'scale',
      'shift',
      'norm',
      'nothing',
      'activation',
      'residual',
    ];
    switch (this.#pick(...kinds, 'function', 'branch', 'reshape')) {
      case 'linear':
        if (windows.length > 0) this.#convolution(width);
        else this.#product(width);
        break;
      case 'scale': {
        const vector = this.#constant('scale', this.#pick([], perChannel, [1, ...perChannel]), () =>
          this.#factor(),
        );
        this.#then(this.#pick('Mul', 'Div'), [this.#value, vector]);
        break;
      }
      case 'shift': {
        const vector = this.#constant('shift', this.#pick([], perChannel), () => this.#random.normal());
        const inputs = [this.#value, vector];
        this.#then(this.#pick('Add', 'Sub'), this.#chance(2) ? inputs : inputs.reverse());
        break;
      }
      case 'norm': {
        const [scale, bias, mean] = ['scale', 'bias', 'mean'].map((name) =>
          this.#constant(name, [c], () => this.#factor()),
        );
        const variance = this.#constant('var', [c], () =>
          this.#wild && this.#chance(3)
            ? this.#pick(0, -1, -1e-5, 1e-30, 1e30)
            : 0.5 + this.#random.uniform(),
        );
        const epsilon = { float: this.#pick(1e-5, 1e-5, 0, 1e-3) };
        const inputs = [this.#value, scale ?? '', bias ?? '', mean ?? '', variance];
        this.#then('BatchNormalization', inputs, { epsilon });
        break;
      }
      case 'activation':
        this.#then(this.#pick('Relu', 'Sigmoid', 'Tanh', 'Softmax', 'Abs'), [this.#value]);
        break;
      case 'residual': {
        const start = this.#value;
        const before = [...this.#shape];
        if (windows.length > 0) this.#convolution(c, 1);
        else this.#product(c);
        this.#shape = before;
        this.#then(this.#pick('Add', 'Sub', 'Sum'), [this.#value, start]);
        break;
      }
      case 'function':
        this.#call(width);
        break;
      case 'branch': {
        const cond = this.#name('cond');
        this.#initializers.push(Tensor.of(cond, 'bool', [], Uint8Array.of(this.#random.integer(2))));
        const body = (): ReturnType<typeof buildGraph> => {
          const output = this.#name('inner');
          const factor = this.#constant('inner_scale', [], () => this.#factor());
          const node = { opType: 'Mul', inputs: [this.#value, factor], outputs: [output] };
          return buildGraph({ nodes: [node], outputs: [[output, this.#type]] });
        };
        this.#then('If', [cond], { then_branch: { graph: body() }, else_branch: { graph: body() } });
        break;
      }
      case 'reshape':
        if (windows.length > 0) {
          this.#then('Flatten', [this.#value]);
          this.#shape = [batch, [c, ...windows].reduce((product, size) => product * size, 1)];
        } else {
          const shape = this.#ints([this.#pick(-1, batch), c]);
          this.#then('Reshape', [this.#value, shape]);
        }
        break;
      default:
        this.#then(this.#pick('Identity', 'Dropout', 'Neg'), [this.#value]);
    }
  }

  #product(width: number): void {
    const [batch = 1, c = 1] = this.#shape;
    const kind = this.#pick('Gemm', 'Gemm', 'MatMul', 'MatMul', 'Einsum');
    const isTurned = kind === 'Gemm' && this.#chance(2);
    // A weight of before, where one fits: two readers of one tensor.
    const shape = isTurned ? [width, c] : [c, width];
    const known = this.#initializers.find(
      (tensor) => tensor.shape.join() === shape.join() && tensor.dataType === this.#type,
    );
    const weight = known !== undefined && this.#chance(5) ? known.name : this.#weight(shape);
    const biasShape = this.#pick<number[] | undefined>(undefined, [width], [1, width], [], [batch, width]);
    const bias = biasShape === undefined ? [] : [this.#constant('b', biasShape, () => this.#random.normal())];
    if (kind === 'Gemm') {
      const [alpha, beta] = [
        { float: this.#pick(1, 1, this.#factor()) },
        { float: this.#pick(1, 1, this.#factor()) },
      ];
      this.#then('Gemm', [this.#value, weight, ...bias], { transB: { int: Number(isTurned) }, alpha, beta });
    } else {
      if (kind === 'MatMul') this.#then('MatMul', [this.#value, weight]);
      else this.#then('Einsum', [this.#value, weight], { equation: { string: 'bi,ij->bj' } });
      if (bias.length > 0) this.#then('Add', [this.#value, ...bias]);
    }
    this.#shape = [batch, width];
  }

  #convolution(width: number, extent = this.#pick(1, 1, 3, 2)): void {
    const [batch = 1, c = 1, ...windows] = this.#shape;
    const isTransposed = extent > 1 && this.#chance(4);
    const groups = c % 2 === 0 && width % 2 === 0 ? this.#pick(1, 1, 2, c === width ? c : 1) : 1;
    const kernel = windows.map((size) => Math.min(extent, size));
    const weight = this.#weight(
      isTransposed ? [c, width / groups, ...kernel] : [width, c / groups, ...kernel],
    );
    const bias = this.#chance(2) ? [] : [this.#constant('b', [width], () => this.#random.normal())];
    this.#then(isTransposed ? 'ConvTranspose' : 'Conv', [this.#value, weight, ...bias], {
      kernel_shape: { ints: kernel },
      group: { int: groups },
      ...(this.#wild &&
        this.#chance(12) && { dilations: { ints: windows.map(() => this.#pick(...EXTREMES)) } }),
    });
    const step = (size: number, axis: number): number =>
      isTransposed ? size + (kernel[axis] ?? 1) - 1 : size - (kernel[axis] ?? 1) + 1;
    this.#shape = [batch, width, ...windows.map(step)];
  }

  /** A call of a function, or of functions that call each other twice. */
  #call(width: number): void {
    const domain = 'fuzz.functions';
    const depth = this.#wild ? this.#pick(1, 2, 4, 30) : 1;
    const c = this.#shape[1] ?? 1;
    const isProduct = depth === 1 && this.#shape.length === 2;
    const first = `f${this.#functions.length}_`;
    for (let level = 0; level < depth; level += 1) {
      const inner = level === 0 ? undefined : `${first}${level - 1}`;
      const call = (input: string, output: string): NodeSpec =>
        inner === undefined
          ? {
              opType: isProduct ? 'MatMul' : 'Neg',
              inputs: isProduct ? [input, 'w'] : [input],
              outputs: [output],
            }
          : { opType: inner, domain, inputs: [input], outputs: [output] };
      this.#functions.push({
        domain,
        name: `${first}${level}`,
        inputs: isProduct ? ['a', 'w'] : ['a'],
        outputs: ['r'],
        nodes: isProduct ? [call('a', 'r')] : [call('a', 'm'), call('m', 'r')],
        opset: { '': 17, [domain]: 1 },
      });
    }
    const inputs = isProduct ? [this.#value, this.#weight([c, width])] : [this.#value];
    this.#then(`${first}${depth - 1}`, inputs, {}, domain);
    if (isProduct) this.#shape = [this.#shape[0] ?? 1, width];
  }

  /** What takes time, memory or a deep stack where its size is not known first. */
  #hostile(): void {
    const one = (): string => this.#constant('seed', [1, 64], () => 1);
    switch (
      this.#pick(
        'concat',
        'tile',
        'expand',
        'constant of shape',
        'chain',
        'weight chain',
        'branches',
        'slice',
      )
    ) {
      case 'concat': {
        let value = one();
        for (let left = this.#pick(3, 18, 40); left > 0; left -= 1)
          value = this.#add('Concat', [value, value], { axis: { int: 0 } });
        this.#then('Add', [this.#value, this.#add('ReduceMax', [value], { keepdims: { int: 0 } })]);
        break;
      }
      case 'tile':
      case 'expand': {
        const rows = this.#pick<number | bigint>(3, 2 ** 24, 2 ** 40, 2n ** 62n);
        const big = this.#chance(2)
          ? this.#add('Tile', [one(), this.#ints([rows, 1])])
          : this.#add('Expand', [one(), this.#ints([rows, 64])]);
        this.#then('MatMul', [this.#value, big]);
        break;
      }
      case 'constant of shape': {
        const c = this.#shape[1] ?? 1;
        const big = this.#add('ConstantOfShape', [
          this.#ints([c, this.#pick<number | bigint>(5, 2 ** 28, 2n ** 62n)]),
        ]);
        this.#then('MatMul', [this.#value, big]);
        break;
      }
      case 'chain': {
        const op = this.#pick('Neg', 'Identity', 'Abs', 'Mul', 'Gemm');
        const factor = this.#constant('f', [], () => 1);
        const c = this.#shape[1] ?? 1;
        const weight = this.#constant('eye', [c, c], (index) => (index % (c + 1) === 0 ? 1 : 0));
        const isMatrix = this.#shape.length === 2;
        for (let left = this.#pick(100, 1000, 4000); left > 0; left -= 1) {
          if (op === 'Mul') this.#then(op, [this.#value, factor]);
          else if (op === 'Gemm' && isMatrix) this.#then(op, [this.#value, weight]);
          else this.#then(op === 'Gemm' ? 'Abs' : op, [this.#value]);
        }
        break;
      }
      case 'weight chain': {
        const c = this.#shape[1] ?? 1;
        let weight = this.#weight([c, c]);
        const op = this.#pick('Neg', 'Identity');
        for (let left = this.#pick(1000, 3000, 5000); left > 0; left -= 1) weight = this.#add(op, [weight]);
        if (this.#shape.length === 2) this.#then('MatMul', [this.#value, weight]);
        else this.#then('Add', [this.#value, this.#add('ReduceMax', [weight], { keepdims: { int: 0 } })]);
        break;
      }
      case 'branches': {
        // Branches in branches; each reads the value of the outermost graph.
        const cond = this.#name('cond');
        this.#initializers.push(Tensor.of(cond, 'bool', [], Uint8Array.of(1)));
        const leaf = (): ReturnType<typeof buildGraph> => {
          const output = this.#name('leaf');
          const node = { opType: 'Neg', inputs: [this.#value], outputs: [output] };
          return buildGraph({ nodes: [node], outputs: [[output, this.#type]] });
        };
        let body = leaf();
        for (let left = this.#pick(2, 10, 25); left > 0; left -= 1) {
          const output = this.#name('deep');
          const attributes = { then_branch: { graph: body }, else_branch: { graph: leaf() } };
          const node = { opType: 'If', inputs: [cond], outputs: [output], attributes };
          body = buildGraph({ nodes: [node], outputs: [[output, this.#type]] });
        }
        this.#then('If', [cond], { then_branch: { graph: body }, else_branch: { graph: leaf() } });
        break;
      }
      default: {
        const bounds = [0, this.#pick(...EXTREMES), 1, this.#pick(...EXTREMES)];
        this.#then('Slice', [this.#value, ...bounds.map((bound) => this.#ints([bound]))]);
      }
    }
  }

  /** The model, with what files of careless makers have. */
  #faults(input: ValueSpec): Draft['spec'] {
    const functions = this.#functions;
    let nodes: readonly NodeSpec[] = this.#nodes;
    if (this.#chance(10)) {
      const keys = new Map(nodes.map((node) => [node, this.#random.uniform()]));
      nodes = [...nodes].sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0));
    }
    if (this.#chance(6)) {
      const stale = nodes[this.#random.integer(Math.max(1, nodes.length))]?.outputs[0];
      const shape = this.#pick([3, 6], [1], [2, 4, 6, 5], [7, 7, 7], []);
      if (stale !== undefined) this.#values.push([stale, this.#pick(this.#type, 'int64', 'float32'), shape]);
    }
    const inputs: ValueSpec[] = [input];
    if (this.#chance(12)) {
      const [given] = this.#initializers;
      if (given !== undefined) inputs.push([given.name, given.dataType, [...given.shape]]);
    }
    if (this.#chance(20) && this.#initializers[0] !== undefined) {
      this.#outputs.push([this.#initializers[0].name, this.#initializers[0].dataType]);
    }
    const version = this.#pick(17, 17, 13, 21, 11);
    const isImported = functions.length > 0 && !this.#chance(8);
    const imports = this.#chance(25) ? this.#pick(0, -1, 2 ** 31, Number.MAX_SAFE_INTEGER, 999) : version;
    return {
      inputs,
      outputs: this.#outputs,
      values: this.#values,
      nodes,
      initializers: this.#initializers,
      functions,
      opset: { '': imports, ...(isImported && { 'fuzz.functions': 1 }) },
      ir: this.#pick(8, 8, 9, 10, 3),
    };
  }

  #edits(): ByteEdit[] {
    return Array.from({ length: 1 + this.#random.integer(4) }, () => ({
      kind: this.#pick('flip', 'flip', 'flip', 'cut', 'insert', 'repeat'),
      at: this.#random.uniform(),
      value: 1 + this.#random.integer(255),
    }));
  }
}
