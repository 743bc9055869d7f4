import {
  type AttributeValue,
  DATA_TYPES,
  type DataType,
  isFloatType,
  ModelError,
  type NodeSpec,
  narrow,
  Tensor,
} from '../../graph/index.js';
import { BLOCKED_DOMAIN } from '../../runtime/index.js';
import { at, broadcastShapes, keptDims, normalAxes, product, range, sameShape } from './shapes.js';
import type { Mask, Value } from './value.js';

/** Attributes of a node to be made, by name. */
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** Above 1 / (smallest normal number): what HardSigmoid's slope must be to be a step. */
const STEP_SLOPE = 3e38;
/** A HardSigmoid at least this steep is a step function, and its derivative is taken as zero. */
export const STEEP = 1e30;

const COLUMN_BYTES = 2 ** 28;

/** How the graph of gradients is to be written. */
export interface BuilderOptions {
  /**
   * The gradient of a convolution's weight gathers all windows of its input, which are K times as large; above this
   * many bytes it is computed without, at 1.5 to 2.5 times the time. Default 256 MiB.
   */
  readonly columnBytes?: number | undefined;
  /**
   * Where the factors of Dropout come from: 'operator', drawn by onnxruntime (default), or 'inputs', fed as in
   * `Gradient.masks`, for runs that must come out the same again.
   */
  readonly masks?: 'operator' | 'inputs' | undefined;
  /**
   * Channels side by side in the layout of onnxruntime's CPU provider on this machine, as `blockSize` finds it:
   * convolutions by weights that change are then written in its own operators, for it alone. Default: standard ones.
   */
  readonly block?: number | undefined;
  /**
   * Do without the operators that only the CPU provider does in full: BatchNormalization in training form, Conv with
   * more outputs than groups. Default false.
   */
  readonly elementary?: boolean | undefined;
}

/**
 * Appends nodes (operator set 18 or newer) and constants, and knows the shape and type of everything it makes.
 *
 * @example
 * // An update of an optimizer of one's own: gradient descent.
 * const update = ({ build, parameter, gradient, learningRate }: UpdateContext): Update => ({
 *   parameter: build.sub(parameter, build.mul(gradient, learningRate)),
 *   slots: {},
 * });
 */
export class Builder {
  readonly nodes: NodeSpec[] = [];
  readonly values = new Map<string, Value>();
  /** By name, the same values with their channels in blocks, where they are there anyway. */
  readonly twins = new Map<string, Value>();
  /** What the names of new values begin with. */
  scope = 'grad';
  /** Windows of more bytes than this are not gathered at once. */
  readonly columnBytes: number;
  /** See GradientOptions. */
  readonly block: number | undefined;
  /** See GradientOptions. */
  readonly elementary: boolean;
  /** Factors of Dropout that are to be fed; undefined where the operator draws them. */
  readonly masks: Mask[] | undefined;
  readonly #fresh: (base: string) => string;
  readonly #constants = new Map<string, { tensor: Tensor; value: Value }>();

  constructor(
    fresh: (base: string) => string,
    { columnBytes = COLUMN_BYTES, block, masks, elementary = false }: BuilderOptions = {},
  ) {
    this.columnBytes = columnBytes;
    this.block = block;
    this.elementary = elementary;
    this.masks = masks === 'inputs' ? [] : undefined;
    this.#fresh = fresh;
  }

