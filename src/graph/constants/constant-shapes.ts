import { isView, permutationOf, traitsOf } from '../operators/index.js';
import { type DataType, dataTypeOf } from '../tensor/data-type.js';
import type { Node } from '../types.js';

export interface TypeAndShape {
  readonly dataType: DataType;
  readonly shape: readonly number[];
}

/** A constant that a node reads. */
export interface ConstantInput extends TypeAndShape {
  /** The elements of a small integer tensor, where they are known. */
  integers(): readonly number[] | undefined;
}

const BOOLEAN = [
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'],
  ...['And', 'Or', 'Xor', 'Not', 'IsInf', 'IsNaN'],
];
const REDUCTION = /^Reduce(?:L1|L2|LogSum|LogSumExp|Max|Mean|Min|Prod|Sum|SumSquare)$/;
const RULED = ['ConstantOfShape', 'Concat', 'DequantizeLinear', 'Expand', 'Gather', 'Slice', 'Split', 'Tile'];

/** Is it an operator of whose result typeOf can tell type and shape? */
export function hasKnownType(node: Node): boolean {
  if (node.domain !== '') return node.domain === 'com.microsoft' && node.opType === 'DequantizeLinear';
  const { elementwise, shape, quantized } = traitsOf(node);
  if (RULED.includes(node.opType) || REDUCTION.test(node.opType) || isView(node)) return true;
  return elementwise === true && shape !== undefined && quantized !== true && !node.is('CastLike', 'BitCast');
}

/** Type and shape of one output of a node from constant inputs; undefined where they do not follow. */
export function typeOf(
  node: Node,
  inputs: readonly (ConstantInput | undefined)[],
  output: number,
): TypeAndShape | undefined {
  const [first, second] = inputs;
  const { attributes } = node;
  const { opType } = node;
  if (first === undefined || (output > 0 && opType !== 'Split')) return undefined;
  const { dataType, shape } = first;
  const rank = shape.length;
  const at = (axis: number): number => (axis < 0 ? axis + rank : axis);
  switch (opType) {
    case 'ConstantOfShape': {
      const target = first.integers();
      return target && { dataType: attributes.tensor('value')?.dataType ?? 'float32', shape: target };
    }
    case 'Cast': {
      const to = dataTypeOf(attributes.int('to', 0));
      return to && { dataType: to, shape };
    }
    case 'DequantizeLinear':
      return second && { dataType: second.dataType, shape };
    case 'MatMul': {
      const product = second && matrixProduct(shape, second.shape);
      return product && { dataType, shape: product };
    }
    case 'Transpose':
      return { dataType, shape: permutationOf(node, rank).map((axis) => shape[axis] ?? 0) };
    case 'Reshape': {
      const target = attributes.ints('shape') ?? second?.integers();
      const allowZero = attributes.int('allowzero', 0) === 1;
      return target && { dataType, shape: reshaped(shape, target, allowZero) };
    }
    case 'Flatten': {
      const axis = at(attributes.int('axis', 1));
      return { dataType, shape: [product(shape.slice(0, axis)), product(shape.slice(axis))] };
    }
    case 'Squeeze': {
      const axes = attributes.ints('axes') ?? second?.integers();
      const drop = new Set(axes?.map(at));
      const keep = (dim: number, axis: number): boolean => (axes === undefined ? dim !== 1 : !drop.has(axis));
      return { dataType, shape: shape.filter(keep) };
    }
    case 'Unsqueeze': {
      const axes = attributes.ints('axes') ?? second?.integers();
      if (!axes) return undefined;
      const all = rank + axes.length;
      const added = new Set(axes.map((axis) => (axis < 0 ? axis + all : axis)));
      const rest = [...shape];
      const dims = Array.from({ length: all }, (_, axis) => (added.has(axis) ? 1 : (rest.shift() ?? 1)));
      return { dataType, shape: dims };
    }
    case 'Concat': {
      const axis = at(attributes.int('axis', 0));
      return { dataType, shape: shape.with(axis, total(inputs.map((input) => input?.shape[axis] ?? 0))) };
    }
    case 'Expand': {
      const target = second?.integers();
      return target && { dataType, shape: broadcast([shape, target]) };
    }
    case 'Tile': {
      const repeats = inputs.length === 2 ? second?.integers() : undefined;
      return repeats && { dataType, shape: shape.map((dim, axis) => dim * (repeats[axis] ?? 1)) };
    }
    case 'Gather': {
      const axis = at(attributes.int('axis', 0));
      return second && { dataType, shape: shape.toSpliced(axis, 1, ...second.shape) };
    }
    case 'Slice':
      return sliced(node, inputs, first);
    case 'Split': {
      const axis = at(attributes.int('axis', 0));
      const sizes = attributes.ints('split') ?? second?.integers();
      const size = shape[axis] ?? 0;
      const part = Math.ceil(size / attributes.int('num_outputs', node.outputs.length));
      const own = sizes === undefined ? Math.min(part, size - output * part) : sizes[output];
      const isKnown = own !== undefined && (sizes !== undefined || second === undefined);
      return isKnown ? { dataType, shape: shape.with(axis, Math.max(0, own)) } : undefined;
    }
    case 'Where': {
      const shapes = known(inputs.map((input) => input?.shape));
      return second && shapes && { dataType: second.dataType, shape: broadcast(shapes) };
    }
    default:
      return REDUCTION.test(opType) ? reduced(node, inputs, first) : elementwise(node, inputs, first);
  }
}

