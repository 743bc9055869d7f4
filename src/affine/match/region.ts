import type { ConstantValue, Dimension, Graph, Node } from '../../graph/index.js';
import type { ValueKeys } from '../../graph/names/value-keys.js';
import { opsetOf } from '../../graph/opsets.js';
import type { LinearSite } from '../linear-site.js';
import { type Expression, keyOf, type Measure } from '../map/expression.js';
import type { Frame } from '../map/place.js';
import type { Rearrangement } from '../map/rearrange.js';
import type { ChainNote } from '../note.js';
import type { RefusalKind } from '../refusal.js';
import { type Cost, isPointwiseTarget, type Target, targetOf } from './cost.js';
import type { Kept } from './kept.js';

/** A chain of linear nodes that says that it is one. */
export interface Chain {
  readonly note: ChainNote;
  /** In the order of application. */
  readonly factors: readonly LinearSite[];
  readonly last: LinearSite;
  /** The bias of the last factor, where that is a constant vector. */
  readonly bias: ConstantValue | undefined;
  /** Its linear nodes: the factors, and the projections of its connections. */
  readonly linear: readonly Node[];
}

/** Nodes that one node (two, for a matrix with a bias whose input is of another rank) can stand in for. */
export interface Region {
  readonly graph: Graph;
  /** The value that it is an affine function of. */
  readonly source: string;
  readonly output: string;
  /** In topological order; the last makes the output. */
  readonly nodes: readonly Node[];
  /** The node with the largest weight: name, operator and attributes are taken from it as far as they fit. */
  readonly carrier: Node;
  /** Of the source as `head` arranges it. */
  readonly frame: Frame;
  /** The source's shape, as far as the graph tells. */
  readonly shape: readonly Dimension[] | undefined;
  readonly expression: Expression;
  /** What each node does. */
  readonly measures: readonly Measure[];
  /** What brings the axes of the source into the order in which the expression reads them. */
  readonly head: readonly Rearrangement[];
  /** What brings the axes of the result into the order in which the nodes leave them. */
  readonly tail: readonly Rearrangement[];
  readonly target: Target;
  readonly kept: Kept;
  /** Where the nodes say that they are a chain: what they say, and what they stand for. */
  readonly chain?: Chain | undefined;
  readonly before: Cost;
  /** True where a BatchNormalization in training mode is folded, with its running statistics. */
  readonly usesRunningStatistics: boolean;
  readonly keys: RegionKeys;
}

/** Texts that regions have in common which compute the same. */
export interface RegionKeys {
  /** Of those that multiply by the same numbers, and may share their weight. */
  readonly weight: () => string;
  /** Of those that add the same numbers, too, and may share their bias. */
  readonly all: () => string;
}

/** Affine nodes next to each other that were not made one. */
export interface RefusedRegion {
  readonly kind: RefusalKind;
  readonly reason: string;
  readonly nodes: readonly Node[];
}

export interface FoundRegions {
  /** In topological order of their outputs, graph by graph. No two share a node. */
  readonly regions: readonly Region[];
  readonly refused: readonly RefusedRegion[];
}

/**
 * The keys of a region, which are made when they are asked for: of most that are looked at they are not.
 *
 * @param pointwise the frame of a region without a weight: vectors stand differently in values of different rank
 */
export function keysOf(
  expression: Expression,
  pointwise: Frame | undefined,
  { main }: Pick<Target, 'main'>,
  keys: ValueKeys,
): RegionKeys {
  const place = pointwise ? `${pointwise.axis} ${pointwise.rank} ` : '';
  const known = new Map<boolean, string>();
  const of = (withBias: boolean): string => {
    const key = known.get(withBias) ?? `${main} ${place}${keyOf(expression, keys, withBias)}`;
    known.set(withBias, key);
    return key;
  };
  // The factors of a normalization are for the statistics of its carrier.
  return { all: () => of(true), weight: () => of(main === 'BatchNormalization') };
}

/** The shape of one number a channel beside a region's source; of a bias too. */
export function vectorShape({
  frame,
  expression,
  target,
}: Pick<Region, 'frame' | 'expression' | 'target'>): readonly number[] {
  const { outputs } = expression.geometry;
  if (target.isUniform) return [];
  if (frame.axis === 'left') return [outputs, 1];
  if (!isPointwiseTarget(target) || target.main === 'BatchNormalization') return [outputs];
  return frame.axis === 'channel' ? [outputs, ...expression.geometry.stride.map(() => 1)] : [outputs];
}

/** What a region with a weight becomes where it adds something, or does not. */
export function targetOfRegion(
  {
    expression,
    frame,
    carrier,
    head,
    tail,
  }: Pick<Region, 'expression' | 'frame' | 'carrier' | 'head' | 'tail'>,
  hasBias: boolean,
): Target {
  const prefersGemm = carrier.is('Gemm');
  return targetOf({ ...expression.geometry, hasBias }, frame, { prefersGemm }, { head, tail });
}

/** Elements of the weight and of the bias of what a region becomes; of a bias that is kept, those of that. */
export function sizesAfter({
  target,
  expression,
  kept,
  graph,
}: Pick<Region, 'target' | 'expression' | 'kept' | 'graph'>): {
  readonly weight: number;
  readonly bias: number;
} {
  const { outputs, hasBias } = expression.geometry;
  const { main, isUniform, cost } = target;
  const vector = isUniform ? 1 : outputs;
  const weight = isPointwiseTarget(target) ? (main === 'Add' ? 0 : vector) : cost.weights;
  // Before operator set 11 a Gemm could not do without.
  const isNeeded = hasBias || (main === 'Gemm' && opsetOf(graph) < 11);
  const own = kept.bias?.constant?.shape.reduce((product, dim) => product * dim, 1) ?? 0;
  return { weight, bias: kept.bias === undefined ? (isNeeded ? vector : 0) : own };
}
