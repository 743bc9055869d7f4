import { type DataType, dataTypeOf } from './data-type.js';
import { isView, permutationOf, traitsOf } from './operators/index.js';
import { Tensor } from './tensor.js';
import type { Graph, Node } from './types.js';

/** A value that does not depend on the model's inputs. */
export interface ConstantValue {
  /** The name under which it is read. */
  readonly value: string;
  /** The graph in which it is made; an outer one for a captured value. */
  readonly graph: Graph;
  readonly dataType: DataType;
  readonly shape: readonly number[];
  /**
   * The nodes that compute it from constants, in topological order; empty for an initializer. A Constant node
   * is one of them.
   */
  readonly path: readonly Node[];
  /** The initializers that the path reads (or the one that the value is). */
  readonly leaves: readonly Tensor[];
  /**
   * The tensor that holds the elements where the path only relabels, casts or reorders them (Identity, Reshape,
   * Transpose, Cast …): an initializer or a Constant node's value. Undefined where they are computed.
   */
  readonly root: Tensor | undefined;
}

export type ConstantResult = ConstantValue | { readonly reason: string };

export function isConstant(result: ConstantResult): result is ConstantValue {
  return !('reason' in result);
}

const QUANTIZED_TYPE = /^u?int[248]$|^float[48]/;

/**
 * Whether a floating-point constant is stored in a type of 8 bits or less: behind DequantizeLinear, or behind Cast and
 * the arithmetic of a scale and a zero point.
 *
 * @returns how, in words, and the stored tensor where it is an initializer; undefined for all other constants
 */
export function quantizedStorage({
  path,
  leaves,
}: ConstantValue): { readonly how: string; readonly stored: Tensor | undefined } | undefined {
  // Of the contrib domain too, which also has it of 16 bits.
  const step = path.findLast((node) => node.opType === 'DequantizeLinear');
  if (step !== undefined) {
    const origin = step.graph.resolve(step.inputs[0] ?? '');
    const stored = origin?.kind === 'initializer' ? origin.tensor : undefined;
    return { how: 'behind DequantizeLinear', stored };
  }
  // A zero point alone is no weight.
  const stored = leaves.find(({ dataType, size }) => QUANTIZED_TYPE.test(dataType) && size > 1);
  return stored && { how: `computed from '${stored.name}' of ${stored.dataType}`, stored };
}

/**
 * Looks for the constant behind a value: an initializer, a Constant node, or what nodes make of constants.
 * Type and shape come without reading a weight; small integer tensors (shapes, axes) are read.
 *
 * @returns the constant, or the reason why the value is not one that can be relied on
 */
export function findConstant(graph: Graph, value: string): ConstantResult {
  return new Search().find(graph, value);
}

class Search {
  readonly #known = new Map<string, ConstantResult>();

  find(graph: Graph, value: string): ConstantResult {
    const origin = graph.resolve(value);
    if (origin === undefined) return { reason: `'${value}' is made by nothing` };
    const home = origin.graph;
    const known = this.#known.get(value);
    if (known !== undefined) return known;
    this.#known.set(value, { reason: `'${value}' depends on itself` });
    const result = ((): ConstantResult => {
      switch (origin.kind) {
        case 'initializer':
          return initializerConstant(home, origin.tensor);
        case 'sparse':
          return { reason: `'${value}' is a sparse initializer` };
        case 'input':
          return { reason: `'${value}' is an input` };
        case 'node':
          return this.#ofNode(home, origin.node, value);
      }
    })();
    this.#known.set(value, result);
    return result;
  }

  #ofNode(graph: Graph, node: Node, value: string): ConstantResult {
    if (node.domain !== '' && node.domain !== 'com.microsoft') {
      return { reason: `'${value}' is computed by ${node.domain}.${node.opType}` };
    }
    if (node.is('Constant')) return constantNode(graph, node, value);
    // Dropout may be: its mode is not looked at here.
    if (traitsOf(node).random || node.is('Dropout'))
      return { reason: `'${value}' is random (${node.opType})` };
    // Before its inputs are looked at: behind them may stand a whole network.
    if (!isView(node) && !KNOWN.has(node.opType))
      return { reason: `'${value}' is computed by ${node.opType}` };
    const inputs: ConstantValue[] = [];
    for (const input of node.inputs) {
      if (input === '') continue;
      const result = this.find(graph, input);
      if (!isConstant(result)) return { reason: `'${value}' is computed at run time (${result.reason})` };
      inputs.push(result);
    }
    const type = shapeOf(node, inputs);
    if (type === undefined)
      return { reason: `'${value}' is computed by ${node.opType}, to a shape that is not known here` };
    const path = [...new Set([...inputs.flatMap((input) => input.path), node])];
    const leaves = [
      ...new Map(inputs.flatMap((input) => input.leaves).map((leaf) => [leaf.proto, leaf])).values(),
    ];
    const root = isView(node) ? inputs[0]?.root : undefined;
    const { dataType, shape } = type;
    return { value, graph, dataType, shape, path, leaves, root };
  }
}

