import { axisOf, traitsOf } from '../operators/index.js';
import { transposedExtra, windowOf } from '../operators/window.js';
import type { Node } from '../types.js';
import type { Dimension } from '../value-info.js';
import { furtherShapes, pickedShape } from './operator-shapes.js';
import { type KnownIntegers, relabellingOf } from './relabelling.js';

export type Shape = readonly Dimension[];

const at = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/**
 * The shapes of a node's outputs, as far as its inputs' and the numbers among its constants tell.
 *
 * @param inputs those of constants among them
 */
export function shapesMade(
  node: Node,
  inputs: readonly (Shape | undefined)[],
  constants: KnownIntegers,
): readonly (Shape | undefined)[] {
  if (node.is('Split')) return parts(node, inputs[0], constants);
  const made = shapeMade(node, inputs, constants);
  return node.outputs.length > 1 ? [made, ...furtherShapes(node, inputs, made)] : [made];
}

function shapeMade(
  node: Node,
  inputs: readonly (Shape | undefined)[],
  constants: KnownIntegers,
): Shape | undefined {
  const { attributes } = node;
  const [first, second] = inputs;
  const { shape } = traitsOf(node);
  if (shape === 'first') return first;
  // Before operator set 7 an attribute could say where the second operand begins.
  if (shape === 'broadcast') return attributes.has('axis') ? undefined : broadcast(inputs);
  switch (node.opType) {
    case 'Conv':
      return second && [first?.[0], second[0], ...moved(second.slice(2), (w) => windowed(node, first, w))];
    case 'ConvTranspose': {
      if (second === undefined) return undefined;
      const channels = product([second[1], attributes.int('group', 1)]);
      return [first?.[0], channels, ...moved(second.slice(2), (extents) => grown(node, first, extents))];
    }
    case 'Pad':
      return padded(node, first, constants);
    case 'Concat':
      return concatenated(node, inputs);
    case 'MaxPool':
    case 'AveragePool':
    case 'LpPool': {
      const extents = attributes.ints('kernel_shape') ?? [];
      return [...(first?.slice(0, 2) ?? [undefined, undefined]), ...windowed(node, first, extents)];
    }
    case 'GlobalAveragePool':
    case 'GlobalLpPool':
    case 'GlobalMaxPool':
      return first && [...first.slice(0, 2), ...first.slice(2).map(() => 1)];
    case 'ArgMax':
    case 'ArgMin':
      return first && reduced(node, first, [axisOf(node)]);
    case 'ReduceL1':
    case 'ReduceL2':
    case 'ReduceLogSum':
    case 'ReduceLogSumExp':
    case 'ReduceMax':
    case 'ReduceMean':
    case 'ReduceMin':
    case 'ReduceProd':
    case 'ReduceSum':
    case 'ReduceSumSquare': {
      const axes = attributes.ints('axes') ?? (node.inputs[1] ? constants.integers(node, 1) : []);
      if (first === undefined || axes === undefined) return undefined;
      if (axes.length > 0) return reduced(node, first, axes);
      if (attributes.int('noop_with_empty_axes', 0) === 1) return first;
      return reduced(
        node,
        first,
        first.map((_, axis) => axis),
      );
    }
    case 'Gemm':
      return [
        first?.[attributes.int('transA', 0) === 1 ? 1 : 0],
        second?.[attributes.int('transB', 0) === 1 ? 0 : 1],
      ];
    case 'MatMul':
      return multiplied(first, second);
    case 'ConstantOfShape':
      return constants.integers(node, 0) ?? ranked(first);
    case 'Expand': {
      const sizes = constants.integers(node, 1);
      return sizes === undefined ? expanded(first, second) : broadcast([first, sizes]);
    }
    case 'Tile': {
      const repeats = constants.integers(node, 1);
      if (repeats?.length !== first?.length) return without(first, undefined);
      return first?.map((dim, axis) => product([dim, repeats?.[axis]]));
    }
    case 'Shape':
      return [lengthOfShape(node, first)];
    case 'Gather': {
      if (first === undefined || second === undefined) return undefined;
      const axis = at(axisOf(node), first.length);
      return [...first.slice(0, axis), ...second, ...first.slice(axis + 1)];
    }
    case 'Slice':
      return sliced(node, first, constants);
    default:
      return (
        pickedShape(node, inputs, constants) ??
        relabelledShape(node, first, constants) ??
        (node.is('Reshape') ? ranked(second) : undefined)
      );
  }
}

/** How many sizes a Shape node gives, perhaps of some axes alone. */
function lengthOfShape({ attributes }: Node, input: Shape | undefined): Dimension {
  const rank = input?.length;
  if (rank === undefined) return undefined;
  const place = (axis: number): number => Math.min(rank, Math.max(0, at(axis, rank)));
  return Math.max(0, place(attributes.int('end', rank)) - place(attributes.int('start', 0)));
}

