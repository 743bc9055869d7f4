import { isView, traitsOf } from '../operators/index.js';
import { toNumber } from '../proto/codec.js';
import type { GraphProto } from '../proto/schema.js';
import type { DataType } from '../tensor/data-type.js';
import { Tensor } from '../tensor/tensor.js';
import type { Graph, Model, Node, Origin } from '../types.js';
import { type ConstantInput, hasKnownType, type TypeAndShape, typeOf } from './constant-shapes.js';

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

/** What findConstant returns: a constant, or the reason why there is none. */
export type ConstantResult = ConstantValue | { readonly reason: string };

/**
 * Whether findConstant found a constant, and not the reason why there is none.
 *
 * @example
 * isConstant(findConstant(model.graph, 'x')); // false where x is an input
 */
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
 * @throws ModelError for a tensor of an unknown element type
 * @example
 * const found = findConstant(model.graph, 'fc.weight');
 * console.log(isConstant(found) ? [found.dataType, found.shape] : found.reason);
 */
export function findConstant(graph: Graph, value: string): ConstantResult {
  return stored.of(graph.model).find(graph, value);
}

/** What a run found a node to make of constants alone. */
export interface ComputedConstant {
  /** For float types. */
  readonly constant?: ConstantValue;
  /** For lists of integers: shapes, axes, pads. */
  readonly integers?: readonly number[];
}

export interface ConstantSearchOptions {
  /** Whether a matrix product of constants is one; default false. */
  readonly products?: boolean;
  /** What a run found, by the node whose first output it is. */
  readonly computed?: ReadonlyMap<Node, ComputedConstant>;
}

/** Searches of models, each as long as its model stays as it is. */
export class ConstantSearches {
  readonly #options: ConstantSearchOptions;
  readonly #searches = new WeakMap<Model, { readonly revision: number; readonly search: ConstantSearch }>();

  constructor(options: ConstantSearchOptions = {}) {
    this.#options = options;
  }

  of(model: Model): ConstantSearch {
    const before = this.#searches.get(model);
    if (before?.revision === model.revision) return before.search;
    const search = new ConstantSearch(this.#options);
    this.#searches.set(model, { revision: model.revision, search });
    return search;
  }
}

const stored = new ConstantSearches();

/** findConstant for many values of one model, which looks at each node once. It holds for the model as it is. */
export class ConstantSearch {
  readonly #options: ConstantSearchOptions;
  readonly #known = new Map<Graph, Map<string, ConstantResult>>();
  /** What makes a value computed at run time, at the end of the way. */
  readonly #causes = new WeakMap<ConstantResult, string>();

  constructor(options: ConstantSearchOptions = {}) {
    this.#options = options;
  }

  find(graph: Graph, value: string): ConstantResult {
    const stack = [{ graph, value, isOpen: false }];
    try {
      this.#search(stack);
    } catch (error) {
      // What is not finished must not be taken for a result.
      for (const item of stack) {
        const origin = item.graph.resolve(item.value);
        if (origin !== undefined) this.#known.get(origin.graph)?.delete(item.value);
      }
      throw error;
    }
    return this.#lookUp(graph, value) ?? { reason: `'${value}' is made by nothing` };
  }

  /** Not recursive: chains of constants may be deeper than the stack. */
  #search(stack: { graph: Graph; value: string; isOpen: boolean }[]): void {
    for (let item = stack.at(-1); item !== undefined; item = stack.at(-1)) {
      const origin = item.graph.resolve(item.value);
      if (origin === undefined) {
        stack.pop();
        continue;
      }
      const known = this.#of(origin.graph);
      if (!item.isOpen && known.has(item.value)) {
        stack.pop();
        continue;
      }
      if (!item.isOpen) known.set(item.value, { reason: `'${item.value}' depends on itself` });
      item.isOpen = true;
      const next = this.#next(origin);
      if (next !== undefined) stack.push({ graph: origin.graph, value: next, isOpen: false });
      else {
        known.set(item.value, this.#result(origin, item.value));
        stack.pop();
      }
    }
  }

  #of(graph: Graph): Map<string, ConstantResult> {
    let known = this.#known.get(graph);
    if (known === undefined) {
      known = new Map();
      this.#known.set(graph, known);
    }
    return known;
  }

