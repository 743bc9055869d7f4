import { LINEAR_OPS } from '../../affine/linear-sites.js';
import { declaredRegions, describeBroken } from '../../affine/match/declared.js';
import type { FoundRegions, RefusedRegion, Region } from '../../affine/match/region.js';
import { findRegions } from '../../affine/match/regions.js';
import type { InexactRegions } from '../../affine/match/segments.js';
import { isDeclared } from '../../affine/note.js';
import { inlineCalls } from '../../graph/edit/inline-functions.js';
import type { KnownConstants, Model, Node } from '../../graph/index.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import type { Skipped } from '../../graph/skipped.js';
import { withProducts } from '../../linalg/matrix.js';
import { computedConstants } from '../../runtime/constants/computed-constants.js';
import { hasAdapters } from '../lora/note.js';
import {
  type CollapseAccount,
  type CollapsedChain,
  Ledger,
  type Probed,
  partsOf,
  probed,
  summed,
} from './account.js';
import { FoldedConstants, foldRegion } from './fold.js';
import { findIdentities, removeIdentity } from './identities.js';
import type { CollapseOptions } from './options.js';
import { findPaddings, removePadding } from './paddings.js';
import { probeRegion } from './probe.js';
import { type Product, Products } from './product.js';
import { describeRefusal, describeRegion } from './region-report.js';
import { problemOfProbe } from './rounding.js';

/** The work of collapse on one model, whose large products run where they are to. */
export function folded(model: Model, settings: Required<CollapseOptions>): Promise<CollapseAccount> {
  return withProducts(settings.products, () => new Folding(model, settings).run());
}

/** A larger region whose numbers do not fit its type may have smaller ones in it: how often they are looked for. */
const SEARCHES = 32;

class Folding {
  readonly #model: Model;
  readonly #settings: Required<CollapseOptions>;
  readonly #ledger = new Ledger();
  readonly #rewritten: CollapsedChain[] = [];
  /** Regions that later ones took in. */
  readonly #taken = new Set<CollapsedChain>();
  /** Regions whose numbers were found not to fit. */
  readonly #inexact: InexactRegions = new Map();

  constructor(model: Model, settings: Required<CollapseOptions>) {
    // A dry run puts functions in place, too, but not in the model that it is given.
    // The same with adapters, behind which there may be more to fold.
    const isChanged = model.functions.length > 0 || hasAdapters(model);
    this.#model = settings.dryRun && isChanged ? model.clone() : model;
    this.#settings = settings;
  }

