import { findLinearSites, type LinearSite } from '../analysis/linear-sites.js';
import { type ConstantValue, findConstant, isConstant, type Model, type Node } from '../graph/index.js';
import type { Skipped } from './account.js';
import { type ChainNote, readChainNote } from './chain-note.js';

/** A linear node in the form that composing needs. */
export interface Link {
  readonly node: Node;
  readonly site: LinearSite;
  /** The bias, where it is a constant vector over the outputs. */
  readonly bias: ConstantValue | undefined;
  /** True where the bias is something else: then nothing may follow in the same node. */
  readonly hasOpenBias: boolean;
  readonly note: ChainNote | undefined;
}

/** Consecutive linear nodes that multiply out to one. */
export interface Chain {
  readonly links: readonly Link[];
  readonly by: 'metadata' | 'structure';
}

export interface ChainMatch {
  readonly chains: readonly Chain[];
  readonly skipped: readonly Skipped[];
}

/**
 * Finds the chains of a model: first those that say so in their metadata, then, in runs of consecutive linear
 * nodes, the grouping that leaves the fewest parameters (so that a bottleneck made on purpose, whose product would be
 * larger than its factors, is left alone). Pure; reads no weights.
 */
export function findChains(model: Model): ChainMatch {
  const { sites } = findLinearSites(model);
  const links = new Map<Node, Link>();
  for (const site of sites) if (site.op !== 'ConvTranspose') links.set(site.node, linkOf(site));
  const chains: Chain[] = [];
  const skipped: Skipped[] = [];
  const used = new Set<Link>();
  for (const link of links.values()) {
    if (link.note?.factor !== 0) continue;
    const found = chainByNote(link, links);
    if ('reason' in found) {
      skipped.push({ node: link.note.site || link.node.label, op: link.site.op, reason: found.reason });
    } else {
      chains.push({ links: found.links, by: 'metadata' });
      for (const part of found.links) used.add(part);
    }
  }
  for (const run of runs([...links.values()].filter((link) => !used.has(link)), links, used)) {
    for (const group of cheapestGrouping(run)) {
      if (group.length > 1) chains.push({ links: group, by: 'structure' });
    }
  }
  return { chains, skipped };
}

function linkOf(site: LinearSite): Link {
  const { node } = site;
  const name = site.op === 'MatMul' ? undefined : node.inputs[2];
  const bias = name ? vectorBias(site, name) : undefined;
  return { node, site, bias, hasOpenBias: Boolean(name) && bias === undefined, note: readChainNote(node) };
}

/** A bias that is the same for every row of the batch; undefined for others. */
function vectorBias(site: LinearSite, name: string): ConstantValue | undefined {
  const found = findConstant(site.node.graph, name);
  if (!isConstant(found) || found.dataType !== site.weight.dataType) return undefined;
  const { shape } = found;
  const outputs = site.orientation === 'out-in' ? site.rows : site.columns;
  const last = shape.at(-1) ?? 1;
  const isRow = shape.slice(0, -1).every((dim) => dim === 1) && (last === outputs || last === 1);
  return isRow ? found : undefined;
}

/** The node that alone reads a link's output, if it is a link and reads it as its data. */
function successor(link: Link, links: ReadonlyMap<Node, Link>): Link | { readonly reason: string } {
  const value = link.node.outputs[0] ?? '';
  const { graph } = link.node;
  if (graph.isOutput(value)) return { reason: `'${value}', between two factors, is an output of the graph` };
  const uses = graph.uses(value);
  const [use] = uses;
  if (use === undefined || uses.length > 1) {
    return { reason: `'${value}', between two factors, is read by ${uses.length} nodes, not by one` };
  }
  const next = links.get(use.node);
  if (next === undefined || use.node.graph !== graph || use.index !== 1 - next.site.weightInput) {
    return { reason: `'${value}' is read by '${use.node.label}' (${use.node.opType}), which is no linear node with a constant weight` };
  }
  return next;
}

