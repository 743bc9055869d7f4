import type { Model, Node } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { trainedNames } from '../../graph/trained-names.js';
import { findExpandableSites } from '../expandable-sites.js';
import { whyNotSteps } from './compose-steps.js';
import { cheapestGrouping } from './grouping.js';
import { isStructural, type Link, linkOf, whyNotComposable, whyNotOne } from './link.js';
import type { ChainNote } from './note.js';
import { ExtrasIndex, followSteps, type StepChain } from './steps.js';

/** Consecutive linear nodes that multiply out to one. */
export interface Chain {
  readonly links: readonly Link[];
  readonly by: 'metadata' | 'structure';
  /** Where it has connections or normalizations: its factors with these. */
  readonly whole?: StepChain;
}

export interface ChainMatch {
  /** In the order of execution. */
  readonly chains: readonly Chain[];
  readonly skipped: readonly Skipped[];
}

/**
 * Finds the chains of a model: first those that say so in their metadata, then, in runs of consecutive linear
 * nodes, the grouping that leaves the fewest parameters (so that a bottleneck made on purpose, whose product would be
 * larger than its factors, is left alone). Pure; reads no weights.
 */
export function findChains(model: Model): ChainMatch {
  const { links, chains, skipped } = declaredChains(model);
  const used = new Set(chains.flatMap((chain) => [...chain.links, ...projectionsOf(chain)]));
  const all = [...chains];
  for (const run of runs(
    [...links.values()].filter((link) => isStructural(link) && !used.has(link)),
    links,
    used,
  )) {
    for (const group of cheapestGrouping(run)) {
      if (group.length > 1) all.push({ links: group, by: 'structure' });
    }
  }
  const order = new Map([...links.values()].map((link, index) => [link, index]));
  const orderOf = ({ links: [first] }: Chain): number => (first && order.get(first)) ?? 0;
  return {
    chains: all.sort((a, b) => orderOf(a) - orderOf(b)),
    skipped: skipped.map(({ first: { node, site, note }, reason }) => ({
      node: note?.site || node.label,
      op: site.op,
      reason,
    })),
  };
}

/** A chain that says that it is one, and is not one any more. */
export interface BrokenChain {
  readonly first: Link;
  readonly reason: string;
}

/** The chains that say so in their metadata. Pure; reads no weights. */
export function declaredChains(model: Model): {
  readonly links: ReadonlyMap<Node, Link>;
  readonly chains: readonly Chain[];
  readonly skipped: readonly BrokenChain[];
} {
  const { sites } = findExpandableSites(model);
  const trained = trainedNames(model);
  const links = new Map<Node, Link>();
  for (const site of sites) {
    const isTrained = site.weight.leaves.some((leaf) => trained.has(leaf.name));
    if (!isTrained) links.set(site.node, linkOf(site));
  }
  const chains: Chain[] = [];
  const skipped: BrokenChain[] = [];
  const extras = new ExtrasIndex(model);
  for (const link of links.values()) {
    if (link.note?.factor !== 0) continue;
    const found = extras.has(link) ? chainWithExtras(link, links) : chainByNote(link, links);
    if ('reason' in found) skipped.push({ first: link, reason: found.reason });
    else chains.push({ ...found, by: 'metadata' });
  }
  return { links, chains, skipped };
}

/** The node that alone reads a link's output, if it is a link and reads it as its data. */
function successor(link: Link, links: ReadonlyMap<Node, Link>): Link | { readonly reason: string } {
  const value = link.node.outputs[0] ?? '';
  const { graph } = link.node;
  if (graph.isOutput(value)) return { reason: `'${value}', between two factors, is an output of the graph` };
  const uses = graph.uses(value);
  const [use] = uses;
  if (use === undefined) return { reason: `nothing reads '${value}', behind which a factor would follow` };
  if (uses.length > 1) {
    return { reason: `'${value}', between two factors, is read ${uses.length} times, not once` };
  }
  const next = links.get(use.node);
  if (next === undefined || use.node.graph !== graph || use.index !== 1 - next.site.weightInput) {
    return {
      reason: `'${value}' is read by '${use.node.label}' (${use.node.opType}), which is no linear node with a constant weight`,
    };
  }
  return next;
}

function chainByNote(
  first: Link,
  links: ReadonlyMap<Node, Link>,
): Omit<Chain, 'by'> | { readonly reason: string } {
  const note = first.note as ChainNote;
  const chain = [first];
  while (chain.length < note.of) {
    const last = chain.at(-1) as Link;
    const next = successor(last, links);
    if ('reason' in next) return next;
    if (
      next.note?.site !== note.site ||
      next.note.weight !== note.weight ||
      next.note.factor !== chain.length
    ) {
      return { reason: `factor ${chain.length} of ${note.of} does not follow factor ${chain.length - 1}` };
    }
    const problem = whyNotComposable(last, next);
    if (problem !== undefined) return { reason: problem };
    chain.push(next);
  }
  const problem = whyNotOne(chain);
  return problem === undefined ? { links: chain } : { reason: problem };
}

function chainWithExtras(
  first: Link,
  links: ReadonlyMap<Node, Link>,
): Omit<Chain, 'by'> | { readonly reason: string } {
  const whole = followSteps(first, links);
  if ('reason' in whole) return whole;
  const chain = whole.steps.map(({ link }) => link);
  for (const [i, link] of chain.entries()) {
    const next = chain[i + 1];
    const problem = next && whyNotComposable(link, next);
    if (problem !== undefined) return { reason: problem };
  }
  const problem = whyNotOne(chain) ?? whyNotSteps(whole.steps);
  return problem === undefined ? { links: chain, whole } : { reason: problem };
}

/** The projections of a chain's connections. */
export function projectionsOf({ whole }: Pick<Chain, 'whole'>): Link[] {
  return (whole?.steps ?? []).flatMap(({ skips }) => skips.flatMap(({ projection }) => projection ?? []));
}

/** Maximal runs of links that follow one another. */
function* runs(
  rest: readonly Link[],
  links: ReadonlyMap<Node, Link>,
  used: ReadonlySet<Link>,
): Generator<readonly Link[]> {
  const next = new Map<Link, Link>();
  const hasPrevious = new Set<Link>();
  for (const link of rest) {
    const following = successor(link, links);
    if ('reason' in following || used.has(following) || !isStructural(following)) continue;
    if (whyNotComposable(link, following) !== undefined) continue;
    next.set(link, following);
    hasPrevious.add(following);
  }
  for (const link of rest) {
    if (hasPrevious.has(link) || !next.has(link)) continue;
    const run: Link[] = [];
    for (let at: Link | undefined = link; at !== undefined; at = next.get(at)) run.push(at);
    yield run;
  }
}
