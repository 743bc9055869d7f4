import type { Cost } from '../../affine/match/cost.js';
import type { RefusedRegion, Region } from '../../affine/match/region.js';
import type { RefusalKind } from '../../affine/refusal.js';
import type { Node } from '../../graph/index.js';
import { labelOf } from './fold.js';

export interface NodeName {
  readonly node: string;
  readonly op: string;
}

/** What is told of a region: names and figures alone. */
export interface RegionReport {
  /** The name of what it becomes; that of its output where its nodes have none. */
  readonly node: string;
  readonly nodes: readonly NodeName[];
  readonly source: string;
  readonly output: string;
  /** Operators of what it becomes, in the order of application. */
  readonly becomes: readonly string[];
  readonly before: Cost;
  readonly after: Cost;
  /** True where a BatchNormalization in training mode is folded, with its running statistics. */
  readonly usesRunningStatistics: boolean;
}

/** What is told of affine nodes that were not made one. */
export interface RefusalReport {
  readonly nodes: readonly NodeName[];
  readonly kind: RefusalKind;
  readonly reason: string;
}

function nameOf(node: Node): NodeName {
  return { node: node.label, op: node.opType };
}

/** The report of a region, as `collapse --explain` prints it. Make it before the region is folded. */
export function describeRegion(region: Region): RegionReport {
  const { nodes, source, output, target, before, usesRunningStatistics } = region;
  return {
    node: labelOf(region) || output,
    nodes: nodes.map(nameOf),
    source,
    output,
    becomes: target.operators,
    before,
    after: target.cost,
    usesRunningStatistics,
  };
}

export function describeRefusal({ nodes, kind, reason }: RefusedRegion): RefusalReport {
  return { nodes: nodes.map(nameOf), kind, reason };
}