  async run(): Promise<CollapseAccount> {
    const { chainsOnly } = this.#settings;
    const inlined = inlineCalls(this.#model, (plain) => this.#regionsIn(plain));
    const kept = await this.#mergeAdapters();
    const { regions, broken } = declaredRegions(this.#model, this.#ledger.keys);
    await this.#foldAll(regions, 1);
    // One expansion at a time: what a chain became stays, also where it says that it is of another.
    const chains = regions.flatMap(({ nodes }) => nodes);
    const exclude = new Set([...chains, ...this.#ledger.made.keys()]);
    const inexact = this.#inexact;
    const linear = await this.#foldFound(() =>
      findRegions(this.#model, { exclude, inexact, linearOnly: true }),
    );
    const refused = chainsOnly ? [] : await this.#foldRegions([...chains, ...linear.nodes]);
    return {
      rewritten: this.#rewritten.filter((one) => !this.#taken.has(one)),
      skipped: [...kept, ...broken.map(describeBroken), ...skippedOf(refused, inexact)],
      inlined,
    };
  }

  /** Folds adapters into the weights of their layers. */
  async #mergeAdapters(): Promise<readonly Skipped[]> {
    if (!hasAdapters(this.#model)) return [];
    const { mergeAdapters } = await import('../lora/merge.js');
    const { merged, skipped } = await mergeAdapters(this.#model);
    for (const one of merged) this.#rewritten.push({ ...one, nodesAfter: 1, by: 'metadata' });
    return skipped;
  }

  /** What can be folded of a model, by its nodes. */
  #regionsIn(model: Model): (readonly Node[])[] {
    const { chainsOnly, force } = this.#settings;
    const { regions } = declaredRegions(model, new ValueKeys());
    const exclude = new Set(regions.flatMap(({ nodes }) => nodes));
    const found = findRegions(model, { exclude, force, linearOnly: chainsOnly });
    return [...regions, ...found.regions].map(({ nodes }) => nodes);
  }

  /**
   * Folds what says nothing of itself. What a region becomes, a bias above all, may go on into the next one.
   *
   * @param present chains that are folded by themselves; in a dry run they are still there
   */
  async #foldRegions(present: readonly Node[]): Promise<readonly RefusedRegion[]> {
    const { dryRun, force } = this.#settings;
    const inexact = this.#inexact;
    const gone = this.#removeNodes(await computedConstants(this.#model));
    for (;;) {
      // A declared chain that could not be folded stays whole.
      const exclude = new Set([...this.#declared(), ...(dryRun ? [...present, ...gone] : [])]);
      const constants = await computedConstants(this.#model);
      const { nodes, refused } = await this.#foldFound(() =>
        findRegions(this.#model, { exclude, force, inexact, constants }),
      );
      if (dryRun || nodes.length === 0) return refused;
    }
  }

  #declared(): Node[] {
    return [...this.#model.nodes()].filter(isDeclared);
  }

  /** Folds regions, and where the numbers of some did not fit and none was folded, what can be found in their place. */
  async #foldFound(
    find: () => FoundRegions,
  ): Promise<{ readonly nodes: readonly Node[]; readonly refused: readonly RefusedRegion[] }> {
    for (let search = 1; ; search += 1) {
      const { regions, refused } = find();
      const nodes = await this.#foldAll(regions, search);
      if (nodes !== undefined) return { nodes, refused };
    }
  }

  /**
   * Folds what fits of some regions; in a dry run nothing, where another search is to be made.
   *
   * @returns the nodes of what was folded; undefined where another search is to be made
   */
  async #foldAll(regions: readonly Region[], search: number): Promise<readonly Node[] | undefined> {
    const { dryRun, onProgress, signal } = this.#settings;
    const made = new FoldedConstants();
    const products = new Products();
    const going = new Set(regions.flatMap(({ nodes }) => nodes));
    const passed: [Region, Examined][] = [];
    const folded: Node[] = [];
    let hasFailed = false;
    for (const [done, region] of regions.entries()) {
      signal?.throwIfAborted();
      onProgress?.({ done, total: regions.length, what: describeRegion(region).node });
      const examined = await this.#examine(region, products);
      if (typeof examined === 'string') {
        hasFailed = true;
        this.#refuse(region, examined);
        continue;
      }
      folded.push(...region.nodes);
      if (dryRun) passed.push([region, examined]);
      else await this.#fold(region, examined, made, going);
    }
    // What was folded is looked at anew by the caller.
    if (hasFailed && search < SEARCHES && (dryRun || folded.length === 0) && !regions[0]?.chain)
      return undefined;
    for (const [region, examined] of passed) await this.#fold(region, examined, made, going);
    return folded;
  }

  /** The numbers of a region, and what a probe tells of them where that is wanted; or why it cannot be folded. */
  async #examine(region: Region, products: Products): Promise<Examined | string> {
    const { explain, probes } = this.#settings;
    const product = await products.of(region);
    if (product.problem !== undefined) return product.problem;
    const probe = explain ? await probed(() => probeRegion(region, probes, 0, product)) : {};
    return problemOfProbe(probe.probe) ?? { product, probe };
  }

  #refuse({ nodes, source }: Region, reason: string): void {
    const last = nodes.at(-1);
    if (last === undefined) return;
    const known = this.#inexact.get(last) ?? new Map<string, RefusedRegion>();
    this.#inexact.set(last, known.set(source, { kind: 'inexact', reason, nodes }));
  }

  /**
   * Replaces a region by the node that it is, and tells of it.
   *
   * @param going the nodes of all regions that are folded
   */
  async #fold(
    region: Region,
    { product, probe }: Examined,
    constants: FoldedConstants,
    going: ReadonlySet<Node>,
  ): Promise<void> {
    const { node, nodes, usesRunningStatistics } = describeRegion(region);
    const isLinear = nodes.every(({ op }) => LINEAR_OPS.some((linear) => linear === op));
    const parts = partsOf(region, this.#ledger, going);
    for (const part of parts.taken) this.#taken.add(part);
    const after = this.#ledger.tell(region, product.composition, going);
    const folded = this.#settings.dryRun ? undefined : await foldRegion(region, constants, product);
    const { operators, cost } = product.composition.target;
    const account: CollapsedChain = {
      node,
      op: operators.join(' + '),
      nodesAfter: operators.length,
      from: parts.from,
      fromOps: parts.fromOps,
      by: region.chain ? 'metadata' : isLinear && !parts.isMade ? 'structure' : 'region',
      parametersBefore: parts.parametersBefore,
      parametersAfter: after.bias + (folded?.bringsWeight === false ? 0 : after.weight),
      multiplyAddsBefore: parts.multiplyAddsBefore,
      multiplyAddsAfter: cost.multiplyAdds,
      ...(usesRunningStatistics && { usesRunningStatistics }),
      ...summed([...parts.taken, probe]),
    };
    this.#rewritten.push(account);
    if (folded === undefined) return;
    for (const value of folded.constants) this.#ledger.see(folded.home, value);
    for (const one of folded.nodes) this.#ledger.made.set(one, account);
  }

  /**
   * Takes away what is the identity, and pads that their readers can have; in a dry run only tells of it.
   *
   * @returns the nodes
   */
  #removeNodes(constants: KnownConstants): Node[] {
    const { dryRun } = this.#settings;
    const gone: Node[] = [];
    const remove = (node: Node, take: () => void): void => {
      const { label, opType } = node;
      gone.push(node);
      this.#rewritten.push({ ...NOT_COUNTED, node: label, from: [label], fromOps: [opType] });
      if (!dryRun) take();
    };
    for (const node of findIdentities(this.#model)) remove(node, () => removeIdentity(node));
    for (const padding of findPaddings(this.#model, new Set(this.#declared()), constants))
      remove(padding.pad, () => removePadding(padding));
    return gone;
  }
}

/** The numbers of a region, and what a probe told of them. */
interface Examined {
  readonly product: Product;
  readonly probe: Probed;
}

/** What was refused; of regions whose numbers do not fit, those that are not part of another. */
function skippedOf(refused: readonly RefusedRegion[], inexact: InexactRegions): Skipped[] {
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

/** An entry of what is taken away without a trace. */
const NOT_COUNTED = {
  op: '',
  nodesAfter: 0,
  by: 'region',
  parametersBefore: 0,
  parametersAfter: 0,
  multiplyAddsBefore: 0,
  multiplyAddsAfter: 0,
} as const;
