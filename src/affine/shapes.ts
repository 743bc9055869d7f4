import { type Dimension, type Graph, KnownConstants, type Node, traitsOf } from '../graph/index.js';
import { transposedExtra, windowOf } from './operators.js';
import { relabellingOf } from './relabel.js';

type Shape = readonly Dimension[];

/** Shapes of a graph's values, as its operators make them or, where these do not tell, it notes them; computed at the first question. */
export class Shapes {
  readonly #graph: Graph;
  #shapes: Map<string, Shape> | undefined;

  readonly constants: KnownConstants;

  constructor(graph: Graph, constants: KnownConstants = KnownConstants.stored) {
    this.#graph = graph;
    this.constants = constants;
  }

  of(value: string): Shape | undefined {
    this.#shapes ??= this.#infer();
    return this.#shapes.get(value) ?? this.#around(value);
  }

  /** What the graph around tells of a value that is of it. */
  #around(value: string): Shape | undefined {
    const { parent } = this.#graph;
    if (parent === undefined || value === '' || this.#graph.resolve(value)?.graph === this.#graph)
      return undefined;
    return shapesOf(parent, this.constants).of(value);
  }

  #infer(): Map<string, Shape> {
    const shapes = new Map<string, Shape>();
    const { inputs, valueInfo, outputs } = this.#graph;
    // An axis that an input leaves open is open behind it too, whatever is noted there.
    for (const { name, shape } of inputs)
      if (shape !== undefined)
        shapes.set(
          name,
          shape.map((dim, axis) => dim ?? `${name}/${axis}`),
        );
    for (const { name, shape } of [...valueInfo, ...outputs])
      if (shape !== undefined && !shapes.has(name)) shapes.set(name, shape);
    for (const node of this.#graph.nodes) {
      if (node.domain !== '') continue;
      const inputs = node.inputs.map((input) => shapes.get(input) ?? this.#around(input));
      const made = shapeMade(node, inputs, this.constants);
      // Of what has several outputs the first alone is known, but for the parts of one value.
      for (const output of node.is('Split') ? node.outputs : node.outputs.slice(0, 1)) {
        if (output === '' || made === undefined) continue;
        // What is noted may be older than the nodes: it tells no more than what they leave open.
        const noted = shapes.get(output);
        const isAlike = noted?.length === made.length;
        shapes.set(output, isAlike ? made.map((dim, axis) => dim ?? noted[axis]) : made);
      }
    }
    return shapes;
  }
}

const inferred = new WeakMap<Graph, { readonly revision: number; readonly shapes: Shapes }>();

/** The shapes of a graph as it is now. */
export function shapesOf(graph: Graph, constants: KnownConstants = KnownConstants.stored): Shapes {
  const { revision } = graph.model;
  const before = inferred.get(graph);
  if (before?.revision === revision && before.shapes.constants === constants) return before.shapes;
  const shapes = new Shapes(graph, constants);
  inferred.set(graph, { revision, shapes });
  return shapes;
}