  #lookUp(graph: Graph, value: string): ConstantResult | undefined {
    const origin = graph.resolve(value);
    if (origin === undefined) return { reason: `'${value}' is made by nothing` };
    return this.#known.get(origin.graph)?.get(value);
  }

  /** The input of a node that is to be looked at first; undefined where the node's own result follows. */
  #next(origin: Origin): string | undefined {
    if (origin.kind !== 'node' || this.#reason(origin.node) !== undefined || origin.node.is('Constant'))
      return undefined;
    const { node, graph } = origin;
    let next: string | undefined;
    for (const input of node.inputs) {
      if (input === '') continue;
      const found = this.#lookUp(graph, input);
      if (found !== undefined && !isConstant(found)) return undefined;
      if (found !== undefined) continue;
      // Behind an input may stand a whole network: what is no constant at a glance ends the search.
      const from = graph.resolve(input);
      if (from?.kind === 'input' || (from?.kind === 'node' && this.#reason(from.node) !== undefined))
        return input;
      next ??= input;
    }
    return next;
  }

  #result(origin: Origin, value: string): ConstantResult {
    switch (origin.kind) {
      case 'initializer':
        return initializerConstant(origin.graph, origin.tensor);
      case 'sparse':
        return sparseConstant(origin.graph, value);
      case 'input':
        return { reason: `'${value}' is an input` };
      case 'node':
        return this.#withComputed(origin.node, value, this.#ofNode(origin.graph, origin.node, value));
    }
  }

  #withComputed(node: Node, value: string, found: ConstantResult): ConstantResult {
    if (isConstant(found) || node.outputs[0] !== value) return found;
    return this.#options.computed?.get(node)?.constant ?? found;
  }

  #reason(node: Node): string | undefined {
    return this.#options.products && node.is('MatMul') ? undefined : reasonOf(node);
  }

  /** The values of a small integer constant. */
  #integers(constant: ConstantValue): readonly number[] | undefined {
    const node = makers.get(constant)?.node;
    return (node && this.#options.computed?.get(node)?.integers) ?? integersOf(constant);
  }

  #ofNode(graph: Graph, node: Node, value: string): ConstantResult {
    const reason = this.#reason(node);
    if (reason !== undefined) return { reason: `'${value}' ${reason}` };
    if (node.is('Constant')) return constantNode(graph, node, value);
    const results = node.inputs.map((input) => (input === '' ? undefined : this.#lookUp(graph, input)));
    // What was not looked at stands behind one that is none.
    const variable =
      results.find(
        (result): result is { readonly reason: string } => result !== undefined && !isConstant(result),
      ) ??
      node.inputs.flatMap((input, place) =>
        input !== '' && results[place] === undefined ? [{ reason: `'${input}' depends on itself` }] : [],
      )[0];
    if (variable !== undefined) {
      // Nobody asks where the input of an activation comes from.
      if (traitsOf(node).gain !== undefined) return { reason: `'${value}' is computed by ${node.opType}` };
      const cause = this.#causes.get(variable) ?? variable.reason;
      const result = { reason: `'${value}' is computed at run time (${cause})` };
      this.#causes.set(result, cause);
      return result;
    }
    const inputs = results.map((result) => (result !== undefined && isConstant(result) ? result : undefined));
    const asked = inputs.map(
      (input): ConstantInput | undefined =>
        input && { ...typed(input), integers: () => this.#integers(input) },
    );
    const type = typeOf(node, asked, node.outputs.indexOf(value));
    if (type === undefined)
      return { reason: `'${value}' is computed by ${node.opType}, to a shape that is not known here` };
    const constants = inputs.filter((input) => input !== undefined);
    return computed(
      { value, graph, ...type, root: isView(node) ? inputs[0]?.root : undefined },
      node,
      constants,
    );
  }
}

/** Why what a node makes is no constant, whatever it reads. */
function reasonOf(node: Node): string | undefined {
  if (node.domain !== '' && node.domain !== 'com.microsoft')
    return `is computed by ${node.domain}.${node.opType}`;
  if (node.is('Constant')) return undefined;
  // Dropout may be: its mode is not looked at here.
  if (traitsOf(node).random || node.is('Dropout')) return `is random (${node.opType})`;
  return hasKnownType(node) ? undefined : `is computed by ${node.opType}`;
}

function typed({ dataType, shape }: ConstantValue): TypeAndShape {
  return { dataType, shape };
}

/** The node that makes a constant, and what it reads. */
const makers = new WeakMap<
  ConstantValue,
  { readonly node: Node; readonly inputs: readonly ConstantValue[] }
>();

/** A constant that a node computes; what it is made of is gathered when it is asked for. */
function computed(
  constant: Omit<ConstantValue, 'path' | 'leaves'>,
  node: Node,
  inputs: readonly ConstantValue[],
): ConstantValue {
  let made: Pick<ConstantValue, 'path' | 'leaves'> | undefined;
  const result: ConstantValue = {
    ...constant,
    get path() {
      made ??= gathered(result);
      return made.path;
    },
    get leaves() {
      made ??= gathered(result);
      return made.leaves;
    },
  };
  makers.set(result, { node, inputs });
  return result;
}

function gathered(constant: ConstantValue): Pick<ConstantValue, 'path' | 'leaves'> {
  const path = new Set<Node>();
  const leaves = new Map<unknown, Tensor>();
  const seen = new Set<ConstantValue>();
  const stack: (ConstantValue | Node)[] = [constant];
  for (let item = stack.pop(); item !== undefined; item = stack.pop()) {
    if ('opType' in item) {
      path.add(item);
      continue;
    }
    if (seen.has(item)) continue;
    seen.add(item);
    const maker = makers.get(item);
    if (maker === undefined) {
      for (const node of item.path) path.add(node);
      for (const leaf of item.leaves) leaves.set(leaf.proto, leaf);
      continue;
    }
    stack.push(maker.node, ...maker.inputs.toReversed());
  }
  return { path: [...path], leaves: [...leaves.values()] };
}

/** The values of a small integer constant that no arithmetic stands before, or that puts such together. */
function integersOf(constant: ConstantValue): readonly number[] | undefined {
  const { root, shape } = constant;
  if (root !== undefined) {
    const isList = root.dataType === 'int64' || root.dataType === 'int32';
    return isList && root.size <= 64 ? root.integers() : undefined;
  }
  const maker = makers.get(constant);
  if (!maker?.node.is('Concat') || shape.length !== 1 || (shape[0] ?? 0) > 64) return undefined;
  const parts = maker.inputs.map(integersOf);
  return parts.every((part) => part !== undefined) ? parts.flat() : undefined;
}

/** A sparse initializer as the dense tensor that its readers see. */
function sparseConstant(graph: Graph, value: string): ConstantResult {
  const list = (graph.proto as GraphProto).sparse_initializer ?? [];
  const sparse = list.find(({ values }) => values?.name === value);
  if (sparse?.values === undefined) return { reason: `'${value}' is a sparse initializer` };
  const { dataType } = new Tensor(sparse.values);
  const shape = (sparse.dims ?? []).map(toNumber);
  return { value, graph, dataType, shape, path: [], leaves: [], root: undefined };
}

function initializerConstant(graph: Graph, tensor: Tensor): ConstantResult {
  if (graph.isInput(tensor.name) && graph.model.irVersion >= 4) {
    return {
      reason: `'${tensor.name}' is also an input of the model, so a caller can replace it; \`fixInputs\` makes it a constant`,
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

/**
 * The tensor that stands behind a value, where nothing needs to be computed for it: an initializer, the tensor or
 * numbers of a Constant node, either also by way of Identity. Undefined for everything else.
 *
 * @param value a name in `graph`; values of the graphs around it are found too
 * @example
 * constantTensor(model.graph, 'fc.weight')?.shape; // [10, 512]
 */
export function constantTensor(graph: Graph, value: string): Tensor | undefined {
  const passed = new Set<Node>();
  let origin = value === '' ? undefined : graph.resolve(value);
  while (origin?.kind === 'node' && origin.node.is('Identity') && !passed.has(origin.node)) {
    passed.add(origin.node);
    origin = origin.graph.resolve(origin.node.inputs[0] ?? '');
  }
  if (origin?.kind === 'initializer') return origin.tensor;
  return origin?.kind === 'node' && origin.node.is('Constant') ? constantNodeTensor(origin.node) : undefined;
}
