import { findLinearSites, type LinearSite } from '../analysis/linear-sites.js';
import { type FloatType, type Graph, type Model, narrow, type Pass, Tensor } from '../graph/index.js';
import type { OnProgress, Skipped } from './account.js';
import { chainNames, insertChain, needsZeroBias } from './factor-nodes.js';
import { type FreshName, factorName, imaginedNames, ValueKeys } from './naming.js';
import { asConstants, bodyOf, scratchTensor, trainedNames } from './placement.js';
import { EXPAND_INITS, type ExpandInit, factorizeSite, whyNotFactorizable } from './site-factors.js';
import { behindIdentity, removeUnread } from './weight-source.js';

export { EXPAND_INITS, type ExpandInit } from './site-factors.js';

const NAME = 'expand';

export interface ExpandOptions {
  /** Linear layers per chain, >= 1; 1 changes nothing. */
  readonly depth?: number;
  /** Hidden width of a chain relative to the outputs of its site (of each group), > 0. */
  readonly width?: number;
  /**
   * 'balanced': the factors satisfy W_{i+1}^T W_{i+1} = W_i W_i^T (Arora, Cohen & Hazan 2018).
   * 'identity': the weight as one factor, identities for the rest.
   */
  readonly init?: ExpandInit;
  /** Seed of the weights of hidden units beyond the rank. */
  readonly seed?: number;
  /** The account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

export const EXPAND_DEFAULTS = {
  depth: 2,
  width: 1,
  init: 'balanced',
  seed: 0,
  dryRun: false,
  onProgress: undefined,
} as const satisfies Required<ExpandOptions>;

/** One site that became a chain. */
export interface ExpandedSite {
  readonly node: string;
  readonly op: string;
  readonly weight: string;
  /** The weight as a matrix, as it is stored. */
  readonly rows: number;
  readonly columns: number;
  /** Singular values above the rounding of the weight's type (the largest of the groups); unknown in a dry run. */
  readonly rank: number | undefined;
  /** Units (channels) of each hidden layer. */
  readonly hidden: number;
  readonly depth: number;
  /** Elements of the weight; 0 where a site before shares it, so that a sum counts it once. */
  readonly parametersBefore: number;
  /** Elements of the factors; 0 where a site before shares them. */
  readonly parametersAfter: number;
  /** Names of the chain's nodes. */
  readonly nodes: readonly string[];
}

export interface ExpandAccount {
  readonly rewritten: readonly ExpandedSite[];
  readonly skipped: readonly Skipped[];
}

/**
 * Replaces every Gemm, MatMul and Conv with a constant weight by a chain of `depth` linear nodes that computes the
 * same function. Bias, alpha and beta stay on the last factor; a convolution's kernel, padding, stride and dilation
 * on the first, the others are 1x1 of the same groups. (Huh et al., "The Low-Rank Simplicity Bias in Deep
 * Networks", TMLR 2023, arXiv 2103.10427.)
 *
 * @throws RangeError for options out of range
 * @example
 * const model = await readModel('model.onnx');
 * const [account] = await model.apply(expand({ depth: 3 }));
 * await saveModel(model, 'expanded.onnx');
 */
export function expand(options: ExpandOptions = {}): Pass<ExpandAccount> {
  const settings = { ...EXPAND_DEFAULTS, ...options };
  if (!Number.isInteger(settings.depth) || settings.depth < 1) {
    throw new RangeError(`depth must be a whole number of at least 1, not ${settings.depth}`);
  }
  if (!(settings.width > 0) || !Number.isFinite(settings.width)) {
    throw new RangeError(`width must be a positive number, not ${settings.width}`);
  }
  if (!EXPAND_INITS.includes(settings.init)) {
    throw new RangeError(`init must be one of ${EXPAND_INITS.join(', ')}, not ${settings.init}`);
  }
  return { name: NAME, run: (model) => new Expansion(model, settings).run() };
}

type Settings = Required<ExpandOptions>;

/** A site that is to become a chain. */
interface Match {
  readonly site: LinearSite;
  readonly hidden: number;
}

/** The factors of a weight, by their names in its graph; in a dry run only named. */
interface Chain {
  readonly weights: readonly string[];
  readonly rank: number | undefined;
}

class Expansion {
  readonly #model: Model;
  readonly #settings: Settings;
  readonly #fresh: FreshName;
  readonly #keys = new ValueKeys();
  /** Chains by weight, so that a weight that several sites share is factorized once and stays shared. */
  readonly #chains = new Map<string, Chain | { readonly reason: string }>();
  /** The elements that the account counted already. */
  readonly #counted = new Set<unknown>();
  readonly #zeros = new Map<string, string>();
  readonly #trained: ReadonlySet<string>;

  constructor(model: Model, settings: Settings) {
    this.#model = model;
    this.#settings = settings;
    this.#fresh = settings.dryRun ? imaginedNames(model) : (base) => model.freshName(base);
    this.#trained = trainedNames(model);
  }