function initializerConstant(graph: Graph, tensor: Tensor): ConstantResult {
  if (graph.isInput(tensor.name) && graph.model.irVersion >= 4) {
    return {
      reason: `'${tensor.name}' is also an input of the model, so a caller can replace it; --fix-inputs (fixInputs) makes it a constant`,
    };
  }
  return {
    value: tensor.name,
    graph,
    dataType: tensor.dataType,
    shape: tensor.shape,
    path: [],
    leaves: [tensor],
    root: tensor,
  };
}

function constantNode(graph: Graph, node: Node, value: string): ConstantResult {
  if (node.attributes.names().some((name) => node.attributes.isReference(name))) {
    return { reason: `'${value}' is an attribute of the function` };
  }
  const tensor = constantNodeTensor(node);
  if (tensor === undefined) return { reason: `'${value}' is a sparse constant` };
  return {
    value,
    graph,
    dataType: tensor.dataType,
    shape: tensor.shape,
    path: [node],
    leaves: [],
    root: tensor,
  };
}

/** The tensor of a Constant node; undefined where it is sparse, or an attribute of a function. */
export function constantNodeTensor(node: Node): Tensor | undefined {
  const { attributes } = node;
  const name = node.outputs[0] ?? '';
  if (attributes.names().some((key) => attributes.isReference(key))) return undefined;
  const tensor = attributes.tensor('value');
  if (tensor !== undefined) return tensor;
  const floats = attributes.floats('value_floats');
  if (floats) return Tensor.of(name, 'float32', [floats.length], Float32Array.from(floats));
  if (attributes.has('value_float')) {
    return Tensor.of(name, 'float32', [], Float32Array.of(attributes.float('value_float', 0)));
  }
  const raw = (...names: string[]) => node.proto.attribute?.find((entry) => names.includes(entry.name ?? ''));
  // Read as 64-bit integers: attributes.int gives numbers, which end at 2^53.
  const integers = raw('value_ints', 'value_int');
  if (integers !== undefined) {
    const isList = integers.name === 'value_ints';
    const list = isList ? (integers.ints ?? []) : [integers.i ?? 0];
    const data = BigInt64Array.from(list, (entry) =>
      typeof entry === 'number' ? BigInt(entry) : entry.toBigInt(),
    );
    return Tensor.of(name, 'int64', isList ? [list.length] : [], data);
  }
  const text = raw('value_strings', 'value_string');
  if (text !== undefined) {
    const isList = text.name === 'value_strings';
    const strings = isList ? (text.strings ?? []) : [text.s ?? new Uint8Array(0)];
    return Tensor.ofStrings(name, isList ? [strings.length] : [], strings);
  }
  return undefined;
}

/** Operators whose result shapeOf tells, besides views. */
const KNOWN = new Set<string>([
  ...['ConstantOfShape', 'Neg', 'Abs', 'Sqrt', 'Exp', 'Reciprocal'],
  ...['Add', 'Sub', 'Mul', 'Div', 'DequantizeLinear', 'Concat'],
]);

interface TypeAndShape {
  readonly dataType: DataType;
  readonly shape: readonly number[];
}

