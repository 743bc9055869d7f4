import { readChainNote, readPartNote } from '../analysis/chain-note.js';
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
} from '../graph/index.js';
import type { ProductPlace } from '../runtime/matrix.js';
import { withProducts } from '../runtime/matrix.js';
import type { SessionOptions } from '../runtime/session.js';
import type { OnProgress, Skipped } from './account.js';
import {
  describeRefusal,
  describeRegion,
  type FoldedWeights,
  findRegions,
  foldRegion,
  probeRegion,
} from './affine/index.js';
import { constantsOf } from './affine/operators.js';
import type { Link } from './chain-link.js';
import { type Chain, findChains, projectionsOf } from './chain-match.js';
import { compose } from './compose.js';
import { composeSteps } from './compose-steps.js';
import { biasOf, collapsedName, foldedNode, foldedShape, namesOf, opOf, productKey } from './fold.js';
import { ValueKeys } from './naming.js';
import { asConstants, editWith, type Placement, scratchTensor } from './placement.js';
import { isNear, placeAsSource, removeUnread } from './weight-source.js';

const NAME = 'collapse';

export interface CollapseOptions {
  /**
   * Fold chains of linear nodes alone: the exact inverse of expand. Otherwise every affine region is folded:
   * BatchNormalization, residual and parallel linear branches, scales and shifts too.
   */
  readonly chainsOnly?: boolean;
  /** Fold affine regions also where that takes more parameters or multiply-adds than before. */
  readonly force?: boolean;
  /** Run each affine region before it is folded, beside what it becomes, on a random input. */
  readonly explain?: boolean;
  /** Where large products of factors run, in float64; default the CPU. */
  readonly products?: ProductPlace | undefined;
  /** Where `explain` runs regions; default the CPU. */
  readonly probes?: Pick<SessionOptions, 'providers' | 'device'> | undefined;
  /** Match only: the account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export const COLLAPSE_DEFAULTS = {
  chainsOnly: false,
  force: false,
  explain: false,
  products: undefined,
  probes: undefined,
  dryRun: false,
  onProgress: undefined,
} as const satisfies Required<CollapseOptions>;

/** A chain or affine region that became one node (or two, where its shape demands it). */
export interface CollapsedChain {
  readonly node: string;
  readonly op: string;
  /** Names of the nodes that it was. */
  readonly from: readonly string[];
  /** Their operators. */
  readonly fromOps: readonly string[];
  /** Whether the nodes said that they are a chain, or were found to be one, or to be an affine region. */
  readonly by: 'metadata' | 'structure' | 'region';
  /** Elements of the factors (of regions: of all constants), without those that a chain before shares. */
  readonly parametersBefore: number;
  /** Elements of the product; 0 where a chain before has the same. */
  readonly parametersAfter: number;
  /** Multiply-adds for each output position; of regions. */
  readonly multiplyAddsBefore?: number;
  readonly multiplyAddsAfter?: number;
  /** True where a BatchNormalization in training mode was folded, with its running statistics. */
  readonly usesRunningStatistics?: boolean;
  /** Largest relative difference of a probe in onnxruntime; of regions, with `explain`. */
  readonly probe?: number;
}

export interface CollapseAccount {
  readonly rewritten: readonly CollapsedChain[];
  readonly skipped: readonly Skipped[];
}

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
  const settings = { ...COLLAPSE_DEFAULTS, ...options };
  return {
    name: NAME,
    run: (model) => withProducts(settings.products, () => new Folding(model, settings).run()),
  };
}

class Folding {
  readonly #model: Model;
  readonly #settings: Required<CollapseOptions>;
  readonly #keys = new ValueKeys();
  /** Names of the weights that were made, by the factors they were made of: shared factors give a shared weight. */
  readonly #weights = new Map<string, string>();
  /** The factors that the account counted already. */
  readonly #counted = new Set<string>();

  constructor(model: Model, settings: Required<CollapseOptions>) {
    this.#model = model;
    this.#settings = settings;
  }

