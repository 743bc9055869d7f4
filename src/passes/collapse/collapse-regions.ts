import { readChainNote, readPartNote } from '../../affine/chains/note.js';
import { strideVolume } from '../../affine/map/geometry.js';
import type { Region } from '../../affine/match/region.js';
import { findRegions } from '../../affine/match/regions.js';
import type { Model, Node } from '../../graph/index.js';
import {
  type CollapseAccount,
  type CollapsedChain,
  type Ledger,
  probed,
  summed,
} from './collapse-account.js';
import { constantsOfRegion, type FoldedWeights, foldRegion } from './fold-region.js';
import type { CollapseOptions } from './options.js';
import { probeRegion } from './probe-region.js';
import { describeRefusal, describeRegion } from './region-report.js';

/** What a node was before anything was folded. */
interface Origin extends Pick<CollapsedChain, 'from' | 'fromOps'> {
  /** The chain or region that became it, if all that this became is taken together with it. */
  readonly account?: CollapsedChain | undefined;
  /** Multiply-adds that were saved already. */
  readonly saved: number;
}

const NO_ORIGIN = { from: [], fromOps: [], saved: 0 } as const;

/**
 * Folds what is affine beyond chains; `taken` are the chains and earlier regions that regions took in.
 *
 * @param present chains and other nodes that are folded or taken away by themselves; in a dry run they are still there
 */
export async function foldRegions(
  model: Model,
  settings: Pick<Required<CollapseOptions>, 'dryRun' | 'explain' | 'force' | 'onProgress' | 'probes'>,
  ledger: Ledger,
  present: readonly Node[],
): Promise<CollapseAccount & { readonly taken: ReadonlySet<CollapsedChain> }> {
  const { dryRun, explain, force, onProgress, probes } = settings;
  // A declared chain that could not be folded stays whole.
  const declared = [...model.nodes()].filter(isDeclared);
  const { regions, refused } = findRegions(model, {
    exclude: new Set([...declared, ...present]),
    force,
  });
  const weights: FoldedWeights = new Map();
  const known = new Set<string>();
  const rewritten: CollapsedChain[] = [];
  const taken = new Set<CollapsedChain>();
  for (const [done, region] of regions.entries()) {
    const { node, becomes, before, after, usesRunningStatistics } = describeRegion(region);
    onProgress?.({ done, total: regions.length, what: node });
    const origins = originsOf(region, ledger);
    const parts = [...new Set([...origins.values()].map(({ account }) => account))].filter(
      (account) => account !== undefined,
    );
    for (const part of parts) taken.add(part);
    const probe = explain ? await probed(() => probeRegion(region, probes)) : {};
    const isOwn = (part: Node): boolean => origins.get(part)?.account === undefined;
    const own = ledger.count(constantsOfRegion(region, isOwn));
    const made = dryRun ? [] : await foldRegion(region, weights);
    const copies = known.has(region.key) ? after.weights : 0;
    known.add(region.key);
    const account: CollapsedChain = {
      node,
      op: becomes.join(' + '),
      nodesAfter: becomes.length,
      from: [...origins.values()].flatMap(({ from }) => from),
      fromOps: [...origins.values()].flatMap(({ fromOps }) => fromOps),
      by: 'region',
      parametersBefore: parts.reduce((sum, chain) => sum + chain.parametersBefore, own),
      parametersAfter: after.parameters - copies,
      multiplyAddsBefore: [...origins].reduce(
        (sum, [part, { saved }]) => sum + saved * positionsOf(region, part),
        before.multiplyAdds,
      ),
      multiplyAddsAfter: after.multiplyAdds,
      ...(usesRunningStatistics && { usesRunningStatistics }),
      ...summed([...parts, probe]),
    };
    rewritten.push(account);
    for (const one of made) ledger.made.set(one, account);
  }
  const skipped = refused.map(describeRefusal).map(({ nodes, reason }) => ({
    node: nodes.map((part) => part.node).join(', '),
    op: [...new Set(nodes.map((part) => part.op))].join(', '),
    reason,
  }));
  return { rewritten, skipped, taken };
}

/** What each node of a region was in the model as it came. */
function originsOf({ nodes }: Region, { made: known }: Ledger): Map<Node, Origin> {
  const counts = new Map<CollapsedChain, number>();
  for (const node of nodes) {
    const account = known.get(node);
    if (account !== undefined) counts.set(account, (counts.get(account) ?? 0) + 1);
  }
  const told = new Set<CollapsedChain>();
  return new Map(
    nodes.map((node): [Node, Origin] => {
      const made = known.get(node);
      if (made === undefined) return [node, { from: [node.label], fromOps: [node.opType], saved: 0 }];
      // Of two nodes that a region became one may go on alone.
      const account = (counts.get(made) ?? 0) >= made.nodesAfter ? made : undefined;
      if (account === undefined || told.has(account)) return [node, { account, ...NO_ORIGIN }];
      told.add(account);
      const { from, fromOps, multiplyAddsBefore, multiplyAddsAfter } = account;
      return [node, { account, from, fromOps, saved: multiplyAddsBefore - multiplyAddsAfter }];
    }),
  );
}

/** True for a node that says that it is of a chain. */
export function isDeclared(node: Node): boolean {
  return readChainNote(node) !== undefined || readPartNote(node) !== undefined;
}

/** Positions of the output of a region's node for one of the region's. */
function positionsOf({ measures, plan }: Region, node: Node): number {
  const own = measures.find((measure) => measure.node === node)?.volume ?? 1;
  return strideVolume(plan.geometry) / own;
}