/** Type and shape of a node's first output from constant inputs; undefined for operators not known here. */
function shapeOf(node: Node, inputs: readonly ConstantValue[]): TypeAndShape | undefined {
  const [first, second] = inputs;
  const { attributes } = node;
  switch (node.opType) {
    case 'ConstantOfShape': {
      const shape = first && integers(first);
      const fill = attributes.tensor('value');
      return shape && { dataType: fill?.dataType ?? 'float32', shape };
    }
    case 'Identity':
      return first;
    case 'Neg':
    case 'Abs':
    case 'Sqrt':
    case 'Exp':
    case 'Reciprocal':
      return first;
    case 'Add':
    case 'Sub':
    case 'Mul':
    case 'Div':
      return first && second && broadcast(first, second);
    case 'Cast': {
      const dataType = dataTypeOf(attributes.int('to', 0));
      return first && dataType && { dataType, shape: first.shape };
    }
    case 'DequantizeLinear':
      return first && second && { dataType: second.dataType, shape: first.shape };
    case 'Transpose': {
      if (!first) return undefined;
      const permutation = permutationOf(node, first.shape.length);
      return { dataType: first.dataType, shape: permutation.map((axis) => first.shape[axis] ?? 0) };
    }
    case 'Reshape': {
      const target = attributes.ints('shape') ?? (second && integers(second));
      return (
        first &&
        target && {
          dataType: first.dataType,
          shape: reshaped(first.shape, target, attributes.int('allowzero', 0) === 1),
        }
      );
    }
    case 'Flatten': {
      if (!first) return undefined;
      const axis = attributes.int('axis', 1);
      const at = axis < 0 ? axis + first.shape.length : axis;
      return {
        dataType: first.dataType,
        shape: [product(first.shape.slice(0, at)), product(first.shape.slice(at))],
      };
    }
    case 'Squeeze': {
      if (!first) return undefined;
      const axes = attributes.ints('axes') ?? (second && integers(second));
      const drop = new Set(axes?.map((axis) => (axis < 0 ? axis + first.shape.length : axis)));
      const keep = (dim: number, axis: number): boolean => (axes === undefined ? dim !== 1 : !drop.has(axis));
      return { dataType: first.dataType, shape: first.shape.filter(keep) };
    }
    case 'Unsqueeze': {
      const axes = attributes.ints('axes') ?? (second && integers(second));
      if (!first || !axes) return undefined;
      const rank = first.shape.length + axes.length;
      const added = new Set(axes.map((axis) => (axis < 0 ? axis + rank : axis)));
      const rest = [...first.shape];
      return {
        dataType: first.dataType,
        shape: Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : (rest.shift() ?? 1))),
      };
    }
    case 'Concat': {
      if (!first) return undefined;
      const axis = attributes.int('axis', 0);
      const at = axis < 0 ? axis + first.shape.length : axis;
      const shape = [...first.shape];
      shape[at] = inputs.reduce((sum, input) => sum + (input.shape[at] ?? 0), 0);
      return { dataType: first.dataType, shape };
    }
    default:
      return undefined;
  }
}

/** The values of a small integer constant that no arithmetic stands before. */
function integers(constant: ConstantValue): number[] | undefined {
  const { root } = constant;
  if (root === undefined || (root.dataType !== 'int64' && root.dataType !== 'int32') || root.size > 64)
    return undefined;
  return root.integers();
}

function reshaped(from: readonly number[], target: readonly number[], allowZero: boolean): number[] {
  const shape = target.map((dim, axis) => (dim === 0 && !allowZero ? (from[axis] ?? 0) : dim));
  const known = product(shape.filter((dim) => dim !== -1));
  return shape.map((dim) => (dim === -1 ? (known === 0 ? 0 : product(from) / known) : dim));
}

function broadcast(a: TypeAndShape, b: TypeAndShape): TypeAndShape {
  const rank = Math.max(a.shape.length, b.shape.length);
  const at = (shape: readonly number[], axis: number): number => shape[axis - rank + shape.length] ?? 1;
  const shape = Array.from({ length: rank }, (_, axis) => {
    const [left, right] = [at(a.shape, axis), at(b.shape, axis)];
    return left === 1 ? right : left;
  });
  return { dataType: a.dataType, shape };
}

function product(dims: readonly number[]): number {
  return dims.reduce((total, dim) => total * dim, 1);
}

/**
 * The tensor that stands behind a value, where nothing needs to be computed for it: an initializer, the tensor or
 * numbers of a Constant node, either also by way of Identity. Undefined for everything else.
 *
 * @param value a name in `graph`; values of the graphs around it are found too
 * @example
 * constantTensor(model.graph, 'fc.weight')?.shape; // [10, 512]
 */
export function constantTensor(graph: Graph, value: string): Tensor | undefined {
  const origin = value === '' ? undefined : graph.resolve(value);
  if (origin?.kind === 'initializer') return origin.tensor;
  if (origin?.kind !== 'node') return undefined;
  const { node } = origin;
  if (node.is('Identity')) return constantTensor(origin.graph, node.inputs[0] ?? '');
  if (node.is('Constant')) return constantNodeTensor(node);
  return undefined;
}