  async run(): Promise<CollapseAccount> {
    const { chainsOnly, dryRun } = this.#settings;
    const { chains, skipped: broken } = findChains(this.#model);
    const skipped: Skipped[] = [...broken];
    const rewritten: CollapsedChain[] = [];
    for (const [done, chain] of chains.entries()) {
      const { node } = namesOf(chain);
      this.#settings.onProgress?.({ done, total: chains.length, what: node });
      rewritten.push(await this.#fold(chain));
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
    if (!chainsOnly) {
      const regions = await this.#foldRegions(chains);
      rewritten.push(...regions.rewritten);
      skipped.push(...regions.skipped);
    }
    return { rewritten, skipped };
  }

  /** Folds what is affine beyond chains. */
  async #foldRegions(chains: readonly Chain[]): Promise<CollapseAccount> {
    const { dryRun, explain, force, onProgress, probes } = this.#settings;
    // A declared chain that could not be folded stays whole; in a dry run all chains are still there.
    const declared = [...this.#model.nodes()].filter(
      (node) => readChainNote(node) !== undefined || readPartNote(node) !== undefined,
    );
    const present = dryRun ? chains.flatMap(nodesOf) : [];
    const { regions, refused } = findRegions(this.#model, {
      exclude: new Set([...declared, ...present]),
      force,
    });
    const weights: FoldedWeights = new Map();
    const rewritten: CollapsedChain[] = [];
    for (const [done, region] of regions.entries()) {
      const { node, nodes, becomes, before, after, usesRunningStatistics } = describeRegion(region);
      onProgress?.({ done, total: regions.length, what: node });
      const probe = explain ? (await probeRegion(region, probes)).relativeDifference : undefined;
      if (!dryRun) await foldRegion(region, weights);
      rewritten.push({
        node,
        op: becomes.join(' + '),
        from: nodes.map((part) => part.node),
        fromOps: nodes.map((part) => part.op),
        by: 'region',
        parametersBefore: before.parameters,
        parametersAfter: after.parameters,
        multiplyAddsBefore: before.multiplyAdds,
        multiplyAddsAfter: after.multiplyAdds,
        ...(usesRunningStatistics && { usesRunningStatistics }),
        ...(probe !== undefined && { probe }),
      });
    }
    const skipped = refused.map(describeRefusal).map(({ nodes, reason }) => ({
      node: nodes.map((part) => part.node).join(', '),
      op: [...new Set(nodes.map((part) => part.op))].join(', '),
      reason,
    }));
    return { rewritten, skipped };
  }

  /** Replaces a chain by its product. */
  async #fold(chain: Chain): Promise<CollapsedChain> {
    const { links } = chain;
    const last = links.at(-1) as Link;
    const names = namesOf(chain);
    const key = productKey(chain, this.#keys);
    const isKnown = this.#weights.has(key);
    const account: CollapsedChain = {
      node: names.node || last.node.outputs[0] || '',
      op: opOf(links),
      from: nodesOf(chain).map((node) => node.label),
      fromOps: nodesOf(chain).map((node) => node.opType),
      by: chain.by,
      parametersBefore: linksOf(chain).reduce((sum, link) => sum + this.#count(link), 0),
      parametersAfter: isKnown ? 0 : foldedShape(links).reduce((product, dim) => product * dim, 1),
    };
    if (this.#settings.dryRun) this.#weights.set(key, names.weight);
    else await this.#replace(chain, key);
    return account;
  }

  /** Elements of a factor, at its first call. */
  #count({ site }: Link): number {
    const key = this.#keys.of(site.weight.graph, site.weight.value);
    if (this.#counted.has(key)) return 0;
    this.#counted.add(key);
    return site.rows * site.columns;
  }

  async #replace(chain: Chain, key: string): Promise<void> {
    const { links } = chain;
    const first = links[0] as Link;
    const last = links.at(-1) as Link;
    const home = homeOf(links);
    const steps = chain.whole && (await composeSteps(chain.whole.steps));
    const composed = steps ?? (await compose(links));
    const nodes: NodeSpec[] = [];
    const initializers: Tensor[] = [];
    const add = (placed: Placement): void => {
      nodes.push(...placed.nodes);
      initializers.push(...placed.initializers);
    };
    const placed = await this.#placeWeight(chain, home, composed.weight, this.#weights.get(key));
    const weight = placed.name;
    this.#weights.set(key, weight);
    add(placed);
    const type = last.site.weight.dataType as FloatType;
    const total = steps ? steps.bias : await biasOf(links, composed.bias);
    let bias: string | undefined;
    if (total !== undefined) {
      bias = this.#model.freshName(`${weight}/bias`);
      add(asConstants(home, [Tensor.of(bias, type, [total.length], narrow(type, total))]));
    }
    editWith({ nodes, initializers }, home, first.node, {
      removeNodes: nodesOf(chain),
      insertNodes: [{ ...foldedNode(links, namesOf(chain).node, weight, bias), outputs: [outputOf(chain)] }],
    });
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
    values: Float32Array | Float64Array | AsyncIterable<Float32Array | Float64Array>,
    same: string | undefined,
  ): Promise<Placement & { readonly name: string }> {
    const { links } = chain;
    const wanted = namesOf(chain).weight;
    const source = links[0]?.note?.source;
    if (same === wanted || (same !== undefined && source === undefined)) return { ...NOTHING, name: same };
    const type = links.at(-1)?.site.weight.dataType as FloatType;
    const tensor = await scratchTensor(this.#model, wanted, type, foldedShape(links), values);
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
