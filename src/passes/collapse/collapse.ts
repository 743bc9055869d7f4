import { alphaOf, compose, ownBias } from '../../affine/chains/compose.js';
import { composeSteps } from '../../affine/chains/compose-steps.js';
import { isBatched, type Link } from '../../affine/chains/link.js';
import { type Chain, findChains, projectionsOf } from '../../affine/chains/match.js';
import { foldedShape } from '../../affine/chains/shape.js';
import { withComputedConstants } from '../../affine/computed.js';
import type { InexactRegions } from '../../affine/match/segments.js';
import { constantsOf } from '../../affine/operators.js';
import {
  type FloatType,
  findConstant,
  type Graph,
  isConstant,
  type Model,
  type Node,
  type NodeSpec,
  narrow,
  type Pass,
  Tensor,
} from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import type { Skipped } from '../../graph/skipped.js';
import { withProducts } from '../../linalg/matrix.js';
import { asConstants, editWith, type Placement, scratchTensor } from '../rewrite/placement.js';
import { isNear, placeAsSource, removeUnread } from '../rewrite/weight-source.js';
import { constantsOfChain, workOfChain } from './chain-cost.js';
import { probeChain } from './chain-probe.js';
import { type CollapseAccount, type CollapsedChain, Ledger, probed } from './collapse-account.js';
import { foldRegions, isDeclared } from './collapse-regions.js';
import {
  biasOf,
  biasShape,
  collapsedName,
  foldedNodes,
  isAddedTo,
  namesOf,
  opOf,
  productKey,
} from './fold.js';
import { findIdentities, removeIdentity } from './identities.js';
import { COLLAPSE_DEFAULTS, COLLAPSE_OPTIONS, type CollapseOptions } from './options.js';
import { findPaddings, removePadding } from './paddings.js';
import { problemOfProbe, Rounding } from './rounding.js';

export type { CollapseAccount, CollapsedChain } from './collapse-account.js';
export { COLLAPSE_DEFAULTS, type CollapseOptions } from './options.js';

const NAME = 'collapse';

/**
 * Folds chains of linear nodes, and with `chainsOnly: false` (the default) every other affine region, into single
 * nodes, in float64, rounding once. Chains that `expand` made get their node and weight names back; what says nothing
 * of itself is folded where that costs no parameters and no multiply-adds. Exact up to rounding: what would not be is
 * skipped, with the reason.
 *
 * @example
 * const model = await readModel('trained.onnx');
 * const [account] = await model.apply(collapse());
 * await saveModel(model, 'deploy.onnx');
 */
export function collapse(options: CollapseOptions = {}): Pass<CollapseAccount> {
  checkOptions(COLLAPSE_OPTIONS, options);
  const settings = { ...COLLAPSE_DEFAULTS, ...options };
  return {
    name: NAME,
    run: (model) => withProducts(settings.products, () => new Folding(model, settings).run()),
  };
}

class Folding {
  readonly #model: Model;
  readonly #settings: Required<CollapseOptions>;
  /** Names of the weights that were made, by the factors they were made of: shared factors give a shared weight. */
  readonly #weights = new Map<string, string>();
  /** What rounding does to them, by the same keys. */
  readonly #roundings = new Map<string, Rounding>();
  readonly #ledger = new Ledger();

  constructor(model: Model, settings: Required<CollapseOptions>) {
    this.#model = model;
    this.#settings = settings;
  }

