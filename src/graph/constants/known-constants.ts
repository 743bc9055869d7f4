import type { Graph, Node } from '../types.js';
import { type ComputedConstant, type ConstantResult, ConstantSearches, isConstant } from './constants.js';

/**
 * The constants of a model as far as they are known: what the graph itself tells and, where it is given, what a run of
 * its constant parts computed (`computedConstants` of the runtime). That holds for the graph as it was then.
 */
export class KnownConstants {
  /** What the graph alone tells. */
  static readonly stored = new KnownConstants();

  readonly #computed: ReadonlyMap<Node, ComputedConstant>;
  readonly #searches: ConstantSearches;

  /** @param computed by the node whose first output it is */
  constructor(computed: ReadonlyMap<Node, ComputedConstant> = new Map()) {
    this.#computed = computed;
    this.#searches = new ConstantSearches({ products: true, computed });
  }

  /**
   * The constant behind a value, as findConstant has it, and products of constants besides: a kernel that is written
   * as one (DO-Conv: Cao et al., "DO-Conv: Depthwise Over-parameterized Convolutional Layer", IEEE TIP 2022).
   */
  of(graph: Graph, value: string): ConstantResult {
    return this.#searches.of(graph.model).find(graph, value);
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

  /** A constant list of float32 numbers that a node reads, of at most 16; undefined where it is none. */
  floats(node: Node, index: number): number[] | undefined {
    const found = this.operand(node, index);
    const isShort = isConstant(found) && found.dataType === 'float32' && (found.root?.size ?? 0) <= 16;
    return isShort && found.root !== undefined ? [...found.root.floats()] : undefined;
  }
}
