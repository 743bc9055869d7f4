import {
  axisOf,
  findConstant,
  type Graph,
  isConstant,
  type Node,
  permutationOf,
  traitsOf,
} from '../../../graph/index.js';
import { opsetOf } from '../../../graph/opsets.js';
import { at, normalAxis, product } from '../shapes.js';

/** Where the batch is in a value: of dimension `axis`, outer * inner at a batch of 1, it is the middle factor. */
export interface BatchAxis {
  readonly axis: number;
  readonly outer: number;
  readonly inner: number;
}

/** What must change for another batch. */
export interface BatchPlan {
  readonly labels: ReadonlyMap<string, BatchAxis>;
  /** Constant operands that a Concat takes once for each sample. */
  readonly repeated: readonly { readonly node: Node; readonly index: number; readonly axis: number }[];
}

type Shapes = ReadonlyMap<string, readonly number[]>;

/** A value that cannot carry a batch along. */
class Blocked extends Error {}

/** More tries than this mean that no choice is right. */
const MOST_TRIES = 4000;

/**
 * Follows the batch from the inputs' first dimension through a graph that was written down for a batch of 1. Reshapes
 * may merge it with the dimension before or behind; which one is meant shows further on, where a wrong choice would
 * mix samples: choices are tried in turn.
 *
 * @param inputs whose first dimension is the batch
 * @param shapes of all values, at a batch of 1
 * @returns undefined where some node mixes samples or is not known
 */
export function followBatch(
  graph: Graph,
  nodes: readonly Node[],
  inputs: readonly string[],
  shapes: Shapes,
): BatchPlan | undefined {
  const choices: { pick: number; count: number }[] = [];
  for (let tries = 0; tries < MOST_TRIES; tries += 1) {
    let depth = 0;
    const choose = (count: number): number => {
      choices[depth] ??= { pick: 0, count };
      return at(choices, depth++).pick;
    };
    try {
      return new Follower(graph, shapes, choose).run(nodes, inputs);
    } catch (error) {
      if (!(error instanceof Blocked)) throw error;
    }
    choices.length = depth;
    while (
      choices.length > 0 &&
      at(choices, choices.length - 1).pick + 1 >= at(choices, choices.length - 1).count
    )
      choices.pop();
    const last = choices.at(-1);
    if (last === undefined) return undefined;
    last.pick += 1;
  }
  return undefined;
}

class Follower {
  readonly #graph: Graph;
  readonly #shapes: Shapes;
  readonly #choose: (count: number) => number;
  readonly #labels = new Map<string, BatchAxis>();
  readonly #repeated: { node: Node; index: number; axis: number }[] = [];

  constructor(graph: Graph, shapes: Shapes, choose: (count: number) => number) {
    this.#graph = graph;
    this.#shapes = shapes;
    this.#choose = choose;
  }