const at = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** The shape of a node's first output, where its inputs' and its own constants tell. */
function shapeMade(
  node: Node,
  inputs: readonly (Shape | undefined)[],
  constants: KnownConstants,
): Shape | undefined {
  const { attributes } = node;
  const [first, second] = inputs;
  const { shape } = traitsOf(node);
  if (shape === 'first') return first;
  if (shape === 'broadcast') return broadcast(node, inputs, constants);
  switch (node.opType) {
    case 'Conv': {
      const weight = constants.shape(node, 1);
      return weight && [first?.[0], weight[0], ...windowed(node, first, weight.slice(2))];
    }
    case 'ConvTranspose': {
      const weight = constants.shape(node, 1);
      const channels = weight?.[1] && weight[1] * attributes.int('group', 1);
      return weight && [first?.[0], channels, ...grown(node, first, weight.slice(2))];
    }
    case 'Pad':
      return padded(node, first, constants);
    case 'Concat':
      return concatenated(node, inputs, constants);
    case 'MaxPool':
    case 'AveragePool':
    case 'LpPool': {
      const extents = attributes.ints('kernel_shape') ?? [];
      return [...(first?.slice(0, 2) ?? [undefined, undefined]), ...windowed(node, first, extents)];
    }
    case 'GlobalAveragePool':
    case 'GlobalMaxPool':
      return first && [...first.slice(0, 2), ...first.slice(2).map(() => 1)];
    case 'ReduceMean':
    case 'ReduceMax':
    case 'ReduceSum': {
      const axes = attributes.ints('axes') ?? constants.integers(node, 1);
      if (first === undefined || axes === undefined) return undefined;
      const reduced = new Set(axes.map((axis) => at(axis, first.length)));
      if (attributes.int('keepdims', 1) === 0) return first.filter((_, axis) => !reduced.has(axis));
      return first.map((dim, axis) => (reduced.has(axis) ? 1 : dim));
    }
    case 'Gemm': {
      const weight = constants.shape(node, 1);
      return [
        first?.[attributes.int('transA', 0) === 1 ? 1 : 0],
        weight?.[attributes.int('transB', 0) === 1 ? 0 : 1],
      ];
    }
    case 'MatMul': {
      const [left, right] = [constants.shape(node, 0), constants.shape(node, 1)];
      if (right?.length === 2 && first && first.length >= 2) return [...first.slice(0, -1), right[1]];
      if (left?.length === 2 && second && second.length >= 2)
        return [...second.slice(0, -2), left[0], second.at(-1)];
      const [a, b] = [left ?? first, right ?? second];
      if (a === undefined || b === undefined || a.length < 2 || b.length < 2) return undefined;
      const batch = new Array<undefined>(Math.max(a.length, b.length) - 2).fill(undefined);
      return [...batch, a.at(-2), b.at(-1)];
    }
    case 'ConstantOfShape':
      return constants.integers(node, 0) ?? ranked(first);
    case 'Expand':
      return expanded(first ?? constants.shape(node, 0), second ?? constants.shape(node, 1));
    case 'Shape':
      return attributes.has('start') || attributes.has('end') ? [undefined] : [first?.length];
    case 'Gather': {
      const [data, indices] = [first ?? constants.shape(node, 0), second ?? constants.shape(node, 1)];
      if (data === undefined || indices === undefined) return undefined;
      const axis = at(attributes.int('axis', 0), data.length);
      return [...data.slice(0, axis), ...indices, ...data.slice(axis + 1)];
    }
    case 'Slice':
      return sliced(node, first, constants);
    case 'Split':
      return without(first, [attributes.int('axis', 0)]);
    case 'Resize':
    case 'Upsample':
      return without(first, undefined);
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return new Array<undefined>(4).fill(undefined);
    default:
      return relabelledShape(node, first, constants) ?? (node.is('Reshape') ? ranked(second) : undefined);
  }
}