function elementwise(
  node: Node,
  inputs: readonly (ConstantInput | undefined)[],
  { dataType, shape }: ConstantInput,
): TypeAndShape | undefined {
  const type = BOOLEAN.includes(node.opType) ? 'bool' : dataType;
  if (traitsOf(node).shape === 'first') return { dataType: type, shape };
  const shapes = known(inputs.map((input) => input?.shape));
  return shapes && { dataType: type, shape: broadcast(shapes) };
}

function reduced(
  node: Node,
  [, second]: readonly (ConstantInput | undefined)[],
  { dataType, shape }: ConstantInput,
): TypeAndShape | undefined {
  const axes = node.attributes.ints('axes') ?? (second === undefined ? [] : second.integers());
  if (axes === undefined) return undefined;
  if (axes.length === 0 && node.attributes.int('noop_with_empty_axes', 0) === 1) return { dataType, shape };
  const gone = new Set(axes.map((axis) => (axis < 0 ? axis + shape.length : axis)));
  const isGone = (axis: number): boolean => axes.length === 0 || gone.has(axis);
  const keeps = node.attributes.int('keepdims', 1) === 1;
  const dims = shape.map((dim, axis) => (isGone(axis) ? 1 : dim));
  return { dataType, shape: keeps ? dims : dims.filter((_, axis) => !isGone(axis)) };
}

function sliced(
  { attributes }: Node,
  inputs: readonly (ConstantInput | undefined)[],
  { dataType, shape }: ConstantInput,
): TypeAndShape | undefined {
  const list = (name: string, index: number): readonly number[] | undefined =>
    attributes.ints(name) ?? inputs[index]?.integers();
  const [starts, ends] = [list('starts', 1), list('ends', 2)];
  if (starts === undefined || ends === undefined) return undefined;
  const axes =
    inputs[3] === undefined ? (attributes.ints('axes') ?? [...starts.keys()]) : inputs[3].integers();
  const steps = inputs[4] === undefined ? starts.map(() => 1) : inputs[4].integers();
  if (axes === undefined || steps === undefined) return undefined;
  const dims = [...shape];
  for (const [index, named] of axes.entries()) {
    const axis = named < 0 ? named + shape.length : named;
    const [dim = 0, step = 1] = [shape[axis], steps[index]];
    const place = (position: number, least: number, most: number): number =>
      Math.max(least, Math.min(most, position < 0 ? position + dim : position));
    const [start = 0, end = 0] = [starts[index], ends[index]];
    const length =
      step > 0
        ? place(end, 0, dim) - place(start, 0, dim)
        : place(end, -1, dim - 1) - place(start, 0, dim - 1);
    dims[axis] = Math.max(0, Math.ceil(length / step));
  }
  return { dataType, shape: dims };
}

function matrixProduct(a: readonly number[], b: readonly number[]): number[] | undefined {
  if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2)) return undefined;
  return [...broadcast([a.slice(0, -2), b.slice(0, -2)]), a.at(-2) ?? 0, b.at(-1) ?? 0];
}

function reshaped(from: readonly number[], target: readonly number[], allowZero: boolean): number[] {
  const shape = target.map((dim, axis) => (dim === 0 && !allowZero ? (from[axis] ?? 0) : dim));
  const rest = product(shape.filter((dim) => dim !== -1));
  return shape.map((dim) => (dim === -1 ? (rest === 0 ? 0 : product(from) / rest) : dim));
}

function broadcast(shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map(({ length }) => length));
  return Array.from({ length: rank }, (_, axis) => {
    const dims = shapes.map((shape) => shape[axis - rank + shape.length] ?? 1);
    return dims.find((dim) => dim !== 1) ?? 1;
  });
}

function known<T>(items: readonly (T | undefined)[]): readonly T[] | undefined {
  const found = items.filter((item) => item !== undefined);
  return found.length === items.length ? found : undefined;
}

function product(dims: readonly number[]): number {
  return dims.reduce((result, dim) => result * dim, 1);
}

function total(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0);
}