  async run(): Promise<CollapseAccount> {
    const { chainsOnly, dryRun } = this.#settings;
    const { chains, skipped: broken } = findChains(this.#model);
    const skipped: Skipped[] = [...broken];
    const rewritten: CollapsedChain[] = [];
    const present: Node[] = [];
    for (const [done, chain] of chains.entries()) {
      const { node } = namesOf(chain);
      this.#settings.onProgress?.({ done, total: chains.length, what: node });
      const folded = await this.#fold(chain);
      if ('reason' in folded) skipped.push(folded);
      else {
        rewritten.push(folded);
        present.push(...nodesOf(chain));
      }
    }
    if (!dryRun) {
      // Only now, since chains may share factors.
      for (const chain of chains) for (const { site } of linksOf(chain)) removeUnread(site.weight);
      for (const chain of chains) {
        for (const { bias, zero } of linksOf(chain))
          for (const read of [bias, zero]) if (read) removeUnread(read);
        for (const { norm } of chain.whole?.steps ?? [])
          if (norm) for (const read of constantsOf(norm)) removeUnread(read);
      }
    }
    if (chainsOnly) return { rewritten, skipped };
    const gone: Node[] = [];
    rewritten.push(...(await withComputedConstants(this.#model, async () => this.#removeNodes(gone))));
    const taken = new Set<CollapsedChain>();
    const inexact: InexactRegions = new Map();
    // What a region became, a bias above all, may go on into the next one.
    for (;;) {
      const exclude = dryRun ? [...present, ...gone] : [];
      const round = await withComputedConstants(this.#model, () =>
        foldRegions(this.#model, this.#settings, this.#ledger, exclude, inexact),
      );
      rewritten.push(...round.rewritten);
      for (const one of round.taken) taken.add(one);
      if (dryRun || round.rewritten.length === 0) {
        const told = new Set(skipped.map(({ node, reason }) => `${node}: ${reason}`));
        skipped.push(...round.skipped.filter(({ node, reason }) => !told.has(`${node}: ${reason}`)));
        break;
      }
    }
    return { rewritten: rewritten.filter((one) => !taken.has(one)), skipped };
  }

  /**
   * Takes away what is the identity, and pads that their readers can have; in a dry run only tells of it.
   *
   * @param gone the nodes, which are added to it
   */
  #removeNodes(gone: Node[]): CollapsedChain[] {
    const { dryRun } = this.#settings;
    const removed: CollapsedChain[] = [];
    const remove = (node: Node, take: () => void): void => {
      const { label, opType } = node;
      gone.push(node);
      removed.push({ ...NOT_COUNTED, node: label, from: [label], fromOps: [opType] });
      if (!dryRun) take();
    };
    for (const node of findIdentities(this.#model)) remove(node, () => removeIdentity(node));
    const declared = new Set([...this.#model.nodes()].filter(isDeclared));
    for (const padding of findPaddings(this.#model, declared))
      remove(padding.pad, () => removePadding(padding));
    return removed;
  }

  /** Replaces a chain by its product, or tells why that would compute something else. */
  async #fold(chain: Chain): Promise<CollapsedChain | Skipped> {
    const { links } = chain;
    const { dryRun, explain, probes } = this.#settings;
    const last = links.at(-1) as Link;
    const names = namesOf(chain);
    const key = productKey(chain, this.#ledger.keys);
    const isKnown = this.#weights.has(key);
    const product = await this.#multiply(chain);
    let problem = await this.#whyInexact(chain, product, key);
    const probe =
      explain && problem === undefined
        ? await probed(async () => probeChain(chain, await product.weight(), product.bias, probes))
        : {};
    problem ??= problemOfProbe(probe.probe);
    if (problem !== undefined) {
      const nodes = nodesOf(chain);
      const op = [...new Set(nodes.map((node) => node.opType))].join(', ');
      return { node: nodes.map((node) => node.label).join(', '), op, reason: problem };
    }
    const { before, after } = workOfChain(chain);
    const hasAdd = isAddedTo(chain) && product.bias !== undefined;
    const described = {
      node: names.node || last.node.outputs[0] || '',
      op: hasAdd ? `${opOf(links)} + Add` : opOf(links),
      nodesAfter: hasAdd ? 2 : 1,
      from: nodesOf(chain).map((node) => node.label),
      fromOps: nodesOf(chain).map((node) => node.opType),
      by: chain.by,
      parametersBefore: this.#ledger.count(constantsOfChain(chain)),
      multiplyAddsBefore: before,
      multiplyAddsAfter: after,
      ...probe,
    };
    const replaced = dryRun ? undefined : await this.#replace(chain, product, key);
    if (replaced === undefined) this.#weights.set(key, names.weight);
    const isThere = replaced === undefined ? isKnown : !replaced.isPlaced;
    const parametersAfter = biasSize(chain, product) + (isThere ? 0 : sizeOf(foldedShape(links)));
    const account: CollapsedChain = { ...described, parametersAfter };
    for (const node of replaced?.nodes ?? []) this.#ledger.made.set(node, account);
    return account;
  }

  /** Multiplies a chain out; the weight when it is asked for. */
  async #multiply(chain: Chain): Promise<Product> {
    const { links } = chain;
    const type = (links.at(-1) as Link).site.weight.dataType as FloatType;
    const steps = chain.whole && (await composeSteps(chain.whole.steps));
    const composed = steps ?? (await compose(links));
    const bias = steps ? steps.bias : await biasOf(links, composed.bias);
    let made: Promise<Tensor> | undefined;
    const { site } = links.at(-1) as Link;
    const shape = foldedShape(links);
    const rounding = new Rounding(type, {
      shape,
      layout: site.orientation,
      groups: site.groups,
      isBatched: isBatched(site),
    });
    const weight = (): Promise<Tensor> => {
      const parts = rounding.watch(composed.weight);
      made ??= scratchTensor(this.#model, namesOf(chain).weight, type, shape, parts);
      return made;
    };
    return { weight, rounding, bias };
  }

  /** Why a chain's product can not be rounded to its type; the weights of chains of one key are looked at once. */
  async #whyInexact({ links }: Chain, product: Product, key: string): Promise<string | undefined> {
    const last = links.at(-1) as Link;
    let rounding = this.#roundings.get(key);
    if (rounding === undefined) {
      await product.weight();
      rounding = product.rounding;
      this.#roundings.set(key, rounding);
    }
    return rounding.problem(product.bias ?? (await ownBias(last)), alphaOf(last));
  }

  /** Puts new nodes in the place of a chain; `isPlaced` where they brought their weight. */
  async #replace(
    chain: Chain,
    product: Product,
    key: string,
  ): Promise<{ readonly nodes: readonly Node[]; readonly isPlaced: boolean }> {
    const { links } = chain;
    const first = links[0] as Link;
    const home = homeOf(links);
    const nodes: NodeSpec[] = [];
    const initializers: Tensor[] = [];
    const add = (placed: Placement): void => {
      nodes.push(...placed.nodes);
      initializers.push(...placed.initializers);
    };
    const placed = await this.#placeWeight(chain, home, product, this.#weights.get(key));
    const weight = placed.name;
    this.#weights.set(key, weight);
    this.#ledger.see(home, weight);
    add(placed);
    let bias: string | undefined;
    if (product.bias !== undefined) {
      const type = (links.at(-1) as Link).site.weight.dataType as FloatType;
      bias = this.#model.freshName(`${weight}/bias`);
      this.#ledger.see(home, bias);
      add(
        asConstants(home, [
          Tensor.of(bias, type, biasShape(chain, product.bias.length), narrow(type, product.bias)),
        ]),
      );
    }
    const made = editWith({ nodes, initializers }, home, first.node, {
      removeNodes: nodesOf(chain),
      insertNodes: foldedNodes(chain, {
        node: namesOf(chain).node,
        weight,
        bias,
        output: outputOf(chain),
        fresh: (base) => this.#model.freshName(base),
      }),
    });
    return { nodes: made, isPlaced: placed.nodes.length + placed.initializers.length > 0 };
  }

  /**
   * The product under the name it is to have: as its source had it, as the weight that is there still, or as a new
   * one.
   *
   * @param same name of a weight that another chain of the same factors brought
   */
  async #placeWeight(
    chain: Chain,
    home: Graph,
    product: Product,
    same: string | undefined,
  ): Promise<Placement & { readonly name: string }> {
    const wanted = namesOf(chain).weight;
    const source = chain.links[0]?.note?.source;
    if (same === wanted || (same !== undefined && source === undefined)) return { ...NOTHING, name: same };
    const tensor = await product.weight();
    if (!isNamed(home, wanted)) {
      const placed = source && (await placeAsSource(home, tensor, source));
      if (placed !== undefined) return { ...placed, name: wanted };
      return same === undefined
        ? { ...asConstants(home, [tensor]), name: wanted }
        : { ...NOTHING, name: same };
    }
    // What else reads the weight kept it, or another chain of the same weight brought it back.
    const present = findConstant(home, wanted);
    if (isConstant(present) && (await isNear(present, tensor))) return { ...NOTHING, name: wanted };
    const name = this.#model.freshName(collapsedName(wanted));
    return { ...asConstants(home, [tensor.renamed(name)]), name };
  }
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

/** What a chain multiplies out to. */
interface Product {
  readonly weight: () => Promise<Tensor>;
  /** Knows the weight when that was made. */
  readonly rounding: Rounding;
  /** Undefined where the last node keeps its own. */
  readonly bias: Float64Array | undefined;
}

/** Elements of the bias that a chain's node has. */
function biasSize({ links }: Chain, product: Product): number {
  const { bias, zero } = links.at(-1) as Link;
  return product.bias?.length ?? sizeOf((bias ?? zero)?.shape ?? [0]);
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** The linear nodes of a chain: its factors, and the projections of its connections. */
function linksOf(chain: Chain): readonly Link[] {
  return [...chain.links, ...projectionsOf(chain)];
}

function nodesOf({ links, whole }: Chain): readonly Node[] {
  return whole?.nodes ?? links.map((link) => link.node);
}

function outputOf({ links, whole }: Chain): string {
  return whole?.output ?? links.at(-1)?.node.outputs[0] ?? '';
}

const NOTHING: Placement = { nodes: [], initializers: [] };

/** The innermost of the graphs that hold the factors: there all of them, and what they make, can be read. */
function homeOf(links: readonly Link[]): Graph {
  const homes = new Set(links.map((link) => link.site.weight.graph));
  let graph = (links[0] as Link).node.graph;
  while (!homes.has(graph) && graph.parent !== undefined) graph = graph.parent;
  return graph;
}

/** True for a name of a value of the graph, of one around it or of one below. */
function isNamed(graph: Graph, name: string): boolean {
  if (graph.resolve(name) !== undefined) return true;
  return [...graph.walk()].some(
    (inner) => inner.producer(name) !== undefined || inner.initializers.has(name) || inner.isInput(name),
  );
}
