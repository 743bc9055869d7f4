import { type Dimension, type FloatType, type Graph, KnownConstants, type Node } from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import { type Shapes, shapesOf } from '../../graph/shapes/shapes.js';
import { inverseLayout } from '../map/broadcast.js';
import { sizeRead } from '../map/expression.js';
import type { Axis } from '../map/geometry.js';
import { type AxisLayout, channelAxis, relabelled, sourceLayout } from '../map/layout.js';
import type { Frame } from '../map/place.js';
import { type Rearrangement, rearrangements } from '../map/rearrange.js';
import { isRefusal, type Refusal, refuse } from '../refusal.js';
import type { AffineGraph } from './segments.js';

/** A way to look at the source of a region. */
export interface SourceFrame {
  readonly frame: Frame;
  /** How the source lies; undefined where its rank is not known. */
  readonly layout: AxisLayout | undefined;
  /** How many channels there are; undefined where the graph does not tell. */
  readonly channels: number | undefined;
  /** What gives the source the axes that the frame speaks of. */
  readonly head: readonly Rearrangement[];
}

/** What a graph tells of the values that are sources of regions. */
export class Sources {
  readonly #shapes: Shapes;

  constructor(graph: Graph, constants: KnownConstants = KnownConstants.stored) {
    this.#shapes = shapesOf(graph, constants);
  }

  /** The shape of a value, as far as the graph tells. */
  shapeOf(value: string): readonly Dimension[] | undefined {
    return this.#shapes.of(value);
  }

  rankOf(value: string): number | undefined {
    return this.#shapes.rank(value);
  }

  /** The size of the axis that maps of a kind mix. */
  sizeOf(value: string, axis: Axis): number | undefined {
    return this.#shapes.size(value, axis === 'channel' ? 1 : axis === 'last' ? -1 : -2);
  }

  layoutOf(value: string, { axis, rank, batch }: Frame): AxisLayout | undefined {
    if (rank === undefined || batch !== undefined) return undefined;
    const known = this.shapeOf(value);
    const shape = known?.length === rank ? known : new Array<undefined>(rank).fill(undefined);
    return sourceLayout(shape, channelAxis(axis, rank));
  }
}

/** Finds the ways to look at the sources of a graph's regions, as the nodes behind them mix them. */
export class Frames {
  readonly #affine: AffineGraph;
  readonly sources: Sources;

  constructor(affine: AffineGraph) {
    this.#affine = affine;
    this.sources = new Sources(affine.graph, affine.constants);
  }

  /** The ways to look at the source of some nodes, the best first; or why there are none. */
  of(source: string, nodes: readonly Node[]): readonly SourceFrame[] | Refusal {
    const frames = this.#framesOf(source, nodes);
    const own = (isRefusal(frames) ? [] : frames).map((frame) => ({
      frame,
      layout: this.sources.layoutOf(source, frame),
      channels: this.#sizeOf(source, frame, nodes),
      head: [],
    }));
    const arranged = this.#arranged(source, nodes);
    if (arranged !== undefined) return [...own, arranged];
    return isRefusal(frames) ? frames : own;
  }