function product(dims: Shape): Dimension {
  return dims.reduce<Dimension>((size, dim) => {
    if (size === 1 || dim === 1) return size === 1 ? dim : size;
    return typeof size === 'number' && typeof dim === 'number' ? size * dim : undefined;
  }, 1);
}

/** Of a window all of whose extents are known. */
function moved(extents: Shape, sizes: (extents: readonly number[]) => Shape): Shape {
  const known = extents.filter((dim) => typeof dim === 'number');
  return known.length === extents.length ? sizes(known) : extents.map(() => undefined);
}

function reduced(node: Node, shape: Shape, axes: readonly number[]): Shape {
  const gone = new Set(axes.map((axis) => at(axis, shape.length)));
  if (node.attributes.int('keepdims', 1) === 0) return shape.filter((_, axis) => !gone.has(axis));
  return shape.map((dim, axis) => (gone.has(axis) ? 1 : dim));
}

/** Of a product of matrices, batches of them, and vectors, whose axis goes. */
function multiplied(left: Shape | undefined, right: Shape | undefined): Shape | undefined {
  if (left === undefined || right === undefined || left.length === 0 || right.length === 0) return undefined;
  const batch = broadcast([left.slice(0, -2), right.slice(0, -2)]) ?? [];
  return [...batch, ...(left.length > 1 ? [left.at(-2)] : []), ...(right.length > 1 ? [right.at(-1)] : [])];
}

/** The parts of a Split: of the sizes that are listed, or alike, the last what is left. */
function parts(node: Node, shape: Shape | undefined, constants: KnownIntegers): (Shape | undefined)[] {
  const axis = axisOf(node);
  const rest = without(shape, [axis]);
  const size = shape?.at(axis);
  const listed = node.attributes.ints('split') ?? (node.inputs[1] ? constants.integers(node, 1) : undefined);
  const count = node.outputs.length;
  return node.outputs.map((_, index) => {
    const place = rest && at(axis, rest.length);
    if (rest === undefined || place === undefined) return undefined;
    if (listed !== undefined) return rest.with(place, listed[index]);
    if (node.inputs[1] || typeof size !== 'number') return rest;
    const each = Math.ceil(size / node.attributes.int('num_outputs', count));
    return rest.with(place, Math.max(0, Math.min(each, size - index * each)));
  });
}

function windowed(node: Node, input: Shape | undefined, extents: readonly number[]): Shape {
  const { strides, dilations, pads, auto } = windowOf(node, extents);
  const isCeil = node.attributes.int('ceil_mode', 0) === 1;
  return extents.map((extent, axis) => {
    const size = input?.[axis + 2];
    const step = strides[axis] ?? 1;
    if (typeof size !== 'number') return undefined;
    if (auto !== undefined) return Math.ceil(size / step);
    const padded = size + (pads[axis] ?? 0) + (pads[axis + extents.length] ?? 0);
    const room = (padded - (dilations[axis] ?? 1) * (extent - 1) - 1) / step;
    if (!isCeil) return Math.floor(room) + 1;
    // A window that would begin behind the input and its first padding is left out.
    const count = Math.ceil(room) + 1;
    return (count - 1) * step >= size + (pads[axis] ?? 0) ? count - 1 : count;
  });
}

/** Sizes behind a ConvTranspose that says its own by pads alone. */
function grown(node: Node, input: Shape | undefined, extents: readonly number[]): Shape {
  const window = windowOf(node, extents);
  const extra = transposedExtra(node, window);
  return extents.map((_, axis) => {
    const [size, more] = [input?.[axis + 2], extra?.[axis]];
    if (typeof size !== 'number' || more === undefined) return undefined;
    return (size - 1) * (window.strides[axis] ?? 1) + more;
  });
}

function padded(node: Node, input: Shape | undefined, constants: KnownIntegers): Shape | undefined {
  const pads =
    node.attributes.ints('pads') ?? node.attributes.ints('paddings') ?? constants.integers(node, 1);
  if (input === undefined || pads?.length !== 2 * input.length || node.inputs[3])
    return input?.map(() => undefined);
  return input.map((dim, axis) => {
    const extra = (pads[axis] ?? 0) + (pads[axis + input.length] ?? 0);
    return extra === 0 ? dim : typeof dim === 'number' ? dim + extra : undefined;
  });
}

function concatenated(node: Node, shapes: readonly (Shape | undefined)[]): Shape | undefined {
  const [first] = shapes;
  if (first === undefined || shapes.some((shape) => shape?.length !== first.length)) return undefined;
  const joint = at(axisOf(node), first.length);
  return first.map((dim, axis) => {
    if (axis !== joint)
      return shapes.map((shape) => shape?.[axis]).find((size) => typeof size === 'number') ?? dim;
    return shapes.reduce<Dimension>((sum, shape) => {
      const size = shape?.[axis];
      return typeof sum === 'number' && typeof size === 'number' ? sum + size : undefined;
    }, 0);
  });
}

