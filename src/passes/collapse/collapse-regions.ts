import { readChainNote, readPartNote } from '../../affine/chains/note.js';
import { strideVolume } from '../../affine/map/geometry.js';
import type { RefusedRegion, Region } from '../../affine/match/region.js';
import { findRegions } from '../../affine/match/regions.js';
import type { InexactRegions } from '../../affine/match/segments.js';
import type { Model, Node } from '../../graph/index.js';
import {
  type CollapseAccount,
  type CollapsedChain,
  type Ledger,
  type Probed,
  probed,
  summed,
} from './collapse-account.js';
import {
  constantsOfRegion,
  type FoldedWeights,
  foldedValues,
  foldRegion,
  whyInexact,
} from './fold-region.js';
import type { CollapseOptions } from './options.js';
import { probeRegion } from './probe-region.js';
import { describeRefusal, describeRegion } from './region-report.js';
import { problemOfProbe } from './rounding.js';

/** What a node was before anything was folded. */
interface Origin extends Pick<CollapsedChain, 'from' | 'fromOps'> {
  /** The chain or region that became it, if all that this became is taken together with it. */
  readonly account?: CollapsedChain | undefined;
  /** Multiply-adds that were saved already. */
  readonly saved: number;
}

const NO_ORIGIN = { from: [], fromOps: [], saved: 0 } as const;

/** A larger region whose numbers do not fit its type may have smaller ones in it: how often they are looked for. */
const SEARCHES = 32;

type Settings = Pick<Required<CollapseOptions>, 'dryRun' | 'explain' | 'force' | 'onProgress' | 'probes'>;

/**
 * Folds what is affine beyond chains; `taken` are the chains and earlier regions that regions took in.
 *
 * @param present chains and other nodes that are folded or taken away by themselves; in a dry run they are still there
 * @param inexact regions whose numbers were found not to fit; those that are found so are added
 */
export async function foldRegions(
  model: Model,
  settings: Settings,
  ledger: Ledger,
  present: readonly Node[],
  inexact: InexactRegions,
): Promise<CollapseAccount & { readonly taken: ReadonlySet<CollapsedChain> }> {
  const { dryRun, force, onProgress } = settings;
  // A declared chain that could not be folded stays whole.
  const declared = [...model.nodes()].filter(isDeclared);
  const exclude = new Set([...declared, ...present]);
  const weights: FoldedWeights = new Map();
  const known = new Set<string>();
  const rewritten: CollapsedChain[] = [];
  const taken = new Set<CollapsedChain>();
  const fold = async (region: Region, { values, probe }: Examined): Promise<void> => {
    const { node, becomes, before, after, usesRunningStatistics } = describeRegion(region);
    const origins = originsOf(region, ledger);
    const parts = [...new Set([...origins.values()].map(({ account }) => account))].filter(
      (account) => account !== undefined,
    );
    for (const part of parts) taken.add(part);
    const isOwn = (part: Node): boolean => origins.get(part)?.account === undefined;
    const own = ledger.count(constantsOfRegion(region, isOwn));
    const made = dryRun ? [] : await foldRegion(region, weights, values);
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
  };
  for (let search = 1; ; search += 1) {
    const { regions, refused } = findRegions(model, { exclude, force, inexact });
    const passed: [Region, Examined][] = [];
    let hasFailed = false;
    for (const [done, region] of regions.entries()) {
      onProgress?.({ done, total: regions.length, what: describeRegion(region).node });
      const examined = await examine(region, settings);
      if (typeof examined === 'string') {
        hasFailed = true;
        note(inexact, region, examined);
      } else if (dryRun) passed.push([region, { probe: examined.probe }]);
      else await fold(region, examined);
    }
    // What was folded is looked at anew by the caller.
    if (hasFailed && search < SEARCHES && rewritten.length === 0) continue;
    for (const [region, examined] of passed) await fold(region, examined);
    return { rewritten, skipped: skippedOf(refused, inexact), taken };
  }
}

interface Examined {
  readonly values?: Awaited<ReturnType<typeof foldedValues>>;
  readonly probe: Probed;
}

/** The numbers of a region, and what a probe tells of them where that is wanted; or why it can not be folded. */
async function examine(region: Region, { explain, probes }: Settings): Promise<Examined | string> {
  const values = await foldedValues(region);
  const problem = whyInexact(region, values);
  if (problem !== undefined) return problem;
  const probe = explain ? await probed(() => probeRegion(region, probes)) : {};
  return problemOfProbe(probe.probe) ?? { values, probe };
}

function note(inexact: InexactRegions, { nodes, source }: Region, reason: string): void {
  const last = nodes.at(-1);
  if (last === undefined) return;
  const known = inexact.get(last) ?? new Map<string, RefusedRegion>();
  inexact.set(last, known.set(source, { kind: 'inexact', reason, nodes }));
}

/** What was refused; of regions whose numbers do not fit, those that are not part of another. */
function skippedOf(refused: readonly RefusedRegion[], inexact: InexactRegions): CollapseAccount['skipped'] {
  const failed = [...inexact.values()].flatMap((regions) => [...regions.values()]);
  const largest = failed.filter(
    (one) =>
      !failed.some(
        (other) =>
          other.nodes.length > one.nodes.length && one.nodes.every((node) => other.nodes.includes(node)),
      ),
  );
  const reasons = new Set(failed.map(({ reason }) => reason));
  return [...refused.filter(({ reason }) => !reasons.has(reason)), ...largest]
    .map(describeRefusal)
    .map(({ nodes, reason }) => ({
      node: nodes.map((part) => part.node).join(', '),
      op: [...new Set(nodes.map((part) => part.op))].join(', '),
      reason,
    }));
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
