import type { KnownConstants } from '../constants/known-constants.js';
import { traitsOf } from '../operators/index.js';
import type { Graph, Node } from '../types.js';
import type { Shape } from './shape-rules.js';

/** What the nodes that make values tell of their shapes. */
interface Made {
  readonly constants: KnownConstants;
  of(value: string): Shape | undefined;
}

type Axis = 1 | -1 | -2;

function keepsShape(node: Node): boolean {
  return traitsOf(node).shape === 'first';
}

/** How far evidence is looked for along a graph. */
const REACH = 24;

/**
 * Ranks and sizes of values as far as a graph proves them: by the shapes that its nodes make, and by the weights of the
 * nodes that make or read a value or one of the same shape.
 */
export class ShapeEvidence {
  readonly #graph: Graph;
  readonly #shapes: Made;
  readonly #ranks = new Map<string, number | undefined>();

  constructor(graph: Graph, shapes: Made) {
    this.#graph = graph;
    this.#shapes = shapes;
  }

  rank(value: string): number | undefined {
    if (!this.#ranks.has(value)) {
      // Cuts the search off where it comes back. A search that failed is not made again: values have many paths between
      // them, and what is lost by it is a fold, not its exactness.
      this.#ranks.set(value, undefined);
      const keeps = (node: Node): boolean =>
        keepsShape(node) || traitsOf(node).shape === 'channels' || node.is('Pad');
      const found = this.#search(value, (name) => this.#rankAt(name), keeps);
      this.#ranks.set(value, found);
    }
    return this.#ranks.get(value);
  }

  /** The size of an axis: 1, channels; -1, the last; -2, the last but one. */
  size(value: string, axis: Axis): number | undefined {
    const keeps = (node: Node): boolean =>
      keepsShape(node) || (axis === 1 && traitsOf(node).shape === 'channels') || this.#isScalarStep(node);
    // Of what is broadcast together, counted from the last axis, a size above 1 is the size of the result. Channels are
    // counted from the first axis: there ranks must agree.
    const widens = (node: Node, input: string): boolean => {
      if (traitsOf(node).shape !== 'broadcast') return false;
      if (axis !== 1) return true;
      const rank = this.rank(node.outputs[0] ?? '');
      return rank !== undefined && this.rank(input) === rank;
    };
    return this.#search(value, (name) => this.#sizeAt(name, axis), keeps, widens);
  }

  /**
   * Asks about a value and about those of the same shape around it, the nearest first.
   *
   * @param keeps whether a node's first output is like its first input
   * @param widens whether a node's output is at least as large as an input of it
   */
  #search(
    value: string,
    ask: (value: string) => number | undefined,
    keeps: (node: Node) => boolean,
    widens: (node: Node, input: string) => boolean = () => false,
  ): number | undefined {
    // What is behind a node that widens may be smaller: there only sizes above 1 count.
    const seen = new Map([[value, false]]);
    for (const [name, isPart] of seen) {
      const found = ask(name);
      if (found !== undefined && (!isPart || found > 1)) return found;
      if (seen.size > REACH) return undefined;
      const add = (other: string | undefined, isSmaller: boolean): void => {
        if (other && !seen.has(other)) seen.set(other, isSmaller);
      };
      const producer = this.#graph.producer(name);
      if (producer?.domain === '' && keeps(producer)) add(producer.inputs[0], isPart);
      else {
        for (const input of producer?.inputs ?? []) {
          if (producer?.domain === '' && widens(producer, input)) add(input, true);
        }
      }
      if (isPart) continue;
      for (const { node, index } of this.#graph.uses(name)) {
        if (node.graph === this.#graph && index === 0 && node.domain === '' && keeps(node))
          add(node.outputs[0], false);
      }
    }
    return undefined;
  }

  /** An addition or multiplication whose other operand is one constant number, written second. */
  #isScalarStep(node: Node): boolean {
    if (!node.is('Add', 'Sub', 'Mul', 'Div')) return false;
    const other = this.#shapes.constants.of(this.#graph, node.inputs[1] ?? '');
    return !('reason' in other) && other.shape.length <= 1 && other.shape.every((dim) => dim === 1);
  }

  #shapeOfOperand(node: Node, index: number): readonly number[] | undefined {
    const found = this.#shapes.constants.of(this.#graph, node.inputs[index] ?? '');
    return 'reason' in found ? undefined : found.shape;
  }

  #rankAt(value: string): number | undefined {
    const known = this.#shapes.of(value)?.length;
    if (known !== undefined) return known;
    const producer = this.#graph.producer(value);
    if (producer !== undefined && traitsOf(producer).shape === 'broadcast') {
      const ranks = producer.inputs.map((input) => this.rank(input));
      if (ranks.every((rank) => rank !== undefined)) return Math.max(...ranks);
    }
    for (const { node, index } of this.#graph.uses(value)) {
      if (index !== 0) continue;
      if (node.is('Gemm')) return 2;
      if (node.is('Conv', 'ConvTranspose')) return this.#shapeOfOperand(node, 1)?.length;
      if (node.is('Transpose') && node.outputs[0]) {
        const permutation = node.attributes.ints('perm');
        if (permutation !== undefined) return permutation.length;
      }
    }
    return undefined;
  }

  #sizeAt(value: string, axis: Axis): number | undefined {
    const producer = this.#graph.producer(value);
    const made = producer && this.#sizeMade(producer, axis);
    if (made !== undefined) return made;
    for (const { node, index } of this.#graph.uses(value)) {
      const read = node.graph === this.#graph ? this.#sizeRead(node, index, axis) : undefined;
      if (read !== undefined) return read;
    }
    const dimension = this.#shapes.of(value)?.at(axis);
    return typeof dimension === 'number' && dimension >= 0 ? dimension : undefined;
  }

  /** The size of a node's first output, as its weight tells. */
  #sizeMade(node: Node, axis: Axis): number | undefined {
    const shape = this.#shapeOfOperand(node, 1);
    if (axis === 1) {
      if (node.is('Conv')) return shape?.[0];
      if (node.is('ConvTranspose')) return shape?.[1] && shape[1] * node.attributes.int('group', 1);
      if (node.is('BatchNormalization')) return shape?.[0];
      return undefined;
    }
    if (axis === -1) {
      if (node.is('Gemm')) return shape?.[node.attributes.int('transB', 0) === 1 ? 0 : 1];
      if (node.is('MatMul') && shape !== undefined && shape.length >= 2) return shape.at(-1);
      return undefined;
    }
    const left = this.#shapeOfOperand(node, 0);
    return node.is('MatMul') && left !== undefined && left.length >= 2 ? left.at(-2) : undefined;
  }

  /** The size that a node's input must have, as its weight tells. */
  #sizeRead(node: Node, index: number, axis: Axis): number | undefined {
    const shape = index === 0 ? this.#shapeOfOperand(node, 1) : undefined;
    if (axis === 1) {
      if (node.is('Conv')) return shape?.[1] && shape[1] * node.attributes.int('group', 1);
      if (node.is('ConvTranspose', 'BatchNormalization')) return shape?.[0];
      return undefined;
    }
    if (axis === -1) {
      if (node.is('Gemm') && node.attributes.int('transA', 0) === 0) {
        return shape?.[node.attributes.int('transB', 0) === 1 ? 1 : 0];
      }
      if (node.is('MatMul') && shape !== undefined && shape.length >= 2) return shape.at(-2);
      return undefined;
    }
    const left = index === 1 ? this.#shapeOfOperand(node, 0) : undefined;
    return node.is('MatMul') && left !== undefined && left.length >= 2 ? left.at(-1) : undefined;
  }
}