/** Of shapes that are broadcast together, as NumPy does it. */
function broadcast(shapes: readonly (Shape | undefined)[]): Shape | undefined {
  const known = shapes.filter((shape) => shape !== undefined);
  if (known.length < shapes.length) return undefined;
  const rank = Math.max(...known.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const dims = known.map((shape) => (axis < rank - shape.length ? 1 : shape[axis - rank + shape.length]));
    const set = dims.find((dim) => typeof dim === 'number' && dim !== 1);
    if (set !== undefined) return set;
    return dims.every((dim) => dim === dims[0]) ? dims[0] : undefined;
  });
}

/** Axes whose sizes are computed, as many as there are sizes in a list of that shape. */
function ranked(sizes: Shape | undefined): undefined[] | undefined {
  const [rank] = sizes?.length === 1 ? sizes : [];
  return typeof rank === 'number' ? new Array<undefined>(rank).fill(undefined) : undefined;
}

/** Of what is expanded, sizes above 1 stay. */
function expanded(shape: Shape | undefined, sizes: Shape | undefined): Shape | undefined {
  const all = ranked(sizes);
  if (shape === undefined || all === undefined) return undefined;
  const own = shape.map((dim) => (typeof dim === 'number' && dim > 1 ? dim : undefined));
  return [...all.slice(0, Math.max(0, all.length - own.length)), ...own];
}

function sliced(node: Node, shape: Shape | undefined, constants: KnownIntegers): Shape | undefined {
  if (shape === undefined) return undefined;
  const listed = (name: string, index: number): readonly number[] | undefined =>
    node.attributes.ints(name) ?? (node.inputs[index] ? constants.integers(node, index) : undefined);
  const [starts, ends, steps] = [listed('starts', 1), listed('ends', 2), listed('steps', 4)];
  const isOpen = node.inputs[3] && constants.integers(node, 3) === undefined;
  const axes = listed('axes', 3) ?? (isOpen ? undefined : starts?.map((_, axis) => axis));
  const rest = [...(without(shape, axes) ?? [])];
  const isKnown = starts?.length === axes?.length && ends?.length === axes?.length;
  if (!isKnown || (node.inputs[4] && steps === undefined)) return rest;
  for (const [i, axis] of (axes ?? []).entries()) {
    const size = shape[at(axis, shape.length)];
    const step = steps?.[i] ?? 1;
    if (typeof size !== 'number' || step === 0) continue;
    // Backwards, what lies before the first element is -1.
    const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
    const place = (from: number | undefined, lowest: number): number =>
      Math.min(most, Math.max(lowest, from === undefined ? 0 : from < 0 ? from + size : from));
    const length = place(ends?.[i], least) - place(starts?.[i], 0);
    rest[at(axis, shape.length)] = Math.max(0, Math.ceil(length / step));
  }
  return rest;
}

/** A shape some of whose sizes become others; without axes, all. */
function without(shape: Shape | undefined, axes: readonly number[] | undefined): Shape | undefined {
  const changed = new Set(axes?.map((axis) => at(axis, shape?.length ?? 0)));
  return shape?.map((dim, axis) => (axes === undefined || changed.has(axis) ? undefined : dim));
}

function relabelledShape(node: Node, input: Shape | undefined, constants: KnownIntegers): Shape | undefined {
  const how = relabellingOf(node, constants);
  if (how === undefined) return undefined;
  if (how.kind === 'reshape') {
    const known = how.target.map((dim, axis): Dimension => {
      if (dim === -1) return undefined;
      return dim === 0 && !how.allowsZero ? input?.[axis] : dim;
    });
    const [all, rest] = [
      input && product(input),
      product(known.filter((_, axis) => how.target[axis] !== -1)),
    ];
    const missing = typeof all === 'number' && typeof rest === 'number' ? all / Math.max(rest, 1) : undefined;
    return known.map((dim, axis) => (how.target[axis] === -1 && Number.isInteger(missing) ? missing : dim));
  }
  if (input === undefined) {
    if (how.kind === 'flatten') return [undefined, undefined];
    const listed = how.kind === 'transpose' ? node.attributes.ints('perm') : undefined;
    return listed?.map(() => undefined);
  }
  const rank = input.length;
  switch (how.kind) {
    case 'transpose':
      return how.permutation(rank).map((axis) => input[axis]);
    case 'flatten': {
      const split = at(how.axis, rank);
      return [product(input.slice(0, split)), product(input.slice(split))];
    }
    case 'squeeze': {
      if (how.axes === undefined) {
        return input.every((dim) => typeof dim === 'number') ? input.filter((dim) => dim !== 1) : undefined;
      }
      const gone = new Set(how.axes.map((axis) => at(axis, rank)));
      return input.filter((_, axis) => !gone.has(axis));
    }
    case 'unsqueeze': {
      const all = rank + how.axes.length;
      const added = new Set(how.axes.map((axis) => at(axis, all)));
      const rest = [...input];
      return Array.from({ length: all }, (_, axis) => (added.has(axis) ? 1 : rest.shift()));
    }
  }
}
