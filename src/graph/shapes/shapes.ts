import { KnownConstants } from '../constants/known-constants.js';
import type { Graph, Node } from '../types.js';
import { ShapeEvidence } from './shape-evidence.js';
import { type Shape, shapesMade } from './shape-rules.js';

export interface ShapeOptions {
  /** What is known of constants besides what the graph tells. */
  readonly constants?: KnownConstants | undefined;
  /** Shapes of the graph's inputs, instead of those that it notes. */
  readonly inputs?: ReadonlyMap<string, Shape> | undefined;
  /**
   * Whether what the graph notes of other values than its inputs (`value_info`, its outputs) is taken where its nodes do
   * not tell. It may be older than the nodes. Default true.
   */
  readonly noted?: boolean | undefined;
  /** Of a branch: shapes of the values of the graphs around it, where these are being worked out. */
  readonly around?: ((value: string) => Shape | undefined) | undefined;
}

/**
 * Shapes of a graph's values, as its operators make them or, where these do not tell, it notes them; computed at the
 * first question. They are those of the graph as it was then.
 */
export class Shapes {
  readonly constants: KnownConstants;

  readonly #graph: Graph;
  readonly #options: ShapeOptions;
  readonly #evidence: ShapeEvidence;
  #shapes: Map<string, Shape> | undefined;

  constructor(graph: Graph, options: ShapeOptions = {}) {
    this.#graph = graph;
    this.#options = options;
    this.constants = options.constants ?? KnownConstants.stored;
    this.#evidence = new ShapeEvidence(graph, this);
  }

  /**
   * The shape of a value: a size that is open is a name, or undefined.
   *
   * @returns undefined where not even the rank is known
   */
  of(value: string): Shape | undefined {
    if (value === '') return undefined;
    this.#shapes ??= this.#infer();
    return this.#shapes.get(value) ?? this.#constant(value) ?? this.#around(value);
  }

  /** The number of axes: of the shape or, where that is not known, as the nodes around prove it. */
  rank(value: string): number | undefined {
    return this.#evidence.rank(value);
  }

  /**
   * The size of an axis as the weights of nodes around prove it or, where they do not, the shape tells it.
   *
   * @param axis 1, channels; -1, the last; -2, the last but one
   */
  size(value: string, axis: 1 | -1 | -2): number | undefined {
    return this.#evidence.size(value, axis);
  }

  /** An initializer's, or that of what nodes make of constants. */
  #constant(value: string): Shape | undefined {
    const found = this.constants.of(this.#graph, value);
    return 'reason' in found ? undefined : found.shape;
  }

  /** What the graph around tells of a value that is of it. */
  #around(value: string): Shape | undefined {
    const { parent } = this.#graph;
    if (parent === undefined || this.#graph.resolve(value)?.graph === this.#graph) return undefined;
    return this.#options.around === undefined
      ? shapesOf(parent, this.constants).of(value)
      : this.#options.around(value);
  }

  /** What both branches of an If make. */
  #ofBranches(node: Node, shapes: ReadonlyMap<string, Shape>): (Shape | undefined)[] {
    const around = (value: string): Shape | undefined =>
      shapes.get(value) ?? this.#constant(value) ?? this.#around(value);
    const made = node.subgraphs.map((graph) => {
      const inside = new Shapes(graph, { ...this.#options, inputs: undefined, around });
      return graph.outputs.map(({ name }) => inside.of(name));
    });
    const [first = [], second = []] = made;
    return first.map((shape, index) => {
      const other = second[index];
      if (shape === undefined || other?.length !== shape.length) return undefined;
      return shape.map((dim, axis) => (dim === other[axis] ? dim : undefined));
    });
  }

  #infer(): Map<string, Shape> {
    const shapes = new Map<string, Shape>();
    const { inputs, valueInfo, outputs } = this.#graph;
    // An axis that an input leaves open is open behind it too, whatever is noted there.
    for (const { name, shape: own } of inputs) {
      const shape = this.#options.inputs?.get(name) ?? own;
      if (shape !== undefined)
        shapes.set(
          name,
          shape.map((dim, axis) => dim ?? `${name}/${axis}`),
        );
    }
    for (const { name, shape } of this.#options.noted === false ? [] : [...valueInfo, ...outputs])
      if (shape !== undefined && !shapes.has(name)) shapes.set(name, shape);
    for (const node of this.#graph.nodes) {
      if (node.domain !== '') continue;
      const inputs = node.inputs.map((input) =>
        input === '' ? undefined : (shapes.get(input) ?? this.#constant(input) ?? this.#around(input)),
      );
      const results =
        node.opType === 'If' ? this.#ofBranches(node, shapes) : shapesMade(node, inputs, this.constants);
      for (const [index, made] of results.entries()) {
        const output = node.outputs[index] ?? '';
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

/** The shapes of a graph as it is now; they are kept until it changes. */
export function shapesOf(graph: Graph, constants: KnownConstants = KnownConstants.stored): Shapes {
  const { revision } = graph.model;
  const before = inferred.get(graph);
  if (before?.revision === revision && before.shapes.constants === constants) return before.shapes;
  const shapes = new Shapes(graph, { constants });
  inferred.set(graph, { revision, shapes });
  return shapes;
}