  run(nodes: readonly Node[], inputs: readonly string[]): BatchPlan {
    for (const name of inputs) this.#labels.set(name, { axis: 0, outer: 1, inner: 1 });
    for (const node of nodes) {
      if (node.is('Shape', 'Size') || !node.inputs.some((input) => this.#labels.has(input))) continue;
      const label = this.#labelOf(node);
      for (const output of node.outputs) {
        const shape = this.#shapes.get(output);
        if (output === '' || shape === undefined || shape[label.axis] !== label.outer * label.inner) continue;
        this.#labels.set(output, label);
      }
      if (!this.#labels.has(node.outputs[0] ?? '')) throw new Blocked();
    }
    return { labels: this.#labels, repeated: this.#repeated };
  }

  #shape(name: string | undefined): readonly number[] {
    const shape = this.#shapes.get(name ?? '');
    if (shape === undefined) throw new Blocked();
    return shape;
  }

  #labelOf(node: Node): BatchAxis {
    const label = this.#labels.get(node.inputs[0] ?? '');
    const shape = label && this.#shape(node.inputs[0]);
    const attribute = (name: string, absent: number): number => node.attributes.int(name, absent);
    switch (node.opType) {
      case 'Transpose': {
        const known = required(label);
        const rank = this.#shape(node.inputs[0]).length;
        return { ...known, axis: permutationOf(node, rank).indexOf(known.axis) };
      }
      case 'Reshape':
      case 'Flatten':
      case 'Squeeze':
      case 'Unsqueeze':
        return this.#reshaped(required(label), this.#shape(node.inputs[0]), this.#shape(node.outputs[0]));
      case 'Gather': {
        const axis = normalAxis(axisOf(node), this.#shape(node.inputs[0]).length);
        const indices = this.#shape(node.inputs[1]).length;
        if (label === undefined) {
          const own = required(this.#labels.get(node.inputs[1] ?? ''));
          return { ...own, axis: own.axis + axis };
        }
        if (label.axis === axis) throw new Blocked();
        return { ...label, axis: label.axis < axis ? label.axis : label.axis - 1 + indices };
      }
      case 'Concat':
        return this.#concatenated(node, normalAxis(axisOf(node), this.#shape(node.outputs[0]).length));
      case 'MatMul':
        return this.#multiplied(node);
      case 'Gemm':
        if (label?.axis !== 0 || attribute('transA', 0) === 1) throw new Blocked();
        return label;
      case 'Softmax':
      case 'LogSoftmax':
      case 'LayerNormalization': {
        const known = required(label);
        const axis = normalAxis(axisOf(node), shape?.length ?? 0);
        // These take all axes from there on for one, as Softmax did before operator set 13.
        const isJoint = node.is('LayerNormalization') || opsetOf(node.graph) < 13;
        if (isJoint ? known.axis >= axis : known.axis === axis) throw new Blocked();
        return known;
      }
      case 'CumSum':
      case 'ArgMax':
      case 'ArgMin':
      case 'TopK':
      case 'Einsum':
        throw new Blocked();
      default:
        return node.opType.startsWith('Reduce')
          ? this.#reduced(node, required(label))
          : this.#broadcast(node);
    }
  }

  /** Axes that lose or gain a dimension of size 1 are no different from reshapes. */
  #reshaped(label: BatchAxis, from: readonly number[], to: readonly number[]): BatchAxis {
    const before = product(from.slice(0, label.axis)) * label.outer;
    const found: BatchAxis[] = [];
    let done = 1;
    for (const [axis, size] of to.entries()) {
      const next = done * size;
      if (done <= before && before <= next && before % done === 0 && next % before === 0) {
        const outer = before / done;
        found.push({ axis, outer, inner: size / outer });
      }
      done = next;
    }
    // A dimension of its own is what is most likely meant, then the one in front.
    const rank = ({ outer, inner }: BatchAxis): number => (outer * inner === 1 ? 0 : inner === 1 ? 1 : 2);
    found.sort((a, b) => rank(a) - rank(b));
    const own = found.filter((candidate) => rank(candidate) === 0);
    const candidates = own.length > 0 ? own : found;
    if (candidates.length === 0) throw new Blocked();
    return at(candidates, candidates.length === 1 ? 0 : this.#choose(candidates.length));
  }

  #concatenated(node: Node, along: number): BatchAxis {
    const label = required(
      node.inputs.map((input) => this.#labels.get(input)).find((known) => known !== undefined),
    );
    if (label.axis === along) throw new Blocked();
    for (const [index, input] of node.inputs.entries()) {
      const own = this.#labels.get(input);
      if (own !== undefined) {
        if (!same(own, label)) throw new Blocked();
      } else if (label.outer * label.inner === 1) this.#repeated.push({ node, index, axis: label.axis });
      else throw new Blocked();
    }
    return label;
  }

  #multiplied(node: Node): BatchAxis {
    const [a, b] = [0, 1].map((index) => this.#labels.get(node.inputs[index] ?? ''));
    const [rankA, rankB] = [this.#shape(node.inputs[0]).length, this.#shape(node.inputs[1]).length];
    const rank = this.#shape(node.outputs[0]).length;
    if (rankA < 2 || rankB < 2) throw new Blocked();
    if (a?.axis === rankA - 1 || b?.axis === rankB - 2) throw new Blocked();
    const moved = [a && { ...a, axis: a.axis + rank - rankA }, b && { ...b, axis: b.axis + rank - rankB }];
    const [first, second] = moved;
    if (first && second && !same(first, second)) throw new Blocked();
    // A matrix for each of several dimensions, one of them the batch, has the batch in it, or a 1.
    const label = required(first ?? second);
    const other = first ? b : a;
    const [otherShape, otherRank] = first
      ? [this.#shape(node.inputs[1]), rankB]
      : [this.#shape(node.inputs[0]), rankA];
    if (other === undefined && label.axis < rank - 2) {
      const size = otherShape[label.axis - rank + otherRank] ?? 1;
      if (size !== 1) throw new Blocked();
    }
    return label;
  }

  #reduced(node: Node, label: BatchAxis): BatchAxis {
    const rank = this.#shape(node.inputs[0]).length;
    const listed = node.attributes.ints('axes') ?? this.#numbers(node.inputs[1]);
    if (listed === undefined || listed.length === 0) throw new Blocked();
    const axes = listed.map((axis) => normalAxis(axis, rank));
    if (axes.includes(label.axis)) throw new Blocked();
    if (node.attributes.int('keepdims', 1) === 1) return label;
    return { ...label, axis: label.axis - axes.filter((axis) => axis < label.axis).length };
  }

  /** Operators whose operands are aligned at their ends, and those that keep the first dimension. */
  #broadcast(node: Node): BatchAxis {
    const rank = this.#shape(node.outputs[0]).length;
    let found: BatchAxis | undefined;
    for (const input of node.inputs) {
      const label = this.#labels.get(input);
      if (label === undefined) continue;
      const moved = { ...label, axis: label.axis + rank - this.#shape(input).length };
      if (found !== undefined && !same(found, moved)) throw new Blocked();
      found = moved;
    }
    const label = required(found);
    const { elementwise } = traitsOf(node);
    for (const input of node.inputs) {
      // Only of operators on elements do the other operands have to fit; weights of Conv and the like do not.
      if (!elementwise || this.#labels.has(input) || input === '') continue;
      const shape = this.#shapes.get(input);
      const size = shape?.[label.axis - rank + shape.length] ?? 1;
      if (size !== 1) throw new Blocked();
    }
    if (!elementwise && node.inputs.length > 1 && label.axis !== 0) {
      const isSame = this.#shape(node.inputs[0]).join() === this.#shape(node.outputs[0]).join();
      if (!isSame && !node.is('Slice', 'Split', 'Pad', 'Expand')) throw new Blocked();
    }
    return label;
  }

  #numbers(name: string | undefined): readonly number[] | undefined {
    const constant = findConstant(this.#graph, name ?? '');
    return isConstant(constant) && constant.path.length === 0 ? constant.root?.integers() : undefined;
  }
}

function same(a: BatchAxis, b: BatchAxis): boolean {
  return a.axis === b.axis && a.outer === b.outer && a.inner === b.inner;
}

function required(label: BatchAxis | undefined): BatchAxis {
  if (label === undefined) throw new Blocked();
  return label;
}