function windowed(node: Node, input: Shape | undefined, extents: readonly number[]): Shape {
  const { strides, dilations, pads, auto } = windowOf(node, extents);
  const isCeil = node.attributes.int('ceil_mode', 0) === 1;
  return extents.map((extent, axis) => {
    const size = input?.[axis + 2];
    const step = strides[axis] ?? 1;
    if (typeof size !== 'number' || isCeil) return undefined;
    if (auto !== undefined) return Math.ceil(size / step);
    const padded = size + (pads[axis] ?? 0) + (pads[axis + extents.length] ?? 0);
    return Math.floor((padded - (dilations[axis] ?? 1) * (extent - 1) - 1) / step) + 1;
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

function padded(node: Node, input: Shape | undefined, constants: KnownConstants): Shape | undefined {
  const pads =
    node.attributes.ints('pads') ?? node.attributes.ints('paddings') ?? constants.integers(node, 1);
  if (input === undefined || pads?.length !== 2 * input.length || node.inputs[3])
    return input?.map(() => undefined);
  return input.map((dim, axis) => {
    const extra = (pads[axis] ?? 0) + (pads[axis + input.length] ?? 0);
    return extra === 0 ? dim : typeof dim === 'number' ? dim + extra : undefined;
  });
}

function concatenated(
  node: Node,
  inputs: readonly (Shape | undefined)[],
  constants: KnownConstants,
): Shape | undefined {
  const shapes = node.inputs.map((_, index) => inputs[index] ?? constants.shape(node, index));
  const [first] = shapes;
  if (first === undefined || shapes.some((shape) => shape?.length !== first.length)) return undefined;
  const joint = at(node.attributes.int('axis', 1), first.length);
  return first.map((dim, axis) => {
    if (axis !== joint)
      return shapes.map((shape) => shape?.[axis]).find((size) => typeof size === 'number') ?? dim;
    return shapes.reduce<Dimension>((sum, shape) => {
      const size = shape?.[axis];
      return typeof sum === 'number' && typeof size === 'number' ? sum + size : undefined;
    }, 0);
  });
}

function broadcast(
  node: Node,
  inputs: readonly (Shape | undefined)[],
  constants: KnownConstants,
): Shape | undefined {
  const shapes = node.inputs.map((_, index) => constants.shape(node, index) ?? inputs[index]);
  if (node.attributes.has('axis') || shapes.some((shape) => shape === undefined)) return undefined;
  const known = shapes.filter((shape) => shape !== undefined);
  const rank = Math.max(...known.map((shape) => shape.length));
  return Array.from({ length: rank }, (_, axis) => {
    const dims = known.map((shape) => (axis < rank - shape.length ? 1 : shape[axis - rank + shape.length]));
    const large = dims.find((dim) => typeof dim === 'number' && dim > 1);
    if (large !== undefined) return large;
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

function sliced(node: Node, shape: Shape | undefined, constants: KnownConstants): Shape | undefined {
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
    if (typeof size !== 'number' || step < 1) continue;
    const within = (place: number): number => Math.min(size, Math.max(0, place < 0 ? place + size : place));
    const length = within(ends?.[i] ?? 0) - within(starts?.[i] ?? 0);
    rest[at(axis, shape.length)] = Math.max(0, Math.ceil(length / step));
  }
  return rest;
}

/** A shape some of whose sizes become others; without axes, all. */
function without(shape: Shape | undefined, axes: readonly number[] | undefined): Shape | undefined {
  const changed = new Set(axes?.map((axis) => at(axis, shape?.length ?? 0)));
  return shape?.map((dim, axis) => (axes === undefined || changed.has(axis) ? undefined : dim));
}

function relabelledShape(node: Node, input: Shape | undefined, constants: KnownConstants): Shape | undefined {
  const how = relabellingOf(node, constants);
  if (how === undefined) return undefined;
  const product = (dims: Shape): Dimension =>
    dims.reduce<Dimension>(
      (size, dim) => (typeof size === 'number' && typeof dim === 'number' ? size * dim : undefined),
      1,
    );
  if (how.kind === 'reshape') {
    const known = how.target.map((dim, axis): Dimension => {
      if (dim === -1) return undefined;
      return dim === 0 && !how.allowsZero ? input?.[axis] : dim;
    });
    const [all, rest] = [
      input && product(input),
      product(known.filter((_, axis) => how.target[axis] !== -1)),
    ];
    const missing = typeof all === 'number' && typeof rest === 'number' && rest > 0 ? all / rest : undefined;
    return known.map((dim, axis) => (how.target[axis] === -1 ? missing : dim));
  }
  if (input === undefined) return how.kind === 'flatten' ? [undefined, undefined] : undefined;
  const rank = input.length;
  switch (how.kind) {
    case 'transpose':
      return (how.permutation ?? input.map((_, axis) => rank - 1 - axis)).map((axis) => input[axis]);
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
