import type { Dimension, Graph, Node } from '../../graph/index.js';
import type { Measure, Plan } from '../map/expression.js';
import type { Rearrangement } from '../map/rearrange.js';
import type { Frame } from '../map/step-geometry.js';
import type { RefusalKind } from '../refusal.js';
import type { Cost, Target } from './cost.js';

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
  readonly plan: Plan;
  /** What each node does. */
  readonly measures: readonly Measure[];
  /** What brings the axes of the source into the order in which the plan reads them. */
  readonly head: readonly Rearrangement[];
  /** What brings the axes of the result into the order in which the nodes leave them. */
  readonly tail: readonly Rearrangement[];
  readonly target: Target;
  readonly before: Cost;
  /** True where a BatchNormalization in training mode is folded, with its running statistics. */
  readonly usesRunningStatistics: boolean;
  /** Regions of one key compute the same numbers, and may share their weight. */
  readonly key: string;
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