  async run(): Promise<ExpandAccount> {
    const { sites, others } = findLinearSites(this.#model);
    const rewritten: ExpandedSite[] = [];
    const skipped: Skipped[] = others.map(({ node, reason }) => ({
      node: node.label,
      op: node.opType,
      reason,
    }));
    const expanded: LinearSite[] = [];
    for (const [done, site] of sites.entries()) {
      this.#settings.onProgress?.({ done, total: sites.length, what: site.node.label });
      const found = match(site, this.#settings, this.#trained);
      const result = 'reason' in found ? found : await this.#expandSite(found);
      if ('reason' in result) skipped.push({ node: site.node.label, op: site.op, reason: result.reason });
      else {
        rewritten.push(result);
        expanded.push(site);
      }
    }
    if (!this.#settings.dryRun) for (const site of expanded) removeUnread(site.weight);
    return { rewritten, skipped };
  }

  async #expandSite({ site, hidden }: Match): Promise<ExpandedSite | { readonly reason: string }> {
    const { depth, dryRun } = this.#settings;
    const { weight, op, rows, columns, node } = site;
    const stored = behindIdentity(weight);
    const value = this.#keys.of(stored.graph, stored.value);
    const key = JSON.stringify([value, site.orientation, site.groups, hidden]);
    const known = this.#chains.get(key);
    const factorized =
      known === undefined ? await this.#factorize(site, stored.value, hidden) : { chain: known, tensors: [] };
    const { chain, tensors } = factorized;
    this.#chains.set(key, chain);
    if ('reason' in chain) return chain;
    const names = chainNames(site, depth, this.#fresh);
    const zero = needsZeroBias(site) ? this.#zero(site) : undefined;
    if (!dryRun) insertChain(site, names, { names: chain.weights, tensors, home: stored.graph, zero });
    const isCounted = this.#counted.has(weight.root?.proto ?? value);
    this.#counted.add(weight.root?.proto ?? value);
    return {
      node: node.label,
      op,
      weight: weight.value,
      rows,
      columns,
      rank: chain.rank,
      hidden,
      depth,
      parametersBefore: isCounted ? 0 : rows * columns,
      parametersAfter: known === undefined ? chainParameters(site, hidden, depth) : 0,
      nodes: names.nodes,
    };
  }

  async #factorize(
    site: LinearSite,
    base: string,
    hidden: number,
  ): Promise<{ readonly chain: Chain | { readonly reason: string }; readonly tensors: readonly Tensor[] }> {
    const { weight } = site;
    const name = (i: number): string => this.#fresh(factorName(base, i));
    if (this.#settings.dryRun) {
      const refused = await whyNotFactorizable(site, hidden, this.#settings);
      const weights = refused ? [] : Array.from({ length: this.#settings.depth }, (_, i) => name(i));
      return { chain: refused ?? { weights, rank: undefined }, tensors: [] };
    }
    const result = await factorizeSite(site, hidden, this.#settings);
    if ('reason' in result) return { chain: result, tensors: [] };
    const type = weight.dataType as FloatType;
    const names = Array.from({ length: this.#settings.depth }, (_, i) => name(i));
    const tensors: Tensor[] = [];
    for await (const [i, { shape, data }] of result.factors()) {
      tensors[i] = await scratchTensor(this.#model, names[i] as string, type, shape, data);
    }
    return { chain: { weights: tensors.map((tensor) => tensor.name), rank: result.rank }, tensors };
  }

  /** A zero of the site's type, in the main graph or function; made at the first call. */
  #zero(site: LinearSite): string {
    const body: Graph = bodyOf(site.node.graph);
    const type = site.weight.dataType as FloatType;
    const key = this.#keys.of(body, type);
    let name = this.#zeros.get(key);
    if (name !== undefined) return name;
    name = this.#fresh('onnx-overparam/zero');
    this.#zeros.set(key, name);
    if (!this.#settings.dryRun) {
      const tensor = Tensor.of(name, type, [1], narrow(type, new Float32Array(1)));
      const { nodes, initializers } = asConstants(body, [tensor]);
      body.edit({ insertNodes: nodes, before: body.nodes[0], setInitializers: initializers });
    }
    return name;
  }
}

/** Whether a site can be expanded, and its hidden width; pure. */
function match(
  site: LinearSite,
  settings: Settings,
  trained: ReadonlySet<string>,
): Match | { readonly reason: string } {
  const { node, weight } = site;
  if (site.op === 'ConvTranspose') return { reason: 'ConvTranspose is not expanded' };
  if (settings.depth === 1)
    return { reason: 'a chain of one layer is the layer itself; use --depth 2 or more' };
  if (site.rows * site.columns === 0) return { reason: 'its weight has no elements' };
  if (!node.outputs[0]) return { reason: 'nothing reads its output' };
  if (weight.leaves.some((leaf) => trained.has(leaf.name)))
    return { reason: 'training_info names its weight' };
  const sharded = (node.proto.device_configurations ?? []).flatMap((device) => device.sharding_spec ?? []);
  if (sharded.some((spec) => spec.tensor_name === node.inputs[site.weightInput])) {
    return { reason: 'its device configuration shards its weight' };
  }
  const outputs = site.orientation === 'out-in' ? site.rows : site.columns;
  const perGroup = Math.max(1, Math.round((settings.width * outputs) / site.groups));
  return { site, hidden: perGroup * site.groups };
}

function chainParameters(site: LinearSite, hidden: number, depth: number): number {
  const { groups, rows, columns, orientation } = site;
  const outputs = orientation === 'out-in' ? rows : columns;
  const inputs = orientation === 'out-in' ? columns : rows;
  return hidden * inputs + ((depth - 2) * hidden * hidden) / groups + (outputs * hidden) / groups;
}