function chainByNote(
  first: Link,
  links: ReadonlyMap<Node, Link>,
): { readonly links: readonly Link[] } | { readonly reason: string } {
  const note = first.note as ChainNote;
  const chain = [first];
  while (chain.length < note.of) {
    const last = chain.at(-1) as Link;
    const next = successor(last, links);
    if ('reason' in next) return next;
    if (next.note?.site !== note.site || next.note.weight !== note.weight || next.note.factor !== chain.length) {
      return { reason: `factor ${chain.length} of ${note.of} does not follow factor ${chain.length - 1}` };
    }
    const problem = whyNotComposable(last, next);
    if (problem !== undefined) return { reason: problem };
    chain.push(next);
  }
  const problem = whyNotOne(chain);
  return problem === undefined ? { links: chain } : { reason: problem };
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
    if ('reason' in following || used.has(following) || whyNotComposable(link, following) !== undefined) continue;
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

/** Why two neighbours can not be one node; undefined where they can. */
function whyNotComposable(a: Link, b: Link): string | undefined {
  const [from, to] = [a.site, b.site];
  if (from.weight.dataType !== to.weight.dataType) return 'its factors have different element types';
  if (a.hasOpenBias) return `'${a.node.label}' has a bias that is no constant vector`;
  if (from.groups !== to.groups) return 'its factors have different groups';
  if ((from.op === 'Conv') !== (to.op === 'Conv')) return 'its factors are a convolution and a matrix product';
  if (from.op !== 'Conv') {
    const isLeft = (site: LinearSite): boolean => site.op === 'MatMul' && site.weightInput === 0;
    if (isLeft(from) !== isLeft(to)) return 'its factors multiply from different sides';
    if (to.op === 'Gemm' && to.node.attributes.int('transA', 0) === 1) return 'a later factor transposes its input';
  }
  const outputs = outputsOf(from);
  const inputs = to.op === 'Conv' ? (to.weight.shape[1] ?? 0) * to.groups : inputsOf(to);
  return outputs === inputs ? undefined : `${outputs} outputs meet ${inputs} inputs`;
}

export function outputsOf(site: LinearSite): number {
  return site.orientation === 'out-in' ? site.rows : site.columns;
}

/** Inputs of the matrix; of a convolution, of one group and with the kernel. */
export function inputsOf(site: LinearSite): number {
  return site.orientation === 'out-in' ? site.columns : site.rows;
}

/** True for a convolution that does more than mix channels: a kernel, stride or padding. */
export function isSpatial(site: LinearSite): boolean {
  const { attributes } = site.node;
  return (
    site.kernel.some((extent) => extent !== 1) ||
    (attributes.ints('strides') ?? []).some((stride) => stride !== 1) ||
    isPadded(site)
  );
}

function isPadded(site: LinearSite): boolean {
  const { attributes } = site.node;
  const automatic = attributes.string('auto_pad', 'NOTSET');
  // With a 1x1 kernel and stride 1, SAME pads nothing.
  if (automatic.startsWith('SAME') && site.kernel.some((extent) => extent !== 1)) return true;
  return (attributes.ints('pads') ?? []).some((pad) => pad !== 0);
}

/** Why a run of pairwise composable links is not one node; undefined where it is. */
function whyNotOne(chain: readonly Link[]): string | undefined {
  if (chain[0]?.site.op !== 'Conv') return undefined;
  const spatial = chain.filter((link) => isSpatial(link.site));
  if (spatial.length > 1) return 'more than one of its convolutions has a kernel, stride or padding';
  const [carrier] = spatial;
  if (carrier === undefined) return undefined;
  const before = chain.slice(0, chain.indexOf(carrier));
  if (isPadded(carrier.site) && before.some((link) => link.bias !== undefined)) {
    return 'a bias stands before a padded convolution, so that the border differs';
  }
  return undefined;
}

function parametersOf(chain: readonly Link[]): number {
  const [first] = chain;
  const last = chain.at(-1);
  if (first === undefined || last === undefined) return 0;
  if (first.site.op !== 'Conv') return inputsOf(first.site) * outputsOf(last.site);
  const kernel = Math.max(...chain.map((link) => link.site.kernel.reduce((product, extent) => product * extent, 1)));
  return (first.site.weight.shape[1] ?? 0) * outputsOf(last.site) * kernel;
}

/** Multiply-adds for one output position of the run: nodes before the carrier of a stride work at more positions. */
function workOf(chain: readonly Link[]): number {
  let positions = 1;
  let work = 0;
  for (const link of [...chain].reverse()) {
    work += positions * link.site.rows * link.site.columns;
    positions *= (link.node.attributes.ints('strides') ?? []).reduce((product, stride) => product * stride, 1);
  }
  return work;
}

/**
 * Splits a run into groups such that folding each leaves the fewest parameters, and no group costs more
 * multiply-adds after folding than before. Dynamic programming over the ends of groups.
 */
function cheapestGrouping(run: readonly Link[]): (readonly Link[])[] {
  const best: { cost: number; start: number }[] = [{ cost: 0, start: 0 }];
  for (let end = 1; end <= run.length; end += 1) {
    let choice = { cost: Number.POSITIVE_INFINITY, start: end - 1 };
    for (let start = 0; start < end; start += 1) {
      const group = run.slice(start, end);
      const cost = parametersOf(group);
      const isAllowed = group.length === 1 || (whyNotOne(group) === undefined && cost <= workOf(group));
      const total = (best[start]?.cost ?? 0) + cost;
      // The longer group wins a tie: one node less.
      if (isAllowed && total < choice.cost) choice = { cost: total, start };
    }
    best.push(choice);
  }
  const groups: (readonly Link[])[] = [];
  for (let end = run.length; end > 0; ) {
    const start = best[end]?.start ?? end - 1;
    groups.unshift(run.slice(start, end));
    end = start;
  }
  return groups;
}