  /**
   * Factors and summands in front of what relabels and a weight behind it: the weight's input, of which the source is
   * made of parts, is what is looked at. A vector becomes one number for each column of the weight.
   */
  #arranged(source: string, nodes: readonly Node[]): SourceFrame | undefined {
    const { operators } = this.#affine;
    const rank = this.#rankOf([source]);
    if (rank === undefined || rank < 2) return undefined;
    let layout: AxisLayout | undefined;
    let shape = this.sources.shapeOf(source) ?? new Array<undefined>(rank).fill(undefined);
    let value = source;
    let hasConstants = false;
    for (const node of nodes) {
      const operator = operators.get(node);
      if (operator === undefined || operator.data.length !== 1 || operator.data[0] !== value)
        return undefined;
      value = node.outputs[0] ?? '';
      const { mixing, pointwise, channels } = operator;
      if (mixing !== undefined) {
        if (layout === undefined || !hasConstants) return undefined;
        const { axis, weight } = mixing;
        const base = inverseLayout(layout, channelAxis(axis, layout.axes.length));
        const head = rearrangements(layout, node.label);
        if (base === undefined || isRefusal(head)) return undefined;
        const frame = { axis, rank: layout.axes.length, type: weight.dataType as FloatType };
        return { frame, layout: base, channels, head };
      }
      if (operator.constants.length > 0) hasConstants = true;
      if ('relabelling' in operator) {
        const moved = relabelled(layout ?? sourceLayout(shape, 1), operator.relabelling, node.label);
        if (isRefusal(moved)) return undefined;
        layout = moved;
      } else if (pointwise === undefined) return undefined;
      else if (layout === undefined && channels !== undefined) shape = shape.with(1, channels);
    }
    return undefined;
  }

  /** How a source may be mixed: as the first node with a weight says; behind a relabelling there are more ways. */
  #framesOf(source: string, nodes: readonly Node[]): Frame[] | Refusal {
    const { operators } = this.#affine;
    /** Values whose axes are the source's. */
    const alike = new Set([source]);
    for (const node of nodes) {
      const operator = operators.get(node);
      if (operator === undefined) continue;
      const isAlike = operator.data.every((value) => alike.has(value));
      if (isAlike && !('relabelling' in operator))
        for (const output of node.outputs.slice(0, 1)) alike.add(output);
      if (operator.mixing === undefined) continue;
      const { weight, axis } = operator.mixing;
      const type = weight.dataType as FloatType;
      if (isAlike) {
        if (axis === 'channel') return [{ axis, rank: weight.shape.length, type }];
        return [{ axis, type, rank: node.is('Gemm') ? 2 : this.#rankOf(alike) }];
      }
      const rank = this.#rankOf([source]);
      if (rank === undefined) return unknownRank(source);
      const axes: Axis[] = rank > 2 ? ['channel', 'last', 'left'] : ['last', 'left'];
      return axes.map((way) => ({ axis: way, rank, type }));
    }
    return this.#pointwiseFrames(source, nodes);
  }

  /** The same of nodes without a weight: as the first vector stands, and any way where all are single numbers. */
  #pointwiseFrames(source: string, nodes: readonly Node[]): Frame[] | Refusal {
    const operators = nodes.map((node) => this.#affine.operators.get(node)).filter((op) => op !== undefined);
    const norm = operators.find(({ pointwise }) => pointwise === 'normalization');
    const constants = operators.flatMap((operator) => operator.constants);
    const type = (norm?.constants[0] ?? constants[0])?.dataType as FloatType | undefined;
    // Before operator set 7 vectors had to be aligned by an attribute.
    if (type === undefined || opsetOf(this.#affine.graph) < 7) return [];
    const rank = this.#rankOf([source]);
    if (rank === undefined) return norm === undefined ? [{ axis: 'last', rank, type }] : unknownRank(source);
    if (rank < 2) return norm === undefined ? [{ axis: 'last', rank, type }] : [];
    if (norm !== undefined) return [{ axis: 'channel', rank, type }];
    const vector = constants.find(({ shape }) => shape.some((dim) => dim !== 1));
    const stands = vector?.shape.findIndex((dim) => dim !== 1) ?? 0;
    const at = vector === undefined ? 1 : rank - vector.shape.length + stands;
    const axes: Axis[] = ['channel', 'last', 'left'];
    // Behind a relabelling it may stand at any.
    const isMoved = operators.some((operator) => 'relabelling' in operator);
    return axes
      .filter((axis) => isMoved || channelAxis(axis, rank) === at)
      .map((axis) => ({ axis, rank, type }));
  }

  #sizeOf(source: string, { axis, rank }: Frame, nodes: readonly Node[]): number | undefined {
    const found = sizeRead(source, nodes, this.#affine.operators) ?? this.sources.sizeOf(source, axis);
    if (found !== undefined) return found;
    const known = rank === undefined ? undefined : this.sources.shapeOf(source)?.[channelAxis(axis, rank)];
    if (typeof known === 'number') return known;
    // Single numbers are one number for any number of channels.
    return nodes.some((node) => this.#isWeighted(node)) ? undefined : 1;
  }

  #rankOf(values: Iterable<string>): number | undefined {
    for (const value of values) {
      const rank = this.sources.rankOf(value);
      if (rank !== undefined) return rank;
    }
    return undefined;
  }

  #isWeighted(node: Node): boolean {
    return this.#affine.operators.get(node)?.mixing !== undefined;
  }
}

function unknownRank(source: string): Refusal {
  return refuse('unknown', `the rank of '${source}' is unknown`);
}