  /** An input for the factors of a Dropout node. */
  mask(masks: Mask[], ratio: number, like: Value): Value {
    const mask = { name: this.#fresh(`${this.scope}/mask`), type: like.type, shape: like.shape, ratio };
    masks.push(mask);
    this.values.set(mask.name, mask);
    return mask;
  }

  get constants(): Tensor[] {
    return [...this.#constants.values()].map(({ tensor }) => tensor);
  }

  /** One node with one output. */
  op(
    opType: string,
    inputs: readonly (Value | undefined)[],
    shape: readonly number[],
    attributes: Attributes = {},
    type?: DataType,
    domain?: string,
  ): Value {
    return at(this.multi(opType, inputs, [{ shape, type }], attributes, domain), 0);
  }

  /** One node with several outputs. */
  multi(
    opType: string,
    inputs: readonly (Value | undefined)[],
    outputs: readonly { shape: readonly number[]; type?: DataType | undefined; name?: string | undefined }[],
    attributes: Attributes = {},
    domain?: string,
  ): Value[] {
    const first = inputs.find((input) => input !== undefined);
    const made = outputs.map((output): Value => {
      const name = output.name ?? this.#fresh(`${this.scope}/${opType}`);
      const value = { name, type: output.type ?? first?.type ?? 'float32', shape: [...output.shape] };
      this.values.set(name, value);
      return value;
    });
    this.nodes.push({
      opType,
      name: made[0]?.name ?? '',
      inputs: inputs.map((input) => input?.name ?? ''),
      outputs: made.map((value) => value.name),
      attributes,
      ...(domain !== undefined && { domain }),
    });
    return made;
  }

  // ---- constants: the same content under the same name -----------------------------------------------------

  constant(type: DataType, shape: readonly number[], numbers: ArrayLike<number>): Value {
    const data =
      type === 'int64'
        ? BigInt64Array.from(Array.from(numbers, BigInt))
        : type === 'bool'
          ? Uint8Array.from(numbers)
          : isFloatType(type)
            ? narrow(type, Float64Array.from(numbers))
            : undefined;
    if (data === undefined) throw new ModelError(`no constants of type ${type} are made here`);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${type}[${shape.join()}]${Buffer.from(bytes).toString('base64')}`;
    let known = this.#constants.get(key);
    if (known === undefined) {
      const few = Array.from(numbers).slice(0, 4).join('_');
      const label = numbers.length <= 4 ? few : `${shape.join('x')}`;
      const name = this.#fresh(`grad/const/${type}_${label}`);
      known = { tensor: Tensor.of(name, type, shape, data), value: { name, type, shape: [...shape] } };
      this.#constants.set(key, known);
      this.values.set(name, known.value);
    }
    return known.value;
  }

  scalar(type: DataType, number: number): Value {
    return this.constant(type, [], [number]);
  }

  ints(numbers: readonly number[]): Value {
    return this.constant('int64', [numbers.length], numbers);
  }

  /** Zeros (or another number), made at run time so that the file does not hold them. */
  filled(type: DataType, shape: readonly number[], number = 0): Value {
    if (product(shape) <= 64)
      return this.constant(type, shape, new Array<number>(product(shape)).fill(number));
    const fill = isFloatType(type) ? narrow(type, Float64Array.of(number)) : BigInt64Array.of(BigInt(number));
    const tensor = isFloatType(type)
      ? Tensor.of('', type, [1], fill as Float32Array)
      : Tensor.of('', 'int64', [1], fill as BigInt64Array);
    return this.op('ConstantOfShape', [this.ints(shape)], shape, { value: { tensor } }, type);
  }

  // ---- elementwise ------------------------------------------------------------------------------------------

  unary(opType: string, x: Value, attributes: Attributes = {}): Value {
    const made = ([v]: readonly Value[]): Value => this.op(opType, [v], x.shape, attributes);
    return elementwise(this, [x], made) ?? made([x]);
  }

  binary(opType: string, a: Value, b: Value): Value {
    const made = (operands: readonly Value[]): Value =>
      this.op(opType, operands, broadcastShapes(a.shape, b.shape));
    return elementwise(this, [a, b], made) ?? made([a, b]);
  }

  add(a: Value, b: Value): Value {
    return this.binary('Add', a, b);
  }

  sub(a: Value, b: Value): Value {
    return this.binary('Sub', a, b);
  }

  mul(a: Value, b: Value): Value {
    return this.binary('Mul', a, b);
  }

  div(a: Value, b: Value): Value {
    return this.binary('Div', a, b);
  }

  neg(x: Value): Value {
    return this.unary('Neg', x);
  }

  square(x: Value): Value {
    return this.mul(x, x);
  }

  /** x times a number. */
  scale(x: Value, factor: number): Value {
    if (factor === 1) return x;
    if (factor === -1) return this.neg(x);
    return this.mul(x, this.scalar(x.type, factor));
  }

  /** x plus a number. */
  shift(x: Value, offset: number): Value {
    return offset === 0 ? x : this.add(x, this.scalar(x.type, offset));
  }

  /** A number minus x. */
  minus(number: number, x: Value): Value {
    return this.sub(this.scalar(x.type, number), x);
  }

  sum(values: readonly Value[]): Value {
    const [first, second] = values;
    if (first === undefined) throw new Error('nothing to sum');
    if (second === undefined) return first;
    if (values.length === 2) return this.add(first, second);
    const made = (operands: readonly Value[]): Value =>
      this.op('Sum', operands, broadcastShapes(...values.map((value) => value.shape)));
    return elementwise(this, values, made) ?? made(values);
  }

  /**
   * 1 where x > 0, else 0, in x's type. A steep HardSigmoid is one pass over the data; Greater and Cast take 1.5
   * times as long, Where 2, Sign 4 (measured on the CPU provider, which has HardSigmoid for float32 only).
   */
  step(x: Value): Value {
    if (x.type === 'float32') {
      const made = (v: Value): Value =>
        this.op('HardSigmoid', [v], v.shape, { alpha: { float: STEP_SLOPE }, beta: { float: 0 } });
      // Both ways, since either is cheaper than to bring the other into its order; what nobody reads is left out.
      const [step, twin] = [made(x), this.twins.get(x.name)];
      if (twin !== undefined) this.twins.set(step.name, made(twin));
      return step;
    }
    return this.indicator('Greater', x, this.scalar(x.type, 0));
  }

  /** 1 where the comparison holds, else 0, in the type of a. */
  indicator(comparison: 'Greater' | 'Equal' | 'Less', a: Value, b: Value): Value {
    const made = (operands: readonly Value[]): Value =>
      this.cast(this.op(comparison, operands, broadcastShapes(a.shape, b.shape), {}, 'bool'), a.type);
    return elementwise(this, [a, b], made) ?? made([a, b]);
  }

  where(condition: Value, yes: Value, no: Value): Value {
    const shape = broadcastShapes(condition.shape, yes.shape, no.shape);
    return this.op('Where', [condition, yes, no], shape, {}, yes.type);
  }

  cast(x: Value, type: DataType): Value {
    if (x.type === type) return x;
    return this.op('Cast', [x], x.shape, { to: { int: DATA_TYPES[type].code } }, type);
  }

  // ---- shape ------------------------------------------------------------------------------------------------

  reshape(x: Value, shape: readonly number[]): Value {
    if (sameShape(x.shape, shape)) return x;
    if (product(x.shape) !== product(shape)) {
      throw new Error(`[${x.shape.join()}] of ${x.name} cannot be reshaped to [${shape.join()}]`);
    }
    return this.op('Reshape', [x, this.ints(shape)], shape, { allowzero: { int: 1 } });
  }

  transpose(x: Value, permutation: readonly number[]): Value {
    if (permutation.every((from, to) => from === to)) return x;
    const shape = permutation.map((axis) => at(x.shape, axis));
    return this.op('Transpose', [x], shape, { perm: { ints: permutation } });
  }

  /** The last two axes exchanged. Before MatMul, onnxruntime makes one operator of the two. */
  transposeLast(x: Value): Value {
    const rank = x.shape.length;
    return this.transpose(x, [...range(0, rank - 2), rank - 1, rank - 2]);
  }

  /** The same number along axes of size 1 up to `shape`, as large as it says. */
  expand(x: Value, shape: readonly number[]): Value {
    if (sameShape(x.shape, shape)) return x;
    return this.op('Expand', [x, this.ints(shape)], shape);
  }

  /** Elements `start` to `end` of each given axis. */
  slice(x: Value, axes: readonly number[], starts: readonly number[], ends: readonly number[]): Value {
    const shape = [...x.shape];
    for (const [i, axis] of axes.entries()) shape[axis] = at(ends, i) - at(starts, i);
    if (sameShape(shape, x.shape)) return x;
    return this.op('Slice', [x, this.ints(starts), this.ints(ends), this.ints(axes)], shape);
  }

  /** Numbers put around (negative: taken off), all axes given. */
  pad(x: Value, begin: readonly number[], end: readonly number[], number = 0): Value {
    const shape = x.shape.map((dim, axis) => dim + at(begin, axis) + at(end, axis));
    if ([...begin, ...end].every((count) => count === 0)) return x;
    if ([...begin, ...end].every((count) => count <= 0)) {
      const axes = range(0, shape.length).filter((axis) => at(begin, axis) < 0 || at(end, axis) < 0);
      return this.slice(
        x,
        axes,
        axes.map((axis) => -at(begin, axis)),
        axes.map((axis) => at(x.shape, axis) + at(end, axis)),
      );
    }
    const inputs = [x, this.ints([...begin, ...end]), ...(number === 0 ? [] : [this.scalar(x.type, number)])];
    return this.op('Pad', inputs, shape);
  }

  concat(values: readonly Value[], axis: number): Value {
    const [first] = values;
    if (first === undefined) throw new Error('nothing to concatenate');
    if (values.length === 1) return first;
    const shape = [...first.shape];
    shape[axis] = values.reduce((total, value) => total + at(value.shape, axis), 0);
    return this.op('Concat', values, shape, { axis: { int: axis } });
  }

  // ---- sums and products ------------------------------------------------------------------------------------

  /** The axes are kept with size 1 unless `drop`. */
  reduce(opType: string, x: Value, axes: readonly number[], drop = false): Value {
    const which = normalAxes(axes, x.shape.length);
    const kept = keptDims(x.shape, which);
    const shape = drop ? x.shape.filter((_, axis) => !which.includes(axis)) : kept;
    const isNothing = (opType === 'ReduceSum' || opType === 'ReduceMean') && sameShape(kept, x.shape);
    if (isNothing) return this.reshape(x, shape);
    return this.op(opType, [x, this.ints(which)], shape, { keepdims: { int: drop ? 0 : 1 } });
  }

  matmul(a: Value, b: Value): Value {
    const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return this.op(
      'MatMul',
      [a, b],
      [...batch, at(a.shape, a.shape.length - 2), at(b.shape, b.shape.length - 1)],
    );
  }

  gemm(a: Value, b: Value, transA: boolean, transB: boolean, alpha = 1): Value {
    return this.addedGemm(a, b, transA, transB, { alpha });
  }

  /** alpha a b + beta c, c left out or of the shape of the product. */
  addedGemm(
    a: Value,
    b: Value,
    transA: boolean,
    transB: boolean,
    { alpha = 1, beta = 1, c }: { readonly alpha?: number; readonly beta?: number; readonly c?: Value },
  ): Value {
    const shape = [at(a.shape, transA ? 1 : 0), at(b.shape, transB ? 0 : 1)];
    return this.op('Gemm', c === undefined ? [a, b] : [a, b, c], shape, {
      ...(transA && { transA: { int: 1 } }),
      ...(transB && { transB: { int: 1 } }),
      ...(alpha !== 1 && { alpha: { float: alpha } }),
      ...(beta !== 1 && { beta: { float: beta } }),
    });
  }

  // ---- broadcasting -----------------------------------------------------------------------------------------

  /**
   * The gradient of an operand from the gradient of the broadcast result: sums over what the operand was
   * repeated along.
   *
   * @param x gradient, perhaps lazy: of the rank of `from`, axes of size 1 standing for any size
   * @param from the shape of the broadcast result
   * @param to the shape of the operand
   */
  unbroadcast(x: Value, from: readonly number[], to: readonly number[]): Value {
    const lead = from.length - to.length;
    let copies = 1;
    const axes: number[] = [];
    for (const [axis, size] of from.entries()) {
      if (size === (axis < lead ? 1 : at(to, axis - lead))) continue;
      if (at(x.shape, axis) === 1) copies *= size;
      else axes.push(axis);
    }
    const summed = axes.length > 0 ? this.reduce('ReduceSum', x, axes) : x;
    return this.scale(this.reshape(summed, summed.shape.slice(lead)), copies);
  }
}

/**
 * Brings channels out of blocks. Where these are full, what is computed from the result can be computed from the blocks
 * instead (`Builder.twins`); where all of it is, nothing is brought out, for nodes that nobody reads are left out.
 */
export function unblocked(
  build: Builder,
  x: Value,
  y: { readonly shape: readonly number[]; readonly name?: string | undefined },
): Value {
  const output = { shape: y.shape, type: x.type, name: y.name };
  const channels = { int: at(y.shape, 1) };
  const made = at(build.multi('ReorderOutput', [x], [output], { channels }, BLOCKED_DOMAIN), 0);
  if (sameShape(x.shape, y.shape)) build.twins.set(made.name, x);
  return made;
}

/**
 * What an operator makes of each element by itself, computed from the blocks.
 *
 * @returns undefined unless all operands are in blocks or a single number
 */
export function elementwise(
  build: Builder,
  operands: readonly Value[],
  compute: (operands: readonly Value[]) => Value,
  name?: string,
): Value | undefined {
  const twins = operands.map((x) => build.twins.get(x.name));
  const shape = twins.find((twin) => twin !== undefined)?.shape;
  if (shape === undefined) return undefined;
  const isNumber = (x: Value): boolean => product(x.shape) === 1 && x.shape.length <= shape.length;
  const found = operands.flatMap((x, index) => {
    const twin = twins[index] ?? (isNumber(x) ? x : undefined);
    return twin !== undefined && (isNumber(twin) || sameShape(twin.shape, shape)) ? [twin] : [];
  });
  if (found.length < operands.length) return undefined;
  return unblocked(build, compute(found), { shape, name });
}
