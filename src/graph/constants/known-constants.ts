import { permutationOf } from '../operators/index.js';
import type { Graph, Node } from '../types.js';
import { type ConstantResult, type ConstantValue, findConstant, isConstant } from './constants.js';

/** What a run found a node to make of constants alone. */
export interface ComputedConstant {
  /** For float types. */
  readonly constant?: ConstantValue;
  /** For lists of integers: shapes, axes, pads. */
  readonly integers?: readonly number[];
}

/**
 * The constants of a model as far as they are known: what the graph itself tells and, where it is given, what a run of
 * its constant parts computed (`computedConstants` of the runtime). It holds for the graph as it was then.
 */
export class KnownConstants {
  /** What the graph alone tells. */
  static readonly stored = new KnownConstants();

  readonly #computed: ReadonlyMap<Node, ComputedConstant>;
  /** What was asked for of nodes that may make products, as of a revision of their model. */
  readonly #products = new WeakMap<Node, { readonly revision: number; readonly found: ConstantResult }>();

  /** @param computed by the node whose first output it is */
  constructor(computed: ReadonlyMap<Node, ComputedConstant> = new Map()) {
    this.#computed = computed;
  }

  /**
   * The constant behind a value, as findConstant has it, and products of constants besides: a kernel that is written
   * as one (DO-Conv: Cao et al., "DO-Conv: Depthwise Over-parameterized Convolutional Layer", IEEE TIP 2022).
   */
  of(graph: Graph, value: string): ConstantResult {
    const found = findConstant(graph, value);
    if (isConstant(found)) return found;
    const origin = value === '' ? undefined : graph.resolve(value);
    if (origin?.kind !== 'node') return found;
    const { node, graph: home } = origin;
    const computed = node.outputs[0] === value ? this.#computed.get(node)?.constant : undefined;
    if (computed !== undefined) return computed;
    if (!node.is('MatMul', 'Reshape', 'Transpose')) return found;
    const { revision } = home.model;
    const before = this.#products.get(node);
    if (before?.revision === revision) return before.found;
    const product = this.#product(value, home, node) ?? found;
    this.#products.set(node, { revision, found: product });
    return product;
  }

  #product(value: string, home: Graph, node: Node): ConstantValue | undefined {
    const inputs: ConstantValue[] = [];
    for (const input of node.inputs) {
      const operand = this.of(home, input);
      if (!isConstant(operand)) return undefined;
      inputs.push(operand);
    }
    const shape = productShape(node, inputs);
    const [first] = inputs;
    if (shape === undefined || first === undefined) return undefined;
    return {
      value,
      graph: home,
      dataType: first.dataType,
      shape,
      path: [...new Set([...inputs.flatMap((input) => input.path), node])],
      leaves: [
        ...new Map(inputs.flatMap((input) => input.leaves).map((leaf) => [leaf.proto, leaf])).values(),
      ],
      root: undefined,
    };
  }

  /** The constant that a node reads, or why it is none. */
  operand(node: Node, index: number): ConstantResult {
    return this.of(node.graph, node.inputs[index] ?? '');
  }

  /** The shape of a constant that a node reads; undefined where it is none. */
  shape(node: Node, index: number): readonly number[] | undefined {
    const found = this.operand(node, index);
    return isConstant(found) ? found.shape : undefined;
  }

  /** A constant list of integers that a node reads; undefined where it is none. */
  integers(node: Node, index: number): number[] | undefined {
    const value = node.inputs[index] ?? '';
    const origin = value === '' ? undefined : node.graph.resolve(value);
    const computed =
      origin?.kind === 'node' && origin.node.outputs[0] === value
        ? this.#computed.get(origin.node)?.integers
        : undefined;
    if (computed !== undefined) return [...computed];
    const found = this.of(node.graph, value);
    const isInteger = isConstant(found) && (found.dataType === 'int64' || found.dataType === 'int32');
    return isInteger ? found.root?.integers() : undefined;
  }
}

function productShape(node: Node, [first, second]: readonly ConstantValue[]): number[] | undefined {
  if (first === undefined) return undefined;
  if (node.is('Transpose')) {
    return permutationOf(node, first.shape.length).map((axis) => first.shape[axis] ?? 0);
  }
  if (second === undefined) return undefined;
  if (node.is('Reshape')) {
    const target =
      second.dataType === 'int64' && second.root !== undefined ? second.root.integers() : undefined;
    // Sizes to be inferred are left to findConstant.
    return target?.every((dim) => dim > 0) ? target : undefined;
  }
  const [a, b] = [first.shape, second.shape];
  if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2)) return undefined;
  const rank = Math.max(a.length, b.length);
  const at = (shape: readonly number[], axis: number): number => shape[axis - rank + shape.length] ?? 1;
  const batch = Array.from({ length: rank - 2 }, (_, axis) => Math.max(at(a, axis), at(b, axis)));
  return [...batch, a.at(-2) ?? 0, b.at(-1) ?? 0];
}
